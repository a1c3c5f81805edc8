"""CLAIMS: sentences of the papers about cost, each computed by every convention it could be meant by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import parse_model
from hvt_bench.published import Printed, published
from hvt_bench.reproduce.conventions import CONVENTIONS, Rule


class Finding(NamedTuple):
    """What comes out of a claim by one convention."""

    convention: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A sentence about cost, where it stands, and how it is held against numbers."""

    key: str
    """Which of SYSTEMS."""
    text: str
    source: str
    how: str
    compute: Callable[[], list[Finding]]


@dataclass(frozen=True)
class Computed:
    """A claim and what comes out."""

    claim: Claim
    findings: tuple[Finding, ...]


def compute(systems: tuple[str, ...]) -> tuple[Computed, ...]:
    """Compute the claims about some systems."""
    return tuple(Computed(claim, tuple(claim.compute())) for claim in CLAIMS if claim.key in systems)


def _count(network: str, rule: Rule) -> int:
    config = parse_model(network)
    return rule(config, breakdown(config))


# --- HVT ------------------------------------------------------------------------------------------------------------

_SCALED, _TINY = "scale_hvt_ti_4", "deit_tiny"


def _comparable() -> list[Finding]:
    """Count both networks; a convention holds if its counts are the printed numbers."""
    rows = {row.ours: row for row in published("hvt") if "Figure 1" in row.location}
    findings = []
    for name, label in (("macs", "MACs"), ("timm", "fvcore's table, norms too")):
        counts = [_count(network, CONVENTIONS[name].flops) for network in (_SCALED, _TINY)]
        told = [f"{count / 1e9:.2f}" for count in counts]
        more = 100 * (counts[0] / counts[1] - 1)
        holds = told == [rows[_SCALED].flops_g, rows[_TINY].flops_g]
        findings.append(Finding(label, f"{' against '.join(told)} G, {more:.0f} % more", holds))
    return findings


# --- DynamicViT -----------------------------------------------------------------------------------------------------

_FEWER_PCT = (31, 37)
_FASTER_PCT = 40
_DROP = 0.5
_PRUNED = {  # at keep_rate 0.7, and what it is pruned from
    "dynamicvit_s": "deit_small",
    "dynamicvit_b": "deit_base",
    "dynamicvit_lv_s": "lvvit_s",
    "dynamicvit_lv_m": "lvvit_m",
}


def _fewer_flops() -> list[Finding]:
    """Set a pruned network against the unpruned one, by what is counted and by what is printed."""
    pruned = CONVENTIONS["predictors"]
    assert pruned.least_flops is not None
    found = []
    for label, rule in (("MACs without predictors", pruned.least_flops), ("MACs with predictors", pruned.flops)):
        fewer = {
            name: 100 - 100 * _count(name, rule) / _count(unpruned, CONVENTIONS["macs"].flops)
            for name, unpruned in _PRUNED.items()
        }
        found.append(_percentages(label, fewer))
    return found


def _percentages(label: str, fewer: dict[str, float]) -> Finding:
    told = ", ".join(f"{name} {percent:.1f} %" for name, percent in fewer.items())
    low, high = _FEWER_PCT
    return Finding(label, told, all(low <= round(percent) <= high for percent in fewer.values()))


def _pairs() -> list[tuple[Printed, Printed]]:
    """Return the rows of DynamicViT's Table 1 at keep rate 0.7, each behind the unpruned one."""
    rows = [row for row in published("dynamicvit") if "Table 1" in row.location]
    return [
        (before, after)
        for before in rows
        for after in rows
        if before.model == after.model and (before.variant, after.variant) == ("rho=1.0", "rho=0.7")
    ]


def _faster() -> list[Finding]:
    gains = {before.model: 100 * (float(after.throughput) / float(before.throughput) - 1) for before, after in _pairs()}
    told = ", ".join(f"{model} {gain:.0f} % more" for model, gain in gains.items())
    where = "images a second as printed (RTX 3090, batch 32); not measured here, which takes a GPU"
    return [Finding(where, told, all(gain > _FASTER_PCT for gain in gains.values()))]


def _drop() -> list[Finding]:
    drops = {before.model: float(before.top1) - float(after.top1) for before, after in _pairs()}
    told = ", ".join(f"{model} {drop:.1f}" for model, drop in drops.items())
    return [
        Finding("top-1 as printed; not trained here", told, all(round(drop, 2) <= _DROP for drop in drops.values()))
    ]


CLAIMS = (
    Claim(
        "hvt",
        "Scale HVT-Ti-4 has FLOPs comparable to those of DeiT-Ti (1.39 against 1.25)",
        "arXiv 2103.10619 v1, abstract and Figure 1",
        "both counted; holds where both are the printed number",
        _comparable,
    ),
    Claim(
        "dynamicvit",
        "31 to 37 % fewer FLOPs",
        "arXiv 2106.02034, abstract",
        "keep_rate 0.7 against the unpruned network; holds where each is 31 to 37 when rounded to a percent",
        _fewer_flops,
    ),
    Claim(
        "dynamicvit",
        "throughput improved by over 40 %",
        "arXiv 2106.02034, abstract",
        "keep rate 0.7 against 1.0 in Table 1",
        _faster,
    ),
    Claim(
        "dynamicvit",
        "accuracy drops by at most 0.5 %",
        "arXiv 2106.02034, abstract",
        "keep rate 0.7 against 1.0 in Table 1",
        _drop,
    ),
)
