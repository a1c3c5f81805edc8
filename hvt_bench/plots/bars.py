"""Bars and bands that show how far the seeds of a training are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from hvt_bench.analysis.trained import SPREADS, number_of_seeds, seeds_of
from hvt_bench.errors import plural
from hvt_bench.row import Row


def spread(row: Row, column: str) -> float:
    """Return the standard deviation between the seeds of a row; NaN where there is none."""
    value = row[SPREADS[column]] if column in SPREADS else None
    return float(value) if isinstance(value, int | float) and len(seeds_of(row)) != 1 else math.nan


def draw_bars(ax: Axes, points: pd.DataFrame, colour: Any) -> None:
    """Draw the column `spread` of points up and down from `y`."""
    barred = points[points["spread"].notna()]
    if len(barred):
        ax.errorbar(
            barred["x"],
            barred["y"],
            barred["spread"],
            fmt="none",
            ecolor=colour,
            elinewidth=0.8,
            capthick=0.8,
            zorder=2,
        )


def ends_of_bars(points: pd.DataFrame) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the lower and the upper end of each bar of `draw_bars`."""
    barred = points.dropna(subset="spread")
    bars = zip(barred["x"], barred["y"], barred["spread"], strict=True)
    return [((x, y - spread), (x, y + spread)) for x, y, spread in bars]


def bars_note(rows: Sequence[Row], what: str = "bars") -> list[str]:
    """Say what the bars of top-1 are, and of how many points there is none."""
    measured = [row for row in rows if row["top1"] is not None]
    alone = sum(math.isnan(spread(row, "top1")) for row in measured)
    seeds = number_of_seeds(measured)
    return [
        *([f"{what}: one standard deviation of top-1 between {seeds} each way"] if seeds else []),
        *([f"no {what.removesuffix('s')} of {plural(alone, 'point')} trained from one seed"] if alone else []),
    ]
