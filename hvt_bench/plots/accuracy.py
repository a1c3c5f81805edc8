"""Accuracy against cost, latency and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from hvt_bench.analysis.front import front, sought
from hvt_bench.analysis.series import having
from hvt_bench.analysis.top1 import Top1, not_found, top1_of
from hvt_bench.errors import plural
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.labels import Labels
from hvt_bench.plots.scatter import MOST_HUES, MOST_NAMES, OTHERS, add_point_legend, collect, hue_looks, more_hues
from hvt_bench.row import Row

METRICS = ("macs", "latency_ms", "peak_memory_mib")
LABEL = "top-1 (%)"
LEAST_IN = 2.2  # width of a panel

_MARKERS: dict[str, str] = {"measured": "o", "own": "D"}
_OF_SYSTEMS = ("^", "s", "v", "P", "X", "*", "<", ">", "p", "h")
_PRINTED = "printed: "
_SAID: dict[str, str] = {
    "measured": "measured here",
    "own": "your own",
}
_OF_NETWORKS = ("params", "macs", "fvcore_flops", "activations", "train_macs")
"""The same however a network is measured: one point for each."""


@dataclass(frozen=True)
class _Part:
    metric: str
    way: str
    points: pd.DataFrame


def draw_accuracy(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw top-1 against each metric, a panel for each way of measuring, a marker for where the top-1 is from.

    A dashed line joins the front of each source, of printed ones each system: they are of other data or other training,
    so no front mixes them.
    `figure` is empty and has a constrained layout.
    """
    known = _known(rows, asked)
    parts = [part for metric in _metrics(rows, asked) for part in _parts(known, metric, asked)]
    points = pd.concat([part.points for part in parts])
    looks = hue_looks(list(dict.fromkeys(points["hue"]))[:MOST_HUES])
    markers = _markers(points)
    _draw_parts(figure, parts, looks, markers)
    add_point_legend(figure, looks, markers)
    systems = [source.removeprefix(_PRINTED) for source in markers if source.startswith(_PRINTED)]
    missing = sum(row["status"] != "invalid" for row in rows) - len(known)
    models = len({row["model"] for row in rows} - {row["model"] for row, _ in known})
    strange = not_found(rows, asked.accuracy) if asked.accuracy else []
    notes = [
        *(f"{source}: {_SAID[source]}" for source in markers if source in _SAID),
        *([f"printed: as {_listed(systems)} printed it, trained as it was there"] if systems else []),
        "dashed: a front for each marker, where no other of it has higher top-1 and costs less",
        *([_without(missing, models)] if missing else []),
        *([f"no row is of {', '.join(strange[:3])}{' and others' if len(strange) > 3 else ''}"] if strange else []),
        *more_hues(points, asked.hue),
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_accuracy(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there is no accuracy to draw; empty where there is."""
    if not _metrics(rows, asked):
        return "no row has macs"
    if any(row["macs"] is not None and top1_of(row, asked.accuracy) for row in rows):
        return ""
    return "no top-1 was measured, none is printed of these networks, and no --accuracy FILE gives one"


def _without(rows: int, models: int) -> str:
    whole = f", all of {plural(models, 'model')} among them" if models else ""
    return f"{plural(rows, 'row')} without a top-1 or MACs not drawn{whole}"


def _known(rows: Sequence[Row], asked: Asked) -> list[tuple[Row, Top1]]:
    counted = [row for row in rows if row["macs"] is not None]
    return [(row, top1) for row in counted if (top1 := top1_of(row, asked.accuracy)) is not None]


def _metrics(rows: Sequence[Row], asked: Asked) -> list[str]:
    return [metric for metric in asked.metrics or METRICS if having(rows, metric)]


def _parts(known: Sequence[tuple[Row, Top1]], metric: str, asked: Asked) -> list[_Part]:
    """Return the points of the panels of a metric."""
    top1 = {id(row): found for row, found in known}
    points = collect([row for row, _ in known], asked, lambda row: (style.shown(row, metric), top1[id(row)].percent))
    drawn = [known[place][1] for place in points.index.to_list()]
    points = points.assign(
        marker=[f"{_PRINTED}{found.system}" if found.source == "printed" else found.source for found in drawn],
        name=[found.network or name for found, name in zip(drawn, points["name"], strict=True)],
    )
    if metric in _OF_NETWORKS:
        return [_Part(metric, "", points.drop_duplicates(["x", "y", "name", "marker"]))]
    return [_Part(metric, str(way), some) for way, some in points.groupby("way", sort=False)]


def _markers(points: pd.DataFrame) -> dict[str, str]:
    """Return the marker of each source of top-1, those that are printed last, a marker for each system."""
    found = set(points["marker"])
    systems = [source for source in dict.fromkeys(points["marker"]) if source not in _MARKERS]
    known = {source: marker for source, marker in _MARKERS.items() if source in found}
    return known | dict(zip(systems, cycle(_OF_SYSTEMS), strict=False))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]} each" if len(names) > 1 else names[0]


def _draw_parts(
    figure: style.AnyFigure, parts: Sequence[_Part], looks: dict[str, dict[str, object]], markers: Mapping[str, str]
) -> None:
    grid_rows, columns = style.layout(len(parts), style.most_columns(figure, LEAST_IN))
    grid = figure.add_gridspec(grid_rows, columns)
    first = None
    for index, part in enumerate(parts):
        ax = figure.add_subplot(grid[divmod(index, columns)], sharey=first)
        first = first or ax
        left = index % columns == 0
        ax.set(xlabel=style.axis_label(part.metric), ylabel=LABEL if left else "", title=part.way)
        ax.tick_params(labelleft=left)
        shown = part.points["hue"].where(part.points["hue"].isin(list(looks)), "")
        for (hue, source), some in part.points.groupby([shown, "marker"], sort=False):
            ax.plot(some["x"], some["y"], linestyle="", marker=markers[str(source)], **looks.get(str(hue), OTHERS))
        values = list(part.points["x"])
        style.scale(ax, "x", values, style.wants_log(values))
        _mark_fronts(ax, part)


def _mark_fronts(ax: Axes, part: _Part) -> None:
    """Join the front of each source, and name the points, those of the fronts first."""
    places = list(zip(part.points["x"], part.points["y"], strict=True))
    named: list[int] = []
    fronts: list[tuple[float, float]] = []
    for source in dict.fromkeys(part.points["marker"]):
        of_source = [index for index, found in enumerate(part.points["marker"]) if found == source]
        best = [of_source[index] for index in front([places[i] for i in of_source], sought(part.metric), "high")]
        ends = [places[index] for index in best]
        ax.plot(*zip(*ends, strict=True), color="0.25", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        named, fronts = named + best, fronts + ends
    named = list(dict.fromkeys([*named, *range(len(places))]))[:MOST_NAMES]
    names = list(part.points["name"])
    Labels(ax, [places[i] for i in named], [names[i] for i in named], places, fronts)
