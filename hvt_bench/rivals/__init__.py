"""rivals: the networks of equal cost that a search found, measured beside the network that they are to equal.

They go through a sweep like any other: the same rounds, in turns, so that drift of the machine meets all alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hvt_bench.analysis.judge import MIN_ROUNDS, Judgement, judge, rounds_of
from hvt_bench.analysis.match import Match, Matches
from hvt_bench.analysis.pick import ratio
from hvt_bench.errors import ConfigError, HvtBenchError, RequestError, unknown
from hvt_bench.metrics import METRICS
from hvt_bench.models import parse_fields
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import InvalidCell, Point, Protocol
from hvt_bench.records import explain
from hvt_bench.row import Row
from hvt_bench.settle import settle, settle_attention
from hvt_bench.sweep import Cell, Sweep

MEASURED = {"latency": "latency_ms", "memory": "peak_memory_mib"}
"""What can be measured, and the column that the networks are ranked by."""
NAME = "match"  # of the sweep
ROUNDS = 5  # where none are asked for: three give an interval twice as wide


@dataclass(frozen=True)
class Plan:
    """What is to be measured: the target first, then the designs within the tolerance."""

    found: Matches
    measured: tuple[str, ...]
    """Of MEASURED; networks are ranked by the first."""
    target: Cell
    entries: tuple[tuple[Match, tuple[str, ...], Cell], ...]
    """Each design, how it was found (`joint 1`), and its cell."""

    @property
    def sweep(self) -> Sweep:
        """The same as a sweep; MACs are counted again."""
        cells = {cell.point_id: cell for cell in (self.target, *(cell for _, _, cell in self.entries))}
        metrics = tuple(name for name in METRICS if name in ("complexity", *self.measured))
        return Sweep(NAME, tuple(cells.values()), metrics)


@dataclass(frozen=True)
class Rival:
    """One network of equal cost, measured."""

    match: Match
    kinds: tuple[str, ...]
    row: Row
    ratios: Mapping[str, float | None]
    """By what was measured, over the target's; of latency, of the geometric means of rounds. None where it failed."""
    found: Judgement | None
    """Of its latency against the target's; None where it was not measured, or a side has too few rounds."""


@dataclass(frozen=True)
class Contest:
    """The target and its rivals, those that take least first, those that failed last."""

    plan: Plan
    target: Row
    rivals: tuple[Rival, ...]


def parse_protocol(texts: Sequence[str], **more: Any) -> dict[str, Any]:
    """Read `batch_size=8`, `rounds=10` ... as the protocol of a sweep file, over `more`, and fill in the rest.

    Raises RequestError where a key is unknown, a value does not fit or this machine lacks the device.
    """
    given = {**more, **parse_fields(list(texts))}
    known = Protocol.model_fields.keys() - {"max_batch"}  # of other batches, times cannot be compared
    for key in given:
        if key not in known:
            raise RequestError(f"--protocol: {unknown('key', key, known)}")
    try:
        return settle({"rounds": ROUNDS} | given)
    except ValidationError as error:
        raise RequestError(f"--protocol: {explain(error, Protocol.model_fields)[0][1]}") from None


def plan_contest(found: Matches, measured: Sequence[str], protocol: Mapping[str, Any], limit: int) -> Plan:
    """Plan to measure the target, and what is shown of the designs within the tolerance.

    Raises RequestError where that is nothing, or the target cannot be measured so.
    """
    for name in measured:
        if name not in MEASURED:
            raise RequestError(f"--measure: {unknown('metric', name, MEASURED)}")
    if limit < 1:
        raise RequestError(f"--limit {limit}: give 1 or more")
    kinds: dict[ModelConfig, list[str]] = {}
    designs: dict[ModelConfig, Match] = {}
    for kind, match in found.shown(limit):
        if match.within:
            kinds.setdefault(match.config, []).append(kind)
            designs.setdefault(match.config, match)
    if not designs:
        raise RequestError(
            f"no design is within {found.tolerance_pct:g} % of {found.target.model}, so there is none to measure; "
            "raise --tolerance, or vary more"
        )
    target = _cell(found.target.model, found.target.config, protocol)
    if isinstance(target, InvalidCell):
        raise RequestError(f"{found.target.model} cannot be measured so: {target.reason}")
    entries = tuple(
        (match, tuple(kinds[config]), _cell(match.model, config, protocol)) for config, match in designs.items()
    )
    return Plan(found, tuple(dict.fromkeys(measured)), target, entries)


def judge_contest(plan: Plan, rows: Sequence[Row]) -> Contest:
    """Hold each design's row against the target's, and rank them. Raises HvtBenchError where the target failed."""
    by_id = {row["point_id"]: row for row in rows}
    target = by_id[plan.target.point_id]
    if target["status"] != "ok":
        raise HvtBenchError(
            f"{target['model']} was not measured ({target['status']}: {target['error']}), so there is nothing to hold "
            "the others against"
        )
    rivals = [_rival(match, kinds, by_id[cell.point_id], target, plan) for match, kinds, cell in plan.entries]
    return Contest(plan, target, tuple(sorted(rivals, key=lambda rival: rival.ratios[plan.measured[0]] or math.inf)))


def _cell(name: str, config: ModelConfig, protocol: Mapping[str, Any]) -> Cell:
    point = Point(model=name, config=config, **settle_attention(protocol, config))
    try:
        point.check()
    except ConfigError as error:
        known = {key: value for key, value in point.columns().items() if key not in ("point_id", "model", "axis")}
        return InvalidCell(model=name, axis=None, asked=known, reason=str(error))
    return point


def _rival(match: Match, kinds: tuple[str, ...], row: Row, target: Row, plan: Plan) -> Rival:
    whole = row["status"] == "ok"
    ratios = {name: ratio(row[MEASURED[name]], target[MEASURED[name]]) if whole else None for name in plan.measured}
    rounds = rounds_of(target), rounds_of(row)
    if not whole or "latency" not in plan.measured or min(map(len, rounds)) < MIN_ROUNDS:
        return Rival(match, kinds, row, ratios, None)
    found = judge(*rounds, margin_pct=plan.found.tolerance_pct)
    return Rival(match, kinds, row, ratios | {"latency": found.ratio}, found)
