"""Record: the one kind of datum, and Column: what a CSV column says about itself."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from hvt_bench.errors import unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Record(BaseModel):
    """An immutable datum that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Column:
    """What a field of a record says in the CSV, in tables and on the axes of figures.

    `kind` is the Python type of a value; `many` marks a space-separated list of them. It is read off the
    annotation of the field, so it is left out where a Column is written. `best` says which value of several networks a
    table marks: the lowest, the highest, or, where that depends on what is wanted, none.
    """

    doc: str
    unit: str = ""
    label: str = ""
    kind: type = str
    many: bool = False
    best: Literal["", "low", "high"] = ""


def columns_of(record: type[Record]) -> dict[str, Column]:
    """Columns of the fields of `record` that carry one, in order of declaration."""
    return dict(_columns_of(record))


@cache
def _columns_of(record: type[Record]) -> dict[str, Column]:
    columns = {}
    for name, field in record.model_fields.items():
        for note in field.metadata:
            if isinstance(note, Column):
                kind, many = _kind(field.annotation)
                label = note.label or _label(name, note.unit)
                columns[name] = Column(note.doc, note.unit, label, kind, many, note.best)
    return columns


def _label(name: str, unit: str) -> str:
    """Spell a name without its unit, which is said beside it."""
    spelt = {"%": "pct"}.get(unit, unit.lower())
    return " ".join(word for word in name.split("_") if word != spelt)


def _kind(annotation: object) -> tuple[type, bool]:
    """Return the scalar type behind an annotation such as `int | None`, `Literal[...]` or `tuple[int, ...]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, types.UnionType):
        return _kind(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return _kind(arguments[0])[0], True
    if origin is not None:  # Literal
        return type(arguments[0]), False
    assert isinstance(annotation, type)
    return annotation, False


def explain(error: ValidationError, known: Mapping[str, object]) -> list[tuple[tuple[str | int, ...], str]]:
    """Turn a validation error into (place, sentence) pairs; `known` are the keys that a mapping may have.

    Misspelt keys come first: a missing key is most often a misspelt one.
    """
    found = []
    for issue in sorted(error.errors(include_url=False), key=lambda issue: issue["type"] != "extra_forbidden"):
        place, value = issue["loc"], issue["input"]
        key = next((part for part in reversed(place) if isinstance(part, str)), "")  # not its place in a list
        if issue["type"] == "extra_forbidden":
            text = unknown("key", key, known)
        elif issue["type"] == "missing":
            text = f"'{key}' is missing"
        elif issue["type"] == "value_error":
            text = str(issue["ctx"]["error"])
        else:
            text = f"{key}: {value!r} does not fit: {_demand(issue)}"
        found.append((place, text))
    return found


def _demand(issue: ErrorDetails) -> str:
    """Say what a value should be, in the words of a YAML file where pydantic has those of Python."""
    wanted, value = _DEMANDS.get(issue["type"]), issue["input"]
    if issue["type"] == "too_long":
        return f"should have {issue['ctx']['max_length']} entries at most"
    if wanted is None:
        message = issue["msg"][0].lower() + issue["msg"][1:]
        return message.removeprefix("input ")
    if issue["type"] == "tuple_type" and isinstance(value, str):
        return f"{wanted}; write [{value}], on a command line in quotes"
    if issue["type"] in ("int_type", "float_type") and isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
            spelt = f"{number:.0f}" if number.is_integer() and number < 1e18 else repr(number)
            return f"{wanted}; YAML reads {value} as text, so write {spelt}"
    return wanted


_DEMANDS = {  # by pydantic's name of the mistake
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be text; put it in quotes if it is meant",
    "tuple_type": "should be a list, such as [a, b]",
    "dict_type": "should be a mapping of 'key: value' lines",
    "too_short": "should not be empty",
    "string_pattern_mismatch": "should be letters, digits, '.', '_' and '-', a letter or digit first",
}
