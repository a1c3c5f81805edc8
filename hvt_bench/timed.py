"""Timing one network part by part, for `hvt-bench show --time`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch

from hvt_bench.environment import Environment
from hvt_bench.errors import HvtBenchError, RequestError
from hvt_bench.measure import diagnose, is_out_of_memory
from hvt_bench.metrics.part_times import why_not_timed
from hvt_bench.metrics.passes import Passes, use_precision
from hvt_bench.metrics.stopwatch import make_stopwatch
from hvt_bench.metrics.timeline import Timeline, time_modules, time_operators
from hvt_bench.point import Point

READS = (
    "device", "dtype", "batch_size", "mode", "attention", "compile", "num_threads", "warmup_s", "warmup_passes",
    "min_time_s",
)  # fmt: skip
"""Fields of the protocol that `hvt-bench show --time` takes, if only to refuse a value."""


@dataclass(frozen=True)
class Timed:
    """Where the time of a point's passes went, and on what machine."""

    point: Point
    line: Timeline
    environment: Environment


def check_timeable(point: Point) -> None:
    """Raise RequestError where the passes of a point cannot be taken apart."""
    if reason := why_not_timed(point):
        raise RequestError(f"--time: {reason}")


def time_point(point: Point, names: Collection[str] | None) -> Timed:
    """Time the modules at the paths `names`, or, if that is None, the operators of a point's passes, in this process.

    Raises RequestError where that cannot be done, HvtBenchError where a pass fails.
    """
    check_timeable(point)
    try:
        torch.set_num_threads(point.num_threads)
        use_precision(point.dtype)
        point.config.prepare()
        passes, stopwatch = Passes(point), make_stopwatch(point.device)
        if names is None:
            line = time_operators(passes, stopwatch, point)
        else:
            line = time_modules(passes, names, stopwatch, point)
    except HvtBenchError:
        raise
    except Exception as failure:
        if is_out_of_memory(failure):
            raise HvtBenchError(f"out of memory at batch_size {point.batch_size}; take a smaller one") from failure
        _, reason = diagnose(failure, point)
        raise HvtBenchError(f"{point.model}: {reason}") from failure
    return Timed(point, line, Environment.measure(point.device))
