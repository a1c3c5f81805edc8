"""A network cut into parts: where its MACs fall, and its time, if it was timed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hvt_bench.metrics.complexity import Breakdown, OperatorCost
from hvt_bench.metrics.rules import COUNTED_OPS, FREE_OPS
from hvt_bench.metrics.timeline import OWN, operator_kind
from hvt_bench.models.config import ModelConfig
from hvt_bench.timed import Timed

Part = dict[str, Any]  # one line of a breakdown: text or numbers; None is unknown or not applicable

COSTS = ("macs", "params", "activations")
TIMES = ("time_ms", "time_pct", "macs_per_s")
NOTHING = "(none that costs)"


def module_names(counted: Breakdown, by: str) -> list[str] | None:
    """Return the modules that are to be timed for a breakdown; None where operators are."""
    if by == "operator":
        return None
    return [part["module"] for part in (_by_module if by == "module" else _by_block)(counted, None)]


def cut(counted: Breakdown, timed: Timed | None, by: str) -> tuple[list[Part], Part]:
    """Return the parts of a network, and the whole by the same keys; `by` is a key of BREAKDOWNS.

    Times are those of a pass of the batch, `macs_per_s` that of the batch, six digits of each.
    """
    parts = BREAKDOWNS[by](counted, timed)
    whole: Part = {key: getattr(counted.total, key) for key in COSTS}
    if timed is None:
        return parts, whole
    nested = by == "module"
    whole["time_ms"] = timed.line.parts[""] if nested else sum(part["time_ms"] or 0 for part in parts)
    rated = [part | _rates(part, whole["time_ms"], timed.point.batch_size) for part in parts]
    if any(part["macs"] is None for part in parts):  # then MACs of others were made in the time of that one
        rated = [part | ({"macs_per_s": None} if part["macs"] else {}) for part in rated]
    return rated, whole | _rates(whole, whole["time_ms"], timed.point.batch_size)


def _rates(part: Part, whole_ms: float, batch_size: int) -> Part:
    """Say what share of the time a part takes, and how fast it computes."""
    ms, macs = part["time_ms"], part["macs"]
    pct = None if ms is None or not whole_ms else 100 * ms / whole_ms
    speed = None if not ms or macs is None else macs * batch_size / (ms / 1e3)
    found = dict(zip(TIMES, (ms, pct, speed), strict=True))
    return {key: None if value is None else float(f"{value:.6g}") for key, value in found.items()}


def _by_block(counted: Breakdown, timed: Timed | None) -> list[Part]:
    """Return the children of the network in order, each of its blocks on a line of its own."""
    lens = _tokens(counted)
    names: list[str] = []
    for name in counted.modules:
        child, _, below = name.partition(".")
        if name and (not below or (child == "blocks" and "." not in below)) and name != "blocks":
            names.append(name)
    rest: Part = {
        key: getattr(counted.total, key) - sum(getattr(counted.modules[name], key) for name in names) for key in COSTS
    }
    parts: list[Part] = [
        {"module": name, "tokens": lens.get(name), **_cost(counted, name), **_time(timed, name)} for name in names
    ]
    if any(rest.values()) or timed is not None or not names:
        parts.insert(0, {"module": OWN, "tokens": None, **rest, **_time(timed, OWN)})
    return parts


def _by_module(counted: Breakdown, timed: Timed | None) -> list[Part]:
    """Return every module, each with all that lies in it; the network itself first."""
    lens = _tokens(counted)
    return [
        {"module": name or "(all)", "tokens": lens.get(name), **_cost(counted, name), **_time(timed, name)}
        for name in counted.modules
    ]


def _by_operator(counted: Breakdown, timed: Timed | None) -> list[Part]:
    """Return the operators that cost something, the dearest first: the slowest, where they were timed.

    MACs of an operator that was timed and is in neither table of the counting rule are unknown: it is counted by the
    operators that it is made of.
    """
    costs: dict[str, OperatorCost] = {}
    for name, cost in counted.operators.items():
        kind = operator_kind(name) if timed is not None else name
        met = costs.get(kind, OperatorCost(0, 0))
        costs[kind] = OperatorCost(met.macs + cost.macs, met.activations + cost.activations)
    parts: list[Part] = [
        {"operator": name, "macs": cost.macs, "activations": cost.activations, **_time(timed, name)}
        for name, cost in costs.items()
    ]
    parts.sort(key=lambda part: -part["macs"])
    if timed is not None:
        for name in timed.line.parts.keys() - costs.keys():
            nothing = 0 if _is_counted(name, timed.point.config) else None
            parts.append({"operator": name, "macs": nothing, "activations": nothing, **_time(timed, name)})
        parts.sort(key=lambda part: (-(part["time_ms"] or 0), part["operator"]))
    return parts or [{"operator": NOTHING, "macs": 0, "activations": 0, **_time(timed, NOTHING)}]


def _is_counted(operator: str, config: ModelConfig) -> bool:
    """Say whether a rule, or a declaration of the network, says what an operator costs."""
    spellings = {f"aten::{operator}", f"aten::_{operator}"}
    return not spellings.isdisjoint(FREE_OPS | COUNTED_OPS.keys()) or operator in config.fields()


def _by_stage(counted: Breakdown, timed: Timed | None) -> list[Part]:
    """Return the runs of blocks that see the same number of tokens, between what comes before and after them."""
    parts: list[Part] = []
    for tokens, run in itertools.groupby(_by_block(counted, timed), key=lambda part: part["tokens"]):
        members = list(run)
        if tokens is None:
            parts += [{"stage": part["module"], **{k: v for k, v in part.items() if k != "module"}} for part in members]
            continue
        first, last = members[0]["module"], members[-1]["module"]
        total = {key: sum(part[key] or 0 for part in members) for key in (*COSTS, "time_ms") if key in members[0]}
        parts.append({"stage": first if first == last else f"{first} to {last}", "tokens": tokens, **total})
    return parts


def _tokens(counted: Breakdown) -> dict[str, int]:
    return {f"blocks.{block}": tokens for block, tokens in enumerate(counted.total.seq_lens or ())}


def _cost(counted: Breakdown, name: str) -> dict[str, int]:
    cost = counted.modules[name]
    return {key: getattr(cost, key) for key in COSTS}


def _time(timed: Timed | None, name: str) -> Part:
    """Return the time of a part, None where it did not run; nothing where nothing was timed."""
    return {} if timed is None else {"time_ms": timed.line.parts.get(name)}


BREAKDOWNS: dict[str, Callable[[Breakdown, Timed | None], list[Part]]] = {
    "block": _by_block,
    "module": _by_module,
    "operator": _by_operator,
    "stage": _by_stage,
}
