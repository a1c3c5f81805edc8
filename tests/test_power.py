"""Exponents on exact data, and how often intervals and changes of slope are right on seeded noise."""

import math

import numpy as np
import pytest

from hvt_bench.analysis import power
from hvt_bench.analysis.judge import judge

DEPTHS = (6.0, 12.0, 18.0, 24.0)
SEVEN = tuple(2.0**k for k in range(7))


def law(x, exponent, factor=3.0):
    return tuple(factor * place**exponent for place in x)


@pytest.mark.parametrize("exponent", [-2.0, 0.0, 0.94, 3.0])
def test_a_power_law_has_its_exponent_everywhere(exponent):
    y = law(DEPTHS, exponent)
    assert power.local_exponents(DEPTHS, y) == pytest.approx([exponent] * 3, abs=1e-12)
    assert power.overall_exponent(DEPTHS, y) == pytest.approx((exponent, 0.0), abs=1e-12)


def test_two_points_are_enough_for_an_exponent():
    assert power.overall_exponent((10.0, 1000.0), (7.0, 700.0))[0] == pytest.approx(1.0)


def test_how_far_off_the_furthest_point_is():
    """A point in the middle does not turn the line, and lifts it by a third of its own distance."""
    exponent, off_pct = power.overall_exponent((1.0, 10.0, 100.0), (1.0, 10.0 * 1.2**1.5, 100.0))
    assert exponent == pytest.approx(1.0)
    assert off_pct == pytest.approx(20.0)


def test_a_polynomial_grows_between_its_powers():
    """4nd² + 2n²d along n: from 1 to 2, the larger the nearer to 2."""
    x = (16.0, 64.0, 256.0, 1024.0)
    local = power.local_exponents(x, [4 * n * 64**2 + 2 * n**2 * 64 for n in x])
    assert 1 < local[0] < local[1] < local[2] < 2


def test_a_round_mean_is_geometric():
    assert power.round_mean((1.0, 100.0)) == pytest.approx(10.0)


def test_rounds_that_agree_leave_no_doubt():
    assert power.half_width(DEPTHS, [(value,) * 3 for value in DEPTHS]) == pytest.approx(0.0, abs=1e-12)


def test_twice_the_noise_gives_twice_the_interval():
    rng = np.random.default_rng(0)
    logs = rng.standard_normal((4, 3))
    widths = [power.half_width(DEPTHS, np.exp(noise * logs).tolist()) for noise in (0.01, 0.02)]
    assert widths[1] == pytest.approx(2 * widths[0])


def test_the_interval_of_two_points_is_that_of_compare():
    """A factor e apart, their slope is the difference of two means."""
    old, new = (1.0, 1.1, 0.95), (2.0, 2.4, 2.2)
    judged = judge(old, new)
    assert power.half_width((1.0, math.e), [old, new]) == pytest.approx(math.log(judged.high / judged.ratio))


@pytest.mark.parametrize(
    ("rounds", "noise"),
    [(3, (5, 5, 5, 5)), (5, (5, 5, 5, 5)), (3, (10, 7, 4, 1)), (5, (1, 4, 7, 10)), (3, (1, 1, 1, 1))],
)
def test_the_interval_covers_the_exponent(rounds, noise):
    """On 2,000 power laws with seeded noise between rounds, in %, equal or different from point to point."""
    rng = np.random.default_rng(1)
    sizes = np.array(noise)[:, None] / 100
    covered = 0
    for _ in range(2000):
        times = np.array(law(DEPTHS, 0.9))[:, None] * np.exp(sizes * rng.standard_normal((4, rounds)))
        points = times.tolist()
        exponent, _off = power.overall_exponent(DEPTHS, [power.round_mean(found) for found in points])
        covered += abs(exponent - 0.9) <= power.half_width(DEPTHS, points)
    assert 0.92 <= covered / 2000 <= 0.98


def test_a_change_of_slope_is_found_where_it_is():
    """Overhead up to 8, then compute."""
    bend = power.find_bend(SEVEN, [max(8.0, x) for x in SEVEN])
    assert bend is not None
    assert bend.at == pytest.approx(8.0, rel=0.05)
    assert (bend.below, bend.above) == pytest.approx((0.0, 1.0), abs=0.05)
    assert bend.gain > 0


def test_a_straight_line_has_no_change_of_slope():
    assert power.find_bend(SEVEN, law(SEVEN, 0.94)) is None


@pytest.mark.parametrize(("points", "most"), [(7, 0.0), (10, 0.03), (16, 0.10)])
def test_noise_alone_seldom_asks_for_a_second_slope(points, most):
    rng = np.random.default_rng(2)
    x = np.geomspace(1, 256, points)
    found = [power.find_bend(x, x**0.9 * np.exp(0.05 * rng.standard_normal(points))) for _ in range(1000)]
    assert sum(bend is not None for bend in found) / 1000 <= most


def test_eight_points_with_two_percent_of_noise_show_a_change_of_slope():
    rng = np.random.default_rng(3)
    x = np.geomspace(1, 256, 8)
    found = [power.find_bend(x, np.maximum(16, x) * np.exp(0.02 * rng.standard_normal(8))) for _ in range(200)]
    assert sum(bend is not None for bend in found) >= 190


def test_the_best_place_is_that_of_a_search_over_every_place():
    """Against numpy's least squares, place by place."""
    rng = np.random.default_rng(4)
    x = np.geomspace(1, 100, 9)
    y = np.maximum(10, x) * np.exp(0.03 * rng.standard_normal(9))
    bend = power.find_bend(x, y)
    log_x, log_y = np.log(x), np.log(y)
    best = min(
        (
            np.linalg.lstsq(np.stack([np.ones(9), log_x, np.clip(log_x - knot, 0, None)], axis=1), log_y, rcond=None)[
                1
            ][0],
            knot,
        )
        for knot in np.linspace(log_x[1], log_x[-2], 64)
    )
    assert bend.at == pytest.approx(math.exp(best[1]))
