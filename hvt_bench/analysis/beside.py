"""beside: a value and that of the baseline: their ratio, or, of percents of images, their difference in points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hvt_bench.analysis.pick import Baseline, ratio
from hvt_bench.analysis.trained import ACCURACIES, ended_well, trained_alike
from hvt_bench.errors import plural
from hvt_bench.row import COLUMNS, Row


def has_beside(name: str) -> bool:
    """Say whether values of a column are worth a comparison: one of them is best, or they are a size."""
    return bool(COLUMNS[name].best) or name in ("macs", "train_macs", "params")


def beside(name: str, rows: Sequence[Row], against: Sequence[Row | None]) -> list[float | None]:
    """Return the ratio of each row to its baseline; of percents of images the difference, where trained alike."""
    compare = _difference if name in ACCURACIES else _ratio
    return [None if base is None else compare(name, row, base) for row, base in zip(rows, against, strict=True)]


def _ratio(name: str, row: Row, base: Row) -> float | None:
    return ratio(row[name], base[name])


def _difference(name: str, row: Row, base: Row) -> float | None:
    ours, theirs = row[name], base[name]
    known = isinstance(ours, int | float) and isinstance(theirs, int | float) and trained_alike(row, base)
    known = known and ended_well(row) and ended_well(base)
    return float(str(ours)) - float(str(theirs)) if known else None


def missing(rows: Sequence[Row], names: Iterable[str], baseline: Baseline) -> list[str]:
    """Say how many values of the columns `names` have nothing beside them since the baseline has none, and why."""
    lacking: dict[str, list[str]] = {}
    other: list[str] = []
    against = [baseline.of(row) for row in rows]
    for name in filter(has_beside, names):
        for row, base in zip(rows, against, strict=True):
            if row[name] is None or base is None:
                continue
            if base[name] is None or (not base[name] and name not in ACCURACIES):
                lacking.setdefault(str(base["status"]), []).append(name)
            elif name in ACCURACIES and not trained_alike(row, base):
                other.append(name)
    said = [
        f"{plural(len(columns), 'ratio')} missing: {baseline.name} has no {' and no '.join(dict.fromkeys(columns))} "
        f"above 0, its status is {status}"
        for status, columns in lacking.items()
    ]
    if other:
        said.append(
            f"{plural(len(other), 'difference')} of {' and '.join(dict.fromkeys(other))} missing: {baseline.name} was "
            "trained on other data or by another recipe"
        )
    return said
