"""What the MACs of each model, and its time, go into, whole and by stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hvt_bench.analysis.rebuild import centres, config_of
from hvt_bench.analysis.series import MACHINE, describe, having, values_of, ways_of
from hvt_bench.errors import CountError, plural
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.metrics.kinds import KINDS, Kinds, kinds_of
from hvt_bench.models.config import ModelConfig
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import fitting, where
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import Row

MOST = 12  # models, which take up to a second each to count
MOST_STAGES = 6  # of one model
LEAST_IN = 2.3  # width of a panel
HATCHES = ("", "////", "", "\\\\\\\\", "xxxx", "", "----")  # of KINDS, to read in grey


@dataclass(frozen=True)
class Bar:
    """One bar: a model, or a stage of the one above it."""

    label: str
    config: ModelConfig
    macs: Mapping[str, int]
    stage: int | None = None
    """Which of the model's; None is the whole."""


Times = Mapping[ModelConfig, Row]
"""The row of each network that says how long its parts took, measured in one way."""


def draw_breakdown(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw a stacked bar of MACs for each model, at its centre, and below it one for each stage of its blocks.

    Networks are built anew from the fields of their rows, and counted. Where rows say how long the parts of a pass
    took, a panel for each way of measuring shows that. `figure` is empty and has a constrained layout.
    """
    networks = _networks(rows)
    drawn = dict([*networks.items()][:MOST])
    bars = [bar for names, config in drawn.items() for bar in _bars(names, config)]
    timed, beyond = _timed(rows, {*drawn.values()}, figure)
    lengths = [{place: _in_g(bar) for place, bar in enumerate(bars)}]
    lengths += [
        {
            place: ms
            for place, bar in enumerate(bars)
            if bar.config in times and (ms := _in_ms(times[bar.config], bar.stage)) is not None
        }
        for times in timed.values()
    ]
    grid_rows, columns = style.layout(len(lengths), style.most_columns(figure, LEAST_IN))
    grid = figure.add_gridspec(grid_rows, columns)
    kinds = [kind for kind in KINDS if any(of.get(kind) for panel in lengths for of in panel.values())]
    for index, (panel, way) in enumerate(zip(lengths, ["", *timed], strict=True)):
        ax = figure.add_subplot(grid[divmod(index, columns)])
        _draw_panel(ax, bars, panel, kinds, named=index % columns == 0)
        ax.set_xlabel("ms of one pass" if index else style.axis_label("macs"))
        if way:
            ax.set_title(style.broken(way))
    style.in_millions(figure.axes[0], "x", [sum(of.values()) for of in lengths[0].values()])
    style.add_legend(figure, [Patch(label=kind, **_look(kind)) for kind in kinds])
    left = len(networks) - MOST
    outside = sum(config_of(row) is None for row in centres(rows))
    notes = [
        "MACs of one image, of each model at its centre; below, those of its blocks by the tokens that enter them",
        *(_about_times(timed) if timed else ["no time: no row has parts_ms, which `measure: [parts]` finds"]),
        *beyond,
        *(["other: none of these, such as norms, sums and DynamicViT's predictors"] if "other" in kinds else []),
        *([f"{plural(left, 'other model')} not drawn"] if left > 0 else []),
        *([f"{plural(outside, 'outside model')} not drawn: its code is not run for a figure"] if outside else []),
    ]
    style.add_footer(figure, rows, notes)
    style.fit_height(figure, exactly_in=0.2 + sum(0.21 if bar.stage is None else 0.17 for bar in bars))
    return figure


def lacks_breakdown(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there is no network to take apart; empty where there is."""
    if not centres(rows):
        return "no row has macs"
    return "" if _networks(rows) else "all models are outside code, which is not run for a figure"


def _networks(rows: Sequence[Row]) -> dict[str, ModelConfig]:
    """Return the different networks of the models, each by the names of those that are it."""
    names: dict[ModelConfig, list[str]] = {}
    for row in centres(rows):
        config = config_of(row)
        if config is not None:
            names.setdefault(config, []).append(str(row["model"]))
    return {of[0] + (f" and {len(of) - 1:,} equal" if len(of) > 1 else ""): config for config, of in names.items()}


def _bars(label: str, config: ModelConfig) -> list[Bar]:
    try:
        found: Kinds = kinds_of(breakdown(config))
    except CountError:
        return [Bar(f"{label} (cannot be counted)", config, {})]
    whole = Bar(style.broken(label), config, found.macs)
    if not 1 < len(found.stages) <= MOST_STAGES:
        return [whole]
    return [
        whole,
        *(
            Bar(f"{plural(stage.blocks, 'block')} of {plural(stage.tokens, 'token')}", config, stage.macs, place)
            for place, stage in enumerate(found.stages)
        ),
    ]


def _timed(
    rows: Sequence[Row], configs: Collection[ModelConfig], figure: style.AnyFigure
) -> tuple[dict[str, Times], list[str]]:
    """Return the times of networks by the way of measuring, as many ways as there is room for, and what is left out."""
    found = [(row, config) for row in having(rows, "parts_ms") if (config := config_of(row)) in configs]
    of_ours = [row for row, _ in found]
    varying = [name for name in SWEEPABLE if len(ways_of(of_ours, name)) > 1]
    varying += [name for name in MACHINE if len(values_of(of_ours, name)) > 1]
    times: dict[str, dict[ModelConfig, Row]] = {}
    wheres: dict[str, str] = {}
    for row, config in found:
        assert config is not None
        way = ", ".join(describe(row, varying))
        times.setdefault(way, {}).setdefault(config, row)
        wheres.setdefault(way, where(row, [name for name in varying if row[name] is not None]))
    kept, beyond = fitting(figure, wheres, most=max(1, style.most_columns(figure, LEAST_IN) - 1)) if found else ([], [])
    return {way: times[way] for way in kept}, beyond


def _in_g(bar: Bar) -> dict[str, float]:
    return {kind: macs / style.SHOWN_IN["macs"][0] for kind, macs in bar.macs.items()}


def _in_ms(row: Row, stage: int | None = None) -> dict[str, float] | None:
    """Return the milliseconds of the parts of a network, or of one of its stages; None where they were not measured."""
    first = 0 if stage is None else stage * len(KINDS)
    numbers = row["parts_ms" if stage is None else "stage_parts_ms"]
    if not isinstance(numbers, tuple) or len(numbers) < first + len(KINDS):
        return None
    return {kind: float(str(ms)) for kind, ms in zip(KINDS, numbers[first:], strict=False)}


def _about_times(timed: Mapping[str, Times]) -> list[str]:
    """Say how far the parts add up to the pass that was timed with nothing attached."""
    rows = [row for times in timed.values() for row in times.values()]
    of_pass = [
        100 * sum((_in_ms(row) or {}).values()) / float(str(row["latency_ms"])) for row in rows if row["latency_ms"]
    ]
    low, high = (f"{choose(of_pass, default=0):.0f}" for choose in (min, max))
    between = f"{low} to {high}" if low != high else low
    return [
        "times: of a pass with hooks on its parts" + (f", which add up to {between} % of latency_ms" if of_pass else "")
    ]


def _draw_panel(
    ax: Axes, bars: Sequence[Bar], lengths: Mapping[int, Mapping[str, float]], kinds: Sequence[str], named: bool
) -> None:
    for place, bar in enumerate(bars):
        start = 0.0
        for kind in kinds:
            value = lengths.get(place, {}).get(kind, 0.0)
            ax.barh(place, value, height=0.78 if bar.stage is None else 0.5, left=start, **_look(kind))
            start += value
        if place not in lengths:
            ax.annotate("not measured", (0, place), (2, 0), textcoords="offset points", va="center", fontsize=6)
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars] if named else [""] * len(bars))
    for tick, bar in zip(ax.get_yticklabels(), bars, strict=True):
        tick.set_fontsize(7 if bar.stage is None else 6)
    ax.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, None))
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)


def _look(kind: str) -> dict[str, Any]:
    place = KINDS.index(kind)
    colour = style.palette(KINDS)[kind]
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0.3, "hatch": HATCHES[place] or None}
