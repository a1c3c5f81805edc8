"""Where the points of a sweep run side by side: `--devices cuda:0,cuda:1` and `--jobs 4`."""

from __future__ import annotations

import os
from dataclasses import replace

from hvt_bench.environment import resolve_device
from hvt_bench.errors import RequestError, plural
from hvt_bench.executors.base import Place
from hvt_bench.point import ANY_GPU, Point
from hvt_bench.sweep import Sweep
from hvt_bench.training.group import check_shares

VISIBLE = "CUDA_VISIBLE_DEVICES"
TORCHRUN = "TORCHELASTIC_RUN_ID"  # which torchrun, and nothing else, sets
MAX_COUNTERS = 16  # processes that count: each takes some 200 MiB


def gpu_places(text: str, per_point: int = 1) -> tuple[Place, ...]:
    """Turn `cuda:0,cuda:1` into places whose processes see that one GPU each, or `per_point` of them.

    Raises RequestError where that is no list of different GPUs of this machine, or does not make whole places.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise RequestError("--devices: name GPUs, such as cuda:0,cuda:1")
    devices: list[str] = []
    for name in names:
        if not name.startswith(ANY_GPU):
            raise RequestError(f"--devices {name}: is for GPUs, such as cuda:0,cuda:1; take --device {name}")
        device = resolve_device(name)
        if device in devices:
            raise RequestError(f"--devices: {device} stands there twice; one GPU takes one point at a time")
        devices.append(device)
    if per_point < 1 or len(devices) % per_point:
        raise RequestError(
            f"--gpus-per-point {per_point}: {plural(len(devices), 'GPU')} of --devices cannot be shared out so; "
            "give a number that divides them"
        )
    return tuple(_gpu_place(devices[first : first + per_point]) for first in range(0, len(devices), per_point))


def _gpu_place(devices: list[str]) -> Place:
    return Place("+".join(devices), {VISIBLE: ",".join(_visible_as(int(name.partition(":")[2])) for name in devices)})


def _visible_as(index: int) -> str:
    """Return what the environment calls a GPU; where only some are visible here, `index` counts those."""
    visible = os.environ.get(VISIBLE)
    return visible.split(",")[index].strip() if visible else str(index)


def on_any_gpu(sweep: Sweep) -> Sweep:
    """Let every point of a GPU be one that any of them may take."""
    moved = {"device": ANY_GPU}
    cells = (cell.model_copy(update=moved) if isinstance(cell, Point) else cell for cell in sweep.cells)
    return replace(sweep, cells=tuple(cells))


def trained_together(sweep: Sweep, processes: int) -> Sweep:
    """Let so many processes train each network, on a GPU each.

    Raises RequestError where nothing is trained, or a batch cannot be shared out.
    """
    if processes == 1:
        return sweep
    if "accuracy" not in sweep.metrics:
        raise RequestError(
            f"--gpus-per-point {processes} trains a network on several GPUs, and this sweep trains none: a pass is "
            "timed on one; leave it out, or add accuracy to measure"
        )
    for point in sweep.points:
        if point.recipe is not None:
            check_shares(point.recipe, processes)
    return replace(sweep, processes=processes)


def gpus_of(sweep: Sweep, processes: int) -> str | None:
    """Name the GPUs of so many processes, the first of this machine; None where the sweep is of no GPU."""
    if all(point.device in ("cpu", "mps") for point in sweep.points):
        return None
    return ",".join(f"{ANY_GPU}:{index}" for index in range(processes))


def started_by_torchrun() -> tuple[int, int]:
    """Return which of how many processes of torchrun this is; 0 of 1 without it.

    Raises RequestError in the first of them where they are on several machines.
    """
    if TORCHRUN not in os.environ:
        return 0, 1
    rank, size, here = (int(os.environ.get(name, "1")) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if size != here and rank == 0:
        raise RequestError(f"torchrun on {size // max(1, here)} machines: a network is trained on the GPUs of one")
    return rank, size


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
