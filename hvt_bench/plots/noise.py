"""How far the rounds of each point are apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from hvt_bench.analysis.series import absent, having
from hvt_bench.plots import style
from hvt_bench.plots.asides import write_beside
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import on_a_page
from hvt_bench.plots.scatter import Panel, collect, draw_panels, more_hues, name_points, set_scales
from hvt_bench.row import Row
from hvt_bench.verdicts import NOISY_PCT

MOST_NAMES = 3  # of the noisiest points of a panel


def draw_noise(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the latency of each point against the spread between its rounds, a panel for each way of measuring.

    `figure` is empty and has a constrained layout.
    """
    columns = ("latency_ms", "latency_spread_pct")
    points = collect(rows, asked, lambda row: (style.shown(row, columns[0]), style.shown(row, columns[1])))
    points, beyond = on_a_page(figure, points)
    panels = draw_panels(figure, points, (style.axis_label(columns[0]), "spread between\nrounds (%)"))
    set_scales(panels[0].ax, points, together=False)
    for panel in panels:
        _draw_levels(panel)
        noisiest = panel.points["y"].reset_index(drop=True).nlargest(MOST_NAMES)
        if points["name"].nunique() > 1:
            name_points(panel, [int(str(place)) for place in noisiest.index])
    without = sum(row["latency_spread_pct"] is None for row in having(rows, "latency_ms"))
    notes = [
        f"noisy: above {NOISY_PCT:g} %",
        "spread: slowest round less fastest, over the median of all; it is no interval",
        *(["marker: swept axis"] if points["centre"].nunique() > 1 else []),
        *more_hues(points, asked.hue),
        *([f"{without} of one round only, which has no spread"] if without else []),
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_noise(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why no rounds can be compared; empty where they can."""
    return absent(rows, "latency_ms", "latency_spread_pct")


def _draw_levels(panel: Panel) -> None:
    """Draw from where on a point is called noisy, where any is near that, and the median of the points."""
    middle = statistics.median(panel.points["y"])
    top = panel.ax.get_ylim()[1]
    for level, name, above in ((NOISY_PCT, "noisy", middle < NOISY_PCT), (middle, "median", middle >= NOISY_PCT)):
        if level > top:
            continue
        panel.ax.axhline(level, color="0.6", linewidth=0.7, linestyle=(0, (5, 2)), zorder=1)
        write_beside(panel.ax, level, name, "bottom" if above else "top")
