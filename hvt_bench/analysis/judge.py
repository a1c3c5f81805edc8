"""judge: whether the time of a point changed, and by how much, as far as the rounds of two measurements can say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hvt_bench.analysis.welch import welch
from hvt_bench.row import Row

Verdict = Literal["SAME", "FASTER", "SLOWER", "UNSURE"]
CONFIDENCE = 0.95
MARGIN_PCT = 2.0
MIN_ROUNDS = 2
"""On either side: one round says nothing of how far rounds are apart."""

LARGEST_LOG = 700.0  # exp of it is near the largest float; what lies beyond says no more than "anything"


@dataclass(frozen=True)
class Judgement:
    """What the rounds of two measurements say of the time of one point.

    The interval is Welch's t interval for the difference of the means of the logarithms of the round medians, as a
    ratio new / old. The verdict is

    - `SAME` if the interval lies within the margin, [1 / (1 + margin), 1 + margin], even if it excludes 1: such a
      change was shown, and is too small to matter;
    - else `FASTER` or `SLOWER` if the interval lies below or above 1;
    - else `UNSURE`, always so with fewer than MIN_ROUNDS rounds on a side.

    So of points that did not change, about 1 - confidence at most are called FASTER or SLOWER, as far as rounds are
    independent and their logarithms nearly normal. (5 % become 6 % with as many rounds on both sides and 8 % with 3
    against 50.) Old and new changed about gives the same verdict, mirrored.
    """

    old_ms: float
    """Geometric mean of the medians of the old rounds, so that `ratio` is `new_ms / old_ms`."""
    new_ms: float
    ratio: float
    """new / old: below 1 is faster."""
    low: float | None
    """Lower end of the interval of `ratio`; None with fewer than MIN_ROUNDS rounds on a side."""
    high: float | None
    smallest_change_pct: float | None
    """Rounds spread as these are would have been called SLOWER had their `ratio` been more than this above 1.

    That is the larger of half the interval and what leaves the margin: with h half the width of the interval of the
    logarithm, exp(max(h, log(1 + margin) - h)) - 1. A true change of this size is found in about half of all cases.
    """
    verdict: Verdict


def judge(
    old: Sequence[float], new: Sequence[float], confidence: float = CONFIDENCE, margin_pct: float = MARGIN_PCT
) -> Judgement:
    """Judge the medians of two sets of rounds, in ms, all of them positive and finite, at least one on each side."""
    old_logs, new_logs = [math.log(ms) for ms in old], [math.log(ms) for ms in new]
    old_log, new_log = statistics.fmean(old_logs), statistics.fmean(new_logs)
    change = new_log - old_log
    means = math.exp(old_log), math.exp(new_log), _exp(change)
    if min(len(old), len(new)) < MIN_ROUNDS:
        return Judgement(*means, None, None, None, "UNSURE")
    half = welch(old_logs, new_logs).half_width(confidence)
    margin = math.log1p(margin_pct / 100)
    verdict: Verdict = "UNSURE"
    if -margin <= change - half and change + half <= margin:
        verdict = "SAME"
    elif change + half < 0:
        verdict = "FASTER"
    elif change - half > 0:
        verdict = "SLOWER"
    smallest_change_pct = 100 * (_exp(max(half, margin - half)) - 1)
    return Judgement(*means, _exp(change - half), _exp(change + half), smallest_change_pct, verdict)


def rounds_of(row: Row) -> tuple[float, ...]:
    """Return the medians of the rounds of a row, in ms; none where it has none, or one is no time."""
    found = row["latency_ms_rounds"]
    rounds = tuple(map(float, found)) if isinstance(found, tuple) else ()
    return rounds if all(math.isfinite(ms) and ms > 0 for ms in rounds) else ()


def _exp(log: float) -> float:
    return math.exp(min(log, LARGEST_LOG))
