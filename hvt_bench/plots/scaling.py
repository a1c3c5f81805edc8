"""Cost and latency along every swept axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from hvt_bench.analysis.series import (
    absent,
    describe,
    having,
    left_out,
    off_axes,
    varying_network,
    varying_protocol,
)
from hvt_bench.plots import style
from hvt_bench.row import COLUMNS, Row, Value, csv_text

METRICS = ("macs", "latency_ms")
MOST_COLUMNS = 5

_REFERENCE: dict[str, Any] = {  # a thin dashed line, its marker hollow and on the edge of the panel
    "linestyle": (0, (6, 3)),
    "linewidth": 0.7,
    "markevery": [1],
    "markerfacecolor": "white",
    "clip_on": False,
}

Look = dict[str, Any]
Places = dict[Value, float]


def draw_scaling(rows: Sequence[Row], figure: style.AnyFigure) -> style.AnyFigure:
    """Draw a panel for each swept axis: MACs of one image above and, where it was measured, latency below.

    A line is one model measured in one way, through its centre; a model that lacks the axis is a thin dashed line
    at its centre. Bars are the spread between rounds. `figure` is empty and has a constrained layout.
    """
    axes = swept_axes(rows)
    metrics = [metric for metric in METRICS if not absent(rows, "axis", metric)]
    places = {axis: _places(rows, axis) for axis in axes}
    frames = _frames(rows, places, metrics)
    looks = _looks(pd.concat(frames.values()))
    panels = _add_panels(figure, axes, metrics)
    for (axis, metric), ax in panels.items():
        _draw_lines(ax, frames[axis, metric], looks, joined=_is_number(axis))
        _mark_places(ax, places[axis], axis)
    for metric in metrics:
        values = [value for axis in axes for value in frames[axis, metric]["y"].dropna()]
        style.scale(panels[axes[0], metric], "y", values, style.wants_log(values))
    figure.align_xlabels()
    style.add_legend(figure, [Line2D([], [], label=line, **look) for line, look in looks.items()])
    style.add_footer(figure, rows, _notes(rows, metrics, pd.concat(frames.values())))
    return figure


def lacks_scaling(rows: Sequence[Row]) -> str:
    """Say why `rows` have no scaling to draw; empty where they have."""
    if swept_axes(rows):
        return ""
    return absent(rows, "axis", "macs") or "no axis of the rows is a column"


def swept_axes(rows: Sequence[Row]) -> list[str]:
    """Return the axes along which at least one row was counted or timed, in order of first appearance."""
    found = (row for row in having(rows, "axis") if any(row[metric] is not None for metric in METRICS))
    return [axis for axis in dict.fromkeys(str(row["axis"]) for row in found) if axis in COLUMNS]


def _places(rows: Sequence[Row], axis: str) -> Places:
    """Map the values on an axis to where they stand: numbers where they are, words one after the other."""
    values: list[Any] = [row[axis] for row in _on(rows, axis, axis)]
    if _is_number(axis):
        return {value: float(value) for value in sorted(set(values))}
    return {value: float(place) for place, value in enumerate(dict.fromkeys(values))}


def _is_number(axis: str) -> bool:
    return COLUMNS[axis].kind in (int, float) and not COLUMNS[axis].many


def _on(rows: Sequence[Row], axis: str, *columns: str) -> list[Row]:
    """Rows swept along `axis`, and the centres, which all axes share, that have a value in `columns`."""
    return [row for row in having(rows, *columns) if row["axis"] in (axis, None) and row["status"] != "invalid"]


def _frames(
    rows: Sequence[Row], places: Mapping[str, Places], metrics: Sequence[str]
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the points of each panel.

    `x` is missing where a model lacks the axis, `y` where nothing was measured.
    """
    network, protocol = varying_network(rows), varying_protocol(rows)
    frames = {}
    for axis, places_on_axis in places.items():
        points = pd.DataFrame(
            {
                "model": str(row["model"]),
                "network": _line(row, network, axis),
                "line": _line(row, network + protocol, axis),
                "x": places_on_axis.get(row[axis], math.nan),
                **{column: style.shown(row, column) for column in (*METRICS, "latency_spread_pct")},
            }
            for row in _on(rows, axis)
        )
        for metric in metrics:
            frames[axis, metric] = _of_metric(points, metric)
    return frames


def _of_metric(points: pd.DataFrame, metric: str) -> pd.DataFrame:
    if metric == "latency_ms":
        return points.assign(y=points["latency_ms"], bar=points["latency_ms"] * points["latency_spread_pct"] / 200)
    # The MACs of one image do not depend on how they are measured: one line per network, named as its first.
    first = points.groupby("network")["line"].transform("first")
    macs = points.groupby(["network", "x"], dropna=False)["macs"].transform("first")
    return points.assign(line=first, y=macs, bar=math.nan).drop_duplicates(["network", "x"])


def _line(row: Row, fields: Iterable[str], axis: str) -> str:
    return ", ".join([str(row["model"]), *describe(row, (name for name in fields if name != axis))])


def _looks(points: pd.DataFrame) -> dict[str, Look]:
    """Give each line its looks: a colour for its model, a marker of its own, dashes for how it was measured."""
    colours = style.palette(list(dict.fromkeys(points["model"])))
    lines = pd.concat([of_model for _, of_model in points.drop_duplicates("line").groupby("model", sort=False)])
    way = lines.groupby("model").cumcount()
    dashes = way if way.any() else range(len(lines))
    return {
        line: {
            "color": colours[model],
            "marker": style.MARKERS[index % len(style.MARKERS)],
            "linestyle": style.DASHES[dash % len(style.DASHES)],
        }
        for index, (line, model, dash) in enumerate(zip(lines["line"], lines["model"], dashes, strict=True))
    }


def _add_panels(figure: FigureBase, axes: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], Axes]:
    """Lay out a column of panels for each axis, a row for each metric; a metric has one scale throughout."""
    blocks, columns = style.layout(len(axes), MOST_COLUMNS)
    grid = figure.add_gridspec(blocks * len(metrics), columns)
    panels: dict[tuple[str, str], Axes] = {}
    for index, axis in enumerate(axes):
        block, column = divmod(index, columns)
        for row, metric in enumerate(metrics):
            ax = figure.add_subplot(
                grid[block * len(metrics) + row, column],
                sharex=panels.get((axis, metrics[0])),
                sharey=panels.get((axes[0], metric)),
            )
            last = metric == metrics[-1]
            ax.tick_params(labelleft=column == 0, labelbottom=last)
            ax.set_xlabel(style.axis_label(axis) if last else "")
            ax.set_ylabel(style.axis_label(metric) if column == 0 else "")
            panels[axis, metric] = ax
    return panels


def _draw_lines(ax: Axes, points: pd.DataFrame, looks: Mapping[str, Look], joined: bool) -> None:
    for line, of_line in points.groupby("line", sort=False):
        look = looks[str(line)]
        for y in of_line[of_line["x"].isna()]["y"].dropna():
            ax.axhline(y, label=str(line), zorder=1, **look | _REFERENCE)
        swept = of_line.dropna(subset="x").sort_values("x")
        if swept["y"].notna().any():
            ax.errorbar(
                swept["x"],
                swept["y"],
                yerr=swept["bar"] if swept["bar"].notna().any() else None,
                elinewidth=0.8,
                label=str(line),
                **look | ({} if joined else {"linestyle": ""}),
            )
    if points["y"].isna().all():
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=style.GREY)


def _mark_places(ax: Axes, places: Places, axis: str) -> None:
    """Put a tick at every swept value; a label that would run into its neighbour goes to the line below."""
    values = list(places.values())
    logarithmic = style.wants_log(values)
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    at = np.log(values) if logarithmic else np.asarray(values)
    parts = (at - at.min()) / (np.ptp(at) or 1.0)
    if not _is_number(axis):
        ax.set_xlim(-0.5, len(values) - 0.5)
    ax.set_xticks(values, _staggered(parts * _width_in(ax), [csv_text(value) for value in places]))


def _width_in(ax: Axes) -> float:
    """Return about how many inches lie between the outer ticks of a panel."""
    figure, grid = ax.get_figure(), ax.get_gridspec()
    assert figure is not None
    assert grid is not None
    return 0.75 * figure.bbox.width / figure.dpi / grid.ncols


def _staggered(places_in: Iterable[float], texts: Iterable[str]) -> list[str]:
    ends: list[float] = []  # of the last label on each line
    found = []
    for place, text in zip(places_in, texts, strict=True):
        half = (len(text) + 1) * style.DIGIT_IN / 2
        line = next((line for line, end in enumerate(ends) if end <= place - half), len(ends))
        ends[line : line + 1] = [place + half]
        found.append("\n" * line + text)
    return found


def _notes(rows: Sequence[Row], metrics: Sequence[str], points: pd.DataFrame) -> list[str]:
    protocol = varying_protocol(rows)
    whatever = f", whatever the {' and '.join(protocol)}" if protocol else ""
    notes = {
        f"MACs of one image{whatever}": "macs" in metrics,
        "latency of one batch": "latency_ms" in metrics,
        "bars: spread between rounds": points["bar"].notna().any(),
        "thin dashed lines: centres that are not on the axis": points["x"].isna().any(),
    }
    return [*(note for note, applies in notes.items() if applies), *left_out(rows, *metrics), *off_axes(rows)]
