"""What a sweep of 10,000 points costs beside the measuring: a journal, a CSV, events; and starting it again.

In processor time of this process, since a shared machine has no other that can be compared.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from hvt_bench.environment import Environment
from hvt_bench.events import Started
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.measure import Visit
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from hvt_bench.row import Sample
from hvt_bench.run import run_sweep
from hvt_bench.sweep import Sweep

POINTS = 10_000
TARGET_MS = 2.0  # a point
START_TARGET_S = 3.0
LINEAR = 1.5  # times as much a point as in a sweep of a quarter of the points


def found(visit: Visit) -> Sample:
    """Stand in for measure_round."""
    latency = {"pass_ms": [3.0, 4.0, 5.0], "block_img_s": [100.0]}
    return Sample(
        point_id=visit.point.point_id,
        round=visit.round,
        values={"memory": {"weights_mib": 10.0, "peak_memory_mib": 20.0}, "latency": latency},
        started_at="2026-01-31T12:00:00Z",
        seconds=1.0,
    )


def sweep_of(number: int) -> Sweep:
    """Return a sweep of that many points of one network, one round each."""
    config = parse_model("hvt:depth=2,img_size=32,embed_dim=64")
    points = (
        Point(model="m", axis=None, config=config, device="cpu", batch_size=size + 1, warmup_s=0.1, rounds=1)
        for size in range(number)
    )
    return Sweep("bookkeeping", tuple(points), ("latency",))


def visit_all(number: int, path: Path) -> tuple[float, float, int]:
    """Run a sweep; return the seconds until it starts and those in all, and the points that were done before."""
    sweep, environment = sweep_of(number), Environment.measure("cpu")
    begin, started, done = time.process_time(), 0.0, 0
    for event in run_sweep(sweep, InlineExecutor(), path, found, describe=lambda _: environment):
        if isinstance(event, Started):
            started, done = time.process_time() - begin, event.points_done
    return started, time.process_time() - begin, done


def run() -> bool:
    """Print the times; True if they keep their targets."""
    with tempfile.TemporaryDirectory() as folder:
        _, few_s, _ = visit_all(POINTS // 4, Path(folder, "few.csv"))
        _, many_s, _ = visit_all(POINTS, Path(folder, "run.csv"))
        again_s, _, done = visit_all(POINTS, Path(folder, "run.csv"))
    few_ms, many_ms = 4e3 * few_s / POINTS, 1e3 * many_s / POINTS
    print(
        f"bookkeeping: {POINTS:,} points, {many_ms:.2f} ms each (target: at most {TARGET_MS:.1f}), "
        f"{many_ms / few_ms:.2f} x that of a quarter of them (at most {LINEAR:.1f}); started again, with "
        f"{done:,} done, after {again_s:.1f} s (at most {START_TARGET_S:.0f})"
    )
    return many_ms <= TARGET_MS and many_ms <= LINEAR * few_ms and again_s <= START_TARGET_S
