"""Which rows form one line, what tells lines apart, and what cannot be drawn or fitted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from hvt_bench.environment import method_of
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row, Value, csv_text

NETWORK = tuple(CONFIG_COLUMNS)
MACHINE = ("device_name", "torch_version", "hvt_bench_version")
"""Rows that differ in these, in one CSV, were measured on different machines or by different programs."""


_HEADS = {  # what stands before a value where it is not the name of its column
    **dict.fromkeys(("device", "dtype", "attention", "mode", "device_name"), ""),
    "batch_size": "batch ",
    "num_threads": "threads ",
    "torch_version": "torch ",
    "hvt_bench_version": "hvt-bench ",
}


def having(rows: Iterable[Row], *columns: str) -> tuple[Row, ...]:
    """Rows that have a value in every one of `columns`."""
    found = list(rows)
    for name in columns:
        found = [row for row in found if row[name] is not None]
    return tuple(found)


def values_of(rows: Iterable[Row], name: str) -> dict[Value, None]:
    """Return the different values that rows have in a column, in order of first appearance; None is none."""
    found: dict[Value, None] = dict.fromkeys([row[name] for row in rows])
    found.pop(None, None)
    return found


def ways_of(rows: Iterable[Row], name: str) -> set[Value]:
    """Return the different values of `measured_by`."""
    asked = rows if name != "batch_size" else [row for row in rows if not row["max_batch"]]
    return {row[name] for row in asked} - {None}


def absent(rows: Sequence[Row], *columns: str) -> str:
    """Say which of `columns` the rows lack; empty where at least one row has them all."""
    if having(rows, *columns):
        return ""
    nowhere = [name for name in columns if not having(rows, name)]
    return f"no row has {' or '.join(nowhere)}" if nowhere else f"no row has both {' and '.join(columns)}"


def measured_by(row: Row, name: str) -> Value:
    """Return how a row was measured; a largest batch is no batch size that was asked for."""
    return row[name] if name != "batch_size" or not row["max_batch"] else None


def varying_protocol(rows: Sequence[Row]) -> tuple[str, ...]:
    """Fields of the protocol in which rows of one model differ, other than by being swept along that field."""
    return tuple(name for name in SWEEPABLE if len(ways_of(rows, name)) > 1 and _varies_in_a_model(rows, name))


def _varies_in_a_model(rows: Iterable[Row], name: str) -> bool:
    first: dict[Value, Value] = {}
    for row in rows:
        value = measured_by(row, name)
        if value is not None and row["axis"] != name and first.setdefault(row["model"], value) != value:
            return True
    return False


def varying_machine(rows: Sequence[Row]) -> tuple[str, ...]:
    """Fields of MACHINE that differ between rows; versions of hvt-bench that measure alike do not."""
    found = {name: {str(row[name]) for row in rows if row[name] is not None} for name in MACHINE}
    found["hvt_bench_version"] = {method_of(version) for version in found["hvt_bench_version"]}
    return tuple(name for name, values in found.items() if len(values) > 1)


def varying_network(rows: Sequence[Row]) -> tuple[str, ...]:
    """Fields of the network in which rows of one model, one protocol and one place on an axis differ.

    These are the fields of the sweep file's `grid`. A field that only follows another one, as the number of heads
    follows the embedding width, tells nothing more and is left out.
    """
    ways = [name for name in SWEEPABLE if len({row[name] for row in rows}) > 1]  # the others tell nothing apart
    places: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        axis = str(row["axis"] or "")
        places[row["model"], axis, row.get(axis), *[measured_by(row, name) for name in ways]].append(row)
    found: tuple[str, ...] = ()
    groups = [(group, 1) for group in places.values() if len(group) > 1]  # each with its kinds, told apart by `found`
    for name in (name for name in NETWORK if len({row[name] for row in rows}) > 1):
        with_name = [(group, _kinds(group, (*found, name))) for group, _ in groups]
        if with_name != groups:
            found, groups = (*found, name), with_name
    return found


def _kinds(rows: Iterable[Row], fields: Sequence[str]) -> int:
    return len({tuple(row[name] for name in fields) for row in rows})


def describe(row: Row, fields: Iterable[str]) -> list[str]:
    """Spell values of a row as a legend does: `float32`, `batch 64`, `depth 18`."""
    return [f"{_HEADS.get(name, f'{name} ')}{csv_text(row[name])}" for name in fields if row[name] is not None]


def left_out(rows: Sequence[Row], *metrics: str) -> list[str]:
    """Say how many points a figure of `metrics` does not draw, and why."""
    invalid = sum(row["status"] == "invalid" for row in rows)
    notes = [f"{_points(invalid, 'invalid ')} not drawn"] if invalid else []
    for metric in metrics:
        reasons = Counter(
            "not measured" if row["status"] == "ok" else str(row["status"])
            for row in rows
            if row[metric] is None and row["status"] != "invalid"
        )
        if reasons:
            why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            notes.append(f"{_points(reasons.total())} without {COLUMNS[metric].label} ({why})")
    return notes


def off_axes(rows: Sequence[Row]) -> list[str]:
    """Say how many points lie on an axis that is no column, so that nothing tells where on it they lie."""
    strange = Counter(str(row["axis"]) for row in having(rows, "axis") if row["axis"] not in COLUMNS)
    return [f"{_points(count)} not drawn (no column '{axis}')" for axis, count in strange.items()]


def _points(count: int, kind: str = "") -> str:
    return f"{count} {kind}point{'s' * (count != 1)}"
