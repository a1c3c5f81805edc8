"""Record: the one kind of datum, and Column: what a CSV column says about itself."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from hvt_bench.errors import unknown


class Record(BaseModel):
    """An immutable datum that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Column:
    """What a field of a record says in the CSV, in tables and on the axes of figures.

    `kind` is the Python type of a value; `many` marks a space-separated list of them. It is read off the
    annotation of the field, so it is left out where a Column is written.
    """

    doc: str
    unit: str = ""
    label: str = ""
    kind: type = str
    many: bool = False


def columns_of(record: type[Record]) -> dict[str, Column]:
    """Columns of the fields of `record` that carry one, in order of declaration."""
    columns = {}
    for name, field in record.model_fields.items():
        for note in field.metadata:
            if isinstance(note, Column):
                kind, many = _kind(field.annotation)
                label = note.label or name.replace("_", " ")
                columns[name] = Column(note.doc, note.unit, label, kind, many)
    return columns


def _kind(annotation: object) -> tuple[type, bool]:
    """Return the scalar type behind an annotation such as `int | None`, `Literal[...]` or `tuple[int, ...]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
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
        key = str(place[-1]) if place else ""
        if issue["type"] == "extra_forbidden":
            text = unknown("key", key, known)
        elif issue["type"] == "missing":
            text = f"'{key}' is missing"
        elif issue["type"] == "value_error":
            text = str(issue["ctx"]["error"])
        else:
            message = issue["msg"][0].lower() + issue["msg"][1:]
            text = f"{key}: {value!r} does not fit: {message.removeprefix('input ')}"
        found.append((place, text))
    return found
