"""What a network costs against how long it takes, or what memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import EngFormatter

from hvt_bench.analysis.front import sought
from hvt_bench.analysis.series import absent, left_out
from hvt_bench.analysis.trained import ACCURACIES, TRAINED, ended_badly, ended_well, varying_training
from hvt_bench.plots import style
from hvt_bench.plots.asides import write_above, write_beside
from hvt_bench.plots.asked import NOTHING, Asked
from hvt_bench.plots.bars import bars_note, draw_bars, ends_of_bars, spread
from hvt_bench.plots.panels import on_a_page
from hvt_bench.plots.scatter import Panel, above_zero, collect, draw_panels, front_note, mark_front, set_scales
from hvt_bench.row import COLUMNS, Row

LABELS_IN_A_ROW = 8  # as many reference lines as can be labelled side by side on two columns


def draw_tradeoff(rows: Sequence[Row], figure: style.AnyFigure, asked: Asked = NOTHING) -> style.AnyFigure:
    """Draw the MACs of one image against latency, or one metric against another, a panel for each way of measuring.

    A dashed line joins the front. Thin lines join equal MACs per second: a network whose fewer MACs save as much time
    stays on its line. `figure` is empty and has a constrained layout.
    """
    x, y = asked.pair
    usual = not asked.metrics
    drawn, zeros = above_zero(rows, _rated_place) if usual else (_fit(rows, x, y), [])
    apart = TRAINED if {x, y} & {*ACCURACIES} else ()
    lost = ended_badly(rows) if apart else ""
    points = collect(drawn, asked, lambda row: (_cost(row, x, usual), style.shown(row, y)), apart)
    points, beyond = on_a_page(figure, points)
    points = points.assign(spread=[spread(drawn[place], y) for place in points.index.to_list()])
    label = style.pass_macs_label(rows) if usual else style.axis_label(x)
    panels = draw_panels(figure, points, (label, style.axis_label(y)), filled=bool(apart))
    _set_scales(panels[0], points, x, y)
    for panel in panels:
        style.in_millions(panel.ax, "x", list(points["x"]))
        style.in_millions(panel.ax, "y", list(points["y"]))
        draw_bars(panel.ax, panel.points, style.GREY)
    joined = False
    for panel in panels:
        joined |= mark_front(panel, sought(x), sought(y), ends_of_bars(panel.points))
        panel.ax.set(xlim=panel.ax.get_xlim(), ylim=panel.ax.get_ylim())
    rated = [panel for panel in panels if usual and panel.points["batch_size"].nunique() == 1]
    for panel in rated:
        most = int(LABELS_IN_A_ROW * style.width_in(figure) / style.WIDTHS_IN["two"] / len(panels))
        rates = round_rates(list(_rates(panel.points)), max(3, most))
        for rate in sorted(rates, key=lambda rate: not f"{rate:e}".startswith("1.")):  # powers of ten have labels first
            _draw_rate(panel, rate)
    notes = [
        *(["marker: swept axis"] if points["centre"].nunique() > 1 else []),
        *(style.pass_macs_note(rows) if usual else []),
        *([f"{COLUMNS[y].label} of one batch"] if y == "latency_ms" else []),
        *(["thin lines: equal MACs per second"] if rated else []),
        *(bars_note(drawn) if points["spread"].notna().any() else []),
        *(["a panel for each data set and recipe: others do not compare"] if apart and varying_training(rows) else []),
        *([front_note(sought(x), sought(y), COLUMNS[x].label, COLUMNS[y].label)] if joined else []),
        *left_out(rows, x, y),
        *([f"not drawn: {lost}"] if lost else []),
        *zeros,
        *beyond,
    ]
    style.add_footer(figure, rows, notes)
    return figure


def lacks_tradeoff(rows: Sequence[Row], asked: Asked = NOTHING) -> str:
    """Say why `rows` have no trade-off to draw; empty where they have."""
    missing = absent(rows, *asked.pair)
    if not missing and absent(_fit(rows, *asked.pair), *asked.pair):
        return f"no {' and '.join(asked.pair)} but of {ended_badly(rows)}"
    if missing or asked.metrics or above_zero(rows, _rated_place)[0]:
        return missing
    return "no row has both MACs and latency_ms above 0"


def _fit(rows: Sequence[Row], x: str, y: str) -> Sequence[Row]:
    """Leave out, where one of the columns is an accuracy, the rows of which a training ended badly."""
    return [row for row in rows if ended_well(row)] if {x, y} & {*ACCURACIES} else rows


def _set_scales(panel: Panel, points: pd.DataFrame, x: str, y: str) -> None:
    """Scale both axes; percents of images stay where they are, since from 0 to 100 they would be one line."""
    if not {x, y} & {*ACCURACIES}:
        set_scales(panel.ax, points)
    elif x not in ACCURACIES:
        style.scale(panel.ax, "x", list(points["x"]), style.wants_log(points["x"]))
    elif y not in ACCURACIES:
        style.scale(panel.ax, "y", list(points["y"]), style.wants_log(points["y"]))


def _rated_place(row: Row) -> tuple[float, float]:
    return style.pass_macs(row), style.shown(row, "latency_ms")


def _cost(row: Row, x: str, usual: bool) -> float:
    return style.pass_macs(row) if usual else style.shown(row, x)


def _rates(points: pd.DataFrame) -> pd.Series[float]:
    """MACs per second of the whole batch."""
    return points["batch_size"] * points["x"] * 1e9 / (points["y"] / 1e3)


def round_rates(rates: Sequence[float], most: int) -> list[float]:
    """Return round numbers that span `rates`: 1, 2, 5, 10 ... where these are no more than `most`, else 1, 10 ..."""
    low, high = min(rates), max(rates)
    found: list[float] = []
    for digits in (1, 2, 5), (1,):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        steps = [digit * 10.0**power for power in powers for digit in digits]
        below, above = max(step for step in steps if step <= low), min(step for step in steps if step >= high)
        found = [step for step in steps if below <= step <= above]
        if len(found) <= most:
            break
    return found


def _draw_rate(panel: Panel, rate: float) -> None:
    """Draw the line of the points that reach `rate`, labelled where it leaves the panel."""
    ms_per_gmac = panel.points["batch_size"].iloc[0] * 1e12 / rate
    (left, right), (bottom, top) = panel.ax.get_xlim(), panel.ax.get_ylim()
    if ms_per_gmac * right <= bottom or ms_per_gmac * left >= top:
        return
    panel.ax.plot([left, right], [ms_per_gmac * left, ms_per_gmac * right], color="0.7", linewidth=0.6, zorder=1)
    if ms_per_gmac * right > top:
        write_above(panel.ax, top / ms_per_gmac, EngFormatter("/s")(rate))
    else:
        write_beside(panel.ax, ms_per_gmac * right, EngFormatter("/s")(rate))
