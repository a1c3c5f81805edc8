"""What all findings share: the sentence, how sure it is, and how numbers are spelt in it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hvt_bench.analysis.judge import CONFIDENCE, MIN_ROUNDS, Judgement, judge, rounds_of
from hvt_bench.row import Row

MOST = 6  # sentences of one kind: a headline is not a table
MATTERS_PCT = 10.0  # MACs further apart than this are a change worth a sentence
INTERVAL = f"{100 * CONFIDENCE:g} % interval"


@dataclass(frozen=True)
class Finding:
    """One sentence, or a few."""

    text: str
    sure: bool = True
    """Whether the data decide it; where they do not, the text says so."""


def plain(value: float) -> str:
    """Spell three digits that count, without an exponent: `1,590`."""
    return f"{Decimal(f'{value:.3g}'):,f}"


def more(number: int) -> str:
    """Say how many sentences of a kind are left out."""
    return f"and {number - MOST:,} more"


def judged(old: Row, new: Row) -> Judgement | None:
    """Judge the rounds of two rows; None where there are too few."""
    sides = rounds_of(old), rounds_of(new)
    return judge(*sides) if min(map(len, sides)) >= MIN_ROUNDS else None
