"""METRICS: what can be measured of a point, in measuring order. FINDINGS: all that a sample may hold."""

from __future__ import annotations

from hvt_bench.metrics.accuracy import Accuracy
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.complexity import Complexity
from hvt_bench.metrics.conditions import Conditions
from hvt_bench.metrics.estimate import Estimate
from hvt_bench.metrics.latency import Latency
from hvt_bench.metrics.memory import Memory
from hvt_bench.metrics.part_times import PartTimes
from hvt_bench.metrics.peak import Peak

METRICS: dict[str, type[Metric]] = {
    "complexity": Complexity,
    "memory": Memory,
    "latency": Latency,
    "parts": PartTimes,
    "peak": Peak,
    "accuracy": Accuracy,
}

FINDINGS: dict[str, type[Metric]] = METRICS | {"conditions": Conditions, "estimate": Estimate}
"""With what nobody asks for: the state of the machine, which is looked at whenever passes are timed, and an estimate of
memory, which is made wherever memory is measured."""
