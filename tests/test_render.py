"""A comparison as text: whole outputs."""

import json

import pytest

from hvt_bench.analysis.compare import compare
from hvt_bench.analysis.render import render
from hvt_bench.errors import RequestError
from tests.rows import row, times
from tests.test_compare import NAMES

OLD = [row(), row(depth=6), row(depth=18), row(depth=24, latency_ms_rounds=(10.0,)), row(depth=30, status="oom")]
NEW = [
    times(row(), 1.0102),
    times(row(depth=6), 1.1),
    times(row(depth=18), 1.001),
    row(depth=24),
    row(depth=30),
    row(model="deit_small"),
]


def test_a_table():
    assert (
        render(compare(OLD, NEW, NAMES))
        == """\
model    varies      old ms    new ms    ratio  interval        verdict      smallest change
-------  --------  --------  --------  -------  --------------  ---------  -----------------
hvt_s_1  depth=12        10      10.1    1.010  1.000 to 1.021  UNSURE                   1 %
hvt_s_1  depth=6         10        11    1.100  1.089 to 1.111  SLOWER                   1 %
hvt_s_1  depth=18        10     10.01    1.001  0.991 to 1.011  SAME                     1 %
hvt_s_1  depth=24        10        10    1.000                  UNSURE

UNSURE: hvt_s_1 depth=24: 1 round in old.csv; an interval needs 2: raise `rounds`
not compared: hvt_s_1 depth=30: oom in old.csv
not compared: deit_small: only in new.csv
4 points compared: 1 SAME, 0 FASTER, 1 SLOWER, 2 UNSURE; 2 not; interval 95 %, margin 2 %"""
    )


def test_what_was_forced_and_what_is_worth_knowing_is_said():
    old = [row(torch_version="2.14", git_commit="abc")]
    new = [row(torch_version="2.15", git_commit="def")]
    assert render(compare(old, new, NAMES, force=True)).splitlines()[3:] == [
        "",
        "compared by force: torch_version 2.14 -> 2.15",
        "note: git_commit abc -> def",
        "1 point compared: 1 SAME, 0 FASTER, 0 SLOWER, 0 UNSURE; 0 not; interval 95 %, margin 2 %",
    ]


def test_doubts_about_the_rounds_are_said():
    old = [row(warnings=("noisy", "other_load")), row(depth=6), row(depth=18, warnings=("noisy",))]
    new = [row(), row(depth=6, warnings=("throttled",)), row(depth=18)]
    found = compare(old, new, NAMES)
    assert [line for line in render(found).splitlines() if line.startswith("doubtful")] == [
        "doubtful: old rounds: noisy at 2 points, other_load at 1 point",
        "doubtful: new rounds: throttled at 1 point",
    ]
    assert render(found, "csv").splitlines()[1].endswith(",5,5,noisy other_load,,")
    assert json.loads(render(found, "json"))["points"][1]["new_warnings"] == ["throttled"]


def test_many_points_come_with_what_chance_alone_would_do():
    many = [row(depth=depth) for depth in range(1, 31)]
    assert render(compare(many, many, confidence=0.9)).splitlines()[-2] == (
        "by chance: had nothing changed, up to 3 of 30 points would be called FASTER or SLOWER; "
        "with --confidence 0.998333, any at all in one comparison of 20"
    )
    few = many[:9]
    assert "by chance" not in render(compare(few, few))
    assert "by chance" in render(compare(many[:10], many[:10]))


def test_numbers_beyond_bounds_stay_short():
    wild = row(latency_ms_rounds=(1e-9, 1e9))
    line = render(compare([wild], [wild], confidence=0.9999)).splitlines()[2]
    assert line == "hvt_s_1                   1         1    1.000  0.000 to 1.01e+304  UNSURE              1e+306 %"


def test_csv_has_every_point():
    assert (
        render(compare(OLD, NEW, NAMES), "csv")
        == """\
model,varies,verdict,reason,ratio,low,high,smallest_change_pct,old_ms,new_ms,old_rounds,new_rounds,old_warnings,new_warnings,forced
hvt_s_1,depth=12,UNSURE,,1.0102,0.999835,1.02067,1.03665,9.9998,10.1018,5,5,,,
hvt_s_1,depth=6,SLOWER,,1.1,1.08871,1.1114,1.03665,9.9998,10.9998,5,5,,,
hvt_s_1,depth=18,SAME,,1.001,0.99073,1.01138,1.03665,9.9998,10.0098,5,5,,,
hvt_s_1,depth=24,UNSURE,1 round in old.csv; an interval needs 2: raise `rounds`,0.99998,,,,10,9.9998,1,5,,,
hvt_s_1,depth=30,,oom in old.csv,,,,,,,,,,,
deit_small,,,only in new.csv,,,,,,,,,,,"""
    )


def test_csv_says_what_was_forced():
    old, new = [row(torch_version="2.14", warmup_s=1.0)], [row(torch_version="2.15")]
    last = render(compare(old, new, force=True), "csv").splitlines()[-1]
    assert last.endswith(",5,5,,,warmup_s 1 -> 0.5; torch_version 2.14 -> 2.15")


def test_json_has_every_point_and_all_that_was_said():
    old, new = [row(cpu_name="A"), row(depth=6)], [row(cpu_name="B", hostname="there")]
    found = json.loads(render(compare(old, new, NAMES, margin_pct=3.0, force=True), "json"))
    points = found.pop("points")
    assert found == {
        "confidence": 0.95,
        "margin_pct": 3.0,
        "forced": {"cpu_name": [["A", "B"]]},
        "noted": {"hostname": [["testhost", "there"]]},
    }
    assert [(p["varies"], p["verdict"], p["reason"]) for p in points] == [
        ("depth=12", "SAME", None),
        ("depth=6", None, "only in old.csv"),
    ]
    assert points[0]["low"] < points[0]["ratio"] == points[0]["new_ms"] / points[0]["old_ms"] < points[0]["high"]
    assert points[1]["ratio"] is None


def test_an_unknown_format():
    with pytest.raises(RequestError, match="--format: unknown format 'yaml'; known: csv, json, table"):
        render(compare([row()], [row()]), "yaml")
