"""pick: the rows that fulfil conditions, in an order, and which row each is held against."""

from __future__ import annotations

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from hvt_bench.analysis.series import MACHINE, NETWORK, measured_by
from hvt_bench.analysis.trained import TRAINED, trained_alike
from hvt_bench.errors import RequestError, unknown
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row, Value

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_EQUAL = (operator.eq, operator.ne)
SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

_CONDITION = re.compile(rf"\s*(\w+)\s*({'|'.join(OPERATORS)})\s*(.*?)\s*", flags=re.S)
_NUMBER = re.compile(rf"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([{''.join(SUFFIXES)}]?)")


@dataclass(frozen=True)
class Condition:
    """What a row must fulfil; a row without a value in the column does only where that is asked for."""

    column: str
    operator: str
    value: float | bool | str | tuple[float | str, ...] | None
    """Of a list, its items; None asks whether there is a value."""

    def holds(self, row: Row) -> bool:
        """Say whether it does; a list where it has the one item asked for, or is the several; for `!=`, where not."""
        found = row[self.column]
        wanted = OPERATORS[self.operator] is operator.eq
        if self.value is None:
            return (found is None) == wanted
        if found is None:
            return False
        if isinstance(found, tuple) and isinstance(self.value, tuple):
            return (found == self.value if len(self.value) > 1 else self.value[0] in found) == wanted
        return OPERATORS[self.operator](found, self.value)


def parse_condition(text: str) -> Condition:
    """Read `latency_ms<5`, `macs<=2.4G`, `seq_lens=196 97`, `axis=` (is empty).

    Raises RequestError for what is no condition.
    """
    found = _CONDITION.fullmatch(text)
    if not found or (not found[3] and OPERATORS[found[2]] not in _EQUAL):
        raise RequestError(
            f"--where '{text}' is not of the form COLUMN OPERATOR VALUE, such as 'latency_ms<5'; "
            f"operators: {' '.join(OPERATORS)}"
        )
    name, sign, value = found.groups()
    if name not in COLUMNS:
        raise RequestError(f"--where '{text}': {unknown('column', name, COLUMNS)}")
    column = COLUMNS[name]
    ordered = column.kind in (int, float) and not column.many
    if not ordered and OPERATORS[sign] not in _EQUAL:
        what = _list(name) if column.many else "true or false" if column.kind is bool else "text"
        raise RequestError(f"--where '{text}': {name} is {what}, so it can be = or != and not {sign}")
    if not value:
        return Condition(name, sign, None)
    if column.many:
        return Condition(name, sign, tuple(_item(text, name, item) for item in value.split()))
    if column.kind is bool:
        if value not in ("true", "false"):
            raise RequestError(f"--where '{text}': {name} is true or false, not '{value}'")
        return Condition(name, sign, value == "true")
    if column.kind is str:
        return Condition(name, sign, value)
    number = _number(value)
    if number is None:
        raise RequestError(f"--where '{text}': {name} is a number, and '{value}' is none, such as 5, 0.5 or 2.4G")
    return Condition(name, sign, number)


def _item(text: str, name: str, item: str) -> float | str:
    """Read one item of a list."""
    if COLUMNS[name].kind is str:
        return item
    number = _number(item)
    if number is None:
        raise RequestError(f"--where '{text}': {name} is {_list(name)}, and '{item}' is no number")
    return number


def _list(name: str) -> str:
    one, all_ = ("ITEM", "ITEM ITEM") if COLUMNS[name].kind is str else ("196", "196 97")
    return f"a list (write '{name}={one}': has this item; '{name}={all_}': is this whole list)"


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text)
    if not found or not math.isfinite(float(found[1])):
        return None
    return float(found[1]) * SUFFIXES.get(found[2], 1.0)


def keep(rows: Sequence[Row], conditions: Sequence[Condition]) -> tuple[Row, ...]:
    """Rows that fulfil all conditions."""
    return tuple(row for row in rows if all(condition.holds(row) for condition in conditions))


def in_order(rows: Sequence[Row], columns: Sequence[str]) -> tuple[Row, ...]:
    """Rows by the first of `columns`, those that agree in it by the next, and so on; the empty ones and NaN last.

    The best come first where a column has a best, else the smallest; the other way round behind a `-`. Raises
    RequestError where a column is unknown.
    """
    ordered = list(rows)
    for text in reversed(columns):
        name = text.removeprefix("-")
        if name not in COLUMNS:
            raise RequestError(f"--sort: {unknown('column', name, COLUMNS)}")
        falling = (COLUMNS[name].best == "high") != text.startswith("-")
        empty = [row for row in ordered if _no_value(row[name])]
        filled: list[tuple[Any, Row]] = [(row[name], row) for row in ordered if not _no_value(row[name])]
        filled.sort(key=lambda found: found[0], reverse=falling)
        ordered = [row for _, row in filled] + empty
    return tuple(ordered)


def _no_value(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


class Baseline:
    """The row that each row is held against: of one model, at its centre, measured as the row was."""

    def __init__(self, rows: Sequence[Row], name: str) -> None:
        """Find it by the name of a model, or by a point_id. Raises RequestError where there is none."""
        self.name = name
        self._point = next((row for row in rows if row["point_id"] == name), None)
        of_model = [row for row in rows if row["model"] == name and row["status"] != "invalid"]
        if self._point is None and not of_model:
            models = dict.fromkeys(str(row["model"]) for row in rows)
            raise RequestError(f"--baseline: {unknown('model', name, models)}")
        centres: dict[Hashable, list[Row]] = defaultdict(list)
        for row in of_model:
            if row["axis"] is None or row["axis"] in SWEEPABLE:
                centres[_measured(row)].append(row)
        self._centres = {measured: _by_network(alike) for measured, alike in centres.items()}
        if self._point is None and not self._centres:
            raise RequestError(
                f"--baseline {name}: no row of it is the centre of its axes; give the point_id of one of its rows"
            )

    def of(self, row: Row) -> Row | None:
        """Return the row that `row` is held against; None where none was measured alike.

        Where a grid has several centres, that with the same values of the grid; where it was trained in several ways,
        that trained as the row was, or else the first. Raises RequestError where there are several all the same.
        """
        if self._point is not None:
            return self._point
        apart, by_network = self._centres.get(_measured(row), ((), {}))
        found = by_network.get(tuple(row[name] for name in apart), [])
        trainings = {tuple(centre[name] for name in TRAINED) for centre in found}
        alike = [centre for centre in found if trained_alike(centre, row)]
        found = alike or (found[:1] if len(trainings) == len(found) else found)
        if len(found) > 1:
            raise RequestError(
                f"--baseline {self.name}: the rows {found[0]['point_id']} and {found[1]['point_id']} are both its "
                "centre, measured alike; give the point_id of one"
            )
        return found[0] if found else None


def ratio(value: Value, baseline: Value) -> float | None:
    """Return value / baseline; None where one is empty, or no number, or the baseline is 0."""
    if not isinstance(value, int | float) or not isinstance(baseline, int | float) or not baseline:
        return None
    return value / baseline


def _by_network(centres: Sequence[Row]) -> tuple[tuple[str, ...], dict[Hashable, list[Row]]]:
    """Return the fields in which the networks of several centres differ, and the centres by their values there."""
    apart = tuple(name for name in NETWORK if len({centre[name] for centre in centres}) > 1)
    found: dict[Hashable, list[Row]] = defaultdict(list)
    for centre in centres:
        found[tuple(centre[name] for name in apart)].append(centre)
    return apart, found


def _measured(row: Row) -> Hashable:
    return tuple(measured_by(row, name) for name in SWEEPABLE) + tuple(row[name] for name in MACHINE)
