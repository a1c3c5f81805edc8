"""A metric over two fields of a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from hvt_bench.analysis.rebuild import centres
from hvt_bench.analysis.series import having, left_out, measured_by, varying_network
from hvt_bench.errors import plural
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.panels import fitting
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row, Value, csv_text

LEAST_IN = 1.3  # width of a panel
COLOURS = "cividis"  # as light as its values are low or high: the colour-blind and grey printing keep the order

_NUMBER_IN = 0.175  # a cell that is as wide holds a number of three digits
_CELL_IN = 0.2
_COLOURS_IN = 0.07  # between the cells and the colours
_TICK_IN = 0.1  # height of a number of 6 pt, which stands upright under its cells
_BESIDE_IN = 1.3  # labels of the fields and of the colours


@dataclass(frozen=True)
class Plan:
    """What lies along which side."""

    across: str
    up: str
    panels: str
    """Field with a panel for each of its values; empty where the grid has two fields."""
    held: dict[str, Value]
    """Other fields, and the value that is drawn."""


def draw_heatmap(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw a metric of the first model as colour over two fields of its grid, a panel for each value of a third.

    These are the fields with the most values; others are held at the network that the model's name stands for, or the
    first. `figure` is empty and has a constrained layout.
    """
    metric = _metric(rows, asked)
    plan = plan_of(rows, metric)
    cells = _cells(rows, metric, plan)
    names = {f"{plan.panels} {value}": value for value in dict.fromkeys(cells["panel"])}
    kept, beyond = fitting(figure, {name: f"--where {plan.panels}={value}" for name, value in names.items()})
    panels = [names[name] for name in kept]
    grid_rows, columns = style.layout(len(panels), style.most_columns(figure, LEAST_IN))
    grid = figure.add_gridspec(grid_rows, columns)
    norm = _norm(list(cells["value"].dropna()))
    across, up = (sorted(set(cells[side])) for side in ("across", "up"))
    cell_in = (style.width_in(figure) - _BESIDE_IN) / columns / len(across)
    axes = []
    for index, panel in enumerate(panels):
        ax = figure.add_subplot(grid[divmod(index, columns)])
        table = cells[cells["panel"] == panel].pivot_table(index="up", columns="across", values="value")
        _draw_cells(ax, table.reindex(index=up[::-1], columns=across), norm, cell_in)
        left = index % columns == 0
        lowest = index // columns + 1 >= len(panels) // columns  # and above a row that is not full
        ax.tick_params(labelleft=left)
        ax.set(xlabel=style.axis_label(plan.across) if lowest else "", ylabel=style.axis_label(plan.up) if left else "")
        if plan.panels:
            ax.set_title(f"{COLUMNS[plan.panels].label} {panel}", fontsize=7)
        axes.append(ax)
    colours = figure.colorbar(
        axes[0].collections[0], ax=axes, label=style.axis_label(metric), aspect=30, pad=_pad(figure)
    )
    colours.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        style.mark_log(colours.ax.yaxis, None, *map(float, colours.ax.get_ylim()))
    empty = len(panels) * len(across) * len(up) - int(cells[cells["panel"].isin(panels)]["value"].notna().sum())
    notes = [
        f"model {centres(rows)[0]['model']}",
        *([f"held: {', '.join(_held(plan))}"] if plan.held else []),
        *([f"{plural(empty, 'cell')} without a value left white"] if empty else []),
        *left_out(rows, metric),
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    style.fit_height(figure, exactly_in=max(1.2, _CELL_IN * len(up) + 0.55))
    return figure


def lacks_heatmap(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there is no grid to draw; empty where there is."""
    found = _fields(rows, _metric(rows, asked))
    return "" if len(found) > 1 else "no model has rows that differ in two fields of numbers, as those of a `grid` do"


def plan_of(rows: Sequence[Row], metric: str) -> Plan:
    """Choose what lies along which side: the fields with the most values first."""
    sizes = _fields(rows, metric)
    across, up, *rest = sorted(sizes, key=lambda name: -sizes[name])
    home = centres(rows)[0]
    held = {name: home[name] for name in rest[1:]}
    return Plan(across, up, rest[0] if rest else "", held)


def _metric(rows: Sequence[Row], asked: Asked) -> str:
    return asked.metrics[0] if asked.metrics else "latency_ms" if having(rows, "latency_ms") else "macs"


def _grid(rows: Sequence[Row], metric: str) -> list[Row]:
    """Rows of the first model that has a centre, off its axes, that have the metric."""
    first = [row["model"] for row in centres(rows)][:1]
    return [row for row in having(rows, metric) if row["axis"] is None and row["model"] in first]


def _fields(rows: Sequence[Row], metric: str) -> dict[str, int]:
    """Return how many values each field of the grid has that is a number."""
    grid = _grid(rows, metric)
    protocol = [name for name in SWEEPABLE if len({measured_by(row, name) for row in grid} - {None}) > 1]
    names = [*varying_network(grid), *protocol]
    return {name: len({row[name] for row in grid} - {None}) for name in names if COLUMNS[name].kind in (int, float)}


def _cells(rows: Sequence[Row], metric: str, plan: Plan) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "across": row[plan.across],
            "up": row[plan.up],
            "panel": csv_text(row[plan.panels]) if plan.panels else "",
            "value": style.shown(row, metric),
        }
        for row in _grid(rows, metric)
        if all(row[name] == value for name, value in plan.held.items())
        and row[plan.across] is not None
        and row[plan.up] is not None
    )


def _norm(values: list[float]) -> Normalize:
    ends = min(values), max(values)
    return LogNorm(*ends) if style.wants_log(values) else Normalize(*ends)


def _draw_cells(ax: Axes, table: pd.DataFrame, norm: Normalize, cell_in: float) -> None:
    import seaborn as sns  # a second, spared where no grid is drawn

    form: dict[str, Any] = (
        {"annot": table.map(_short), "fmt": "", "annot_kws": {"fontsize": 5}} if cell_in >= _NUMBER_IN else {}
    )
    sns.heatmap(table, ax=ax, norm=norm, cmap=COLOURS, cbar=False, linewidths=0.3, linecolor="white", **form)
    ax.set_yticks(np.arange(len(table.index)) + 0.5, [csv_text(value) for value in table.index], rotation=0)
    every = math.ceil(_TICK_IN / cell_in)
    ax.set_xticks(np.arange(len(table.columns))[::every] + 0.5, map(csv_text, table.columns[::every]), rotation=90)
    ax.tick_params(length=0, labelsize=6)
    ax.grid(visible=False)


def _pad(figure: style.AnyFigure) -> float:
    """Return how far from the cells the colours stand, as a part of the width: on one column too as far as a line."""
    return max(0.01, _COLOURS_IN / style.width_in(figure))


def _short(value: float) -> str:
    """Write a number in about three digits."""
    return "" if np.isnan(value) else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _held(plan: Plan) -> list[str]:
    return [f"{name} {csv_text(value)}" for name, value in plan.held.items()]
