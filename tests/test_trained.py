"""How far apart accuracies are: Welch's interval over seeds, and when there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from hvt_bench.analysis.trained import difference, number_of_seeds, seeds_of, varying_training
from tests.rows import row

VIT, HVT = (82.3, 82.9, 82.6, 83.1, 82.6), (84.2, 84.7, 84.5, 85.0, 84.1)


def trained(*rounds, data="digits", recipe="small"):
    return row(top1_rounds=rounds or None, data=data, recipe=recipe)


def test_the_interval_is_welchs():
    found = difference(trained(*VIT), trained(*HVT[:4]))
    interval = ttest_ind(HVT[:4], VIT, equal_var=False).confidence_interval(0.95)
    assert found.points == pytest.approx(np.mean(HVT[:4]) - np.mean(VIT))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.decided


def test_three_seeds_have_no_interval():
    found = difference(trained(*VIT), trained(*HVT[:3]))
    assert found.points == pytest.approx(np.mean(HVT[:3]) - np.mean(VIT))
    assert (found.low, found.high, found.decided) == (None, None, False)


def test_an_interval_with_zero_in_it_decides_nothing():
    assert not difference(trained(*VIT), trained(*VIT[::-1])).decided
    assert not difference(trained(90.0, 90.0, 90.0, 90.0), trained(90.0, 90.0, 90.0, 90.0)).decided


@pytest.mark.parametrize("other", [trained(*HVT, data="cifar10"), trained(*HVT, recipe="deit"), trained()])
def test_other_data_or_training_is_not_compared(other):
    assert difference(trained(*VIT), other) is None


percents = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=4, max_size=7)


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(old=percents, new=percents)
def test_the_other_way_round_it_is_mirrored(old, new):
    there, back = difference(trained(*old), trained(*new)), difference(trained(*new), trained(*old))
    assert (there.points, there.low, there.high) == pytest.approx((-back.points, -back.high, -back.low))
    assert there.low <= there.points <= there.high


def test_seeds_are_counted():
    rows = [trained(*VIT), trained(*VIT[:2]), trained(1.0), trained()]
    assert [len(seeds_of(row)) for row in rows] == [5, 2, 1, 0]
    assert number_of_seeds(rows) == "2 to 5 seeds"
    assert number_of_seeds(rows[:1]) == "5 seeds"
    assert number_of_seeds(rows[2:]) == ""


def test_what_tells_trainings_apart():
    assert varying_training([trained(1.0), trained(2.0), row()]) == ()
    assert varying_training([trained(1.0), trained(2.0, data="cifar10")]) == ("data",)
