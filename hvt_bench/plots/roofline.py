"""How fast a network computes, against how much it computes on each byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import EngFormatter

from hvt_bench.analysis.series import absent, having
from hvt_bench.errors import plural
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import on_a_page
from hvt_bench.plots.scatter import Panel, above_zero, centres_of, collect, draw_panels, more_hues, name_points
from hvt_bench.row import Row

OF_MACHINE = "roof: the best large product and the best copy that were measured beside these points"
OF_POINTS = "roof: the best of these points; the machine's own, `measure: [peak]`, was not measured"


def draw_roofline(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the arithmetic intensity of each row against the MACs a second that it reached, a panel for each way.

    The roof is the peak of the machine that the rows of a panel tell; where they tell none, the best of them in both.
    `figure` is empty and has a constrained layout.
    """
    drawn, zeros = above_zero(_forward(rows), _place)
    points = collect(drawn, asked, _place)
    points, beyond = on_a_page(figure, points)
    panels = draw_panels(figure, points, (style.axis_label("arithmetic_intensity"), "MACs per second"))
    ax = panels[0].ax
    ax.set(xscale="log", yscale="log")
    roofs = [_roof_of(panel, drawn) for panel in panels]
    highest = max(points["y"].max(), *(roof.macs_per_s for roof in roofs))
    across = [points["x"].min(), points["x"].max(), *(roof.ridge for roof in roofs)]
    ax.set(xlim=(min(across) / 1.6, max(across) * 1.6), ylim=(points["y"].min() / 1.6, highest * 1.9))
    for each in (ax.xaxis, ax.yaxis):
        style.mark_log(each, EngFormatter() if each is ax.yaxis else None, *each.get_view_interval())
    for panel, roof in zip(panels, roofs, strict=True):
        _draw_roof(panel, roof)
        name_points(panel, centres_of(panel))
    training = sum(row["mode"] == "train" and row["macs_per_s"] is not None for row in rows)
    notes = [
        *([OF_MACHINE] if any(roof.measured for roof in roofs) else []),
        *([] if all(roof.measured for roof in roofs) else [OF_POINTS]),
        "intensity: unfused, every operator reads from memory and writes to it",
        *(["marker: swept axis"] if points["centre"].nunique() > 1 else []),
        *more_hues(points, asked.hue),
        *zeros,
        *([f"{plural(training, 'training point')} not drawn: intensity is of a forward pass"] if training else []),
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_roofline(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there is no roofline to draw; empty where there is."""
    missing = absent(rows, "arithmetic_intensity", "macs_per_s")
    if missing or above_zero(_forward(rows), _place)[0]:
        return missing
    if _forward(rows):
        return "no row has both arithmetic_intensity and macs_per_s above 0"
    return "arithmetic_intensity is of a forward pass, and all rows are of training"


def _forward(rows: Sequence[Row]) -> list[Row]:
    return [
        row
        for row in rows
        if row["mode"] != "train" and row["arithmetic_intensity"] is not None and row["macs_per_s"] is not None
    ]


def _place(row: Row) -> tuple[float, float]:
    return style.shown(row, "arithmetic_intensity"), float(str(row["macs_per_s"]))


@dataclass(frozen=True)
class Roof:
    """What nothing can exceed: in MACs a second, and in bytes a second."""

    macs_per_s: float
    bytes_per_s: float
    measured: bool
    """Of the machine, by `measure: [peak]`; else the best of the points."""

    @property
    def ridge(self) -> float:
        """The intensity, in MACs per byte, below which memory holds a network up, and above which computing does."""
        return self.macs_per_s / self.bytes_per_s


def _roof_of(panel: Panel, rows: Sequence[Row]) -> Roof:
    here = [rows[place] for place in panel.points.index]
    peaks = having(here, "peak_macs_per_s", "peak_bytes_per_s")
    if peaks:
        macs, moved = (max(float(str(row[name])) for row in peaks) for name in ("peak_macs_per_s", "peak_bytes_per_s"))
        return Roof(macs, moved, measured=True)
    return Roof(panel.points["y"].max(), (panel.points["y"] / panel.points["x"]).max(), measured=False)


def _draw_roof(panel: Panel, roof: Roof) -> None:
    """Draw the slope of the memory up to the ridge, and the level of the computing from there on."""
    level, slope = roof.macs_per_s, roof.bytes_per_s
    left, right = panel.ax.get_xlim()
    written = EngFormatter(places=1)
    panel.ax.plot([left, roof.ridge, right], [slope * left, level, level], color="0.35", linewidth=0.9, zorder=1)
    at_right = roof.ridge > math.sqrt(left * right)  # of the middle: there is no room for the words on that side
    panel.ax.annotate(
        f"{'peak' if roof.measured else 'best of these points'}: {written(level)}MACs/s, {written(slope)}B/s",
        (roof.ridge, level),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right" if at_right else "left",
        fontsize=6,
        color=style.GREY,
    )
