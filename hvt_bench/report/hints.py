"""hints: conditions that the table of points can be filtered by, made from its own columns and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from hvt_bench.row import COLUMNS, Row, csv_text

_FIRST = ("latency_ms", "macs", "params")  # of columns of numbers
_SHORT = {"G": 1e9, "M": 1e6}  # as the table shows them, and --where reads them


def hints(rows: Sequence[Row], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield conditions that some row fulfils, on columns in `names`, each with what it means or nothing."""
    yield from ((condition, "") for condition in bounds(rows, names)[:1])
    empty = [name for name in ("axis", *names) if name in names and any(row[name] is None for row in rows)]
    yield from ((f"{name}=", "is empty") for name in empty[:1])
    lists = {name: [row[name] for row in rows if isinstance(row[name], tuple)] for name in names if COLUMNS[name].many}
    found = [(name, max(values, key=lambda value: len(csv_text(value).split()))) for name, values in lists.items()]
    for name, value in [(name, csv_text(value)) for name, value in found if value][:1]:
        yield f"{name}={value.split()[0]}", "a list that has it"
        if " " in value:
            yield f'"{name}={value}"', "in quotes, the whole list"


def bounds(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Return a condition on each column of numbers, which its middle value bounds: `latency_ms<=40.2`."""
    numbers = [name for name in names if COLUMNS[name].kind in (int, float) and not COLUMNS[name].many]
    found = []
    for name in sorted(numbers, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        values = [value for row in rows if isinstance(value := row[name], int | float)]
        if values:
            found.append(f"{name}<={_short(median(values))}")
    return found


def _short(value: float) -> str:
    """Spell a number to three digits and no lower: `2.4G`, `22.1M`, `40.2`."""
    suffix, unit = next(((suffix, unit) for suffix, unit in _SHORT.items() if value >= unit), ("", 1.0))
    scaled = value / unit
    digits = f"{scaled:.3g}"
    if float(digits) < scaled:  # so that the row in the middle fulfils `<=`
        digits = f"{scaled + 0.005 * abs(scaled):.3g}"
    return csv_text(float(digits)) + suffix
