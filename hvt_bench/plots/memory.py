"""Memory against cost."""

from __future__ import annotations

from collections.abc import Sequence

from hvt_bench.analysis.series import left_out
from hvt_bench.plots import style
from hvt_bench.plots.scatter import draw_panels
from hvt_bench.row import Row


def draw_memory(rows: Sequence[Row], figure: style.AnyFigure) -> style.AnyFigure:
    """Draw the MACs of one image against the peak memory of a pass, a panel for each way of measuring.

    `figure` is empty and has a constrained layout.
    """
    draw_panels(rows, figure, "peak_memory_mib")
    style.add_footer(
        figure,
        rows,
        [
            "marker: swept axis",
            "MACs of one image, memory of one batch, weights included",
            *left_out(rows, "macs", "peak_memory_mib"),
        ],
    )
    return figure
