"""collect: the row of a cell, from what its visits found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvt_bench.environment import Environment
from hvt_bench.metrics import FINDINGS
from hvt_bench.metrics.complexity import arithmetic_intensity
from hvt_bench.row import Row, Sample
from hvt_bench.verdicts import warnings_of


def collect(columns: Mapping[str, Any], samples: Sequence[Sample], found_in: Environment | None) -> Row:
    """Make the row of one cell: what was known beforehand, what its samples found, and where the last one was found."""
    values: dict[str, Any] = dict(columns)
    if found_in is not None:
        values |= found_in.model_dump()
    if samples:
        values |= metrics_of(samples)
        values["rounds"] = sum(sample.round is not None and sample.status == "ok" for sample in samples) or None
        values["remeasured"] = _remeasured(samples)
        values["ran_on"] = tuple(sorted({sample.ran_on for sample in samples if sample.ran_on is not None})) or None
        values["started_at"] = min(sample.started_at for sample in samples)
        values["seconds"] = sum(sample.seconds for sample in samples)
        failed = [sample for sample in samples if sample.status != "ok"]
        values["status"] = failed[-1].status if failed else "ok"
        values["error"] = failed[-1].error if failed else None
    if values.get("macs") is not None and values["batch_size"] is not None:
        values["arithmetic_intensity"] = arithmetic_intensity(values, values["batch_size"], values["dtype"])
    spent = values.get("train_macs" if values.get("mode") == "train" else "macs")
    if spent and values.get("latency_ms") and values["batch_size"] is not None:
        values["macs_per_s"] = spent * values["batch_size"] / (values["latency_ms"] / 1e3)
    if values.get("macs_per_s") and values.get("peak_macs_per_s"):
        values["mfu_pct"] = 100 * values["macs_per_s"] / values["peak_macs_per_s"]
    beside = max((sample.side_by_side or 0 for sample in samples), default=0)
    values["warnings"] = warnings_of(values | {"side_by_side": beside}) or None
    return Row(values)


def _remeasured(samples: Sequence[Sample]) -> int | None:
    timed = [sample for sample in samples if "latency" in sample.values]
    return sum(sample.attempt > 1 for sample in timed) if timed else None


def metrics_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """Sum up the samples, by column. Raises what pydantic raises where they hold values that are none."""
    values: dict[str, Any] = {}
    for name, metric in FINDINGS.items():
        found = [sample.values[name] for sample in samples if name in sample.values]
        if found:
            values |= metric.summarise(found).model_dump()
    return values
