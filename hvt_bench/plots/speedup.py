"""How much of the saved MACs becomes saved time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hvt_bench.analysis.savings import (
    MIN_POINTS,
    Pair,
    left_alone,
    pairs,
    rank_correlation,
    usual_baseline,
    why_no_pairs,
)
from hvt_bench.analysis.series import absent, left_out
from hvt_bench.analysis.trained import ACCURACIES
from hvt_bench.errors import RequestError, plural
from hvt_bench.plots import style
from hvt_bench.plots.asides import write_above, write_at, write_beside
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import on_a_page
from hvt_bench.plots.scatter import (
    Panel,
    above_zero,
    centres_of,
    collect,
    draw_panels,
    more_hues,
    name_points,
    set_scales,
)
from hvt_bench.row import COLUMNS, Row

SHARES = {1.0: "all", 0.5: "half", 0.0: "none"}  # of the saving that is realised: the lines that are drawn
_MOST_SAID = 3  # rank correlations of one panel
_NEAR_ZERO = 1e-3
_ABOVE_BASELINE = 1.05


def draw_speedup(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the MACs of each row over those of the baseline against its latency over that of the baseline.

    On the line `all` the whole saving of MACs became saved time, on `none` nothing of it did. A panel for each way of
    measuring, with Spearman's rank correlation of MACs and latency. `figure` is empty and has a constrained layout.
    """
    (x, y), baseline = asked.pair, asked.baseline or usual_baseline(rows)
    by_row = {id(pair.row): pair for pair in pairs(rows, baseline, x, y)}
    points = collect([pair.row for pair in by_row.values()], asked, lambda row: _ratios(by_row[id(row)]))
    labels = (f"{_short(x)} / {baseline}", f"{COLUMNS[y].label} / {baseline}")
    points, beyond = on_a_page(figure, points)
    panels = draw_panels(figure, points, labels)
    set_scales(panels[0].ax, points)
    if panels[0].ax.get_xscale() == "linear":  # down to nothing, up to the baseline itself
        ends = (max(_ABOVE_BASELINE, panels[0].ax.get_xlim()[1]), max(_ABOVE_BASELINE, panels[0].ax.get_ylim()[1]))
        panels[0].ax.set(xlim=(0, ends[0]), ylim=(0, ends[1]))
    falls = COLUMNS[y].best != "high"
    for panel in panels:
        panel.ax.set(xlim=panel.ax.get_xlim(), ylim=panel.ax.get_ylim())
    for panel in panels:
        if falls:
            _draw_shares(panel)
        name_points(panel, centres_of(panel))
        _write_under_title(panel, _correlation(panel.points))
    why = "as asked" if asked.baseline else "the first of family vit, or else the dearest"
    notes = [
        f"baseline: {baseline} at its centre ({why}), measured on the same device, in the same format and batch",
        *(["marker: swept axis"] if points["centre"].nunique() > 1 else []),
        *(["lines: share of the saved MACs that is saved time"] if falls and x == "macs" else []),
        *more_hues(points, asked.hue),
        *left_out(rows, x, y),
        *left_alone(rows, baseline, x, y),
        *above_zero(rows, lambda row: (style.shown(row, x), style.shown(row, y)))[1],
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_speedup(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why nothing can be held against a baseline; empty where something can."""
    x, y = asked.pair
    if percents := [name for name in (x, y) if name in ACCURACIES]:
        return f"{percents[0]} is a percentage, of which no ratio is drawn; `tradeoff` draws it against a cost"
    try:
        return absent(rows, x, y) or why_no_pairs(rows, asked.baseline or usual_baseline(rows), x, y)
    except RequestError as error:
        if asked.baseline:
            raise
        return str(error)


def _ratios(pair: Pair) -> tuple[float, float]:
    return pair.cost, pair.gain


def _short(column: str) -> str:
    return "MACs" if column == "macs" else COLUMNS[column].label


def _draw_shares(panel: Panel) -> None:
    """Draw where all, half and none of the saving is saved time; the others are named left, where they are apart."""
    (left, right), (bottom, top) = panel.ax.get_xlim(), panel.ax.get_ylim()
    x = np.geomspace(max(left, _NEAR_ZERO), right, 100)
    for share, name in SHARES.items():
        y = 1 - share * (1 - x)
        inside = (y >= bottom) & (y <= top)
        if not inside.any():
            continue
        dashes = "-" if share == 1 else (0, (5, 2))
        panel.ax.plot(x[inside], y[inside], color="0.6", linewidth=0.7, linestyle=dashes, zorder=1)
        if share == 1 and y[-1] > top:
            write_above(panel.ax, float(x[inside][-1]), name)
        elif share == 1:
            write_beside(panel.ax, float(y[-1]), name)
        else:
            write_at(panel.ax, (float(x[inside][0]), float(y[inside][0])), name)


def _write_under_title(panel: Panel, text: str) -> None:
    """Write between a panel and its title; a second title would share the place of the first."""
    panel.ax.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points", va="bottom", fontsize=6
    )


def _correlation(points: pd.DataFrame) -> str:
    """Say how alike MACs and latency order the points that were measured alike."""
    found = {
        str(alike): (rank_correlation(list(some["x"]), list(some["y"])), len(some))
        for alike, some in points.groupby("alike", sort=False)
    }
    known = {
        alike: f"{value:.2f} ({plural(size, 'point')})" for alike, (value, size) in found.items() if value is not None
    }
    if len(found) == 1 and known:
        return f"rank correlation {next(iter(known.values()))}"
    if known:
        more = f" and {len(known) - _MOST_SAID} more" if len(known) > _MOST_SAID else ""
        return "rank correlation: " + "; ".join(f"{k} {v}" for k, v in list(known.items())[:_MOST_SAID]) + more
    most = max(size for _, size in found.values())
    if most < MIN_POINTS:
        return f"no rank correlation: {plural(most, 'point')} measured alike, it needs {MIN_POINTS}"
    return "no rank correlation: all are equal"
