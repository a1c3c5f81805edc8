"""The verdict on two sets of rounds, and, on scripted noise, the proof that it can be trusted."""

import math
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hvt_bench.analysis.judge import judge

PAIRS = 2000
ROUNDS = 5
CHANGED = {"FASTER", "SLOWER"}


def spread(middle, *steps):
    """Rounds whose logarithms stand so many percent about that of `middle`."""
    return [middle * math.exp(step / 100) for step in steps]


# --- the verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "margin_pct", "verdict"),
    [
        (1.0, 2.0, "SAME"),
        (1.005, 2.0, "SAME"),  # the interval, 1.0 % to each side, includes 1 and keeps the margin
        (1.0095, 2.0, "SAME"),  # it nearly excludes 1
        (1.0125, 3.0, "SAME"),  # it excludes 1: shown, and too small to matter
        (1.0125, 2.0, "SLOWER"),
        (1 / 1.0125, 3.0, "SAME"),
        (1 / 1.0125, 2.0, "FASTER"),
        (1.0095, 1.0, "UNSURE"),
        (1.05, 2.0, "SLOWER"),
        (1 / 1.05, 2.0, "FASTER"),
        (1.05, 100.0, "SAME"),
    ],
)
def test_the_interval_against_one_and_the_margin(factor, margin_pct, verdict):
    step = 1.0 / stats.t.ppf(0.975, 8) / math.sqrt(2 / 5) * math.sqrt(2)  # so that half the interval is 1 %
    old = spread(20.0, -step, 0.0, 0.0, 0.0, step)
    found = judge(old, [factor * ms for ms in old], margin_pct=margin_pct)
    assert found.verdict == verdict
    assert (found.low, found.high) == pytest.approx((factor * math.exp(-0.01), factor * math.exp(0.01)))


def test_ratio_and_times_agree():
    found = judge([10.0, 40.0], [30.0, 30.0])
    assert (found.old_ms, found.new_ms, found.ratio) == pytest.approx((20.0, 30.0, 1.5))


@pytest.mark.parametrize(("old", "new"), [([10.0], [20.0, 20.1, 20.2]), ([10.0, 10.1], [20.0]), ([10.0], [20.0])])
def test_one_round_tells_nothing(old, new):
    found = judge(old, new)
    assert (found.verdict, found.low, found.high, found.smallest_change_pct) == ("UNSURE", None, None, None)
    assert found.ratio == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [([10.0] * 3, [10.0] * 3, "SAME"), ([10.0] * 3, [10.1] * 3, "SAME"), ([10.0] * 3, [11.0] * 3, "SLOWER")],
)
def test_rounds_that_do_not_vary(old, new, verdict):
    found = judge(old, new)
    assert found.verdict == verdict
    assert found.low == found.ratio == found.high
    assert found.smallest_change_pct == pytest.approx(2.0)


def test_one_side_that_does_not_vary_leaves_the_freedom_of_the_other():
    new = spread(10.0, -1.0, 0.0, 1.0)
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert judge([10.0] * 3, new).high == pytest.approx(math.exp(half))


def test_two_rounds_on_a_side_have_one_degree_of_freedom():
    new = spread(10.0, -1.0, 1.0)
    error = math.sqrt(statistics.variance([-0.01, 0.01]) / 2)
    assert judge([10.0] * 9, new).high == pytest.approx(math.exp(stats.t.ppf(0.975, 1) * error))


def test_the_smallest_change_is_where_the_verdict_turns():
    old = spread(20.0, -1.0, 0.5, 0.0, 0.2, 1.0)
    for margin_pct in (0.1, 1.0, 2.0, 5.0):
        smallest = judge(old, old, margin_pct=margin_pct).smallest_change_pct
        for factor, changed in ((0.999, False), (1.001, True)):
            new = [ms * (1 + factor * smallest / 100) for ms in old]
            assert (judge(old, new, margin_pct=margin_pct).verdict == "SLOWER") is changed
            assert (judge(new, old, margin_pct=margin_pct).verdict == "FASTER") is changed


def test_an_interval_beyond_all_numbers_is_none_the_less_one():
    found = judge([1e-9, 1e9], [1e9, 1e-9], 0.9999)
    assert found.verdict == "UNSURE"
    assert found.low == 0.0
    assert math.isfinite(found.high)
    assert math.isfinite(found.smallest_change_pct)


# --- what holds for any rounds --------------------------------------------------------------------------------------

times = st.floats(1e-3, 1e5)
sets_of_rounds = st.lists(times, min_size=1, max_size=8)
anyhow = settings(derandomize=True, database=None, deadline=None)
MIRRORED = {"SAME": "SAME", "UNSURE": "UNSURE", "FASTER": "SLOWER", "SLOWER": "FASTER"}


varying = st.lists(times, min_size=3, max_size=8).filter(lambda rounds: max(rounds) > 1.001 * min(rounds))


@settings(anyhow, max_examples=30)
@given(varying, varying, st.floats(0.5, 0.999))
def test_the_interval_is_welchs_on_the_logarithms(old, new, confidence):
    found = judge(old, new, confidence)
    welch = stats.ttest_ind(np.log(new), np.log(old), equal_var=False)
    low, high = welch.confidence_interval(confidence)
    assert math.log(found.high) == pytest.approx(high, rel=1e-6, abs=1e-9)
    assert found.low == pytest.approx(math.exp(low), rel=1e-6)


@anyhow
@given(sets_of_rounds, sets_of_rounds)
def test_old_and_new_changed_about_give_the_mirrored_verdict(old, new):
    there, back = judge(old, new), judge(new, old)
    assert back.verdict == MIRRORED[there.verdict]
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.smallest_change_pct == there.smallest_change_pct
    if there.low is not None:
        assert math.log(back.high) == pytest.approx(-math.log(there.low))


@anyhow
@given(sets_of_rounds, sets_of_rounds, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(old, new, random):
    shuffled = random.sample(old, len(old))
    assert judge(shuffled, new) == judge(old, new)


@anyhow
@given(sets_of_rounds)
def test_nothing_has_changed_against_itself(rounds):
    assert judge(rounds, rounds).verdict in {"SAME", "UNSURE"}


# --- on scripted noise: 2,000 pairs of rounds, seeded ---------------------------------------------------------------


def normal(random, size):
    return random.standard_normal(size)


def heavy(random, size):
    """Student's t with 3 degrees of freedom, scaled to a standard deviation of 1."""
    return random.standard_t(3, size) / math.sqrt(3)


def spikes(random, size):
    """One round in ten is ten times as noisy."""
    return random.standard_normal(size) * np.where(random.random(size) < 0.1, 10.0, 1.0)


def delays(random, size):
    """Noise that only ever costs time, as that of other programs."""
    return random.exponential(size=size) - 1.0


def shares(noise, old_pct, new_pct, factor=1.0, counts=(ROUNDS, ROUNDS), margin_pct=2.0, seed=0):
    """How many of PAIRS have each verdict, where rounds have so much noise and the new ones take `factor` the time."""
    random = np.random.default_rng(seed)
    old = 10.0 * np.exp(old_pct / 100 * noise(random, (PAIRS, counts[0])))
    new = 10.0 * factor * np.exp(new_pct / 100 * noise(random, (PAIRS, counts[1])))
    pairs = zip(old.tolist(), new.tolist(), strict=True)
    return Counter(judge(*pair, margin_pct=margin_pct).verdict for pair in pairs)


def false_rate_interval(found):
    """The rate of false FASTER and SLOWER with its exact binomial interval."""
    return stats.binomtest(found["FASTER"] + found["SLOWER"], PAIRS).proportion_ci(0.95)


@pytest.mark.parametrize("noise", [normal, heavy, spikes, delays])
@pytest.mark.parametrize(("percent", "margin_pct"), [(0.1, 0.0), (1.0, 2.0), (10.0, 2.0)])
def test_at_most_one_in_twenty_unchanged_points_is_called_changed(noise, percent, margin_pct):
    assert false_rate_interval(shares(noise, percent, percent, margin_pct=margin_pct)).low <= 0.05


@pytest.mark.parametrize("noise", [normal, heavy, spikes])
@pytest.mark.parametrize(("old_pct", "new_pct"), [(0.3, 3.0), (3.0, 0.3), (1.0, 2.0)])
def test_also_where_one_side_is_noisier(noise, old_pct, new_pct):
    assert false_rate_interval(shares(noise, old_pct, new_pct)).low <= 0.05


@pytest.mark.parametrize("counts", [(2, 2), (2, 10), (10, 2), (3, 3), (3, 5)])
def test_also_with_few_rounds_or_as_many_as_one_likes_on_one_side(counts):
    for old_pct, new_pct in ((1.0, 1.0), (0.5, 5.0), (5.0, 0.5)):
        assert false_rate_interval(shares(normal, old_pct, new_pct, counts=counts, margin_pct=0.0)).low <= 0.05


def test_a_rule_that_is_wrong_too_often_would_be_seen():
    """Intervals of 90 % are wrong in 10 % of cases, and that is told from 5 %."""
    random = np.random.default_rng(0)
    rounds = (10.0 * np.exp(0.1 * random.standard_normal((2, PAIRS, ROUNDS)))).tolist()
    found = Counter(judge(*pair, confidence=0.90).verdict for pair in zip(*rounds, strict=True))
    assert false_rate_interval(found).low > 0.05


def test_the_share_of_unsure_falls_with_the_noise():
    unsure = {percent: shares(normal, percent, percent)["UNSURE"] / PAIRS for percent in (0.5, 1.0, 2.0)}
    assert unsure[0.5] < 0.01
    assert 0.35 < unsure[1.0] < 0.50
    assert unsure[2.0] > 0.90


@pytest.mark.parametrize(("factor", "verdict"), [(1.05, "SLOWER"), (1 / 1.05, "FASTER")])
def test_five_percent_is_found_at_one_percent_of_noise(factor, verdict):
    found = shares(normal, 1.0, 1.0, factor)
    assert found[verdict] / PAIRS >= 0.95
    assert not found.keys() & (CHANGED - {verdict})


def test_five_percent_is_found_under_heavy_tails_and_unequal_noise():
    assert shares(heavy, 1.0, 1.0, 1.05)["SLOWER"] / PAIRS >= 0.95
    assert shares(delays, 1.0, 1.0, 1.05)["SLOWER"] / PAIRS >= 0.95
    assert shares(normal, 0.5, 1.5, 1.05)["SLOWER"] / PAIRS >= 0.95
