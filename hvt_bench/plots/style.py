"""How every figure looks: as wide as journal columns, readable in grey, units on axes, a footer that says whence."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Ticker
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, LogLocator, NullFormatter, NullLocator

from hvt_bench.analysis.series import values_of
from hvt_bench.row import COLUMNS, Row, csv_text

AnyFigure = Figure | SubFigure
Handle = Line2D | Patch

WIDTHS_IN = {"one": 3.5, "two": 7.1}  # one and two columns of a journal, in inches: 89 and 180 mm
PAGE_IN = 9.0  # what a journal prints on the height of a page, less the caption
LOG_FROM = 8.0  # values that range over more than this factor stand on a logarithmic axis
_SMALL_G = 0.1  # 10^9 MACs
SHOWN_IN = {  # columns whose numbers are long: what to divide them by, the axis label
    "macs": (1e9, "GMACs"),
    "train_macs": (1e9, "training GMACs"),
    "total_train_macs": (1e12, "TMACs of one training"),
    "fvcore_flops": (1e9, "fvcore GFLOPs"),
    "macs_per_s": (1e9, "GMACs per second"),
    "params": (1e6, "parameters (M)"),
    "activations": (1e6, "activations (M)"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
GREY = "0.45"
DPI, CLOUD_DPI = 300, 200  # of a figure made of dots; of what is, in one made of vectors
DIGIT_IN = 0.062  # width of a digit of 7 pt DejaVu Sans

_DECADES_FROM = 1e3  # on a logarithmic axis that ranges further only powers of ten have a label
_LONG_FROM = 1e4  # numbers that would run into their neighbours
_LABELS_IN = 0.4  # height of the labels under the lowest panels
_LEGEND_LETTERS = 34  # a longer name in the legend is broken behind a comma: three of these fit side by side
_NARROWEST_IN, _NARROW_LETTER_IN = 0.2, 0.03  # what an entry of the legend takes at least, and each letter of it
_FOOTER_LETTERS = 22.0  # letters of 6 pt on an inch of the footer
_TALL = 0.75  # of its width a panel is high, as long as it is not too high or too low
_LOWEST_IN = 1.5
_CROWDED_IN = 1.1  # of as many rows of panels as would else be higher than a page

_COLOURS = tuple(map(to_rgb, "#0173B2 #DE8F05 #029E73 #D55E00 #CC78BC #CA9161 #FBAFE4 #949494 #ECE133 #56B4E9".split()))
"""seaborn's `colorblind`, written out: importing seaborn takes a second, and only the heatmap draws with it."""

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.titley": 1.0,  # else matplotlib measures all ticks again, lest some stand above a panel
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "errorbar.capsize": 1.5,
    "hatch.linewidth": 0.4,
    "text.parse_math": False,  # a model may be called `a$b$`
    "path.simplify": False,  # which points it leaves out depends on the version of matplotlib
    "svg.fonttype": "none",
    "svg.hashsalt": "hvt-bench",
    "pdf.fonttype": 42,
}

_PROVENANCE = {
    "device_name": "{}",
    "dtype": "{}",
    "attention": "attention {}",
    "batch_size": "batch {}",
    "mode": "mode {}",
    "rounds": "rounds {}",
    "torch_version": "torch {}",
    "hvt_bench_version": "hvt-bench {}",
}


@contextmanager
def journal_style() -> Iterator[None]:
    """Draw in the style of hvt-bench, whatever the matplotlibrc of this machine says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def palette(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Give each name a colour that the colour-blind can tell apart; after the tenth they come again."""
    return dict(zip(names, cycle(_COLOURS), strict=False))


def axis_label(column: str) -> str:
    """Return the label of a column with its unit, as it stands on an axis."""
    if column in SHOWN_IN:
        return SHOWN_IN[column][1]
    label, unit = COLUMNS[column].label, COLUMNS[column].unit
    return f"{label} ({unit})" if unit else label


def shown(row: Row, column: str) -> float:
    """Return a number of a row as it is drawn, `macs` in 10^9; NaN where there is none."""
    value = row[column]
    if value is None:
        return math.nan
    assert isinstance(value, int | float)
    return value / SHOWN_IN[column][0] if column in SHOWN_IN else float(value)


def pass_macs(row: Row) -> float:
    """Return the 10^9 MACs of one image in a pass as it was measured: in training, `train_macs`."""
    return shown(row, "train_macs" if row["mode"] == "train" else "macs")


def pass_macs_label(rows: Sequence[Row]) -> str:
    """Return the label of an axis of `pass_macs`."""
    modes = {row["mode"] == "train" for row in rows}
    return axis_label("train_macs") if modes == {True} else axis_label("macs")


def pass_macs_note(rows: Sequence[Row]) -> list[str]:
    """Say whose MACs an axis of `pass_macs` shows."""
    modes = {row["mode"] == "train" for row in rows}
    if modes == {True, False}:
        return ["MACs of one image, in training those of a training step"]
    return ["MACs of one image in a training step" if modes == {True} else "MACs of one image"]


def width_in(figure: AnyFigure) -> float:
    """Return the width of a figure in inches."""
    return float(figure.bbox.width / figure.dpi)


def most_columns(figure: AnyFigure, least_in: float) -> int:
    """Return how many panels of at least that width stand side by side."""
    return max(1, int(width_in(figure) / least_in))


def wants_log(values: Iterable[float]) -> bool:
    """Say whether values range so far that they belong on a logarithmic axis."""
    found = sorted(values)
    return bool(found) and found[0] > 0 and found[-1] / found[0] > LOG_FROM


def scale(ax: Axes, which: Literal["x", "y"], values: Sequence[float], logarithmic: bool) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks, or linear from zero."""
    if not logarithmic:
        ax.update_datalim([(0, 0)], updatex=which == "x", updatey=which == "y")
        ax.autoscale_view(scalex=which == "x", scaley=which == "y")
        ax.set(**{f"{which}lim": (min(0.0, *values), None)})
        return
    ax.set(**{f"{which}scale": "log"})
    mark_log(ax.xaxis if which == "x" else ax.yaxis, None, min(values), max(values))


def in_millions(ax: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Count GMACs in 10^6 where 10^9 gives nothing but zeros behind the point: networks for small images."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if axis.get_label_text() == "GMACs" and max(values) < _SMALL_G:
        axis.set_label_text("MMACs")
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g}"))


def mark_log(axis: Axis, formatter: Formatter | None, low: float, high: float) -> None:
    """Put plain numbers, `20k` from ten thousand on, or those of `formatter` at the ticks of a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > _DECADES_FROM else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(formatter or FuncFormatter(lambda value, _: _number(value)))
    axis.set_minor_formatter(NullFormatter())


def _number(value: float) -> str:
    return f"{value:g}" if value < _LONG_FROM else EngFormatter(sep="")(value)


def make_no_hidden_ticks(axes: Iterable[Axes]) -> None:
    """Let panels make no minor ticks where they show none: ticks are what a figure of many panels takes most time for.

    Axes that share a scale share what places their ticks too, so each gets one of its own.
    """
    for ax in axes:
        for axis, side in ((ax.xaxis, "bottom"), (ax.yaxis, "left")):
            if not axis.get_tick_params(which="minor").get(side, True):
                axis.minor = Ticker()
                axis.set_minor_locator(NullLocator())
                axis.set_minor_formatter(NullFormatter())


def layout(panels: int, most: int) -> tuple[int, int]:
    """Lay panels out in rows of at most `most`, as even as can be; return rows and columns."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def add_legend(figure: AnyFigure, *groups: Sequence[Handle]) -> None:
    """Put a legend above the panels, in as many columns as fit; each group starts on a line of its own."""
    names = [str(handle.get_label()) for group in groups for handle in group]
    letters = sum(min(len(name), _LEGEND_LETTERS) for name in names) / len(names)
    most_columns = int(width_in(figure) / (_NARROWEST_IN + _NARROW_LETTER_IN * letters)) + 1  # surely no more fit
    longest = max(map(len, groups))
    lines = [handle for group in groups for handle in group if isinstance(handle, Line2D)]
    drawn_lines = any(handle.get_linestyle() != "None" for handle in lines)
    for most in range(min(longest, most_columns), 0, -1):
        _, columns = layout(longest, most)
        parts = zip(*(_in_columns(group, columns) for group in groups), strict=True)
        handles = [handle for column in parts for part in column for handle in part]
        legend = figure.legend(
            handles,
            [broken(str(handle.get_label())) for handle in handles],
            loc="outside upper center",
            ncols=columns,
            handlelength=3 if drawn_lines else 1,
        )
        if most == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _in_columns(group: Sequence[Handle], columns: int) -> list[list[Handle]]:
    """Cut a group into columns of equal length, filled up with entries that show nothing."""
    lines = -(-len(group) // columns)
    filled = [*group, *[Line2D([], [], linestyle="")] * (lines * columns - len(group))]
    return [filled[start : start + lines] for start in range(0, len(filled), lines)]


def broken(name: str, letters: int = _LEGEND_LETTERS) -> str:
    """Break a long name behind commas."""
    lines = [""]
    for part in re.findall(r"[^,]*, ?|[^,]+$", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def add_footer(figure: AnyFigure, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Say in small type under the panels how and with what the rows were measured, and then the notes."""
    lines = [provenance(rows), ". ".join(note[0].upper() + note[1:] for note in notes)]
    letters = int(_FOOTER_LETTERS * width_in(figure))
    text = "\n".join(textwrap.fill(line, letters, break_on_hyphens=False) for line in lines if line)
    figure.supxlabel(text, x=0.01, horizontalalignment="left", fontsize=6, color="0.25", linespacing=1.4)


def provenance(rows: Sequence[Row]) -> str:
    """Say on what, how and with which versions rows were measured; where a column has several values, all."""
    found = []
    for column, form in _PROVENANCE.items():
        different = list(values_of(rows, column))
        numbers = [value for value in different if isinstance(value, int | float)]
        values = {csv_text(value): None for value in (sorted(numbers) if len(numbers) == len(different) else different)}
        if values and values.keys() != {"infer"}:
            found.append(form.format(", ".join(values)))
    return " · ".join(found)


def fit_height(figure: AnyFigure, tallest_in: float = math.inf, exactly_in: float | None = None) -> None:
    """Make a figure as high as its panels, its legend and its footer need; no panel gets more than `tallest_in`.

    A figure within another one is left as high as it is.
    """
    if isinstance(figure, SubFigure):
        return
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    panel = exactly_in or min(tallest_in, max(_LOWEST_IN, _TALL * width_in(figure) / grid.ncols))
    around = sum(artist.get_window_extent().height for artist in (*figure.legends, *figure.texts)) / figure.dpi
    around += _LABELS_IN
    if exactly_in is None:  # rows of panels that would not go on a page are lower
        panel = min(panel, max(_CROWDED_IN, (PAGE_IN - around) / grid.nrows))
    figure.set_figheight(grid.nrows * panel + around)
