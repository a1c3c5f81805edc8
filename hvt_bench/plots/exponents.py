"""The exponents of the lines of `scaling`, above its panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hvt_bench.analysis.fit import METRICS as FITTED
from hvt_bench.analysis.fit import Fit, fit_rows
from hvt_bench.errors import RequestError
from hvt_bench.row import Row, Value, csv_text

MOST_EXPONENTS = 4  # of one panel

Key = tuple[str, str, str]  # line, axis, metric


def fits_of(rows: Sequence[Row], metrics: Sequence[str], points: pd.DataFrame) -> dict[Key, Fit]:
    """Return the fits of the lines that are told apart; none where there are too many of them."""
    fitted = [metric for metric in metrics if metric in FITTED]
    if not fitted or points["line"].nunique() > MOST_EXPONENTS:
        return {}
    try:
        return {(fit.line, fit.axis, fit.metric): fit for fit in fit_rows(rows, fitted).fits}
    except RequestError:  # no line has two points
        return {}


def why_no_fits(metrics: Sequence[str], points: pd.DataFrame) -> str:
    """Say why no exponents stand above the panels, where `fits_of` gives none."""
    lines = points["line"].nunique()
    if not any(metric in FITTED for metric in metrics):
        return f"no exponents: {' and '.join(metrics)} {'has' if len(metrics) == 1 else 'have'} none"
    if lines > MOST_EXPONENTS:
        return f"no exponents of {lines:,} lines, {MOST_EXPONENTS} have room: `hvt-bench fit` prints all"
    return "no exponents: they take an axis of numbers with two points on a line"


def not_fitted(fits: Mapping[Key, Fit], places: Mapping[str, Mapping[Value, float]]) -> str:
    """Say which values on the axes of `fits` are drawn and have no logarithm."""
    axes = dict.fromkeys(axis for _, axis, _ in fits)
    without = [f"{axis} {csv_text(value)}" for axis in axes for value, place in places[axis].items() if place <= 0]
    if not without:
        return ""
    return f" but {' and '.join(without)}, which {'has' if len(without) == 1 else 'have'} no logarithm"


def write_exponents(
    ax: Axes, points: pd.DataFrame, looks: Mapping[str, dict[str, Any]], fits: Mapping[Key, Fit], where: tuple[str, str]
) -> None:
    """Put the exponent of each line above the panel, behind its marker."""
    axis, metric = where
    found = {}
    for line, network in points[["line", "network"]].drop_duplicates().itertuples(index=False):
        fit = fits.get((network if FITTED.get(metric) == "counted" else line, axis, metric))
        if fit is not None and line in looks:
            found[line] = fit.annotation.removeprefix(axis)
    if found:
        ax.legend(
            [Line2D([], [], **looks[line] | {"markersize": 3, "linestyle": ""}) for line in found],
            list(found.values()),
            loc="lower left",
            bbox_to_anchor=(-0.03, 1.0),
            ncols=2 if max(map(len, found.values())) < 8 else 1,
            fontsize=5.5,
            labelcolor="0.25",
            handlelength=0.8,
            handletextpad=0.3,
            columnspacing=0.8,
            labelspacing=0.1,
            borderpad=0.0,
            borderaxespad=0.3,
        )
