"""FIGURES: every figure that can be drawn from rows; save_figures writes them beside the CSV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from hvt_bench.errors import RequestError, unknown
from hvt_bench.files import write_whole
from hvt_bench.plots import style
from hvt_bench.plots.accuracy import draw_accuracy, lacks_accuracy
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.breakdown import draw_breakdown, lacks_breakdown
from hvt_bench.plots.heatmap import draw_heatmap, lacks_heatmap
from hvt_bench.plots.memory import draw_memory, lacks_memory
from hvt_bench.plots.noise import draw_noise, lacks_noise
from hvt_bench.plots.roofline import draw_roofline, lacks_roofline
from hvt_bench.plots.scaling import draw_scaling, lacks_scaling
from hvt_bench.plots.speedup import draw_speedup, lacks_speedup
from hvt_bench.plots.tokens import draw_tokens, lacks_tokens
from hvt_bench.plots.tradeoff import draw_tradeoff, lacks_tradeoff
from hvt_bench.row import Row


class Draw(Protocol):
    """Draws a figure of rows onto an empty canvas of constrained layout, and returns the canvas."""

    def __call__(self, rows: Sequence[Row], figure: Canvas, asked: Asked = NOTHING) -> style.AnyFigure:
        """Draw."""


class Lacks(Protocol):
    """Says what rows lack for a figure; empty where they can fill it."""

    def __call__(self, rows: Sequence[Row], asked: Asked = NOTHING) -> str:
        """Say it."""


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn from rows."""

    doc: str
    draw: Draw
    lacks: Lacks
    panel_height_in: float | None = None
    """The most that a panel is high; None where drawing makes the figure as high as it must be."""


FIGURES: dict[str, Figure] = {
    "scaling": Figure("what each swept axis costs: a panel for each metric", draw_scaling, lacks_scaling, 2.1),
    "tradeoff": Figure("one metric against another, and the front", draw_tradeoff, lacks_tradeoff, 3.4),
    "speedup": Figure("one metric against another, both over those of a baseline", draw_speedup, lacks_speedup, 3.4),
    "accuracy": Figure("top-1 against what it costs", draw_accuracy, lacks_accuracy, 2.6),
    "tokens": Figure("tokens that enter each block, and what attention costs", draw_tokens, lacks_tokens, 2.4),
    "breakdown": Figure("what the MACs of each model, and its time, go into", draw_breakdown, lacks_breakdown),
    "heatmap": Figure("a metric over two fields of a grid", draw_heatmap, lacks_heatmap),
    "memory": Figure("peak memory against MACs", draw_memory, lacks_memory, 3.4),
    "roofline": Figure("MACs per second against arithmetic intensity", draw_roofline, lacks_roofline, 3.0),
    "noise": Figure("spread between rounds against latency", draw_noise, lacks_noise, 3.0),
}

FORMATS: dict[str, tuple[Any, dict[str, Any]]] = {
    "png": (FigureCanvasAgg, {}),
    "svg": (FigureCanvasSVG, {"metadata": {"Date": None}}),
    "pdf": (FigureCanvasPdf, {"metadata": {"CreationDate": None}}),
}
"""What writes a figure in each format, and without what: no dates, so the same rows give the same file."""


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
    asked: Asked = NOTHING,
    width: str = "two",
) -> Saved:
    """Draw the figures `names`, or all that `rows` can fill, as `run.scaling.svg` beside `run.csv` or in `out`.

    `width` is a key of style.WIDTHS_IN. Raises RequestError where a name, a format or what was asked is unknown, a
    figure asked for lacks a column, or there is nothing to draw; then nothing was written. Raises FileError where a
    file cannot be written.
    """
    asked.check(rows)
    not_drawn = _check(rows, beside, names, formats, asked, width)
    chosen = [name for name in dict.fromkeys(names or FIGURES) if name not in not_drawn]
    folder = out or beside.parent
    images = {
        folder / f"{beside.stem}.{name}.{suffix}": image
        for name in chosen
        for suffix, image in render_figure(name, rows, formats, asked, width).items()
    }
    for path, image in images.items():
        write_whole(path, image)
    return Saved(tuple(images), not_drawn)


def render_figure(
    name: str, rows: Sequence[Row], formats: Sequence[str], asked: Asked = NOTHING, width: str = "two"
) -> dict[str, bytes]:
    """Draw a figure that the rows can fill, and return its bytes in each of `formats`."""
    figure = FIGURES[name]
    with style.journal_style():
        canvas = Canvas((style.WIDTHS_IN[width], 4), layout="constrained")
        figure.draw(rows, canvas, asked)
        if figure.panel_height_in is not None:
            style.fit_height(canvas, figure.panel_height_in)
        style.make_no_hidden_ticks(canvas.axes)
        engine = canvas.get_layout_engine()
        assert engine is not None
        engine.execute(canvas)  # once for all formats, and without the drawing that `draw_without_rendering` adds
        canvas.set_layout_engine("none")
        return {suffix: _encoded(canvas, suffix) for suffix in formats}


def _check(
    rows: Sequence[Row], beside: Path, names: Sequence[str], formats: Sequence[str], asked: Asked, width: str
) -> dict[str, str]:
    """Return why figures cannot be drawn, where they were not asked for by name."""
    for what, given, known in (
        ("figure", names, FIGURES),
        ("format", formats, FORMATS),
        ("width", [width], style.WIDTHS_IN),
    ):
        for name in given:
            if name not in known:
                raise RequestError(unknown(what, name, known))
    lacking = {name: FIGURES[name].lacks(rows, asked) for name in names or FIGURES}
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


def _encoded(canvas: Canvas, suffix: str) -> bytes:
    """Return the bytes of a figure that is laid out; `savefig` would draw it twice to lay it out again."""
    image = io.BytesIO()
    canvas.set_dpi(style.DPI if suffix == "png" else style.CLOUD_DPI)
    writer, arguments = FORMATS[suffix]
    getattr(writer(canvas), f"print_{suffix}")(image, **arguments)
    return image.getvalue()
