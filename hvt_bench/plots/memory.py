"""Memory against cost."""

from __future__ import annotations

from collections.abc import Sequence

from hvt_bench.analysis.series import absent, left_out
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import on_a_page
from hvt_bench.plots.scatter import collect, draw_panels, set_scales
from hvt_bench.row import Row


def draw_memory(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the MACs of one image against the peak memory of a pass, a panel for each way of measuring.

    `figure` is empty and has a constrained layout.
    """
    points = collect(rows, asked, lambda row: (style.pass_macs(row), style.shown(row, "peak_memory_mib")))
    points, beyond = on_a_page(figure, points)
    panels = draw_panels(figure, points, (style.pass_macs_label(rows), style.axis_label("peak_memory_mib")))
    set_scales(panels[0].ax, points)
    notes = [
        *(["marker: swept axis"] if points["centre"].nunique() > 1 else []),
        *style.pass_macs_note(rows),
        "memory of one batch, weights included",
        *left_out(rows, "macs", "peak_memory_mib"),
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_memory(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why `rows` have no memory to draw; empty where they have."""
    return absent(rows, "macs", "peak_memory_mib")
