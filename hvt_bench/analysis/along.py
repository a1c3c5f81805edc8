"""along: the rows of a full grid as lines along each of its fields, through one network in its middle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from hvt_bench.analysis.series import describe, having, varying_network, varying_protocol
from hvt_bench.errors import ConfigError, plural
from hvt_bench.models import parse_model
from hvt_bench.row import COLUMNS, Row, Value


def along_grid(rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows of a grid as `axes` would have made them, and a sentence for each model on what is held.

    Of each model they are those that differ from its centre in one field of numbers at most, which is their `axis`.
    The centre is a row through which the lines of most points go. All have as many in a grid without holes: there it is
    the network that the model names, where the grid has its value of a field, else the middle value. It is the nearest
    to that one elsewhere.
    Rows that lie on axes, or differ in no field of numbers, are returned as they are.
    """
    fields, words = ([], []) if having(rows, "axis") else _fields(rows)
    if not fields:
        return tuple(rows), ()
    models: dict[str, list[Row]] = {}
    for row in rows:
        models.setdefault(str(row["model"]), []).append(row)
    found: list[Row] = []
    said: list[str] = []
    for model, of_model in models.items():
        centre = _centre(model, [row for row in of_model if row["status"] != "invalid"], fields, words)
        kept = [placed for row in of_model if (placed := _placed(row, centre)) is not None]
        found += kept
        if centre:
            held = ", ".join(describe(Row(centre), centre))
            beyond = f"; {plural(len(of_model) - len(kept), 'row')} beyond" if len(kept) < len(of_model) else ""
            said.append(f"a grid: along each field of {model} the others are held at {held}{beyond}")
    return tuple(found), tuple(said)


def _fields(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Fields in which rows of one model differ: those of numbers, and the others."""
    there = [row for row in rows if row["status"] != "invalid"]
    varying = (*varying_network(there), *varying_protocol(there))
    numbers = [name for name in varying if COLUMNS[name].kind in (int, float) and not COLUMNS[name].many]
    return numbers, [name for name in varying if name not in numbers]


def _centre(model: str, rows: Sequence[Row], fields: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Return the values of the fields that differ between the rows of a model, of the row in its centre."""
    order = {name: {value: place for place, value in enumerate(sorted(_there(rows, name)))} for name in fields}
    order = {name: places for name, places in order.items() if len(places) > 1}
    if not order:
        return {}
    points: dict[Hashable, set[Value]] = defaultdict(set)  # on each line
    lines: dict[Hashable, set[Hashable]] = defaultdict(set)  # along a field, which words tell apart
    for row in rows:
        for name in order:
            along = _along(row, name, order)
            line = (along, *[row[word] for word in words])
            points[line].add(row[name])
            lines[along].add(line)
    middle = _middle(model, order)

    def rank(row: Row) -> tuple[int, int, list[int]]:
        steps = sum(len(points[line]) - 1 for name in order for line in lines[_along(row, name, order)])
        places = [found[row[name]] for name, found in order.items()]
        return -steps, sum(abs(place - middle[name]) for name, place in zip(order, places, strict=True)), places

    whole = having(rows, *order)
    centre = min(whole, key=rank) if whole else None
    return {} if centre is None else {name: centre[name] for name in order}


def _there(rows: Sequence[Row], name: str) -> set[Any]:
    return {row[name] for row in rows} - {None}


def _along(row: Row, name: str, fields: Iterable[str]) -> Hashable:
    """Tell the lines along a field apart: they differ in the others."""
    return (name, *[row[other] for other in fields if other != name])


def _middle(model: str, order: Mapping[str, Mapping[Any, int]]) -> dict[str, int]:
    """Return, of each field, where among its values the model's own one stands, or else the middle one."""
    try:
        own = parse_model(model).fields()
    except ConfigError:  # a name of the sweep file's own
        own = {}
    return {name: places.get(own.get(name), (len(places) - 1) // 2) for name, places in order.items()}


def _placed(row: Row, centre: dict[str, Any]) -> Row | None:
    """Return the row with its axis; None where it differs from the centre in more than one field."""
    if row["status"] == "invalid":
        return row
    apart = [name for name, value in centre.items() if row[name] != value]
    if len(apart) > 1:
        return None
    return Row({**row, "axis": apart[0]}) if apart else row
