"""front: the rows that no other row beats in both of two columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from hvt_bench.row import COLUMNS, Row


def front(rows: Sequence[Row], cost: str, gain: str) -> tuple[Row, ...]:
    """Return the rows of which none has at most their `cost` and at least their `gain`, and one of both better.

    They ascend in both; rows that are equal in both are all there. A column that COLUMNS calls best where it is high
    is no cost, and the other way round. Rows that lack a column are left out.
    """
    assert COLUMNS[cost].best != "high"
    assert COLUMNS[gain].best != "low"
    known = [(_number(row, cost), _number(row, gain), row) for row in rows]
    sound = [(price, worth, row) for price, worth, row in known if price is not None and worth is not None]
    sound.sort(key=lambda found: (found[0], -found[1]))
    kept: list[Row] = []
    best = float("-inf")
    for (_, worth), alike in groupby(sound, key=lambda found: found[:2]):
        if worth > best:
            best = worth
            kept += [row for _, _, row in alike]
    return tuple(kept)


def _number(row: Row, column: str) -> float | None:
    value = row[column]
    return value if isinstance(value, int | float) else None
