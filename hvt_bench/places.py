"""Where the points of a sweep run side by side: `--devices cuda:0,cuda:1` and `--jobs 4`."""

from __future__ import annotations

import os
from dataclasses import replace

from hvt_bench.environment import resolve_device
from hvt_bench.errors import RequestError
from hvt_bench.executors.base import Place
from hvt_bench.point import ANY_GPU, Point
from hvt_bench.sweep import Sweep

VISIBLE = "CUDA_VISIBLE_DEVICES"
MAX_COUNTERS = 16  # processes that count: each takes some 200 MiB


def gpu_places(text: str) -> tuple[Place, ...]:
    """Turn `cuda:0,cuda:1` into places whose processes see that one GPU each.

    Raises RequestError where that is no list of different GPUs of this machine.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise RequestError("--devices: name GPUs, such as cuda:0,cuda:1")
    places: list[Place] = []
    for name in names:
        if not name.startswith(ANY_GPU):
            raise RequestError(f"--devices {name}: is for GPUs, such as cuda:0,cuda:1; take --device {name}")
        device = resolve_device(name)
        if any(place.name == device for place in places):
            raise RequestError(f"--devices: {device} stands there twice; one GPU takes one point at a time")
        places.append(Place(device, {VISIBLE: _visible_as(int(device.partition(":")[2]))}))
    return tuple(places)


def _visible_as(index: int) -> str:
    """Return what the environment calls a GPU; where only some are visible here, `index` counts those."""
    visible = os.environ.get(VISIBLE)
    return visible.split(",")[index].strip() if visible else str(index)


def on_any_gpu(sweep: Sweep) -> Sweep:
    """Let every point of a GPU be one that any of them may take."""
    moved = {"device": ANY_GPU}
    cells = (cell.model_copy(update=moved) if isinstance(cell, Point) else cell for cell in sweep.cells)
    return replace(sweep, cells=tuple(cells))


def cpu_places(jobs: int, sweep: Sweep) -> tuple[Place, ...]:
    """Return places for that many points of a CPU side by side. Raises RequestError where a point is of a GPU."""
    if jobs < 1:
        raise RequestError(f"--jobs {jobs}: give a whole number, 1 or more")
    elsewhere = next((point.device for point in sweep.points if point.device != "cpu"), None)
    if elsewhere is not None:
        raise RequestError(f"--jobs is for points of a CPU and this sweep has some of {elsewhere}; for GPUs: --devices")
    return (Place(),) * jobs


def counter_places() -> tuple[Place, ...]:
    """Return a place per core, for counting, which nothing disturbs."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (Place(),) * min(usable, MAX_COUNTERS)
