"""The CSV: written whole from rows, and read back."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hvt_bench.errors import FileError
from hvt_bench.files import write_whole
from hvt_bench.records import Column
from hvt_bench.row import COLUMNS, Row, Value, csv_line

_Reader = tuple[int, str, Callable[[str], Value]]  # of one column: where it stands, its name, what reads its values


def write_table(path: Path, rows: Iterable[Row], otherwise: str = "give --out another path") -> None:
    """Write the CSV whole, or not at all. Raises FileError, with `otherwise` as the next move."""
    write_whole(path, table_text(rows).encode(), otherwise)


def table_text(rows: Iterable[Row]) -> str:
    """Return the CSV of rows."""
    return "".join([csv_line(COLUMNS), *(row.line for row in rows)])


def read_table(path: str | Path) -> tuple[Row, ...]:
    """Read a CSV of ours; columns that it lacks are None, columns that this version does not know are passed over.

    Raises FileError where the file cannot be read or is not ours.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel writes a byte order mark
            reader = csv.reader(file)
            header = next(reader, None)
            if header is None:
                raise FileError(f"{path}: the file is empty; name a CSV that `hvt-bench sweep` wrote")
            _check_header(path, header)
            readers = [(place, name, _reader(COLUMNS[name])) for place, name in enumerate(header) if name in COLUMNS]
            return tuple(_row(path, reader.line_num, header, readers, line) for line in reader if line)
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file; `hvt-bench sweep` writes one") from None
    except IsADirectoryError:
        raise FileError(f"{path}: is a directory; name the CSV in it") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: is not a text file; name the CSV that `hvt-bench sweep` wrote") from None
    except csv.Error as error:
        raise FileError(f"{path}: is no CSV: {error}") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in ("point_id", "model", "status") if name not in header]
    if missing:
        raise FileError(f"{path}:1: this is no table of hvt-bench: the column '{missing[0]}' is missing")


def _row(path: Path, line: int, header: Sequence[str], readers: Sequence[_Reader], texts: Sequence[str]) -> Row:
    if len(texts) != len(header):
        raise FileError(f"{path}:{line}: {len(texts)} values under {len(header)} columns; the line is damaged")
    values: dict[str, Value] = {}
    for place, name, read in readers:
        text = texts[place]
        if text:
            try:
                values[name] = read(text)
            except ValueError:
                kind = COLUMNS[name].kind.__name__
                raise FileError(f"{path}:{line}: {name}: '{text}' cannot be read as {kind}") from None
    return Row(values)


def _reader(column: Column) -> Callable[[str], Value]:
    """Return what reads a value of a column, raising ValueError where it is none."""
    kind: Callable[[str], Any] = _flag if column.kind is bool else column.kind
    return (lambda text: tuple(map(kind, text.split()))) if column.many else kind


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
