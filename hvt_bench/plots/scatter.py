"""One quantity of each row against another: the panels that several figures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hvt_bench.analysis.front import Sought, front
from hvt_bench.analysis.series import MACHINE, describe, values_of, ways_of
from hvt_bench.errors import plural
from hvt_bench.plots import style
from hvt_bench.plots.asked import Asked
from hvt_bench.plots.labels import Labels, Place
from hvt_bench.plots.panels import ascending, where
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import Row, csv_text

LEAST_IN = 2.3  # width of a panel
MOST_HUES = 12  # colours, filled and hollow, that can be told apart
MOST_FILLED = 10  # colours
MOST_NAMES = 12  # beside points of one panel

_FEW = 3  # points in a panel: with fewer, ways of measuring are told apart by markers and not by panels

Value = Callable[[Row], tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """The points that were measured in one way."""

    ax: Axes
    points: pd.DataFrame
    """Columns `way`, `where` (what keeps its rows), `alike` (all in which points differ in how they were measured),
    `hue`, `marker`, `name`, `centre`, `batch_size`, `x`, `y`."""


def collect(rows: Sequence[Row], asked: Asked, value: Value, apart: Sequence[str] = ()) -> pd.DataFrame:
    """Return a point for each row of which `value` gives two numbers, neither of them NaN; its index says which row.

    Points have a panel for each `way` of measuring, unless that leaves a point or two in each: then all are in one
    panel, and `marker` tells the ways apart, where it else tells the swept axis. Points that differ in one of the
    columns `apart` cannot be compared, and always have panels of their own.
    """
    values = [value(row) for row in rows]
    places = [place for place, (x, y) in enumerate(values) if not (math.isnan(x) or math.isnan(y))]
    drawn = [rows[place] for place in places]
    varying = [name for name in SWEEPABLE if len(ways_of(drawn, name)) > 1]
    varying += [name for name in (*MACHINE, *apart) if len(values_of(drawn, name)) > 1]
    alike = [", ".join(describe(row, varying)) for row in drawn]
    untold = [name for name in varying if name != asked.hue]
    ways = [", ".join(describe(row, untold)) for row in drawn] if untold != varying else alike
    first = dict(zip(reversed(ways), reversed(drawn), strict=True))
    wheres = {way: where(row, [name for name in untold if row[name] is not None]) for way, row in first.items()}
    number = len(set(ways))
    as_markers = 1 < number <= len(style.MARKERS) and len(drawn) < _FEW * number and not {*varying} & {*apart}
    on_axes = any(row["axis"] is not None for row in drawn)
    return pd.DataFrame(
        {
            "way": ["" if as_markers else way for way in ways],
            "where": [wheres[way] for way in ways],
            "alike": alike,
            "hue": [csv_text(row[asked.hue]) or f"no {asked.hue}" for row in drawn],
            "marker": ways if as_markers else [str(row["axis"] or "centre") if on_axes else "" for row in drawn],
            "name": [name_of(row) for row in drawn],
            "centre": [row["axis"] is None for row in drawn],
            "batch_size": [row["batch_size"] for row in drawn],
            "x": [values[place][0] for place in places],
            "y": [values[place][1] for place in places],
        },
        places,
    )


def above_zero(rows: Sequence[Row], value: Value) -> tuple[list[Row], list[str]]:
    """Return the rows whose two numbers a ratio or a logarithmic axis can take, and say how many were left out."""
    values = [value(row) for row in rows]
    kept = [row for row, (x, y) in zip(rows, values, strict=True) if x > 0 and y > 0]
    missing = sum(math.isnan(x) or math.isnan(y) for x, y in values)
    zeros = len(rows) - len(kept) - missing
    return kept, [f"{plural(zeros, 'point')} at 0 not drawn (no ratio and no logarithmic axis takes 0)"] * (zeros > 0)


def name_of(row: Row) -> str:
    """Name a point: its model, and where on an axis it lies."""
    axis = row["axis"]
    place = f" {axis} {csv_text(row.get(str(axis)))}" if axis is not None else ""
    return f"{row['model']}{place}"


def draw_panels(
    figure: style.AnyFigure, points: pd.DataFrame, labels: tuple[str, str], filled: bool = False
) -> list[Panel]:
    """Draw x against y: a panel for each way of measuring, a colour for each hue, a marker for each axis.

    `labels` are those of the two axes. No scales are set. Colours are filled and hollow by turns, to read in grey,
    unless all are to be `filled`, so that fewer of them can be told apart.
    """
    looks, markers = _looks(points, filled)
    ways = ascending(points["way"])
    axes = _add_axes(figure, ways, labels)
    panels = [Panel(ax, points[points["way"] == way]) for ax, way in zip(axes, ways, strict=True)]
    for panel in panels:
        told_apart = panel.points["hue"].isin(list(looks))
        for shape, rest in panel.points[~told_apart].groupby("marker", sort=False):
            panel.ax.plot(rest["x"], rest["y"], linestyle="", marker=markers[str(shape)], **OTHERS)
        for (hue, marker), some in panel.points[told_apart].groupby(["hue", "marker"], sort=False):
            look = looks[str(hue)]
            panel.ax.plot(some["x"], some["y"], linestyle="", marker=markers[str(marker)], clip_on=False, **look)
    more = points["hue"].nunique() - len(looks)
    add_point_legend(figure, looks, markers, f"{more:,} more" if more else "")
    return panels


OTHERS: dict[str, Any] = {"color": "0.7", "markersize": 2.0, "zorder": 1, "rasterized": True}
"""How points are drawn that are too many to be told apart."""


def add_point_legend(
    figure: style.AnyFigure, looks: dict[str, dict[str, Any]], markers: dict[str, str], others: str = ""
) -> None:
    """Put colours and markers above the panels; markers only where there are several."""
    hues = [Line2D([], [], linestyle="", marker="o", label=hue, **look) for hue, look in looks.items()]
    if others:
        hues.append(Line2D([], [], linestyle="", marker="o", label=others, **OTHERS))
    shapes = [
        Line2D([], [], linestyle="", marker=marker, color=style.GREY, label=label)
        for label, marker in markers.items()
        if label
    ]
    style.add_legend(figure, hues, *([shapes] if len(shapes) > 1 else []))


def _looks(points: pd.DataFrame, filled: bool) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return looks by hue and markers by label."""
    hues = list(dict.fromkeys(points["hue"]))
    looks = (
        {hue: {"color": colour} for hue, colour in style.palette(hues[:MOST_FILLED]).items()}
        if filled
        else hue_looks(hues[:MOST_HUES])
    )
    return looks, dict(zip(dict.fromkeys(points["marker"]), cycle(style.MARKERS), strict=False))


def hue_looks(hues: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how each hue looks."""
    looks: dict[str, dict[str, Any]] = {}
    for index, (hue, colour) in enumerate(style.palette(hues).items()):
        hollow = (index + index // 10) % 2  # the eleventh has the colour of the first, and is hollow
        looks[hue] = {"color": colour, "markerfacecolor": "white" if hollow else colour}
    return looks


def _add_axes(figure: style.AnyFigure, ways: Sequence[str], labels: tuple[str, str]) -> list[Axes]:
    """Add a panel for each way, all of one scale, labelled on the outer sides."""
    grid_rows, columns = style.layout(len(ways), style.most_columns(figure, LEAST_IN))
    grid = figure.add_gridspec(grid_rows, columns)
    found: list[Axes] = []
    for index, way in enumerate(ways):
        shared = found[0] if found else None
        ax = figure.add_subplot(grid[divmod(index, columns)], sharex=shared, sharey=shared)
        if way:
            ax.set_title(style.broken(way, int(14 * style.width_in(figure) / columns)), pad=11)  # clear of labels
        left, lowest = index % columns == 0, index + columns >= len(ways)
        ax.tick_params(labelleft=left, labelbottom=lowest)
        ax.tick_params(which="minor", left=left, bottom=lowest)
        ax.set_xlabel(labels[0] if lowest else "")
        ax.set_ylabel(labels[1] if left else "")
        ax.xaxis.set_in_layout(lowest)  # measuring ticks takes the layout seconds, and these have no labels
        ax.yaxis.set_in_layout(left)
        for spine in ax.spines.values():  # within what the labels take; of many panels, they measure all ticks again
            spine.set_in_layout(False)
        found.append(ax)
    return found


def set_scales(ax: Axes, points: pd.DataFrame, together: bool = True) -> None:
    """Make axes logarithmic where values want it, `together`, so that proportional stays a straight line, or singly."""
    both = [list(points["x"]), list(points["y"])]
    wants = [style.wants_log(values) for values in both]
    if together:
        wants = [any(wants) and min(map(min, both)) > 0] * 2
    style.scale(ax, "x", both[0], wants[0])
    style.scale(ax, "y", both[1], wants[1])


def mark_front(panel: Panel, x: Sought, y: Sought, bars: Sequence[tuple[Place, Place]] = ()) -> bool:
    """Join the points that no other beats in both quantities; name them and the centres, where there is room.

    No name crosses `bars`, told by their ends. Returns whether there are two to be joined.
    """
    places = list(zip(panel.points["x"], panel.points["y"], strict=True))
    best = front(places, x, y)
    on_front = [places[index] for index in best]
    panel.ax.plot(*zip(*on_front, strict=True), color="0.25", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1.5)
    if panel.points["name"].nunique() > 1:
        name_points(panel, [*best, *centres_of(panel)], on_front, bars)
    return len(set(on_front)) > 1


def name_points(
    panel: Panel,
    chosen: Sequence[int],
    line: Sequence[tuple[float, float]] = (),
    bars: Sequence[tuple[Place, Place]] = (),
) -> None:
    """Name points by their places in the panel, each name once, the first come first.

    No name crosses `line` or `bars`, told by their ends.
    """
    places = list(zip(panel.points["x"], panel.points["y"], strict=True))
    names = list(panel.points["name"])
    first = {names[index]: index for index in reversed(chosen)}
    named = sorted(first.values(), key=list(chosen).index)[:MOST_NAMES]
    Labels(panel.ax, [places[index] for index in named], [names[index] for index in named], places, line, bars)


def centres_of(panel: Panel) -> list[int]:
    """Return the places of the points that lie on no axis."""
    return [index for index, centre in enumerate(panel.points["centre"]) if centre]


def front_note(x: Sought, y: Sought, x_name: str, y_name: str) -> str:
    """Say what the line of `mark_front` is."""
    words = {"low": "lower", "high": "higher"}
    return f"dashed: the front, where no other point has {words[x]} {x_name} and {words[y]} {y_name}"


def more_hues(points: pd.DataFrame, hue: str) -> list[str]:
    """Say how many hues are drawn in grey."""
    more = points["hue"].nunique() - MOST_HUES
    return [f"{plural(more, hue)} in grey"] if more > 0 else []
