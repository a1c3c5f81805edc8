import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.analysis.front import front, sought

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def beaten(one, other):
    return other != one and other[0] <= one[0] and other[1] <= one[1]


@given(POINTS)
@settings(derandomize=True, database=None, deadline=None)
def test_the_front_is_what_no_point_beats(points):
    expected = {index for index, one in enumerate(points) if not any(beaten(one, other) for other in points)}
    found = front(points, "low", "low")
    assert set(found) == expected
    assert [points[index][0] for index in found] == sorted(points[index][0] for index in found)


@given(POINTS, st.sampled_from(["low", "high"]), st.sampled_from(["low", "high"]))
@settings(derandomize=True, database=None, deadline=None)
def test_high_is_low_of_the_negative(points, x, y):
    turned = [(a if x == "low" else -a, b if y == "low" else -b) for a, b in points]
    assert front(points, x, y) == front(turned, "low", "low")


@pytest.mark.parametrize(
    ("column", "end"), [("macs", "low"), ("latency_ms", "low"), ("throughput_img_s", "high"), ("params", "high")]
)
def test_more_parameters_and_images_are_wanted_and_less_cost(column, end):
    assert sought(column) == end
