"""match: the networks of a family that cost as much as a given one, and are larger.

The paper's claim is that an HVT can be made wider, deeper, of larger images or of smaller patches at the same cost,
since its sequence is shorter. This finds which of them, one dimension at a time and all together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from hvt_bench.analysis.designs import base_for, design_name, parse_values, usual_dimensions
from hvt_bench.analysis.product import Changes, Designs
from hvt_bench.errors import CountError, RequestError, unknown
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.estimate import estimate
from hvt_bench.models import FAMILIES, VARIANTS, make_config, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Mode, Point

COSTS = ("macs", "params", "estimated_memory_mib")
FORMS: dict[str, Callable[[ModelConfig], Any]] = {
    "macs": lambda config: config.closed_form_macs(),
    "params": lambda config: config.closed_form_params(),
}
"""Costs that have a closed form."""
MOST_ESTIMATED = 300  # designs whose memory is estimated: each takes about 0.1 s
NEAREST = 1  # designs that are shown of a dimension along which none is within the tolerance

_SMALLER_IS_MORE = ("patch_size",)  # a smaller patch makes a longer sequence


@dataclass(frozen=True)
class Match:
    """One network, and how it compares with the target."""

    config: ModelConfig
    changes: Mapping[str, Any]
    """The values of the dimensions that were varied."""
    cost: float
    cost_ratio: float
    """Over the cost of the target."""
    params: int
    params_ratio: float
    ratios: Mapping[str, float]
    """Along each varied dimension that the target has, over its value."""
    within: bool
    """Whether the cost is within the tolerance; else it is the nearest."""

    @property
    def model(self) -> str:
        """What `parse_model` reads as this network."""
        return design_name(self.config)

    @property
    def variants(self) -> tuple[str, ...]:
        """Published variants that are this network."""
        return _published(self.config.family).get(self.config, ())

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts the best first: most params, then largest along each dimension."""
        along = [1 / ratio if name in _SMALLER_IS_MORE else ratio for name, ratio in self.ratios.items()]
        return (-self.params_ratio, *(-ratio for ratio in along))


@dataclass(frozen=True)
class Target:
    """The network that is to be equalled."""

    model: str
    config: ModelConfig
    cost: float
    params: int
    macs: int


@dataclass(frozen=True)
class Matches:
    """What a search found."""

    target: Target
    metric: str
    tolerance_pct: float
    base: ModelConfig
    """Of the family, with the fields of the target: what is varied."""
    values: Mapping[str, Sequence[Any]]
    alone: Mapping[str, tuple[Match, ...]]
    """By dimension: where only that one is varied; the nearest where none is within the tolerance."""
    joint: tuple[Match, ...]
    """Of all combinations: those within the tolerance, the best first."""
    designs: int
    """Networks that the combinations are."""
    invalid: int
    """Combinations that are none."""
    why_invalid: str
    """The most frequent reason, of one of them; empty where all are networks."""
    repeated: int
    """Combinations that are the network of another one."""

    def shown(self, limit: int) -> list[tuple[str, Match]]:
        """Return what a reader sees, and how it was found: the `limit` best of each, and published variants."""
        found = [(f"{name} alone", match) for name, matches in self.alone.items() for match in matches[:limit]]
        best = [(f"joint {place}", match) for place, match in enumerate(self.joint, start=1)]
        variants = [(kind, match) for kind, match in best[limit:] if match.variants]
        return [*found, *best[:limit], *variants]


@dataclass
class _Meter:
    """What a design costs, by its closed form, or by shapes."""

    metric: str
    batch_size: int
    mode: str

    def cost(self, config: ModelConfig) -> float:
        form = FORMS.get(self.metric)
        found: float | None = form(config) if form else estimate(self._point(config)).total_mib
        if found is None:
            raise _no_closed_form(config)
        return found

    def _point(self, config: ModelConfig) -> Point:
        fields: dict[str, Any] = {"mode": self.mode, "attention": config.usual_attention(self.mode == "train")}
        return Point(
            model=config.family, config=config, device="cuda:0", batch_size=self.batch_size, warmup_s=0.0, **fields
        )


def match(
    to: str,
    family: str,
    vary: Sequence[str],
    values: Sequence[str] = (),
    tolerance_pct: float = 2.0,
    metric: str = "macs",
    batch_size: int = 64,
    mode: str = "infer",
) -> Matches:
    """Find the networks of `family` whose `metric` is within `tolerance_pct` of that of `to`.

    `vary` are fields of the family, `values` those that they take (designs.parse_values); with neither, all that the
    family has of designs.USUAL. `batch_size` and `mode` are
    those of the pass on a GPU, in float32, whose memory is estimated. Raises RequestError where a name or a value is
    out of the question, or the family has no closed form.
    """
    for option, given, known in (("--metric", metric, COSTS), ("--mode", mode, get_args(Mode))):
        if given not in known:
            raise RequestError(f"{option}: {unknown(option.lstrip('-'), given, known)}")
    meter = _Meter(metric, batch_size, mode)
    target_config = parse_model(to)
    base = base_for(target_config, family)
    dimensions = parse_values(base, vary if vary or values else usual_dimensions(base), values)
    if base.closed_form_params() is None or base.closed_form_macs() is None:
        raise _no_closed_form(base)
    everything = Designs(base, dimensions)
    if metric == "estimated_memory_mib" and len(everything) > MOST_ESTIMATED:
        raise RequestError(
            f"--metric {metric}: {len(everything):,} designs, each of whose memory takes about 0.1 s to estimate, are "
            f"more than {MOST_ESTIMATED}; narrow them with --values or --vary"
        )
    counted = count(target_config)
    cost = {"macs": counted.macs, "params": counted.params}.get(metric) or meter.cost(target_config)
    target = Target(to, target_config, cost, counted.params, counted.macs)
    search = _Search(target, meter, tolerance_pct)
    alone = {name: search.nearest(Designs(base, {name: found})) for name, found in dimensions.items()}
    joint = search.within(everything)
    lost, same = everything.invalid, everything.repeated
    designs, why = len(everything) - lost - same, everything.why_invalid() if lost else ""
    return Matches(target, metric, tolerance_pct, base, dimensions, alone, joint, designs, lost, why, same)


@dataclass
class _Search:
    target: Target
    meter: _Meter
    tolerance_pct: float

    def within(self, designs: Designs) -> tuple[Match, ...]:
        """Return those designs whose cost is within the tolerance, the best first."""
        found = []
        for changes, config in map(designs.at, sorted(self._places_within(designs))):
            cost = self.meter.cost(config)
            if self._is_within(cost):
                found.append(self._match(changes, config, cost))
        return tuple(sorted(found, key=lambda match: match.rank))

    def _places_within(self, designs: Designs) -> Iterator[int]:
        """Yield the places of those whose closed form, if there is one of this metric, is within the tolerance."""
        for batch in designs.batches():
            if form := FORMS.get(self.meter.metric):
                batch = batch.only(self._is_within(batch.numbers(form)))
            yield from batch.places.tolist()

    def nearest(self, designs: Designs) -> tuple[Match, ...]:
        """Return those within the tolerance, the best first, or else the nearest one."""
        costs = [(changes, config, self.meter.cost(config)) for changes, config in designs]
        inside = [found for found in costs if self._is_within(found[2])]
        if inside:
            return tuple(sorted((self._match(*found) for found in inside), key=lambda match: match.rank))
        by_distance = sorted(costs, key=lambda found: abs(math.log(found[2] / self.target.cost)))
        return tuple(self._match(*found) for found in by_distance[:NEAREST])

    def _is_within(self, cost: Any) -> Any:
        return abs(cost - self.target.cost) <= self.tolerance_pct / 100 * self.target.cost

    def _match(self, changes: Changes, config: ModelConfig, cost: float) -> Match:
        params = config.closed_form_params()
        assert params is not None
        theirs = self.target.config.fields()
        ratios = {
            name: value / theirs[name]
            for name, value in changes.items()
            if _is_number(value) and _is_number(theirs.get(name)) and theirs[name] > 0
        }
        return Match(
            config,
            changes,
            cost,
            cost / self.target.cost,
            params,
            params / self.target.params,
            ratios,
            self._is_within(cost),
        )


def recount(found: Match) -> int:
    """Return the MACs of a match by fvcore. Raises CountError where its closed forms are wrong."""
    counted = count(found.config)
    closed = found.config.closed_form_macs(), found.config.closed_form_params()
    if (counted.macs, counted.params) != closed:
        raise CountError(
            f"{found.model}: the closed form says {closed[0]:,} MACs and {closed[1]:,} params, fvcore "
            f"{counted.macs:,} and {counted.params:,}; this is a fault of hvt-bench: please report it"
        )
    return counted.macs


def parse_percent(text: str) -> float:
    """Read `2%` or `2`. Raises RequestError for what is no share of 100 %."""
    number = re.fullmatch(r"\s*(\d+(\.\d*)?|\.\d+)\s*%?\s*", text)
    if not number or not 0 <= float(number[1]) < 100:
        raise RequestError(f"--tolerance {text}: give percent from 0 to below 100, such as 2%")
    return float(number[1])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@cache
def _published(family: str) -> dict[ModelConfig, tuple[str, ...]]:
    """Variants of a family, by the network that they are."""
    found: dict[ModelConfig, tuple[str, ...]] = {}
    for name in (name for name, (of_family, _) in VARIANTS.items() if of_family == family):
        found[make_config(name, {})] = (*found.get(make_config(name, {}), ()), name)
    return found


def _no_closed_form(config: ModelConfig) -> RequestError:
    have = [
        name
        for name, made in FAMILIES.items()
        if made.closed_form_params is not ModelConfig.closed_form_params
        and made.closed_form_macs is not ModelConfig.closed_form_macs
    ]
    return RequestError(
        f"family {config.family} has no closed form of its MACs and params, which a search needs; "
        f"families that have: {', '.join(have)}"
    )
