"""How every figure looks: two journal columns wide, readable in grey, units from COLUMNS, a footer that says whence."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Literal, TypeVar

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from hvt_bench.analysis.series import having
from hvt_bench.row import COLUMNS, Row, csv_text

AnyFigure = TypeVar("AnyFigure", Figure, SubFigure)

WIDTH_IN = 7.1  # two columns of a journal
LOG_FROM = 8.0  # values that range over more than this factor stand on a logarithmic axis
SHOWN_IN = {"macs": (1e9, "GMACs")}  # columns whose numbers are long: what to divide them by, the axis label
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
GREY = "0.45"
DIGIT_IN = 0.062  # width of a digit of 7 pt DejaVu Sans

_DECADES_FROM = 1e3  # on a logarithmic axis that ranges further only powers of ten have a label
_LABELS_IN = 0.4  # height of the labels under the lowest panels
_LEGEND_LETTERS = 34  # a longer name in the legend is broken behind a comma: three of these fit side by side
_FOOTER_LETTERS = 165  # letters of 6 pt on one line of the footer

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
    "savefig.dpi": 300,
    "text.parse_math": False,  # a model may be called `a$b$`
    "svg.fonttype": "none",
    "svg.hashsalt": "hvt-bench",
    "pdf.fonttype": 42,
}

_PROVENANCE = {
    "device_name": "{}",
    "dtype": "{}",
    "attention": "attention {}",
    "batch_size": "batch {}",
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
    return dict(zip(names, cycle(sns.color_palette("colorblind")), strict=False))


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
    axis = ax.xaxis if which == "x" else ax.yaxis
    far = max(values) / min(values) > _DECADES_FROM
    axis.set_major_locator(LogLocator(subs=(1.0,) if far else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def layout(panels: int, most: int) -> tuple[int, int]:
    """Lay panels out in rows of at most `most`, as even as can be; return rows and columns."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def add_legend(figure: Figure | SubFigure, *groups: Sequence[Line2D]) -> None:
    """Put a legend above the panels, in as many columns as fit; each group starts on a line of its own."""
    longest = max(map(len, groups))
    drawn_lines = any(handle.get_linestyle() != "None" for group in groups for handle in group)
    for most in range(longest, 0, -1):
        _, columns = layout(longest, most)
        parts = zip(*(_in_columns(group, columns) for group in groups), strict=True)
        handles = [handle for column in parts for part in column for handle in part]
        legend = figure.legend(
            handles,
            [_broken(str(handle.get_label())) for handle in handles],
            loc="outside upper center",
            ncols=columns,
            handlelength=3 if drawn_lines else 1,
        )
        if most == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _in_columns(group: Sequence[Line2D], columns: int) -> list[list[Line2D]]:
    """Cut a group into columns of equal length, filled up with entries that show nothing."""
    lines = -(-len(group) // columns)
    filled = [*group, *[Line2D([], [], linestyle="")] * (lines * columns - len(group))]
    return [filled[start : start + lines] for start in range(0, len(filled), lines)]


def _broken(name: str) -> str:
    """Break a long name behind commas."""
    lines = [""]
    for part in re.findall(r"[^,]*, ?|[^,]+$", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > _LEGEND_LETTERS:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def add_footer(figure: FigureBase, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Say in small type under the panels how and with what the rows were measured, and then the notes."""
    lines = [provenance(rows), ". ".join(note[0].upper() + note[1:] for note in notes)]
    text = "\n".join(textwrap.fill(line, _FOOTER_LETTERS) for line in lines if line)
    figure.supxlabel(text, x=0.01, horizontalalignment="left", fontsize=6, color="0.25", linespacing=1.4)


def provenance(rows: Sequence[Row]) -> str:
    """Say on what, how and with which versions rows were measured; where a column has several values, all."""
    found = []
    for column, form in _PROVENANCE.items():
        values = dict.fromkeys(csv_text(row[column]) for row in having(rows, column))
        if values:
            found.append(form.format(", ".join(values)))
    return " · ".join(found)


def fit_height(figure: Figure, tallest_in: float) -> None:
    """Make a figure as high as its panels, its legend and its footer need; no panel gets more than `tallest_in`."""
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    panel = min(tallest_in, max(1.5, 0.75 * WIDTH_IN / grid.ncols))
    around = sum(artist.get_window_extent().height for artist in (*figure.legends, *figure.texts)) / figure.dpi
    figure.set_figheight(grid.nrows * panel + around + _LABELS_IN)
