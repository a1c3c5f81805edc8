"""FIGURES: every figure that can be drawn from rows; save_figures writes them beside the CSV."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from hvt_bench.analysis.series import absent
from hvt_bench.errors import RequestError, unknown
from hvt_bench.files import write_whole
from hvt_bench.plots import style
from hvt_bench.plots.memory import draw_memory
from hvt_bench.plots.scaling import draw_scaling, lacks_scaling
from hvt_bench.plots.tradeoff import draw_tradeoff
from hvt_bench.row import Row


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn from rows."""

    doc: str
    draw: Callable[[Sequence[Row], Canvas], Canvas]
    lacks: Callable[[Sequence[Row]], str]
    """Say what rows lack for it; empty where they can fill it."""
    panel_height_in: float


FIGURES: dict[str, Figure] = {
    "scaling": Figure("MACs and latency along every swept axis", draw_scaling, lacks_scaling, 2.1),
    "tradeoff": Figure("latency against MACs", draw_tradeoff, lambda rows: absent(rows, "macs", "latency_ms"), 3.4),
    "memory": Figure(
        "peak memory against MACs", draw_memory, lambda rows: absent(rows, "macs", "peak_memory_mib"), 3.4
    ),
}

FORMATS: dict[str, Mapping[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Formats of a figure, each with the dates to leave out: the same rows give the same file."""


@dataclass(frozen=True)
class Saved:
    """What save_figures did."""

    paths: tuple[Path, ...]
    not_drawn: Mapping[str, str]
    """By name of a figure: why the rows cannot fill it."""


def save_figures(
    rows: Sequence[Row],
    beside: Path,
    names: Sequence[str] = (),
    formats: Sequence[str] = ("png", "svg"),
    out: Path | None = None,
) -> Saved:
    """Draw the figures `names`, or all that `rows` can fill, as `run.scaling.svg` beside `run.csv` or in `out`.

    Raises RequestError where a name or a format is unknown, a figure asked for lacks a column, or there is nothing
    to draw; then nothing was written. Raises FileError where a file cannot be written.
    """
    not_drawn = _check(rows, beside, names, formats)
    chosen = [name for name in dict.fromkeys(names or FIGURES) if name not in not_drawn]
    folder = out or beside.parent
    images = {
        folder / f"{beside.stem}.{name}.{suffix}": image
        for name in chosen
        for suffix, image in render_figure(name, rows, formats).items()
    }
    for path, image in images.items():
        write_whole(path, image)
    return Saved(tuple(images), not_drawn)


def _check(rows: Sequence[Row], beside: Path, names: Sequence[str], formats: Sequence[str]) -> dict[str, str]:
    """Return why figures cannot be drawn, where they were not asked for by name."""
    for what, given, known in (("figure", names, FIGURES), ("format", formats, FORMATS)):
        for name in given:
            if name not in known:
                raise RequestError(unknown(what, name, known))
    lacking = {name: FIGURES[name].lacks(rows) for name in names or FIGURES}
    lacking = {name: why for name, why in lacking.items() if why}
    if names and lacking:
        name, why = next(iter(lacking.items()))
        raise RequestError(
            f"{beside}: cannot draw '{name}': {why}; `measure` and `axes` in the sweep file say what to measure"
        )
    if len(lacking) == len(FIGURES):
        reasons = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        raise RequestError(f"{beside}: there is nothing to draw: {reasons}")
    return lacking


def render_figure(name: str, rows: Sequence[Row], formats: Sequence[str]) -> dict[str, bytes]:
    """Draw a figure that the rows can fill, and return its bytes in each of `formats`."""
    figure = FIGURES[name]
    with style.journal_style():
        canvas = Canvas((style.WIDTH_IN, 4), layout="constrained")
        figure.draw(rows, canvas)
        style.fit_height(canvas, figure.panel_height_in)
        return {suffix: _encoded(canvas, suffix) for suffix in formats}


def _encoded(canvas: Canvas, suffix: str) -> bytes:
    image = io.BytesIO()
    canvas.savefig(image, format=suffix, metadata=dict(FORMATS[suffix]))
    return image.getvalue()
