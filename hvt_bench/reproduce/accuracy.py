"""A person's own top-1 beside the printed one, joined by the name of the model."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvt_bench.errors import FileError
from hvt_bench.published import Printed, published

_COLUMNS = ("model", "top1")


@dataclass(frozen=True)
class Joined:
    """A printed top-1 in percent, and a person's own."""

    row: Printed
    own: float

    @property
    def difference(self) -> float:
        """Points by which the own one is higher."""
        return self.own - float(self.row.top1)


def join_accuracy(path: Path, systems: Sequence[str]) -> tuple[tuple[Joined, ...], tuple[str, ...]]:
    """Join the columns `model` and `top1` of a CSV to printed rows, and return what was joined to none as sentences.

    A model is named as we do (`hvt_s_1`, `hvt_s_1:num_classes=100`) or as printed (`HVT-S-1`). Other columns are left
    alone, and lines without a top-1 too, so that a CSV of `hvt-bench sweep` will do. Raises FileError.
    """
    own = _read(path)
    rows = [row for key in systems for row in published(key) if row.top1]
    joined = tuple(
        Joined(row, own[name][1]) for row in rows for name in dict.fromkeys((row.network, row.model)) if name in own
    )
    known = {name for row in rows for name in (row.network, row.model) if name}
    strange = [_not_joined(path, line, name, known) for name, (line, _) in own.items() if name not in known]
    if not joined:
        raise FileError(strange[0] if strange else f"{path}: no line has a top1; give one a model")
    return joined, tuple(strange)


def _not_joined(path: Path, line: int, name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "give it a variant's name, such as 'hvt_s_1'"
    return f"{path}:{line}: column 'model': no top-1 is printed of '{name}'; {hint}"


def _read(path: Path) -> dict[str, tuple[int, float]]:
    """Return line and top-1 of each model. Raises FileError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, strict=True)
            _check_header(path, lines.fieldnames or ())
            own: dict[str, tuple[int, float]] = {}
            for line in lines:
                if not (line["top1"] or "").strip():
                    continue
                name = (line["model"] or "").strip()
                if name in own:
                    raise FileError(
                        f"{path}:{lines.line_num}: column 'model': '{name}' stands in line {own[name][0]} too; "
                        "leave one of them"
                    )
                own[name] = (lines.line_num, _percent(path, lines.line_num, line["top1"]))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: is not a CSV: {error}") from None
    return own


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in _COLUMNS:
        if header.count(name) != 1:
            found = "is missing" if name not in header else "stands there twice"
            raise FileError(
                f"{path}:1: column '{name}' {found}; the header needs 'model' and 'top1', such as model,top1"
            )


def _percent(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise FileError(f"{path}:{line}: column 'top1': '{text}' is no percentage; give a number from 0 to 100")
    return value
