"""rebuild: from a row back to the network that it is of, and which rows stand for their models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from hvt_bench.errors import HvtBenchError
from hvt_bench.models import FAMILIES, make_config, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.row import COLUMNS, Row, Value


def config_of(row: Row) -> ModelConfig | None:
    """Return the config of the network that a row is of; None where it is outside code, or no such network exists.

    A checkpoint is left out: weights change no count.
    """
    family = row["family"]
    if family not in FAMILIES:
        return None
    return _config(str(family), tuple([(name, row[name]) for name in _fields(str(family))]))


@cache
def _fields(family: str) -> tuple[str, ...]:
    return tuple(sorted(FAMILIES[family].model_fields.keys() & COLUMNS.keys() - {"checkpoint"}))


@lru_cache(maxsize=1024)
def _config(family: str, fields: tuple[tuple[str, Value], ...]) -> ModelConfig | None:
    known = {name: value for name, value in fields if value is not None}
    absent = {name: None for name, value in fields if value is None and _may_be_none(family, name)}
    try:
        return make_config(family, absent | known)
    except HvtBenchError:
        return None


def _may_be_none(family: str, name: str) -> bool:
    return type(None) in getattr(FAMILIES[family].model_fields[name].annotation, "__args__", ())


@lru_cache(maxsize=1024)
def named(model: str) -> ModelConfig | None:
    """Return the config that the name of a model stands for; None where it is no name of a network of ours."""
    try:
        found = parse_model(model)
    except HvtBenchError:
        return None
    return None if found.outside else found


def centres(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each model, in order: its centre; of a grid, the network that the name stands for, or the first.

    Rows that were not counted are left out.
    """
    found: dict[Value, list[Row]] = {}
    for row in rows:
        if row["macs"] is not None and row["status"] != "invalid":
            found.setdefault(row["model"], []).append(row)
    return [_centre(of_model) for of_model in found.values()]


def _centre(rows: Sequence[Row]) -> Row:
    middle = [row for row in rows if row["axis"] is None] or list(rows)
    if len(middle) == 1:
        return middle[0]
    config = named(str(middle[0]["model"]))
    return next((row for row in middle if config is not None and config_of(row) == config), middle[0])
