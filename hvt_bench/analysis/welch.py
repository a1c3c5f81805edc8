"""welch: how far apart two means are, from few values on each side; holm: which of several verdicts stand together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtr, stdtrit  # what scipy.stats.t calls, at a third of the import

FEW = 2  # Welch's rule calls 11 % of unchanged points changed where one side has so few values and the other 10


class Welch(NamedTuple):
    """The difference of the means of two sets of independent values, nearly normal, each of a spread of its own.

    Source: Welch, "The generalization of Student's problem", Biometrika 34, 1947. With FEW values on a side there is
    one degree of freedom, fewer than by his rule.
    """

    difference: float
    """Mean of the second set less that of the first."""
    error: float
    """Standard error of `difference`; 0 where neither set varies."""
    freedom: float

    def half_width(self, confidence: float) -> float:
        """Half the width of the interval of `difference`; 0 where neither set varies."""
        return float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error if self.error else 0.0

    def p_value(self, true: float) -> float:
        """Chance of a difference this far from a `true` one, on either side.

        Below 1 - confidence, the interval of that confidence excludes it. Raises ZeroDivisionError where neither set
        varies.
        """
        return 2 * float(stdtr(self.freedom, -abs(self.difference - true) / self.error))


def welch(first: Sequence[float], second: Sequence[float]) -> Welch:
    """Set two means side by side; each set has two values at least."""
    difference = statistics.fmean(second) - statistics.fmean(first)
    parts = statistics.variance(first) / len(first), statistics.variance(second) / len(second)
    squared = sum(parts)
    freedom = 1.0
    if squared > 0 and min(len(first), len(second)) > FEW:  # shares first: the squares of small variances would be 0
        shares = [part / squared for part in parts]
        freedom = 1 / (shares[0] ** 2 / (len(first) - 1) + shares[1] ** 2 / (len(second) - 1))
    return Welch(difference, math.sqrt(squared), freedom)


def holm(p_values: Sequence[float], error: float) -> tuple[bool, ...]:
    """Say which of several tests stand so that any of them is wrong at most in a share `error` of all such sets.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979;
    tests may depend on each other.
    """
    stand = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] > error / (len(p_values) - rank):
            break
        stand[place] = True
    return tuple(stand)
