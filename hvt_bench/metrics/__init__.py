"""METRICS: what can be measured of a point, in measuring order."""

from __future__ import annotations

from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.complexity import Complexity
from hvt_bench.metrics.latency import Latency
from hvt_bench.metrics.memory import Memory

METRICS: dict[str, type[Metric]] = {
    "complexity": Complexity,
    "memory": Memory,
    "latency": Latency,
}
