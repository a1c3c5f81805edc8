"""Welch's t interval and Holm's correction, against SciPy's and against their definitions."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hvt_bench.analysis.welch import holm, welch

FIRST, SECOND = [82.74, 82.65, 82.92, 82.74, 82.51], [83.1, 82.2, 83.6, 83.0]
values = st.lists(st.floats(0, 100).map(lambda value: round(value, 2)), min_size=3, max_size=8)


def test_the_interval_is_that_of_scipy():
    found = welch(FIRST, SECOND)
    expected = stats.ttest_ind(SECOND, FIRST, equal_var=False)
    interval = expected.confidence_interval(0.95)
    half = found.half_width(0.95)
    assert (found.difference - half, found.difference + half) == pytest.approx((interval.low, interval.high))
    assert found.freedom == pytest.approx(expected.df)
    assert found.p_value(0.0) == pytest.approx(expected.pvalue)


@given(values, values, st.floats(-50, 50))
@settings(derandomize=True, database=None, deadline=None, max_examples=50)
def test_a_p_value_is_small_where_the_interval_excludes_what_is_true(first, second, true):
    found = welch(first, second)
    if found.error == 0:
        assert found.half_width(0.95) == 0
        return
    half = found.half_width(0.95)
    if not math.isclose(abs(found.difference - true), half, rel_tol=1e-9):
        assert (found.p_value(true) < 0.05) == (abs(found.difference - true) > half)


def test_two_values_on_a_side_leave_one_degree_of_freedom():
    assert welch([1.0, 2.0], [1.0, 2.0, 3.0, 4.0]).freedom == 1
    assert welch([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]).freedom > 2


@pytest.mark.parametrize(
    ("p_values", "stand"),
    [
        ([], ()),
        ([0.04], (True,)),
        ([0.06], (False,)),
        ([0.04, 0.04], (False, False)),  # the first would need 0.025
        ([0.04, 0.02], (True, True)),  # once the second stands, the first needs 0.05
        ([0.03, 0.001, 0.03], (False, True, False)),
        ([0.016, 0.024, 0.9], (True, True, False)),
    ],
)
def test_holm_lets_the_smallest_go_first(p_values, stand):
    assert holm(p_values, 0.05) == stand
