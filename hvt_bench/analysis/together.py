"""together: the rows of several CSVs as those of one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from hvt_bench.analysis.series import MACHINE
from hvt_bench.errors import RequestError
from hvt_bench.row import COLUMNS, Row


def together(tables: Iterable[tuple[Path, Sequence[Row]]], hue: str) -> tuple[Row, ...]:
    """Join tables, each with its path.

    A point that several tables only counted is there once; one that was measured in one of them is that one's. Raises
    RequestError where one was measured in several on one machine, and the column `hue` does not tell these rows apart.
    """
    apart = [name for name in (*MACHINE, hue) if name in COLUMNS]
    found: list[Row] = []
    places: dict[Hashable, tuple[Path, int]] = {}
    for path, rows in tables:
        for row in rows:
            key = (row["point_id"], *(row[name] for name in apart))
            first, place = places.setdefault(key, (path, len(found)))
            if first == path:
                found.append(row)
                continue
            if _is_measured(row) and _is_measured(found[place]):
                raise RequestError(
                    f"{path}: the point {row['point_id']} ({row['model']}) was measured in {first} too, on the same "
                    "machine; draw them one by one, or give --hue a column that tells them apart, such as git_commit"
                )
            if _is_measured(row):
                found[place] = row
    return tuple(found)


def _is_measured(row: Row) -> bool:
    return any(row[name] is not None for name in ("latency_ms", "peak_memory_mib", "top1"))
