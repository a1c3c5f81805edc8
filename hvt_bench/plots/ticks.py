"""Ticks at swept values, their labels clear of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from hvt_bench.plots import style
from hvt_bench.row import Value, csv_text


def mark_places(ax: Axes, places: Mapping[Value, float], numbers: bool) -> None:
    """Put a tick at every swept value; a label that would run into its neighbour goes to the line below."""
    values = list(places.values())
    logarithmic = style.wants_log(values)
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    at = np.log(values) if logarithmic else np.asarray(values)
    parts = (at - at.min()) / (np.ptp(at) or 1.0)
    if not numbers:
        ax.set_xlim(-0.5, len(values) - 0.5)
    ax.set_xticks(values, _staggered(parts * _width_in(ax), [csv_text(value) for value in places]))


def _width_in(ax: Axes) -> float:
    """Return about how many inches lie between the outer ticks of a panel."""
    figure, grid = ax.get_figure(), ax.get_gridspec()
    assert figure is not None
    assert grid is not None
    return 0.75 * style.width_in(figure) / grid.ncols


def _staggered(places_in: Iterable[float], texts: Iterable[str]) -> list[str]:
    ends: list[float] = []  # of the last label on each line
    found = []
    for place, text in zip(places_in, texts, strict=True):
        half = (len(text) + 1) * style.DIGIT_IN / 2
        line = next((line for line, end in enumerate(ends) if end <= place - half), len(ends))
        ends[line : line + 1] = [place + half]
        found.append("\n" * line + text)
    return found
