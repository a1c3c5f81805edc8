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
_SHOWN = 4  # networks, in a message


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

    A model is named as we do (`hvt_s_1`, `hvt_s_1:num_classes=100`), or as printed (`HVT-S-1`) where that is the name
    of one network only. Other columns are left alone, and lines without a top-1 too, so that a CSV of `hvt-bench sweep`
    will do. Raises FileError.
    """
    own = _read(path)
    rows = [row for key in systems for row in published(key) if row.top1]
    found: dict[str, tuple[int, float]] = {}
    for name, (line, top1) in own.items():
        network = _network_of(path, line, name, rows)
        if network in found:
            raise FileError(
                f"{path}:{line}: column 'model': '{name}' stands in line {found[network][0]} too, as {network}"
            )
        found[network] = (line, top1)
    joined = tuple(Joined(row, found[_subject(row)][1]) for row in rows if _subject(row) in found)
    known = {name for row in rows for name in (row.network, row.model) if name}
    strange = [_not_joined(path, line, name, known) for name, (line, _) in own.items() if name not in known]
    if not joined:
        raise FileError(strange[0] if strange else f"{path}: no line has a top1; give one a model")
    return joined, tuple(strange)


def own_accuracy(path: Path) -> dict[str, float]:
    """Return the top-1 in percent of each model of a CSV with columns `model` and `top1`. Raises FileError."""
    found = {name: top1 for name, (_, top1) in _read(path).items()}
    if not found:
        raise FileError(f"{path}: no line has a top1; give one a model")
    return found


def _subject(row: Printed) -> str:
    """Return what a row is about: a network of ours, or the printed name of another."""
    return row.network or row.model


def _network_of(path: Path, line: int, name: str, rows: Sequence[Printed]) -> str:
    """Return what a name is that a person gave. Raises FileError where it is printed of several networks."""
    if any(row.network == name for row in rows):
        return name
    subjects = list(dict.fromkeys(_subject(row) for row in rows if row.model == name))
    if len(subjects) > 1:
        raise FileError(
            f"{path}:{line}: column 'model': '{name}' is printed of {len(subjects)} networks; name one of them: "
            f"{', '.join(subjects[:_SHOWN])}{', ...' if len(subjects) > _SHOWN else ''}"
        )
    return subjects[0] if subjects else name


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
                if None in line:
                    raise FileError(
                        f"{path}:{lines.line_num}: more cells than the header has columns; a decimal comma?"
                    )
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
    if 0 < value < 1:
        raise FileError(
            f"{path}:{line}: column 'top1': '{text}' looks like a share; give percent, such as {100 * value:g}"
        )
    return value
