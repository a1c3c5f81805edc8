"""along: the rows of a full grid as lines along each of its fields, through one network in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hvt_bench.analysis.series import describe, having, varying_network, varying_protocol
from hvt_bench.errors import ConfigError, plural
from hvt_bench.models import parse_model
from hvt_bench.row import COLUMNS, Row


def along_grid(rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows of a grid as `axes` would have made them, and a sentence for each model on what is held.

    Of each model they are those that differ from its centre in one field of numbers at most, which is their `axis`.
    The centre is the network that the model names, where the grid has its value of a field, else the middle value.
    Rows that lie on axes, or differ in no field of numbers, are returned as they are.
    """
    fields = [] if having(rows, "axis") else _fields(rows)
    if not fields:
        return tuple(rows), ()
    models: dict[str, list[Row]] = {}
    for row in rows:
        models.setdefault(str(row["model"]), []).append(row)
    found: list[Row] = []
    said: list[str] = []
    for model, of_model in models.items():
        centre = _centre(model, [row for row in of_model if row["status"] != "invalid"], fields)
        kept = [placed for row in of_model if (placed := _placed(row, centre)) is not None]
        found += kept
        if centre:
            held = ", ".join(describe(Row(centre), centre))
            beyond = f"; {plural(len(of_model) - len(kept), 'row')} beyond" if len(kept) < len(of_model) else ""
            said.append(f"a grid: along each field of {model} the others are held at {held}{beyond}")
    return tuple(found), tuple(said)


def _fields(rows: Sequence[Row]) -> list[str]:
    """Fields of numbers in which rows of one model differ."""
    there = [row for row in rows if row["status"] != "invalid"]
    varying = (*varying_network(there), *varying_protocol(there))
    return [name for name in varying if COLUMNS[name].kind in (int, float) and not COLUMNS[name].many]


def _centre(model: str, rows: Sequence[Row], fields: Sequence[str]) -> dict[str, Any]:
    """Return the values of the fields that differ between the rows of a model, in its centre."""
    try:
        own = parse_model(model).fields()
    except ConfigError:  # a name of the sweep file's own
        own = {}
    centre = {}
    for name in fields:
        there: set[Any] = {row[name] for row in rows} - {None}
        if len(there) > 1:
            centre[name] = own[name] if own.get(name) in there else sorted(there)[(len(there) - 1) // 2]
    return centre


def _placed(row: Row, centre: dict[str, Any]) -> Row | None:
    """Return the row with its axis; None where it differs from the centre in more than one field."""
    if row["status"] == "invalid":
        return row
    apart = [name for name, value in centre.items() if row[name] != value]
    if len(apart) > 1:
        return None
    return Row({**row, "axis": apart[0]}) if apart else row
