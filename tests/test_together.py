from pathlib import Path

import pytest

from hvt_bench.analysis.together import together
from hvt_bench.errors import RequestError
from tests.rows import row

A, B = Path("a.csv"), Path("b.csv")
COUNTED = row(point_id="p", macs=1)
MEASURED = row(point_id="p", macs=1, latency_ms=5.0)


def test_what_is_counted_twice_is_there_once_and_what_is_measured_goes_before_it():
    assert together([(A, [COUNTED]), (B, [COUNTED])], "model") == (COUNTED,)
    for tables in ([(A, [COUNTED]), (B, [MEASURED])], [(A, [MEASURED]), (B, [COUNTED])]):
        assert together(tables, "model") == (MEASURED,)


def test_points_of_two_machines_are_two_points():
    other = row(point_id="p", latency_ms=5.0, device_name="H200")
    assert together([(A, [MEASURED]), (B, [other])], "model") == (MEASURED, other)


def test_a_point_measured_twice_on_one_machine_needs_a_hue_that_differs():
    later = row(point_id="p", latency_ms=6.0, git_commit="b")
    with pytest.raises(RequestError, match=r"b.csv: the point p \(hvt_s_1\) was measured in a.csv too.*git_commit"):
        together([(A, [MEASURED]), (B, [later])], "model")
    assert together([(A, [MEASURED]), (B, [later])], "git_commit") == (MEASURED, later)


def test_rows_of_one_table_stay_as_they_are():
    assert together([(A, [MEASURED, MEASURED])], "model") == (MEASURED, MEASURED)


def test_a_point_trained_in_one_of_them_is_that_ones():
    counted, trained = (row(latency_ms=None, top1=top1) for top1 in (None, 80.0))
    trained = type(trained)({**trained, "point_id": counted["point_id"]})
    (found,) = together([(Path("a.csv"), [counted]), (Path("b.csv"), [trained])], "model")
    assert found["top1"] == 80.0
