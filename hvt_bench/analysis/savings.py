"""savings: how much of the MACs that a network saves becomes saved time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hvt_bench.analysis.pick import Baseline, ratio
from hvt_bench.analysis.series import having
from hvt_bench.errors import plural
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import Row

MIN_POINTS = 4
"""Fewer have no rank correlation worth a number: of three, one order in three agrees or disagrees wholly by chance."""


@dataclass(frozen=True)
class Pair:
    """A row beside the baseline that was measured as it was."""

    row: Row
    cost: float
    """Cost of the row / cost of the baseline."""
    gain: float
    """Latency, or another metric, of the row / that of the baseline."""

    @property
    def realised(self) -> float | None:
        """Share of the saved cost that became saved time; None where no cost is saved."""
        return (1 - self.gain) / (1 - self.cost) if self.cost < 1 else None


def usual_baseline(rows: Sequence[Row]) -> str:
    """Return the model that others are held against where none is named: the first of family vit, else the dearest.

    Of models that have a counted centre; empty where there is none.
    """
    centres = [row for row in rows if row["macs"] is not None and (row["axis"] is None or row["axis"] in SWEEPABLE)]
    plain = [row for row in centres if row["family"] == "vit"]
    found = plain[:1] or sorted(centres, key=lambda row: -float(str(row["macs"])))[:1]
    return str(found[0]["model"]) if found else ""


def pairs(rows: Sequence[Row], baseline: str, cost: str = "macs", gain: str = "latency_ms") -> list[Pair]:
    """Return each row that has both metrics beside its baseline, itself left out.

    MACs of a training step are its `train_macs`. Raises RequestError where no row is of the baseline, or several are
    its centre, measured alike.
    """
    return list(_pairs(rows, Baseline(rows, baseline), cost, gain))


def _pairs(rows: Sequence[Row], base: Baseline, cost: str, gain: str) -> Iterator[Pair]:
    for row in rows:
        held = base.of(row) if row[gain] is not None else None
        if held is None or held is row:
            continue
        spent = "train_macs" if cost == "macs" and row["mode"] == "train" else cost
        both = ratio(row[spent], held[spent]), ratio(row[gain], held[gain])
        if both[0] is not None and both[1] is not None and min(both[0], both[1]) > 0:
            yield Pair(row, both[0], both[1])


def why_no_pairs(rows: Sequence[Row], baseline: str, cost: str = "macs", gain: str = "latency_ms") -> str:
    """Say why `pairs` gives none; empty where it gives some. Raises RequestError as `pairs` does."""
    if not baseline:
        return "no model has a centre that others could be held against"
    if next(_pairs(rows, Baseline(rows, baseline), cost, gain), None):
        return ""
    found = [reason for reason in _unpaired(rows, baseline, cost, gain) if reason]
    return found[0] if found else f"no other row was measured as {baseline} was"


def left_alone(rows: Sequence[Row], baseline: str, cost: str = "macs", gain: str = "latency_ms") -> list[str]:
    """Say how many rows have both metrics and nothing to be held against, and why."""
    reasons = Counter(reason or f"no {baseline} was measured alike" for reason in _unpaired(rows, baseline, cost, gain))
    return [f"{plural(count, 'point')} not drawn ({reason})" for reason, count in reasons.items()]


def _unpaired(rows: Sequence[Row], baseline: str, cost: str, gain: str) -> Iterator[str]:
    """Yield what the baseline lacks, for each row that has both metrics; empty where no baseline was measured alike."""
    base = Baseline(rows, baseline)
    for row in having(rows, cost, gain):
        held = base.of(row)
        if held is None:
            yield ""
        elif held is not row and (lacking := [name for name in (cost, gain) if not held[name]]):
            yield f"{baseline} has no {' and no '.join(lacking)} above 0, its status is {held['status']}"


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, equal values sharing a rank; None of a constant or below MIN_POINTS."""
    if len(x) < MIN_POINTS or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    found = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    return found if math.isfinite(found) else None


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((2 * ends - counts + 1) / 2)[inverse]  # the mean of the ranks that equal values take
