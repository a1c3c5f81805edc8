"""How many tokens enter each block, and what attention over them costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from hvt_bench.analysis.rebuild import centres
from hvt_bench.analysis.series import describe, having, varying_network
from hvt_bench.errors import plural
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.plots import style
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.row import Row, csv_text

SHORTENING = (  # fields that change the tokens within a network, and nothing that enters it
    "pool_stages", "blocks_per_stage", "pool_kernel_size", "pool_stride", "stage_depths", "kv_stride", "keep_rate",
)  # fmt: skip
MOST = 10  # staircases that can be told apart
MOST_VALUES = 3  # of a field, that the footer names
LEAST_IN = 2.8  # width of a panel
LOG_FROM = 40.0  # numbers of tokens that range further, as of an MViT beside a ViTGAN, stand on a logarithmic axis

_THICKEST_PT, _THINNEST_PT, _THINNER_PT = 3.0, 0.9, 0.45
_STRENGTH = 0.18  # of a colour in its tint

Lens = tuple[int, ...]
Look = dict[str, Any]


def draw_tokens(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the tokens that enter each block, and their squares, which attention computes on each channel.

    A line for each staircase of the models and of what shortens it; the area under a line of squares is the cost of
    attention. `figure` is empty and has a constrained layout.
    """
    stairs = staircases(rows)
    shown = sorted(list(stairs.items())[:MOST], key=lambda stair: -_pairs(stair[0]))  # small areas over large ones
    colours = style.palette([", ".join(names) for _, names in shown])
    beside = style.most_columns(figure, LEAST_IN) > 1
    grid = figure.add_gridspec(*((1, 2) if beside else (2, 1)))
    tokens, squares = (figure.add_subplot(grid[place]) for place in (0, 1))
    handles = []
    for index, ((lens, names), colour) in enumerate(zip(shown, colours.values(), strict=True)):
        look: Look = {"color": colour, "linestyle": style.DASHES[index % len(style.DASHES)]}
        look["linewidth"] = max(_THINNEST_PT, _THICKEST_PT - index * _THINNER_PT)  # lines that coincide all show
        edges = np.arange(len(lens) + 1)
        tokens.stairs(lens, edges, baseline=None, **look)
        of_pairs = [count**2 / 1e3 for count in lens]
        squares.stairs(of_pairs, edges, fill=True, color=_tint(colour), linewidth=0)
        squares.stairs(of_pairs, edges, baseline=None, **look)
        handles.append(Line2D([], [], label=f"{_listed(names)}: {_pairs(lens) / 1e3:,.0f} k pairs", **look))
    for ax, label in ((tokens, "tokens that enter the block"), (squares, "pairs of tokens (thousands)")):
        ax.set(xlabel="block", ylabel=label, ylim=(0, None), xlim=(0, max(len(lens) for lens, _ in shown)))
    lengths = [count for lens, _ in shown for count in lens]
    if max(lengths) > LOG_FROM * min(lengths):
        style.scale(tokens, "y", lengths, True)
    style.add_legend(figure, handles)
    left = len(stairs) - len(shown)
    notes = [
        "each attention computes 2 MACs on each channel of each pair, so the filled area is its cost",
        *(["MViT pools keys and values too, so it computes fewer pairs"] if _has(rows, "mvit") else []),
        *([f"{plural(left, 'other staircase')} not drawn"] if left else []),
        *_without(rows),
        *_held(rows),
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_tokens(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why there are no tokens to draw; empty where there are."""
    return "" if any(row["seq_lens"] for row in centres(rows)) else "no row has seq_lens"


def staircases(rows: Sequence[Row]) -> dict[Lens, list[str]]:
    """Return the sequences of tokens of the models, and of what shortens them, each with the names that have it."""
    home = centres(rows)
    grid = [name for name in varying_network(rows) if name not in SHORTENING]
    by_model = {row["model"]: row for row in home}
    found: dict[Lens, list[str]] = {}
    for row in [*home, *rows]:
        centre = by_model.get(row["model"])
        if row["seq_lens"] is None or centre is None or row["axis"] not in (None, *SHORTENING):
            continue
        if any(row[name] != centre[name] for name in grid):
            continue
        apart = [name for name in SHORTENING if row[name] != centre[name]]
        name = " ".join([str(row["model"]), *describe(row, apart)])
        names = found.setdefault(tuple(map(int, row["seq_lens"])), [])  # type: ignore[arg-type]
        if name not in names:
            names.append(name)
    return found


def _pairs(lens: Lens) -> int:
    return sum(count**2 for count in lens)


def _tint(colour: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(1 - _STRENGTH * (1 - part) for part in colour)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2:,} more" if len(names) > 2 else "")


def _has(rows: Sequence[Row], family: str) -> bool:
    return any(row["family"] == family and row["seq_lens"] is not None for row in rows)


def _held(rows: Sequence[Row]) -> list[str]:
    """Say at which values of what else varies the staircases are, and how many rows lie elsewhere."""
    fields = [name for name in varying_network(rows) if name not in SHORTENING]
    fields += [
        axis
        for axis in dict.fromkeys(str(row["axis"]) for row in having(rows, "axis", "seq_lens"))
        if axis in CONFIG_COLUMNS and axis not in (*SHORTENING, *fields)
    ]
    by_model = {row["model"]: row for row in centres(rows)}
    apart = [
        [name for name in fields if row[name] != by_model[row["model"]][name]]
        for row in having(rows, "seq_lens")
        if row["model"] in by_model
    ]
    elsewhere = sum(map(bool, apart))
    if not elsewhere:
        return []
    values = {
        name: dict.fromkeys(csv_text(row[name]) for row in by_model.values() if row[name] is not None)
        for name in fields
        if any(name in names for names in apart)
    }
    held = ", ".join(f"{name} {' or '.join(list(found)[:MOST_VALUES])}" for name, found in values.items())
    return [f"held at {held}: {plural(elsewhere, 'row')} of other values not drawn"]


def _without(rows: Sequence[Row]) -> list[str]:
    models = {row["model"] for row in rows if row["macs"] is not None}
    without = models - {row["model"] for row in rows if row["seq_lens"] is not None}
    return [f"{plural(len(without), 'model')} without seq_lens not drawn"] if without else []
