"""One budget: what a person writes for a quantity, and the numbers that keep it.

2402020608            that number
2.40G                 any number that rounds to it as printed: K, M, G, T, P are 10^3 to 10^15
2.40G ± 1%            1 % up or down; also +- and +/-, and ± 10M
{max: 2.5G}           that much or less; also <= 2.5G
<= 0.55 x deit_small  at most so many times what another model costs
[196, 97]             `seq_lens`: these
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hvt_bench.errors import unknown

EXAMPLES = "2402020608, 2.40G, 2.40G ± 1%, {max: 2.5G} or <= 0.55 x deit_small"
MANY_TIMES = 10  # from here on a percentage is no longer read at a glance

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_LONGEST = 200  # characters of a budget
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?(?:\s?[KMGTP])?"
_TWO_SIDED = re.compile(rf"(?P<number>{_NUMBER})(?P<rest>\s*(?:±|\+/?-)\s*(?P<tolerance>{_NUMBER}\s?%?))?")
_CEILING = re.compile(rf"<=\s*(?P<number>{_NUMBER})")
_RELATION = re.compile(r"<=\s*(?P<factor>\d+(?:\.\d+)?)\s*[x×*]\s*(?P<other>\S+)")

Amount = int | float
Measured = Amount | tuple[int, ...]


@dataclass(frozen=True)
class Budget:
    """The numbers from `least` to `most`, both included, keep it; None is no bound."""

    text: str
    """As written."""
    most: Fraction
    least: Fraction | None = None
    centre: Fraction | None = None
    """What a two-sided budget was written around."""

    def holds(self, measured: Measured) -> bool:
        """Whether the number keeps the budget."""
        assert not isinstance(measured, tuple)
        return (self.least is None or self.least <= Fraction(measured)) and Fraction(measured) <= self.most

    @property
    def exact(self) -> bool:
        """Whether one number alone keeps it."""
        return self.least == self.most

    def describe(self) -> str:
        """Return it for a reader: digits in groups of three."""
        return f"{int(self.text):,}" if self.text.isdecimal() else self.text

    def difference(self, measured: Measured) -> str:
        """Say how far off a number is: absolute, and in percent."""
        assert not isinstance(measured, tuple)
        budget = self.most if self.centre is None else self.centre
        off = Fraction(measured) - budget
        absolute = f"{float(off):+,.1f}" if isinstance(measured, float) else f"{round(off):+,}"
        return f"{absolute} ({percent(measured, budget)})"


@dataclass(frozen=True)
class Relation:
    """At most `factor` times the same quantity of the model `other`."""

    text: str
    factor: Fraction
    other: str

    def settle(self, amount: Amount) -> Budget:
        """Return the ceiling, given what the other model costs."""
        most = self.factor * Fraction(amount)
        return Budget(f"{self.text} = {float(most):,.0f}", most)


@dataclass(frozen=True)
class Lengths:
    """Exactly these tokens in each block."""

    lengths: tuple[int, ...]

    def holds(self, measured: Measured) -> bool:
        """Whether they are the same."""
        return measured == self.lengths

    def describe(self) -> str:
        """Return them as the CSV does."""
        return " ".join(map(str, self.lengths))

    def difference(self, measured: Measured) -> str:
        """Say where they first part."""
        assert isinstance(measured, tuple)
        pairs = list(zip(measured, self.lengths, strict=False))
        block = next((i for i, (now, then) in enumerate(pairs) if now != then), len(pairs))
        if block < len(pairs):
            return f"block {block} has {pairs[block][0]} tokens, not {pairs[block][1]}"
        return f"{len(measured)} blocks, not {len(self.lengths)}"


Form = Budget | Relation | Lengths


def parse_budget(value: object, whole: bool = True) -> Budget | Relation:
    """Read a budget; a quantity that is `whole` is counted in whole numbers. Raises ValueError with a sentence."""
    if isinstance(value, dict):
        return _ceiling(value, whole)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no budget; write {EXAMPLES}")
    text = str(value).strip()
    if len(text) > _LONGEST:
        raise ValueError(f"'{text[:20]}...' is no budget: it has {len(text):,} characters")
    if relation := _RELATION.fullmatch(text):
        return Relation(text, Fraction(relation["factor"]), relation["other"])
    if ceiling_match := _CEILING.fullmatch(text):
        return Budget(text, _number(ceiling_match["number"], whole)[0])
    match = _TWO_SIDED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no budget; write {EXAMPLES}")
    centre, half = _number(match["number"], whole)
    if match["rest"]:
        half = _tolerance(match["tolerance"], centre)
    return Budget(text, centre + half, centre - half, centre)


def _ceiling(value: dict[str, object], whole: bool) -> Budget:
    if strange := [key for key in value if key != "max"]:
        raise ValueError(f"{unknown('key', strange[0], ['max'])}; a budget is {EXAMPLES}")
    text = str(value.get("max")).strip()
    if len(text) > _LONGEST or not re.fullmatch(_NUMBER, text):
        raise ValueError(f"max: {text[:_LONGEST]!r} does not fit: should be a number, such as 2.5G")
    return Budget(f"max {int(text):,}" if text.isdecimal() else f"max {text}", _number(text, whole)[0])


def parse_lengths(value: object) -> Lengths:
    """Read the tokens of each block. Raises ValueError with a sentence."""
    if not isinstance(value, list) or not value or not all(type(item) is int and item >= 0 for item in value):
        raise ValueError(f"{value!r} does not fit: should be the tokens that enter each block, such as [196, 97]")
    return Lengths(tuple(value))


def rewritten(text: str, measured: Amount) -> str | None:
    """Return a two-sided budget with the number that was measured, written alike; None for a ceiling or relation.

    A tolerance stays as it is. Where the digits written are too few to hold the number, it is written out.
    """
    match = _TWO_SIDED.fullmatch(text.strip())
    if match is None:
        return None
    rest = match["rest"] or ""
    for number in (_alike(match["number"], Fraction(measured)), _written_out(measured)):
        found = parse_budget(number + rest, whole=isinstance(measured, int))
        if found.holds(measured) and (found.centre or not measured):  # type: ignore[union-attr]
            return number + rest
    return None


def _number(text: str, whole: bool = True) -> tuple[Fraction, Fraction]:
    """Return a number and half a unit of its last digit, which is 0 for one that is written out."""
    digits, unit = _taken_apart(text)
    decimals = len(digits.partition(".")[2])
    if decimals and not unit and whole:
        raise ValueError(f"{text} is no whole number; a suffix says thousands to 10^15: {text}K, M, G, T or P")
    scale = _UNITS[unit]
    return Fraction(digits) * scale, Fraction(scale, 2 * 10**decimals) if unit else Fraction(0)


def _taken_apart(text: str) -> tuple[str, str]:
    digits = re.sub(r"[,_\s]", "", text)
    return (digits[:-1], digits[-1]) if digits[-1].isalpha() else (digits, "")


def _tolerance(text: str, centre: Fraction) -> Fraction:
    if text.endswith("%"):
        share, _ = _number(text.rstrip("% "), whole=False)
        return abs(centre) * share / 100
    return _number(text, whole=False)[0]


def _alike(text: str, measured: Fraction) -> str:
    digits, unit = _taken_apart(text)
    decimals = len(digits.partition(".")[2])
    units = round(measured * 10**decimals / _UNITS[unit])
    ones, below = divmod(units, 10**decimals)
    group = next((mark for mark in ",_" if mark in text), "")
    whole = f"{ones:{group}}" if group else str(ones)
    space = " " if unit and text[-2:-1].isspace() else ""
    return f"{whole}.{below:0{decimals}d}{space}{unit}" if decimals else f"{whole}{space}{unit}"


def _written_out(measured: Amount) -> str:
    return str(measured) if isinstance(measured, int) else f"{measured:.3f}"


def percent(measured: Amount, budget: Amount | Fraction) -> str:
    """Say by how much a number is off, in percent, or in multiples where it is far off."""
    if budget == 0:
        return "from 0"
    ratio = float(Fraction(measured) / Fraction(budget))
    return f"{100 * (ratio - 1):+.2f} %" if ratio < MANY_TIMES else f"{ratio:.3g} times the budget"
