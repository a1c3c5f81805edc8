"""How long a forward pass takes, and how many images a second pass through."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch

from hvt_bench.metrics.base import Metric
from hvt_bench.records import Column

MIN_WARMUP_PASSES = 3
MIN_PASSES = 5
MIN_BLOCKS = 3
BLOCK_S = 0.010  # an unsynchronised block is at least this long, so that its two ends do not matter
PASSES_SHARE = 0.75  # of the timed part of a round; the rest is for the blocks of `throughput_img_s`


class Stopwatch:
    """The seam between the timing engine and a machine; tests put a scripted one in its place."""

    def __init__(self, device: str) -> None:
        self._device = device

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        elif self._device == "mps":
            torch.mps.synchronize()

    def now(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()


class Latency(Metric):
    """Time of forward passes, summed up over rounds."""

    latency_ms: Annotated[
        float,
        Column("median over rounds of the median host time of one forward pass, synchronised", "ms", "latency"),
    ]
    latency_ms_p05: Annotated[float, Column("5th percentile of single passes, all rounds together", "ms")]
    latency_ms_p95: Annotated[float, Column("95th percentile of single passes, all rounds together", "ms")]
    latency_samples: Annotated[int, Column("single passes timed, all rounds together")]
    latency_ms_rounds: Annotated[
        tuple[float, ...], Column("the median of each round, in order: what `hvt-bench compare` reads", "ms")
    ]
    latency_spread_pct: Annotated[
        float | None,
        Column("(largest - smallest) / median of the rounds' medians; needs two rounds", "%", "spread of rounds"),
    ]
    throughput_img_s: Annotated[
        float,
        Column(
            f"images a second in unsynchronised blocks of passes of at least {BLOCK_S * 1e3:.0f} ms; "
            "median over rounds of the median of blocks",
            "images/s",
            "throughput",
        ),
    ]

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `measure` gave in each round."""
        medians = [float(np.median(found["pass_ms"])) for found in rounds]
        passes = np.concatenate([found["pass_ms"] for found in rounds])
        p05, p95 = np.percentile(passes, [5, 95])
        middle = float(np.median(medians))
        return cls(
            latency_ms=middle,
            latency_ms_p05=float(p05),
            latency_ms_p95=float(p95),
            latency_samples=len(passes),
            latency_ms_rounds=tuple(medians),
            latency_spread_pct=100 * (max(medians) - min(medians)) / middle if len(medians) > 1 else None,
            throughput_img_s=float(np.median([np.median(found["block_img_s"]) for found in rounds])),
        )


def measure_latency(
    run: Callable[[], object], stopwatch: Stopwatch, batch_size: int, warmup_s: float, min_time_s: float
) -> dict[str, list[float]]:
    """Time one round: `pass_ms`, each a synchronised pass, and `block_img_s`, each a block of passes.

    `run` makes one forward pass of `batch_size` images and need not wait for the device.
    """
    _timed(run, stopwatch, warmup_s, MIN_WARMUP_PASSES)
    passes = _timed(run, stopwatch, PASSES_SHARE * min_time_s, MIN_PASSES)
    in_block = max(1, int(np.ceil(BLOCK_S / np.median(passes))))

    def block() -> None:
        for _ in range(in_block):
            run()

    blocks = _timed(block, stopwatch, (1 - PASSES_SHARE) * min_time_s, MIN_BLOCKS)
    return {
        "pass_ms": [1e3 * seconds for seconds in passes],
        "block_img_s": [in_block * batch_size / seconds for seconds in blocks],
    }


def _timed(run: Callable[[], object], stopwatch: Stopwatch, total_s: float, at_least: int) -> list[float]:
    """Seconds of each call of `run`, waited for; `at_least` so many calls and `total_s` seconds in all."""
    found: list[float] = []
    stopwatch.synchronize()
    first = stopwatch.now()
    while True:
        start = stopwatch.now()
        run()
        stopwatch.synchronize()
        end = stopwatch.now()
        found.append(end - start)
        if len(found) >= at_least and end - first >= total_s:
            return found
