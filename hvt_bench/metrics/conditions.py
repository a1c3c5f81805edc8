"""The state of the machine while passes were timed: what a reader must know to trust a latency, and energy.

`Witness` looks before and after the timed passes and never in between, so that it disturbs none of them.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import torch

from hvt_bench.metrics.base import Metric
from hvt_bench.nvml import Gpu
from hvt_bench.records import Column

SLOWED = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})
"""The clock events for which a round is measured again."""
LOWERED_PCT = 1.0  # of the timed passes: clocks that were lowered for less move no median
MIN_LOAD_S = 0.5  # /proc/stat counts in hundredths of a second, so less says little


class Conditions(Metric):
    """The state of the machine, summed up over rounds."""

    energy_mj_per_img: Annotated[
        float | None,
        Column(
            "energy of the whole GPU board over the timed passes, by its own counter, over their images; median of "
            "the rounds; empty where there is no counter",
            "mJ",
            "energy per image",
            best="low",
        ),
    ] = None
    clock_mhz_start: Annotated[
        float | None,
        Column("clock of the GPU's multiprocessors before the timed passes; median of the rounds", "MHz"),
    ] = None
    clock_mhz_end: Annotated[
        float | None,
        Column("clock of the GPU's multiprocessors after the timed passes; median of the rounds", "MHz"),
    ] = None
    power_limit_w: Annotated[
        float | None, Column("power that the GPU was allowed to draw; the lowest of the rounds", "W", "power limit")
    ] = None
    throttle_reasons: Annotated[
        str | None,
        Column(
            "what lowered the GPU's clocks in any of the rounds, in NVML's words; empty if nothing did, or if NVML "
            "does not say"
        ),
    ] = None
    fp32_precision: Annotated[
        str | None,
        Column("what products and convolutions of float32 round to, as PyTorch said afterwards: `ieee`, `tf32`"),
    ] = None
    cudnn_benchmark: Annotated[
        bool | None, Column("whether cuDNN tried its algorithms and took the fastest; empty on CPU")
    ] = None
    other_load_pct: Annotated[
        float | None,
        Column(
            "CPU time that other processes and the hypervisor took from the cores this process may use, during the "
            "timed passes, in % of those cores; the largest of the rounds; Linux only",
            "%",
            "other load",
        ),
    ] = None
    cpu_share_pct: Annotated[
        float | None,
        Column(
            "CPU time of this process over the timed passes, in % of `num_threads` cores; the smallest of the rounds",
            "%",
            "share of CPU",
        ),
    ] = None

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `Witness.stop` gave in each round; of each quantity, the rounds that have it.

        Clocks and energy are medians, as a latency is; of the rest the worst round counts, since one spoils a row.
        """
        started, ended = zip(*(found.get("clock_mhz") or (None, None) for found in rounds), strict=True)
        reasons = sorted({reason for found in rounds for reason in found.get("throttle_reasons") or ()})
        return cls(
            energy_mj_per_img=_of(statistics.median, map(_energy, rounds)),
            clock_mhz_start=_of(statistics.median, started),
            clock_mhz_end=_of(statistics.median, ended),
            power_limit_w=_of(min, (found.get("power_limit_w") for found in rounds)),
            throttle_reasons=" ".join(reasons) or None,
            fp32_precision=_of(lambda known: "; ".join(sorted(set(known))), map(_precision, rounds)),
            cudnn_benchmark=_of(any, (found.get("cudnn_benchmark") for found in rounds)),
            other_load_pct=_of(max, map(_other_load, rounds)),
            cpu_share_pct=_of(min, map(_cpu_share, rounds)),
        )


def throttled(found: Mapping[str, Any]) -> bool:
    """Say whether a round, by what `Witness.stop` gave, is to be measured again: its GPU was held back.

    Held back by heat, by a power supply that is too weak, or by hardware that protects itself: a state that passes, and
    that another GPU of the kind would not be in. (`hw_slowdown` may also show for the moment of a change of clocks.)
    `sw_power_cap` is none of these. It is how a GPU runs whose work could draw more than its power limit, as large
    products do, in each round again; with the limit, it belongs to what was measured. It is said and not repeated.
    """
    return not SLOWED.isdisjoint(found.get("throttle_reasons") or ())


class Witness:
    """Looks at the machine before and after the timed passes of one round."""

    def __init__(self, device: str, num_threads: int) -> None:
        """Find the GPU, if `device` is one, which initialises CUDA."""
        self._device, self._num_threads = device, num_threads
        self._gpu = Gpu(device) if device.startswith("cuda") else None

    def start(self) -> None:
        """Look once: warmed up, the device has done what it was given, and no timed pass was made yet."""
        self._board = _Board.of(self._gpu) if self._gpu else None
        self._before = _Processor.now()

    def stop(self, images: int) -> dict[str, Any]:
        """Look again, right after the timed passes, which `images` images went through; return what was seen.

        Seconds by the clock (`wall_s`), of CPU time of this process (`process_cpu_s`) and of all work on the `cores`
        that it may use (`busy_cpu_s`); of a GPU, what stood at both ends and what grew between. Unknown is None.
        """
        before, after = self._before, _Processor.now()
        wall_s = after.wall_s - before.wall_s
        busy_s = None if before.busy_s is None or after.busy_s is None else round(after.busy_s - before.busy_s, 2)
        found = {
            "images": images,
            "wall_s": round(wall_s, 6),
            "process_cpu_s": round(after.process_s - before.process_s, 6),
            "busy_cpu_s": busy_s,
            "cores": len(_cores()),
            "num_threads": self._num_threads,
            "fp32_precision": _read_precision(self._device),
        }
        if self._gpu and self._board:
            found |= self._board.until(_Board.of(self._gpu), wall_s)
            found["power_limit_w"] = self._gpu.power_limit_w()
            found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        return found


class _Board(NamedTuple):
    """What a GPU says of itself at one moment."""

    energy_mj: int | None
    clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    events: frozenset[str] | None
    lowered_s: dict[str, float]

    @classmethod
    def of(cls, gpu: Gpu) -> Self:
        return cls(
            gpu.energy_mj(),
            gpu.clock_mhz(),
            gpu.memory_clock_mhz(),
            gpu.temperature_c(),
            gpu.clock_events(),
            gpu.lowered_s(),
        )

    def until(self, end: _Board, wall_s: float) -> dict[str, Any]:
        """Return what was seen from here to `end`, `wall_s` seconds later.

        What stands at an end lowers the clocks there; what a GPU counts tells of the time between.
        """
        energy = None if self.energy_mj is None or end.energy_mj is None else end.energy_mj - self.energy_mj
        longer = {name: after - self.lowered_s.get(name, after) for name, after in end.lowered_s.items()}
        events = {name for name, seconds in longer.items() if seconds > LOWERED_PCT / 100 * wall_s}
        silent = self.events is None and end.events is None and not longer
        return {
            "energy_mj": energy,
            "clock_mhz": [self.clock_mhz, end.clock_mhz],
            "memory_clock_mhz": [self.memory_clock_mhz, end.memory_clock_mhz],
            "temperature_c": [self.temperature_c, end.temperature_c],
            "throttle_reasons": None if silent else sorted(events.union(self.events or (), end.events or ())),
        }


class _Processor(NamedTuple):
    """Seconds since some moment: of a clock, of this process and its children, of all work on its cores."""

    wall_s: float
    process_s: float
    busy_s: float | None

    @classmethod
    def now(cls) -> Self:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        process_s = time.process_time() + children.ru_utime + children.ru_stime
        return cls(time.perf_counter(), process_s, _busy_s())


def _busy_s() -> float | None:
    """Return the CPU seconds that all processes, and the hypervisor, took so far from the cores we may use.

    None where there is no /proc/stat (`man 5 proc_stat`): user, nice, system, idle, iowait, irq, softirq, steal, ...
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ours = {f"cpu{number}" for number in _cores()}
    ticks = 0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name in ours:
            user, nice, system, _, _, *interrupts_and_steal = map(int, fields[:8])
            ticks += user + nice + system + sum(interrupts_and_steal)
    return ticks / os.sysconf("SC_CLK_TCK")


def _cores() -> set[int]:
    """Return the cores that this process may use, by number."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _read_precision(device: str) -> dict[str, str] | None:
    backends: Any = torch.backends
    if device == "mps":
        return None
    products, convolutions = (
        (backends.cuda.matmul, backends.cudnn.conv)
        if device.startswith("cuda")
        else (backends.mkldnn.matmul, backends.mkldnn.conv)
    )
    return {"products": products.fp32_precision, "convolutions": convolutions.fp32_precision}


# --- of one round ---------------------------------------------------------------------------------------------------


def _of(summary: Callable[[list[Any]], Any], found: Iterable[Any]) -> Any:
    """Sum up what is known; None where nothing is."""
    known = [value for value in found if value is not None]
    return summary(known) if known else None


def _energy(found: Mapping[str, Any]) -> float | None:
    energy: float | None = found.get("energy_mj")
    return None if energy is None else energy / found["images"]


def _precision(found: Mapping[str, Any]) -> str | None:
    of = found.get("fp32_precision")
    if of is None:
        return None
    alike = of["products"] == of["convolutions"]
    return str(of["products"]) if alike else f"products {of['products']}, convolutions {of['convolutions']}"


def _other_load(found: Mapping[str, Any]) -> float | None:
    """Return the share that others took of the cores, in %; counts are coarse, so a little less than 0 is 0."""
    if found.get("busy_cpu_s") is None or found["wall_s"] < MIN_LOAD_S:
        return None
    others = found["busy_cpu_s"] - found["process_cpu_s"]
    return float(max(0.0, 100 * others / (found["wall_s"] * found["cores"])))


def _cpu_share(found: Mapping[str, Any]) -> float | None:
    if not found.get("wall_s"):
        return None
    return float(100 * found["process_cpu_s"] / (found["wall_s"] * found["num_threads"]))
