"""Every printed params and FLOPs cell beside what we count, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from hvt_bench.errors import RequestError, unknown
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import parse_model
from hvt_bench.published import SYSTEMS, Printed, Quantity, published
from hvt_bench.reproduce.conventions import CONVENTIONS

UNITS = {"params": (10**6, "M"), "flops": (10**9, "G")}
SLACK = Decimal("0.05")  # half a unit of the one decimal that DynamicViT prints

Verdict = Literal["match", "within", "bracketed", "differs"]
"""`match`: equal when rounded as printed. `within`: 2.5 % off at most, 3 % of Scaling ViT. `bracketed`: between
DynamicViT without and with its predictors. `differs`: none of these."""

Follow = Callable[[Sequence[Printed]], Iterable[Printed]]


@dataclass(frozen=True)
class Cell:
    """One printed number, and ours."""

    row: Printed
    quantity: Quantity
    ours: int
    """By the convention of the source."""
    least: int
    """The smaller of two counts that the convention names; else `ours`."""
    whole: int
    """params or macs of the whole network, as `hvt-bench show` has them."""
    verdict: Verdict
    explanation: str
    """Of a cell that differs: why, if its cause holds."""

    @property
    def printed(self) -> str:
        """The number as printed."""
        return self.row.cell(self.quantity)

    @property
    def difference_pct(self) -> float:
        """Percent by which ours is larger than the printed number."""
        return float(100 * (_scaled(self.ours, self.quantity) / Decimal(self.printed) - 1))

    @property
    def img_size(self) -> int:
        """Side of the image that was counted, in px."""
        return int(parse_model(self.row.network).fields()["img_size"])

    @property
    def unexplained(self) -> bool:
        """Whether nobody knows why it differs."""
        return self.verdict == "differs" and not self.explanation


@dataclass(frozen=True)
class NotCompared:
    """A row without a cell that we can count, and why."""

    row: Printed
    reason: str


def compare(systems: Sequence[str], follow: Follow = iter) -> tuple[tuple[Cell, ...], tuple[NotCompared, ...]]:
    """Count every network of some systems that we build; `follow` is given the rows, and may show how far it is."""
    rows = [row for key in systems for row in published(key)]
    in_scope = [row for row in rows if not _out_of_scope(row)]
    cells = [cell for row in follow(in_scope) for cell in _cells(row)]
    return tuple(cells), tuple(NotCompared(row, reason) for row in rows if (reason := _out_of_scope(row)))


def chosen(system: str | None) -> tuple[str, ...]:
    """Return the systems that are asked for: one of SYSTEMS, or all. Raises RequestError."""
    if system is None:
        return SYSTEMS
    if system not in SYSTEMS:
        raise RequestError(unknown("system", system, SYSTEMS))
    return (system,)


def _out_of_scope(row: Printed) -> str:
    """Return why no cell of a row is compared; empty if one is."""
    if not row.ours:
        return row.reason
    if not row.cells:
        return "no params or FLOPs are printed"
    return ""


def _cells(row: Printed) -> Iterable[Cell]:
    for quantity in row.cells:
        ours, least, whole = _count(row.network, row.convention, quantity)
        verdict = judge(row.cell(quantity), row.convention, quantity, ours, least)
        explained = verdict == "differs" and _cause_holds(row, quantity, ours)
        yield Cell(row, quantity, ours, least, whole, verdict, row.reason if explained else "")


def _count(network: str, convention: str, quantity: Quantity) -> tuple[int, int, int]:
    """Return the count by a convention, the least that it allows, and the count of the whole network."""
    config, rule = parse_model(network), CONVENTIONS[convention]
    counted = breakdown(config)
    if quantity == "params":
        ours = rule.params(config, counted)
        return ours, ours, counted.total.params
    ours = rule.flops(config, counted)
    least = rule.least_flops(config, counted) if rule.least_flops else ours
    return ours, least, counted.total.macs


def judge(text: str, convention: str, quantity: Quantity, ours: int, least: int) -> Verdict:
    """Judge a printed number, given as text, since its digits say how it was rounded."""
    printed, counted = Decimal(text), _scaled(ours, quantity)
    if abs(counted - printed) <= _digit(text, convention) / 2:
        return "match"
    if least != ours:
        between = _scaled(least, quantity) <= printed + SLACK and printed <= counted + SLACK
        return "bracketed" if between else "differs"
    tolerance = Decimal(CONVENTIONS[convention].tolerance_pct) / 100
    return "within" if abs(counted - printed) <= tolerance * printed else "differs"


def _scaled(count: int, quantity: Quantity) -> Decimal:
    return Decimal(count) / UNITS[quantity][0]


def _digit(text: str, convention: str) -> Decimal:
    """Return what one of the last digit is worth."""
    decimals = CONVENTIONS[convention].decimals
    return Decimal(1).scaleb(-(len(text.partition(".")[2]) if decimals is None else decimals))


# --- why a number differs: each cause is checked, not believed --------------------------------------------------------


def _cause_holds(row: Printed, quantity: Quantity, ours: int) -> bool:
    """Whether the cause that a row names is so."""
    named, _, cause = row.cause.partition(":")
    if named != quantity:
        return False
    kind, _, network = cause.partition("=")
    return _CAUSES[kind](row, quantity, ours, network)


def _is_cut(row: Printed, quantity: Quantity, ours: int, _: str) -> bool:
    """`cut`: the digits behind the printed ones were dropped, and not rounded."""
    digit = _digit(row.cell(quantity), row.convention)
    return _scaled(ours, quantity) // digit * digit == Decimal(row.cell(quantity))


def _is_of_another(row: Printed, quantity: Quantity, _: int, network: str) -> bool:
    """`as=hvt_s_3`: it is the number of another network."""
    other, least, _ = _count(network, row.convention, quantity)
    return judge(row.cell(quantity), row.convention, quantity, other, least) == "match"


def _is_right_elsewhere(row: Printed, quantity: Quantity, ours: int, _: str) -> bool:
    """`elsewhere`: another place prints, of the same network, the number that we count."""
    others = (other for key in SYSTEMS for other in published(key) if other.network == row.network)
    return any(
        judge(other.cell(quantity), other.convention, quantity, ours, ours) == "match"
        for other in others
        if other.cell(quantity) and other.convention == row.convention
    )


_CAUSES: dict[str, Callable[[Printed, Quantity, int, str], bool]] = {
    "cut": _is_cut,
    "as": _is_of_another,
    "elsewhere": _is_right_elsewhere,
}
