"""How fast the machine can compute and copy at all, beside which a network is to be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

import torch

from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.stopwatch import Stopwatch
from hvt_bench.records import Column

SIDES = (512, 1024, 2048, 4096, 8192)  # of square matrices; a larger one is tried while a product is quick
LONG_S = 0.02  # a product that takes so long is large enough
COPIED_BYTES = 2**28  # more than the caches of GPUs, and of most CPUs, hold
TRIES = 5


class Peak(Metric):
    """The best that the device did in a product and in a copy; the best of the rounds."""

    peak_macs_per_s: Annotated[
        float | None,
        Column(
            "MACs a second of a large square product, of the number format and on the device and threads of the "
            "point: the best of some, over all rounds",
            "1/s",
            "peak MACs per second",
        ),
    ] = None
    peak_bytes_per_s: Annotated[
        float | None,
        Column(
            f"bytes a second, read and written, of a copy of {COPIED_BYTES // 2**20} MiB in the device's memory: the "
            "best of some, over all rounds",
            "1/s",
            "peak bytes per second",
        ),
    ] = None

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Take the best of what `measure_peak` gave in each round."""
        known = {name: [found[name] for found in rounds if found.get(name) is not None] for name in cls.model_fields}
        return cls(**{name: max(values) for name, values in known.items() if values})


def measure_peak(device: str, dtype: torch.dtype, stopwatch: Stopwatch) -> dict[str, float]:
    """Time products and copies on a device; `dtype` is the format of the numbers that products take.

    Raises what PyTorch raises where memory does not suffice.
    """
    return {
        "peak_macs_per_s": _products(device, dtype, stopwatch),
        "peak_bytes_per_s": _copies(device, stopwatch),
    }


def _products(device: str, dtype: torch.dtype, stopwatch: Stopwatch) -> float:
    fastest = 0.0
    for side in SIDES:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        seconds = _best_s(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), stopwatch)  # type: ignore[misc]
        fastest = max(fastest, side**3 / seconds)
        if seconds >= LONG_S:
            break
    return fastest


def _copies(device: str, stopwatch: Stopwatch) -> float:
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _best_s(lambda: target.copy_(source), stopwatch)


def _best_s(run: Callable[[], object], stopwatch: Stopwatch) -> float:
    """Return the seconds of the quickest of some runs, after one that does not count."""
    stopwatch.block_s(run, 1)
    return min(stopwatch.block_s(run, 1) for _ in range(TRIES))
