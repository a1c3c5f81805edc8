"""Which points are worth having: of those that cost as little, none gives more."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from hvt_bench.analysis.front import front
from hvt_bench.analysis.series import MACHINE, having, measured_by
from hvt_bench.analysis.trained import ACCURACIES, TRAINED, ended_well, varying_training
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row
from hvt_bench.typeset import lay_out, shown_unit

COSTS = ("macs", "latency_ms", "peak_memory_mib", "total_train_macs")
_OF_TRAININGS = ("total_train_macs",)
GAINS = ("top1", "params")
"""What is bought, the first of which the rows have: params stand for capacity where no accuracy was measured."""


@dataclass(frozen=True)
class Front:
    """One front: the points of one way of measuring that no other beats in both columns."""

    cost: str
    gain: str
    among: int
    """Points that have both."""
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def fronts(rows: Sequence[Row], told: Sequence[str]) -> list[Front]:
    """Return the front of each cost and each way of measuring, cheapest first; `told` are fields that tell rows apart.

    MACs do not depend on how a network is measured, so they have one front; an accuracy has one for each `data` and
    `recipe`, without the rows of which a training ended badly.
    """
    told = (*told, *varying_training(rows))
    gain = next((name for name in GAINS if name in COLUMNS and having(rows, name)), "")
    found = []
    drawn = [row for row in rows if gain not in ACCURACIES or ended_well(row)]
    for cost in [cost for cost in COSTS if gain in ACCURACIES or cost not in _OF_TRAININGS] if gain else ():
        ways: dict[Hashable, list[Row]] = {}
        for row in having(drawn, cost, gain):
            way = tuple(measured_by(row, name) for name in SWEEPABLE) + tuple(row[name] for name in MACHINE)
            trained = tuple(row[name] for name in TRAINED) if gain in ACCURACIES else ()
            ways.setdefault((trained, () if cost == "macs" else way), []).append(row)
        found += [_front(_networks(of_way) if cost == "macs" else of_way, cost, gain, told) for of_way in ways.values()]
    return [one for one in found if one.among > 1]


def _networks(rows: Sequence[Row]) -> list[Row]:
    """Leave one row of each network."""
    return list({(row["model"], row["macs"], row["params"], row["seq_lens"]): row for row in reversed(rows)}.values())


def _front(rows: Sequence[Row], cost: str, gain: str, told: Sequence[str]) -> Front:
    points = [(_number(row, cost), _number(row, gain)) for row in rows]
    kept = [rows[index] for index in front(points, "low", "high")]
    axes = [str(row["axis"]) for row in kept if row["axis"] in COLUMNS]
    names = list(dict.fromkeys(["model", *axes, *told, cost, gain]))
    laid = lay_out(kept, names, None)
    heads = [f"{name} ({unit})" if (unit := shown_unit(name)) else name for name in names]
    return Front(cost, gain, len(rows), tuple(heads), tuple(zip(*(column.texts for column in laid), strict=True)))


def _number(row: Row, column: str) -> float:
    value = row[column]
    assert isinstance(value, int | float)
    return value
