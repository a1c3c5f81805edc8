"""front: the points that no other point beats in both of two quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hvt_bench.row import COLUMNS

Sought = Literal["low", "high"]


def sought(column: str) -> Sought:
    """Say which end of a column is wanted: what tables mark as best, of parameters as much capacity as can be had."""
    return COLUMNS[column].best or ("high" if column == "params" else "low")


def front(points: Sequence[tuple[float, float]], x: Sought, y: Sought) -> list[int]:
    """Return the indices of the points that no other beats: is as good in both, and better in one. In order of x.

    Points that are equal in both are on the front together.
    """
    signs = (1 if x == "low" else -1, 1 if y == "low" else -1)
    order = sorted(range(len(points)), key=lambda index: (signs[0] * points[index][0], signs[1] * points[index][1]))
    found: list[int] = []
    for index in order:
        last = points[found[-1]] if found else None
        if last is None or signs[1] * points[index][1] < signs[1] * last[1] or points[index] == last:
            found.append(index)
    return found
