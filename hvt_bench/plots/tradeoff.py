"""Latency against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import EngFormatter

from hvt_bench.analysis.series import left_out
from hvt_bench.plots import style
from hvt_bench.plots.scatter import Panel, draw_panels
from hvt_bench.row import Row

LABELS_IN_A_ROW = 8  # as many reference lines as can be labelled side by side


def draw_tradeoff(rows: Sequence[Row], figure: style.AnyFigure) -> style.AnyFigure:
    """Draw the MACs of one image against latency, a panel for each way of measuring.

    Thin lines join equal MACs per second: a network whose fewer MACs save as much time stays on its line.
    `figure` is empty and has a constrained layout.
    """
    panels = draw_panels(rows, figure, "latency_ms")
    for panel in panels:
        panel.ax.set(xlim=panel.ax.get_xlim(), ylim=panel.ax.get_ylim())
    for panel in panels:
        for rate in round_rates(list(_rates(panel.points)), max(3, LABELS_IN_A_ROW // len(panels))):
            _draw_rate(panel, rate)
    style.add_footer(
        figure,
        rows,
        [
            "marker: swept axis",
            "MACs of one image, latency of one batch",
            "thin lines: equal MACs per second",
            *left_out(rows, "macs", "latency_ms"),
        ],
    )
    return figure


def _rates(points: pd.DataFrame) -> pd.Series[float]:
    """MACs per second of the whole batch."""
    return points["batch_size"] * points["x"] * 1e9 / (points["y"] / 1e3)


def round_rates(rates: Sequence[float], most: int) -> list[float]:
    """Return round numbers that span `rates`: 1, 2, 5, 10 ... where these are no more than `most`, else 1, 10 ..."""
    low, high = min(rates), max(rates)
    found: list[float] = []
    for digits in (1, 2, 5), (1,):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        steps = [digit * 10.0**power for power in powers for digit in digits]
        below, above = max(step for step in steps if step <= low), min(step for step in steps if step >= high)
        found = [step for step in steps if below <= step <= above]
        if len(found) <= most:
            break
    return found


def _draw_rate(panel: Panel, rate: float) -> None:
    """Draw the line of the points that reach `rate`, labelled where it leaves the panel."""
    ms_per_gmac = panel.points["batch_size"].iloc[0] * 1e12 / rate
    (left, right), (bottom, top) = panel.ax.get_xlim(), panel.ax.get_ylim()
    if ms_per_gmac * right <= bottom or ms_per_gmac * left >= top:
        return
    panel.ax.plot([left, right], [ms_per_gmac * left, ms_per_gmac * right], color="0.7", linewidth=0.6, zorder=1)
    through_top = ms_per_gmac * right > top
    panel.ax.annotate(
        EngFormatter("/s")(rate),
        (top / ms_per_gmac, top) if through_top else (right, ms_per_gmac * right),
        xytext=(0, 1) if through_top else (2, 0),
        textcoords="offset points",
        ha="center" if through_top else "left",
        va="bottom" if through_top else "center",
        fontsize=6,
        color=style.GREY,
        annotation_clip=False,
    )
