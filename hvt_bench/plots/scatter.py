"""What a network costs against what was measured of it: the panels that `tradeoff` and `memory` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D

from hvt_bench.analysis.series import describe, having, measured_by
from hvt_bench.plots import style
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import Row

MOST_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """The points that were measured in one way."""

    ax: Axes
    points: pd.DataFrame
    """Columns `way`, `model`, `axis`, `batch_size`, `x` in GMACs, `y`."""


def draw_panels(rows: Sequence[Row], figure: Figure | SubFigure, metric: str) -> list[Panel]:
    """Draw `macs` against `metric`: a panel for each way of measuring, a colour per model, a marker per axis."""
    points = _points(rows, metric)
    looks, markers = _looks(points)
    axes = _add_axes(figure, list(dict.fromkeys(points["way"])), metric)
    panels = [Panel(ax, of_way) for ax, (_, of_way) in zip(axes, points.groupby("way", sort=False), strict=True)]
    for panel in panels:
        for (model, axis), some in panel.points.groupby(["model", "axis"], sort=False):
            look = looks[str(model)]
            panel.ax.plot(some["x"], some["y"], linestyle="", marker=markers[str(axis)], clip_on=False, **look)
    _set_scales(panels[0].ax, points)
    style.add_legend(
        figure,
        [Line2D([], [], linestyle="", marker="o", label=model, **look) for model, look in looks.items()],
        [Line2D([], [], linestyle="", marker=marker, color=style.GREY, label=axis) for axis, marker in markers.items()],
    )
    return panels


def _points(rows: Sequence[Row], metric: str) -> pd.DataFrame:
    drawn = having(rows, "macs", metric)
    varying = [name for name in SWEEPABLE if len({measured_by(row, name) for row in drawn}) > 1]
    return pd.DataFrame(
        {
            "way": ", ".join(describe(row, varying)),
            "model": str(row["model"]),
            "axis": str(row["axis"] or "centre"),
            "batch_size": row["batch_size"],
            "x": style.shown(row, "macs"),
            "y": style.shown(row, metric),
        }
        for row in drawn
    )


def _looks(points: pd.DataFrame) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return looks by model and markers by axis; markers are filled and hollow by turns, to read in grey."""
    looks: dict[str, dict[str, Any]] = {}
    for index, (model, colour) in enumerate(style.palette(list(dict.fromkeys(points["model"]))).items()):
        hollow = (index + index // 10) % 2  # the eleventh model has the colour of the first, and is hollow
        looks[model] = {"color": colour, "markerfacecolor": "white" if hollow else colour}
    return looks, dict(zip(dict.fromkeys(points["axis"]), cycle(style.MARKERS), strict=False))


def _add_axes(figure: FigureBase, ways: Sequence[str], metric: str) -> list[Axes]:
    """Add a panel for each way, all of one scale, labelled on the outer sides."""
    grid_rows, columns = style.layout(len(ways), MOST_COLUMNS)
    grid = figure.add_gridspec(grid_rows, columns)
    found: list[Axes] = []
    for index, way in enumerate(ways):
        shared = found[0] if found else None
        ax = figure.add_subplot(grid[divmod(index, columns)], sharex=shared, sharey=shared)
        ax.set_title(way, pad=10)  # clear of the labels of the lines of `tradeoff`
        left, lowest = index % columns == 0, index + columns >= len(ways)
        ax.tick_params(labelleft=left, labelbottom=lowest)
        ax.set_xlabel(style.axis_label("macs") if lowest else "")
        ax.set_ylabel(style.axis_label(metric) if left else "")
        found.append(ax)
    return found


def _set_scales(ax: Axes, points: pd.DataFrame) -> None:
    """Make both axes logarithmic where either wants it, so that proportional stays a straight line."""
    both = [list(points["x"]), list(points["y"])]
    logarithmic = any(map(style.wants_log, both)) and min(map(min, both)) > 0
    style.scale(ax, "x", both[0], logarithmic)
    style.scale(ax, "y", both[1], logarithmic)
