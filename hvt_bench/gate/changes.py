"""Where a cost changed: two breakdowns of one network, and the modules that moved between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hvt_bench.gate.paths import merged, spelt_out
from hvt_bench.metrics.complexity import Breakdown

COSTS = ("macs", "params", "activations")
"""What is known of each module."""

LIKE = {  # what says of each module why a quantity of the whole network moved
    "train_macs": "macs",
    "fvcore_flops": "macs",
    "seq_lens": "activations",
    "estimated_memory_mib": "activations",
}

Cost = tuple[int, int, int]  # as COSTS
Modules = Mapping[str, Cost]
"""By path; "" is the network itself. A module has all that lies in it."""

NOTHING: Cost = (0, 0, 0)


@dataclass(frozen=True)
class Change:
    """What happened to one module, or to each of several that are told as one."""

    path: str
    quantity: str
    before: int | None
    """None: there was no such module."""
    after: int | None
    modules: int = 1
    own: bool = False
    """Whether it is what the module itself computes, apart from the modules in it."""

    @property
    def difference(self) -> int:
        """Of all of them together."""
        return self.modules * ((self.after or 0) - (self.before or 0))

    def describe(self) -> str:
        """Say it in a line."""
        name = f"{self.path or 'the network'}{' (its own)' if self.own else ''}"
        what = f"{name}: {self.quantity}"
        each = f" in each of {self.modules}" if self.modules > 1 else ""
        total = f", {self.difference:+,} in all" if self.modules > 1 else ""
        if self.before is None:
            return f"{name}: new, {self.quantity} {self.after:,}{each}{total}"
        if self.after is None:
            return f"{name}: gone, {self.quantity} {self.before:,}{each}{total}"
        off = self.after - self.before
        return f"{what} {self.before:,} -> {self.after:,} ({off:+,}{each}{total})"


def modules_of(counted: Breakdown) -> dict[str, Cost]:
    """Return what falls on each module of a network that was counted."""
    return {path: (cost.macs, cost.params, cost.activations) for path, cost in counted.modules.items()}


def changes(before: Modules, after: Modules, quantity: str) -> list[Change]:
    """Return the innermost modules on which a quantity changed, the largest change first.

    A module that is new or gone is told whole. What a module computes itself, apart from those in it, is its own.
    """
    column = COSTS.index(LIKE.get(quantity, quantity))
    then, now = ({path: cost[column] for path, cost in modules.items()} for modules in (before, after))
    inside_then, inside_now = _sums_inside(then), _sums_inside(now)
    found: dict[str, tuple[int | None, int | None, bool]] = {}
    for path in {**now, **then}:
        above = path.rpartition(".")[0] if path else None
        if above is not None and not (above in then and above in now):
            continue  # it came, or went, with what holds it
        if path not in then or path not in now:
            if then.get(path) or now.get(path):
                found[path] = then.get(path), now.get(path), False
            continue
        own_then, own_now = then[path] - inside_then[path], now[path] - inside_now[path]
        if own_then != own_now:
            found[path] = own_then, own_now, bool(inside_then[path] or inside_now[path])
    kind = COSTS[column]
    told = [Change(path, kind, old, new, len(spelt_out(path)), own) for path, (old, new, own) in merged(found).items()]
    return sorted(told, key=lambda change: -abs(change.difference))


def _sums_inside(costs: Mapping[str, int]) -> Counter[str]:
    """Add up, for each module, those that lie directly in it."""
    sums: Counter[str] = Counter()
    for path, cost in costs.items():
        if path:
            sums[path.rpartition(".")[0]] += cost
    return sums
