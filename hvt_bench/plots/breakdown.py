"""What the MACs of each model go into, whole and by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hvt_bench.analysis.kinds import KINDS, Kinds, kinds_of
from hvt_bench.analysis.rebuild import centres, config_of
from hvt_bench.errors import CountError, plural
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models.config import ModelConfig
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.row import Row

MOST = 12  # models, which take up to a second each to count
MOST_STAGES = 6  # of one model
HATCHES = ("", "////", "", "\\\\\\\\", "xxxx", "", "----")  # of KINDS, to read in grey


@dataclass(frozen=True)
class Bar:
    """One bar: a model, or a stage of the one above it."""

    label: str
    macs: dict[str, int]
    stage: bool


def draw_breakdown(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw a stacked bar of MACs for each model, at its centre, and below it one for each stage of its blocks.

    Networks are built anew from the fields of their rows, and counted. `figure` is empty and has a constrained layout.
    """
    networks = _networks(rows)
    bars = [bar for names, config in list(networks.items())[:MOST] for bar in _bars(names, config)]
    ax = figure.add_subplot(figure.add_gridspec(1, 1)[0])
    kinds = [kind for kind in KINDS if any(bar.macs.get(kind) for bar in bars)]
    for place, bar in enumerate(bars):
        _draw_bar(ax, place, bar, kinds)
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
    for tick, bar in zip(ax.get_yticklabels(), bars, strict=True):
        tick.set_fontsize(6 if bar.stage else 7)
    ax.set(ylim=(len(bars) - 0.4, -0.6), xlabel=style.axis_label("macs"), xlim=(0, None))
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    style.add_legend(figure, [Patch(label=kind, **_look(kind)) for kind in kinds])
    left = len(networks) - MOST
    outside = sum(config_of(row) is None for row in centres(rows))
    notes = [
        "MACs of one image, of each model at its centre; below, those of its blocks by the tokens that enter them",
        "no time: a CSV holds none of parts, `hvt-bench show MODEL --time` measures it",
        *(["other: what is none of these, such as DynamicViT's predictors"] if "other" in kinds else []),
        *([f"{plural(left, 'other model')} not drawn"] if left > 0 else []),
        *([f"{plural(outside, 'outside model')} not drawn: its code is not run for a figure"] if outside else []),
    ]
    style.add_footer(figure, rows, notes)
    style.fit_height(figure, exactly_in=0.2 + sum(0.17 if bar.stage else 0.21 for bar in bars))
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
        return [Bar(f"{label} (cannot be counted)", {}, stage=False)]
    whole = Bar(style.broken(label), dict(found.macs), stage=False)
    if not 1 < len(found.stages) <= MOST_STAGES:
        return [whole]
    return [
        whole,
        *(
            Bar(f"{plural(stage.blocks, 'block')} of {plural(stage.tokens, 'token')}", dict(stage.macs), stage=True)
            for stage in found.stages
        ),
    ]


def _draw_bar(ax: Axes, place: int, bar: Bar, kinds: Sequence[str]) -> None:
    start = 0.0
    for kind in kinds:
        value = bar.macs.get(kind, 0) / style.SHOWN_IN["macs"][0]
        ax.barh(place, value, height=0.5 if bar.stage else 0.78, left=start, **_look(kind))
        start += value


def _look(kind: str) -> dict[str, Any]:
    place = KINDS.index(kind)
    colour = style.palette(KINDS)[kind]
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0.3, "hatch": HATCHES[place] or None}
