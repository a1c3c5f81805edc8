"""trained: by how much the top-1 of two networks differs, as far as trainings of several seeds can say."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hvt_bench.errors import plural
from hvt_bench.row import Row

TRAINED = ("data", "recipe")
"""Accuracies of rows that differ in these are not comparable: other images, or other training."""

ACCURACIES = ("top1", "top5")
"""Columns of percents that a training gave; of two, the difference is told and not the ratio."""

SPREADS = {"top1": "top1_spread"}
"""Standard deviation between seeds, in points of a percent, where it is in the rows."""

_MOST_NAMED = 3  # models, in a sentence

MIN_SEEDS = 4
"""On either side: a standard deviation from three is off by a factor of two or more in one case of four."""


@dataclass(frozen=True)
class Difference:
    """How many points of a percent the top-1 of one network is above that of another."""

    points: float
    low: float | None
    """Lower end of Welch's interval, in points; None with fewer than MIN_SEEDS seeds on a side."""
    high: float | None

    @property
    def decided(self) -> bool:
        """Whether the interval says which of the two is more accurate."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def seeds_of(row: Row) -> tuple[float, ...]:
    """Return the top-1 of each seed, in percent; none where there is none."""
    found = row["top1_rounds"]
    return tuple(map(float, found)) if isinstance(found, tuple) else ()


def ended_well(row: Row) -> bool:
    """Say whether all trainings of a row did; else its accuracy is the mean of the others, and beats nothing."""
    return row["status"] == "ok" or all(row[name] is None for name in ACCURACIES)


def ended_badly(rows: Iterable[Row]) -> str:
    """Count and name the rows of which not every training ended well; empty without any."""
    models = [str(row["model"]) for row in rows if not ended_well(row)]
    if not models:
        return ""
    named = list(dict.fromkeys(models))
    more = ", ..." if len(named) > _MOST_NAMED else ""
    told = ", ".join(named[:_MOST_NAMED]) + more
    return f"{plural(len(models), 'row')} ({told}) of which not every training ended well"


def trained_alike(one: Row, other: Row) -> bool:
    """Say whether two rows were trained on the same data by the same recipe."""
    return all(one[name] == other[name] for name in TRAINED)


def varying_training(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the fields of TRAINED in which rows differ."""
    trained = [row for row in rows if row["data"] is not None]
    return tuple(name for name in TRAINED if len({row[name] for row in trained}) > 1)


def difference(old: Row, new: Row) -> Difference | None:
    """Return the difference of the mean top-1, new - old; None where one has none, or they were not trained alike."""
    sides = seeds_of(old), seeds_of(new)
    if not all(sides) or not trained_alike(old, new):
        return None
    from hvt_bench.analysis.judge import CONFIDENCE  # scipy: tables and figures need none
    from hvt_bench.analysis.welch import welch

    points = statistics.fmean(sides[1]) - statistics.fmean(sides[0])
    if min(map(len, sides)) < MIN_SEEDS:
        return Difference(points, None, None)
    half = welch(*sides).half_width(CONFIDENCE)
    return Difference(points, points - half, points + half)


def number_of_seeds(rows: Sequence[Row]) -> str:
    """Say between how many seeds rows spread: `5 seeds`, `2 to 5 seeds`; empty where none has two."""
    found = sorted({number for row in rows if (number := len(seeds_of(row))) > 1})
    if not found:
        return ""
    return plural(found[0], "seed") if len(found) == 1 else f"{found[0]:,} to {plural(found[-1], 'seed')}"
