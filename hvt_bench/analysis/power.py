"""power: exponents of y over x, on logarithms: between neighbours, overall, and where the slope changes.

Plain numbers in and out; what they are, and which rows they come from, is for fit.py to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
MIN_POINTS = 4
"""Fewer cannot tell a power law from a curve, so their exponent gets no interval."""
MIN_ROUNDS = 2
"""At each point: one round says nothing of how far rounds are apart."""
MIN_POINTS_TO_BEND = 7
"""The fewest for which AICc of two slopes is defined: five parameters need n - k - 1 > 0."""

_PARAMETERS = 3  # of one slope: height, slope, noise
_PARAMETERS_BENT = 5  # and the second slope, and where it begins
_KNOTS = 64  # places between the second and the last but one point where a slope may change
_EXACT = 1e-20  # mean square of logarithms that is no more than rounding


@dataclass(frozen=True)
class Bend:
    """Where the slope changes, and from what to what."""

    at: float
    below: float
    above: float
    gain: float
    """How much lower AICc is than with one slope: above 0."""


def local_exponents(x: Sequence[float], y: Sequence[float]) -> tuple[float, ...]:
    """Exponent between each point and the next, log(y₂/y₁) / log(x₂/x₁); `x` ascends, all are above 0."""
    pairs = zip(zip(x, y, strict=True), zip(x[1:], y[1:], strict=True), strict=False)
    return tuple(math.log(y2 / y1) / math.log(x2 / x1) for (x1, y1), (x2, y2) in pairs)


def overall_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope of log y over log x, and how far the furthest point is from that line, in %."""
    weights, logs = _weights(x), [math.log(value) for value in y]
    exponent = sum(map(mul, weights, logs))
    residuals = [log - exponent * math.log(place) for log, place in zip(logs, x, strict=True)]
    middle = math.fsum(residuals) / len(x)
    return exponent, 100 * math.expm1(max(abs(residual - middle) for residual in residuals))


def round_mean(rounds: Sequence[float]) -> float:
    """Return the geometric mean of the medians of rounds: what a point stands for."""
    return math.exp(math.fsum(map(math.log, rounds)) / len(rounds))


def half_width(x: Sequence[float], rounds: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> float:
    """Return half the width of the interval of the overall exponent, from how far the rounds of each point are apart.

    The slope is a weighted sum of the mean logarithms of the points, so its variance is the sum of theirs, weighted;
    degrees of freedom by Welch and Satterthwaite, so that points may be differently noisy. The interval is of the
    slope that these points would have without noise between rounds, whether or not they lie on a power law. It knows
    nothing of what all rounds of a point have in common. At least MIN_ROUNDS rounds at each point.
    """
    parts = [
        weight**2 * _variance([math.log(value) for value in found]) / len(found)
        for weight, found in zip(_weights(x), rounds, strict=True)
    ]
    error = sum(parts)
    if error == 0:
        return 0.0
    shares = [(part / error) ** 2 / (len(found) - 1) for part, found in zip(parts, rounds, strict=True)]
    return float(stdtrit(1 / sum(shares), (1 + confidence) / 2)) * math.sqrt(error)


def find_bend(x: Sequence[float], y: Sequence[float]) -> Bend | None:
    """Return where the slope of log y over log x changes; None where AICc does not ask for a second slope.

    Two slopes that meet, fitted by least squares over places between the second and the last but one point, against
    one slope. AICc counts the place as a parameter (Hurvich and Tsai, "Regression and time series model selection in
    small samples", Biometrika 76, 1989). At least MIN_POINTS_TO_BEND points.
    """
    log_x, log_y = np.log(x), np.log(y)
    middle, height = log_x.mean(), log_y.mean()
    log_x, log_y = log_x - middle, log_y - height
    exponent = float(log_x @ log_y / (log_x @ log_x))
    straight = _aicc(float(((log_y - exponent * log_x) ** 2).sum()), len(x), _PARAMETERS)
    knots = np.linspace(log_x[1], log_x[-2], _KNOTS)
    after = np.clip(log_x - knots[:, None], 0, None)  # (knots, points)
    design = np.stack([np.ones_like(after), np.broadcast_to(log_x, after.shape), after], axis=-1)
    normal = design.transpose(0, 2, 1) @ design
    found = np.linalg.solve(normal, design.transpose(0, 2, 1) @ log_y[:, None])  # (knots, 3, 1)
    squares = ((log_y[:, None] - design @ found) ** 2).sum(axis=(1, 2))
    best = int(squares.argmin())
    gain = straight - _aicc(float(squares[best]), len(x), _PARAMETERS_BENT)
    if gain <= 0:
        return None
    below, turn = found[best, 1:, 0].tolist()
    return Bend(math.exp(knots[best] + middle), below, below + turn, gain)


def _weights(x: Sequence[float]) -> list[float]:
    """By what each log y enters the least-squares slope."""
    logs = [math.log(place) for place in x]
    middle = math.fsum(logs) / len(x)
    apart = [log - middle for log in logs]
    squares = math.fsum(part * part for part in apart)
    return [part / squares for part in apart]


def _variance(values: Sequence[float]) -> float:
    """Of few numbers; statistics.variance takes 50 times as long, and a table may have 10,000 points."""
    middle = math.fsum(values) / len(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


def _aicc(squares: float, points: int, parameters: int) -> float:
    fit = points * math.log(max(squares / points, _EXACT))
    return fit + 2 * parameters * points / (points - parameters - 1)
