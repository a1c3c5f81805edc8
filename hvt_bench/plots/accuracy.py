"""Accuracy against cost, latency, memory and what the training took."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hvt_bench.analysis.front import front, sought
from hvt_bench.analysis.series import having
from hvt_bench.analysis.top1 import IMAGENET, Top1, not_found, top1_of
from hvt_bench.analysis.trained import ended_badly, ended_well
from hvt_bench.errors import plural
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.bars import bars_note, draw_bars, ends_of_bars
from hvt_bench.plots.labels import Labels
from hvt_bench.plots.panels import fitting
from hvt_bench.plots.scatter import MOST_NAMES, OTHERS, collect
from hvt_bench.row import Row

METRICS = ("macs", "latency_ms", "peak_memory_mib", "total_train_macs")
LABEL = "top-1 (%)"
LEAST_IN = 2.2  # width of a panel
MOST_STACKED = 2  # panels one under another; more would be higher than a page
MOST_HUES = 10  # colours: hollow says that it was not measured here

_MEASURED = ("o", "s", "^", "v", "P", "X")  # filled, one for each recipe
_OWN = "D"
_OF_SYSTEMS = ("^", "s", "v", "o", "p", "h", "<", ">", "*", "X")
_OF_TRAININGS = ("total_train_macs", "train_s")
"""What the training took that was measured here: a top-1 from elsewhere took another."""
_OF_NETWORKS = ("params", "macs", "fvcore_flops", "activations", "train_macs", "total_train_macs")
"""The same however a network is measured: one point for each."""
_MOST_SAID = 3  # networks of which a system prints several numbers


@dataclass(frozen=True)
class _Part:
    metric: str
    way: str
    data: str
    """What the top-1 of all of it is on; nothing else can be compared with it."""
    points: pd.DataFrame
    """Columns of `scatter.collect`, `source`, `filled` and `spread`."""


def draw_accuracy(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw top-1 against each metric: a panel for each data set and way of measuring, a marker for each source.

    Filled markers were measured here, with bars between seeds; hollow ones are printed or a person's own. A dashed line
    joins the front of each source: of each recipe, of printed ones each system. No front mixes them, since they are of
    other training. `figure` is empty and has a constrained layout.
    """
    known = _known(rows, asked)
    parts = [part for metric in _metrics(rows, asked) for part in _parts(known, metric, asked)]
    parts, beyond = _on_a_page(figure, parts)
    points = pd.concat([part.points for part in parts])
    colours = style.palette(list(dict.fromkeys(points["hue"]))[:MOST_HUES])
    markers = _markers(points)
    joined = _draw_parts(figure, parts, colours, markers)
    _add_legend(figure, points, colours, markers)
    style.add_footer(figure, rows, [*_notes(rows, known, points, asked, joined), *beyond])
    return figure


def lacks_accuracy(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there is no accuracy to draw; empty where there is."""
    if not _metrics(rows, asked):
        return "no row has macs"
    if _known(rows, asked):
        return ""
    if lost := ended_badly(rows):
        return f"no top-1 but of {lost}"
    return "no top-1 was measured, none is printed of these networks, and no --accuracy FILE gives one"


def _known(rows: Sequence[Row], asked: Asked) -> list[tuple[Row, Top1]]:
    whole = [row for row in having(rows, "macs") if ended_well(row)]
    return [(row, top1) for row in whole for top1 in top1_of(row, asked.accuracy)]


def _metrics(rows: Sequence[Row], asked: Asked) -> list[str]:
    return [metric for metric in asked.metrics or METRICS if having(rows, metric)]


def _parts(known: Sequence[tuple[Row, Top1]], metric: str, asked: Asked) -> Iterator[_Part]:
    """Yield the points of the panels of a metric."""
    for data in dict.fromkeys(found.data for _, found in known):
        points = _points([each for each in known if each[1].data == data and _costs(each[1], metric)], metric, asked)
        if metric in _OF_NETWORKS:
            points = points.drop_duplicates(["x", "y", "name", "source"]).assign(way="", alike="")
        for way, some in points.groupby("way", sort=False):
            yield _Part(metric, str(way), data, some)


def _on_a_page(figure: style.AnyFigure, parts: Sequence[_Part]) -> tuple[list[_Part], list[str]]:
    """Keep the parts of as many ways of measuring as a page has room for, in order, and say which are left out."""
    of_networks = sum(not part.way for part in parts)
    wheres = {part.way: str(part.points["where"].iloc[0]) for part in parts if part.way}
    kept, notes = fitting(figure, wheres, lambda ways: of_networks + sum(part.way in ways for part in parts))
    order = ["", *kept]
    datas = list(dict.fromkeys(part.data for part in parts))
    metrics = list(dict.fromkeys(part.metric for part in parts))
    drawn = [part for part in parts if part.way in order]
    places = (datas.index, metrics.index, order.index)
    return sorted(
        drawn,
        key=lambda part: [at(value) for at, value in zip(places, (part.data, part.metric, part.way), strict=True)],
    ), notes


def _points(known: Sequence[tuple[Row, Top1]], metric: str, asked: Asked) -> pd.DataFrame:
    percents = iter([found.percent for _, found in known])  # of one row there can be several
    points = collect([row for row, _ in known], asked, lambda row: (style.shown(row, metric), next(percents)))
    drawn = [known[place][1] for place in points.index.to_list()]
    return points.assign(
        source=[_source(found) for found in drawn],
        filled=[found.source == "measured" for found in drawn],
        spread=[math.nan if found.spread is None else found.spread for found in drawn],
        name=[found.network or name for found, name in zip(drawn, points["name"], strict=True)],
    )


def _costs(top1: Top1, metric: str) -> bool:
    return metric not in _OF_TRAININGS or top1.source == "measured"


def _source(top1: Top1) -> str:
    """Name where a top-1 is from; only those of one source can be joined."""
    if top1.source == "printed":
        return f"printed: {top1.system}"
    return f"measured here, {top1.data}, recipe {top1.recipe}" if top1.source == "measured" else "own"


def _markers(points: pd.DataFrame) -> dict[str, str]:
    """Return the marker of each source of top-1: those measured here, a person's own, then each system."""
    measured = list(dict.fromkeys(points[points["filled"]]["source"]))
    others = list(dict.fromkeys(points[~points["filled"]]["source"]))
    systems = [source for source in others if source != "own"]
    found = dict(zip(measured, cycle(_MEASURED), strict=False)) | ({"own": _OWN} if "own" in others else {})
    return found | dict(zip(systems, cycle(_OF_SYSTEMS), strict=False))


def _notes(
    rows: Sequence[Row], known: Sequence[tuple[Row, Top1]], points: pd.DataFrame, asked: Asked, joined: bool
) -> Iterator[str]:
    sources = {found.source for _, found in known}
    systems = list(dict.fromkeys(found.system for _, found in known if found.system))
    if "measured" in sources:
        yield "filled: measured here"
        yield from bars_note([row for row in rows if ended_well(row)])
    if "own" in sources:
        yield "own: yours, by --accuracy" + (f"; of 1,000 classes, so taken to be on {IMAGENET}" * _beside(known))
    if systems:
        yield f"printed: on {IMAGENET}, as {_listed(systems)} printed it, trained as it was there"
        yield from _several(known)
    if len({found.data for _, found in known}) > 1:
        yield "a panel for each data set: numbers on different ones do not compare"
    if joined:
        yield "dashed: a front for each marker, where no other of it has higher top-1 and costs less"
    drawn = {id(row) for row, _ in known}
    if lost := ended_badly(rows):
        yield f"not drawn: {lost}"
    others = [row for row in rows if ended_well(row)]
    missing = [row for row in others if row["status"] != "invalid" and id(row) not in drawn]
    if missing:
        models = len({row["model"] for row in others} - {row["model"] for row, _ in known})
        whole = f", all of {plural(models, 'model')} among them" if models else ""
        yield f"{plural(len(missing), 'row')} without a top-1 or MACs not drawn{whole}"
    strange = not_found(rows, asked.accuracy) if asked.accuracy else []
    if strange:
        yield f"no row is of {', '.join(strange[:_MOST_SAID])}{' and others' if len(strange) > _MOST_SAID else ''}"
    more = points["hue"].nunique() - MOST_HUES
    if more > 0:
        yield f"{plural(more, asked.hue)} in grey"


def _beside(known: Sequence[tuple[Row, Top1]]) -> bool:
    return any(found.source == "own" and found.data for _, found in known)


def _several(known: Sequence[tuple[Row, Top1]]) -> Iterator[str]:
    """Say what else a system prints of a network of which one number is drawn."""
    several = dict.fromkeys(
        f"{found.system} also prints {', '.join(f'{other:g}' for other in found.others)} of {found.network}"
        for _, found in known
        if found.others
    )
    if several:
        more = f" and of {len(several) - _MOST_SAID:,} more" if len(several) > _MOST_SAID else ""
        yield f"drawn is the first of several: {', '.join(list(several)[:_MOST_SAID])}{more}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]} each" if len(names) > 1 else names[0]


# --- panels -----------------------------------------------------------------------------------------------------------


def _draw_parts(
    figure: style.AnyFigure,
    parts: Sequence[_Part],
    colours: Mapping[str, tuple[float, float, float]],
    markers: Mapping[str, str],
) -> bool:
    """Draw the panels one after the other; those of one data set share the axis of top-1.

    Returns whether a front has two points to be joined.
    """
    several = len({part.data for part in parts}) > 1
    most = max(style.most_columns(figure, LEAST_IN), 2 if len(parts) > MOST_STACKED else 1)
    grid_rows, columns = style.layout(len(parts), most)
    grid = figure.add_gridspec(grid_rows, columns)
    index, joined = 0, False
    for data, of_data in groupby(parts, key=lambda part: part.data):
        first = None
        for part in of_data:
            ax = figure.add_subplot(grid[divmod(index, columns)], sharey=first)
            left = first is None or index % columns == 0
            first = first or ax
            title = ", ".join(filter(None, [(data or "own, data not told") * several, part.way]))
            ax.set(xlabel=style.axis_label(part.metric), ylabel=LABEL if left else "")
            ax.set_title(style.broken(title, int(14 * style.width_in(figure) / columns)))
            ax.tick_params(labelleft=left)
            _draw_points(ax, part.points, colours, markers)
            values = list(part.points["x"])
            style.scale(ax, "x", values, style.wants_log(values))
            style.in_millions(ax, "x", values)
            joined |= _mark_fronts(ax, part)
            index += 1
    return joined


def _draw_points(
    ax: Axes, points: pd.DataFrame, colours: Mapping[str, tuple[float, float, float]], markers: Mapping[str, str]
) -> None:
    shown = points["hue"].where(points["hue"].isin(list(colours)), "")
    for (hue, source, filled), some in points.groupby([shown, "source", "filled"], sort=False):
        look = {"color": colours[str(hue)], "markerfacecolor": None if filled else "none"} if hue else OTHERS
        draw_bars(ax, some, look["color"])
        ax.plot(some["x"], some["y"], linestyle="", marker=markers[str(source)], **look)


def _mark_fronts(ax: Axes, part: _Part) -> bool:
    """Join the front of each source, measured in one way, and name the points, those of the fronts first.

    Returns whether one of the fronts has two points.
    """
    places = list(zip(part.points["x"], part.points["y"], strict=True))
    named: list[int] = []
    fronts: list[tuple[float, float]] = []
    joined = False
    groups = list(zip(part.points["source"], part.points["alike"], strict=True))
    for group in dict.fromkeys(groups):
        of_group = [index for index, found in enumerate(groups) if found == group]
        best = [of_group[index] for index in front([places[i] for i in of_group], sought(part.metric), "high")]
        ends = [places[index] for index in best]
        ax.plot(*zip(*ends, strict=True), color="0.25", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        named, fronts = named + best, fronts + ends
        joined |= len(set(ends)) > 1
    names = list(part.points["name"])
    first = {names[index]: index for index in reversed([*named, *range(len(places))])}
    named = [index for index in dict.fromkeys([*named, *range(len(places))]) if first[names[index]] == index]
    named = named[:MOST_NAMES]
    bars = ends_of_bars(part.points)
    Labels(ax, [places[i] for i in named], [names[i] for i in named], places, fronts, bars)
    return joined


def _add_legend(
    figure: style.AnyFigure,
    points: pd.DataFrame,
    colours: Mapping[str, tuple[float, float, float]],
    markers: Mapping[str, str],
) -> None:
    """Put colours and markers above the panels."""
    filled = set(points[points["filled"]]["source"])
    hues = [Line2D([], [], linestyle="", marker="o", color=colour, label=hue) for hue, colour in colours.items()]
    shapes = [
        Line2D([], [], linestyle="", marker=marker, color=style.GREY, label=source,
               markerfacecolor=style.GREY if source in filled else "white")
        for source, marker in markers.items()
    ]  # fmt: skip
    style.add_legend(figure, *([hues, shapes] if len(shapes) > 1 else [[*hues, *shapes]]))
