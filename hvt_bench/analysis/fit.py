"""fit: how a cost or a time grows along a swept axis, as the exponent of a power law.

An exponent of 0.94 along `depth` says that the metric grows as depth^0.94. What is counted, or computed from shapes, is
exact: its local exponents say how it bends, and an interval would say nothing. What is measured has an interval where
the rounds of every point are in the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from hvt_bench.analysis import power
from hvt_bench.analysis.along import along_grid
from hvt_bench.analysis.power import Bend
from hvt_bench.analysis.series import describe, varying_machine, varying_network, varying_protocol
from hvt_bench.analysis.trained import varying_training
from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row

Kind = Literal["counted", "computed", "measured"]

METRICS: dict[str, Kind] = {  # `counted`: exact, and the same however a network is measured; `computed`: exact
    "params": "counted",
    "macs": "counted",
    "fvcore_flops": "counted",
    "activations": "counted",
    "train_macs": "computed",  # checkpointing changes it
    "weights_mib": "computed",
    "estimated_memory_mib": "computed",
    "latency_ms": "measured",
    "device_latency_ms": "measured",
    "throughput_img_s": "measured",
    "forward_ms": "measured",
    "backward_ms": "measured",
    "step_ms": "measured",
    "macs_per_s": "measured",
    "peak_memory_mib": "measured",
    "reserved_memory_mib": "measured",
    "process_memory_mib": "measured",
    "energy_mj_per_img": "measured",
    "total_train_macs": "computed",
    "train_s": "measured",
}
ROUNDS = {"latency_ms": "latency_ms_rounds"}
"""Metrics whose rounds are in the rows, and in which column."""
USUAL = ("macs", "params", "latency_ms", "peak_memory_mib")
"""What is fitted where nothing else is asked for."""


@dataclass(frozen=True)
class Fit:
    """How one metric of one line of points grows along one axis."""

    line: str
    """The model, and what else tells this line from others of it: `hvt_s_1, float32, batch 64`."""
    model: str
    axis: str
    metric: str
    x: tuple[float, ...]
    """Values on the axis, ascending."""
    y: tuple[float, ...]
    """Values of the metric; where its rounds are known, their geometric mean."""
    local: tuple[float, ...]
    """Exponent between each point and the next."""
    exponent: float
    """Least-squares slope of log y over log x."""
    off_pct: float
    """How far the point that lies furthest off is from the power law."""
    low: float | None
    """Lower end of the interval of `exponent`, power.half_width."""
    high: float | None
    no_interval: str
    """Why there is none; empty where there is one."""
    bend: Bend | None
    no_bend: str
    """Why no change of slope is looked for; empty where it was."""
    left_out: str
    """Which points of the line are not in the fit, and why; empty where all are."""

    @property
    def annotation(self) -> str:
        """What a figure writes beside the line: `depth^0.94`, with its interval or second slope where there is one."""
        text = f"{self.axis}^{self.exponent:.2f}"
        if self.bend:
            return f"{self.axis}^{self.bend.below:.2f} to {plain(self.bend.at, 4)}, then ^{self.bend.above:.2f}"
        return f"{text} ({self.low:.2f} to {self.high:.2f})" if self.low is not None else text


def plain(value: float, digits: int = 3) -> str:
    """Spell so many digits that count, without an exponent: `1,020`."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


@dataclass(frozen=True)
class Fits:
    """Fits of rows, and what could not be fitted, each with its reason."""

    fits: tuple[Fit, ...]
    not_fitted: tuple[str, ...]
    held: tuple[str, ...] = ()
    """Of each model of a grid, what is held along each of its fields."""


def fit_rows(rows: Sequence[Row], metrics: Sequence[str] = ()) -> Fits:
    """Fit each line of points along each axis of numbers, by `metrics`, or by those of USUAL that the rows have.

    A line is the points of one model, measured in one way, on one axis, with its centre; of a grid, those along each
    of its fields through one network, along_grid. Raises RequestError where a
    metric is unknown or in no row, or nothing can be fitted.
    """
    chosen = _chosen(rows, metrics)
    rows, held = along_grid(rows)
    network = varying_network(rows)
    protocol = (*varying_protocol(rows), *varying_machine(rows), *varying_training(rows))
    fits: list[Fit] = []
    not_fitted: list[str] = []
    for axis in dict.fromkeys(str(row["axis"]) for row in rows if row["axis"] is not None):
        if axis not in COLUMNS or COLUMNS[axis].kind not in (int, float) or COLUMNS[axis].many:
            not_fitted.append(f"axis {axis}: its values are no numbers")
            continue
        on_axis = [row for row in rows if row["axis"] in (axis, None) and row["status"] != "invalid"]
        by_network = _lines(on_axis, [name for name in network if name != axis])
        by_both = _lines(on_axis, [name for name in (*network, *protocol) if name != axis]) if protocol else by_network
        for metric in chosen:
            if METRICS[metric] == "counted" and axis in SWEEPABLE:
                continue  # the same at every point
            for line, of_line in (by_network if METRICS[metric] == "counted" else by_both).items():
                found = _fit_line(line, of_line, axis, metric)
                if isinstance(found, Fit):
                    fits.append(found)
                elif found:
                    not_fitted.append(f"{line}, {axis}, {metric}: {found}")
    if not fits:
        why = "; ".join(not_fitted) or "no row lies on an axis; `axes` or `grid` in the sweep file makes some"
        raise RequestError(f"nothing can be fitted: {why}")
    order = {line: place for place, line in enumerate(dict.fromkeys(fit.model for fit in fits))}
    return Fits(tuple(sorted(fits, key=lambda fit: order[fit.model])), tuple(not_fitted), held)


def _chosen(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    for metric in metrics:
        if metric in COLUMNS and COLUMNS[metric].unit == "%":
            raise RequestError(
                f"--metric {metric}: a share that ends at 100 % grows as no power; "
                f"hvt-bench plot CSV scaling --metric {metric} draws it"
            )
        if metric not in METRICS:
            raise RequestError(f"--metric: {unknown('metric', metric, METRICS)}")
    empty = {name for name in metrics or USUAL if all(row[name] is None for row in rows)}
    for metric in metrics:
        if metric in empty:
            raise RequestError(f"--metric {metric}: no row has it; `measure` in the sweep file says what is measured")
    return [name for name in dict.fromkeys(metrics or USUAL) if name not in empty]


def _lines(rows: Iterable[Row], fields: Sequence[str]) -> dict[str, list[Row]]:
    """Rows by the line that they are on."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(", ".join([str(row["model"]), *describe(row, fields)]), []).append(row)
    return found


def _fit_line(line: str, rows: Sequence[Row], axis: str, metric: str) -> Fit | str:
    """Fit the points of one line; or say why they cannot be, saying nothing where the model lacks the axis."""
    points: dict[float, Row] = {}
    without: list[str] = []
    for row in rows:
        place, value = row[axis], row[metric]
        if place is None:
            continue
        assert isinstance(place, int | float)
        if place <= 0:
            without.append(f"{axis} {place:g} has no logarithm")
        elif not isinstance(value, int | float) or value <= 0:
            without.append(f"{place:g} is {row['status']}, without {metric}")
        elif place in points and METRICS[metric] == "measured":
            return f"two rows at {axis} {place:g}, {points[place]['point_id']} and {row['point_id']}; keep one of them"
        elif place in points and points[place][metric] != value:
            return f"two values at {axis} {place:g}, {points[place][metric]} and {value}; keep one of these rows"
        else:
            points[place] = row
    if len(points) < 2:
        return "" if not any(row["axis"] == axis for row in rows) else f"{plural(len(points), 'point')}; it needs two"
    x = tuple(sorted(points))
    in_order = [points[place] for place in x]
    rounds = [_rounds(row, metric) for row in in_order]
    y = tuple(
        power.round_mean(of_row) if of_row else float(str(row[metric]))
        for row, of_row in zip(in_order, rounds, strict=True)
    )
    exponent, off_pct = power.overall_exponent(x, y)
    no_interval, no_bend = _why_no_interval(metric, axis, x, rounds), _why_no_bend(metric, x)
    half = None if no_interval else power.half_width(x, rounds)
    return Fit(
        line=line,
        model=str(rows[0]["model"]),
        axis=axis,
        metric=metric,
        x=x,
        y=y,
        local=power.local_exponents(x, y),
        exponent=exponent,
        off_pct=off_pct,
        low=None if half is None else exponent - half,
        high=None if half is None else exponent + half,
        no_interval=no_interval,
        bend=None if no_bend else power.find_bend(x, y),
        no_bend=no_bend,
        left_out="; ".join(dict.fromkeys(without)),
    )


def _rounds(row: Row, metric: str) -> tuple[float, ...]:
    """Return the rounds of a metric where the row has them, all of them above 0."""
    found = row[ROUNDS[metric]] if metric in ROUNDS else ()
    rounds = tuple(map(float, found)) if isinstance(found, tuple) else ()
    return rounds if all(math.isfinite(value) and value > 0 for value in rounds) else ()


def _why_no_interval(metric: str, axis: str, x: Sequence[float], rounds: Sequence[Sequence[float]]) -> str:
    if METRICS[metric] != "measured":
        return f"{METRICS[metric]}, so exact"
    if metric not in ROUNDS:
        return "its rounds are not in the CSV"
    if len(x) < power.MIN_POINTS:
        return f"{plural(len(x), 'point')}; an interval needs {power.MIN_POINTS}"
    few = [place for place, found in zip(x, rounds, strict=True) if len(found) < power.MIN_ROUNDS]
    if few:
        return f"fewer than {power.MIN_ROUNDS} rounds at {axis} {', '.join(f'{place:g}' for place in few)}"
    return ""


def _why_no_bend(metric: str, x: Sequence[float]) -> str:
    if METRICS[metric] != "measured":
        return f"{METRICS[metric]}, so exact: see the local exponents"
    if len(x) < power.MIN_POINTS_TO_BEND:
        return f"{plural(len(x), 'point')}; a change of slope needs {power.MIN_POINTS_TO_BEND}"
    return ""
