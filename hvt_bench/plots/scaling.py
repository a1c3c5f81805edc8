"""Cost and latency along every swept axis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from hvt_bench.analysis.along import along_grid
from hvt_bench.analysis.fit import METRICS as FITTED
from hvt_bench.analysis.series import (
    absent,
    describe,
    having,
    left_out,
    off_axes,
    varying_machine,
    varying_network,
    varying_protocol,
)
from hvt_bench.analysis.trained import ACCURACIES, SPREADS, ended_badly, ended_well, varying_training
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.bars import bars_note, spread
from hvt_bench.plots.exponents import fits_of, not_fitted, why_no_fits, write_exponents
from hvt_bench.plots.ticks import mark_places
from hvt_bench.row import COLUMNS, Row, Value, csv_text

METRICS = ("macs", "latency_ms")
MOST_LINES = 12  # that can be told apart
MOST_BANDS = 6  # lines whose bands can be
LEAST_IN = 1.4  # width of a panel

_REFERENCE: dict[str, Any] = {  # a thin dashed line, its marker hollow and on the edge of the panel
    "linestyle": (0, (6, 3)),
    "linewidth": 0.7,
    "markevery": [1],
    "markerfacecolor": "white",
    "clip_on": False,
}

Look = dict[str, Any]
Places = dict[Value, float]


def draw_scaling(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw a panel for each swept axis: MACs of one image above and, where it was measured, latency below.

    A line is one model measured in one way, through its centre; a model that lacks the axis is a thin dashed line
    at its centre. Bands go from the fastest round to the slowest, of top-1 by a standard deviation of its seeds. Above
    each panel stand the exponents of its lines. Of a grid, the lines along each field go through one network.
    `figure` is empty and has a constrained layout.
    """
    rows, held = along_grid(rows)
    metrics = [metric for metric in asked.metrics or METRICS if not absent(rows, "axis", metric)]
    axes = swept_axes(rows, metrics)
    places = {axis: _places(rows, axis) for axis in axes}
    frames = _frames(rows, places, metrics, asked.hue)
    every = pd.concat(frames.values())
    looks = _looks(every)
    exponents = fits_of(rows, metrics, every)
    panels = _add_panels(figure, axes, metrics)
    for (axis, metric), ax in panels.items():
        _draw_lines(ax, frames[axis, metric], looks, joined=_is_number(axis))
        write_exponents(ax, frames[axis, metric], looks, exponents, (axis, metric))
        mark_places(ax, places[axis], _is_number(axis))
    for metric in [metric for metric in metrics if metric not in ACCURACIES]:
        values = [value for axis in axes for value in frames[axis, metric]["y"].dropna()]
        style.scale(panels[axes[0], metric], "y", values, style.wants_log(values))
    figure.align_xlabels()
    style.add_legend(figure, [Line2D([], [], label=line, **look) for line, look in looks.items()])
    style.add_footer(
        figure, rows, [*_notes(rows, metrics, every, bool(exponents), not_fitted(exponents, places)), *held]
    )
    return figure


def lacks_scaling(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why `rows` have no scaling to draw; empty where they have."""
    metrics = asked.metrics or METRICS
    rows, _ = along_grid(rows)
    if swept_axes(rows, metrics):
        return ""
    return absent(rows, "axis", metrics[0]) or "; ".join(_alone(rows, metrics)) or "no axis of the rows is a column"


def swept_axes(rows: Sequence[Row], metrics: Sequence[str] = METRICS) -> list[str]:
    """Return the axes with two points, or more, of one model that have one of `metrics`, in order of appearance."""
    return [axis for axis, most in _most_points(rows, metrics).items() if most > 1]


def _most_points(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, int]:
    """Count, of each axis on which rows lie that have one of `metrics`, the points of the model that has most."""
    found = (row for row in having(rows, "axis") if any(row[metric] is not None for metric in metrics))
    most = {}
    for axis in dict.fromkeys(str(row["axis"]) for row in found):
        if axis in COLUMNS:
            points = {(row["model"], metric, row[axis]) for metric in metrics for row in _on(rows, axis, axis, metric)}
            most[axis] = max(Counter((model, metric) for model, metric, _ in points).values(), default=0)
    return most


def _alone(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Say which axes make no line."""
    alone = [axis for axis, most in _most_points(rows, metrics).items() if most < 2]
    return [f"no line along {' or '.join(alone)}: no model has two points there"] if alone else []


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


# --- lines ------------------------------------------------------------------------------------------------------------


def _frames(
    rows: Sequence[Row], places: Mapping[str, Places], metrics: Sequence[str], hue: str
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the points of each panel.

    `x` is missing where a model lacks the axis, `y` where nothing was measured.
    """
    network = varying_network(rows)
    ways = (*network, *varying_protocol(rows), *varying_machine(rows), *varying_training(rows))
    ways = (*ways, *({hue} - {*ways, "model"}))
    frames = {}
    for axis, places_on_axis in places.items():
        on_axis = _on(rows, axis)
        points = pd.DataFrame(
            {
                "hue": csv_text(row[hue]),
                "network": _line(row, network, axis),
                "line": _line(row, ways, axis),
                "x": places_on_axis.get(row[axis], math.nan),
            }
            for row in on_axis
        )
        for metric in metrics:
            frames[axis, metric] = _of_metric(points, on_axis, metric)
    return frames


def _of_metric(points: pd.DataFrame, rows: Sequence[Row], metric: str) -> pd.DataFrame:
    ends = [_ends(row, metric) for row in rows]
    points = points.assign(
        y=[style.shown(row, metric) for row in rows],
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
        whole=[metric not in ACCURACIES or ended_well(row) for row in rows],
    )
    if FITTED.get(metric) != "counted":
        return points
    # What is counted does not depend on how it is measured: one line per network, named as its first.
    first = points.groupby("network")["line"].transform("first")
    counted = points.groupby(["network", "x"], dropna=False)["y"].transform("first")
    return points.assign(line=first, y=counted).drop_duplicates(["network", "x"])


def _ends(row: Row, metric: str) -> tuple[float, float]:
    """Return where the band ends: the fastest and the slowest round, a standard deviation; NaN where there is none."""
    if metric in SPREADS:
        value, apart = style.shown(row, metric), spread(row, metric)
        return value - apart, value + apart
    rounds = row["latency_ms_rounds"] if metric == "latency_ms" else None
    if not isinstance(rounds, tuple) or len(rounds) < 2:
        return math.nan, math.nan
    return min(map(float, rounds)), max(map(float, rounds))


def _line(row: Row, fields: Iterable[str], axis: str) -> str:
    return ", ".join([str(row["model"]), *describe(row, (name for name in fields if name != axis))])


def _looks(points: pd.DataFrame) -> dict[str, Look]:
    """Give each line its looks: a colour for its hue, a marker of its own, dashes for how it was measured.

    Lines beyond MOST_LINES have none.
    """
    lines = points.drop_duplicates("line").head(MOST_LINES)
    colours = style.palette(list(dict.fromkeys(lines["hue"])))
    lines = pd.concat([of_hue for _, of_hue in lines.groupby("hue", sort=False)])
    way = lines.groupby("hue").cumcount()
    dashes = way if way.any() else range(len(lines))
    return {
        line: {
            "color": colours[hue],
            "marker": style.MARKERS[index % len(style.MARKERS)],
            "linestyle": style.DASHES[dash % len(style.DASHES)],
        }
        for index, (line, hue, dash) in enumerate(zip(lines["line"], lines["hue"], dashes, strict=True))
    }


# --- panels -----------------------------------------------------------------------------------------------------------


def _add_panels(figure: style.AnyFigure, axes: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], Axes]:
    """Lay out a column of panels for each axis, a row for each metric; a metric has one scale throughout."""
    blocks, columns = style.layout(len(axes), style.most_columns(figure, LEAST_IN))
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
    known = points["line"].isin(list(looks))
    if not known.all():
        ax.add_collection(LineCollection(_pieces(points[~known]), color="0.8", linewidth=0.4, rasterized=True))
        ax.autoscale_view()
    for line, of_line in points[known].groupby("line", sort=False):
        look = looks[str(line)] | ({} if joined else {"linestyle": ""})
        for y in of_line[of_line["x"].isna()]["y"].dropna():
            ax.axhline(y, label=str(line), zorder=1, **look | _REFERENCE)
        swept = of_line.dropna(subset="x").sort_values("x")
        if swept["y"].notna().any():
            ax.plot(swept["x"], swept["y"], label=str(line), **look)
            if not swept["whole"].all():
                lost = swept[~swept["whole"]]
                ax.plot(lost["x"], lost["y"], **look | {"linestyle": "", "markerfacecolor": "white"})
            if len(looks) <= MOST_BANDS:
                _draw_rounds(ax, swept, look["color"], joined)
    if points["y"].isna().all():
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=style.GREY)


def _pieces(points: pd.DataFrame) -> list[np.ndarray]:
    """Return the points, (n, 2), of each line, by x."""
    there = points.dropna(subset=["x", "y"]).sort_values(["line", "x"])
    starts = np.flatnonzero((there["line"] != there["line"].shift()).to_numpy())
    return np.split(there[["x", "y"]].to_numpy(), starts[1:])


def _draw_rounds(ax: Axes, swept: pd.DataFrame, colour: Any, joined: bool) -> None:
    """Draw from the fastest round to the slowest: a band, or, where points are not joined, a bar at each."""
    if swept["low"].isna().all():
        return
    if joined:
        ax.fill_between(swept["x"], swept["low"], swept["high"], color=colour, alpha=0.18, linewidth=0, zorder=1)
    else:
        ax.vlines(swept["x"], swept["low"], swept["high"], color=colour, linewidth=0.8)


def _notes(rows: Sequence[Row], metrics: Sequence[str], points: pd.DataFrame, fitted: bool, but: str) -> list[str]:
    protocol = varying_protocol(rows)
    whatever = f", whatever the {' and '.join(protocol)}" if protocol else ""
    more = points["line"].nunique() - MOST_LINES
    rounds = points["low"].notna().any() and "latency_ms" in metrics
    seeds = bars_note(rows, "bands") if any(metric in SPREADS for metric in metrics) else []
    lost = ended_badly(rows) if any(metric in ACCURACIES for metric in metrics) else ""
    notes = {
        f"MACs of one image{whatever}": "macs" in metrics,
        "latency of one batch": "latency_ms" in metrics,
        "bands: from the fastest round to the slowest": rounds and points["line"].nunique() <= MOST_BANDS,
        "the figure `noise` shows how far rounds are apart": rounds and points["line"].nunique() > MOST_BANDS,
        f"^: exponent of a power law of all points{but}, with its 95 % interval where the rounds of four give one": (
            fitted
        ),
        why_no_fits(metrics, points): not fitted,
        "thin dashed lines: centres that are not on the axis": points["x"].isna().any(),
        f"{more:,} more lines in grey": more > 0,
    }
    return [
        *(note for note, applies in notes.items() if applies),
        *seeds,
        *([f"hollow on a line: {lost}, so the mean of the others"] if lost else []),
        *left_out(rows, *metrics),
        *_alone(rows, metrics),
        *off_axes(rows),
    ]
