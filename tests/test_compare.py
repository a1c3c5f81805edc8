"""Which points of two CSVs are the same, and which may be compared. The verdicts themselves: test_judge.py."""

import pytest

from hvt_bench.analysis.compare import HOW, MUST_AGREE, NOTED, WHAT, Compared, NotCompared, compare, verdicts_in
from hvt_bench.errors import RequestError
from hvt_bench.row import COLUMNS, csv_text
from tests.rows import row, times

NAMES = "old.csv", "new.csv"


def told(comparison):
    return [(p.model, p.varies, p.found.verdict if isinstance(p, Compared) else p.reason) for p in comparison.points]


# --- which points are the same --------------------------------------------------------------------------------------


def test_each_point_is_judged_in_the_order_of_the_old_file():
    old = [row(), row(depth=6), row(depth=18), row(model="other", depth=6)]
    new = [times(old[3], 1.1), times(old[2], 0.9), old[1], times(old[0], 1.1)]
    assert told(compare(old, new)) == [
        ("hvt_s_1", "depth=12", "SLOWER"),
        ("hvt_s_1", "depth=6", "SAME"),
        ("hvt_s_1", "depth=18", "FASTER"),
        ("other", "", "SLOWER"),
    ]


def test_a_point_is_what_describes_it_and_not_its_id():
    old = row(point_id="a", sweep="s", axis="depth", hostname="here", device="cuda:0", started_at="then")
    new = row(point_id="b", sweep="t", axis=None, hostname="there", device="cuda:3", started_at="now")
    assert told(compare([old], [new])) == [("hvt_s_1", "", "SAME")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "deit_small"),
        ("depth", 6),
        ("pool", "avg"),
        ("model_kwargs", "window=7"),
        ("device", "cuda:0"),
        ("dtype", "bfloat16"),
        ("batch_size", 64),
        ("max_batch", True),
        ("mode", "train"),
        ("attention", "eager"),
        ("compile", True),
        ("checkpointing", True),
    ],
)
def test_points_that_differ_in_what_describes_them_are_not_compared(name, value):
    found = compare([row(), row(depth=24)], [row(**{name: value}), row(depth=24)], NAMES)
    assert [p.reason for p in found.not_compared] == ["only in old.csv", "only in new.csv"]
    assert len(found.compared) == 1


def test_threads_that_were_swept_tell_points_apart():
    old = [row(num_threads=1), row(num_threads=2)]
    new = [times(old[1], 0.5), times(old[0], 2.0)]
    assert told(compare(old, new)) == [
        ("hvt_s_1", "num_threads=1", "SLOWER"),
        ("hvt_s_1", "num_threads=2", "FASTER"),
    ]


def test_devices_that_were_swept_tell_points_apart():
    old = [row(device="cuda:0"), row(device="cuda:1"), row(device="cpu")]
    assert [varies for _, varies, _ in told(compare(old, old))] == ["device=cuda:0", "device=cuda:1", "device=cpu"]
    assert [varies for _, varies, _ in told(compare(old[1:], old[1:]))] == ["device=cuda", "device=cpu"]


def test_rows_of_two_protocols_in_one_file_are_told_apart():
    old, new = [row()], [row(min_time_s=4.0), times(row(), 2.0)]
    assert told(compare(old, new, NAMES)) == [
        ("hvt_s_1", "min_time_s=2", "SLOWER"),
        ("hvt_s_1", "min_time_s=4", "only in new.csv"),
    ]


def test_two_rows_of_one_point_are_an_error():
    with pytest.raises(RequestError) as caught:
        compare([row()], [row(point_id="a"), row(point_id="b")], NAMES)
    assert str(caught.value) == ("new.csv: the rows a and b describe the same point of hvt_s_1; keep one of them")


def test_a_point_is_called_by_what_is_unusual_about_it():
    """As in a sweep: the centre by its model alone, the others by their axis, whatever else follows from it."""
    rows = [row(), row(depth=6), row(depth=18), row(embed_dim=192, num_heads=3), row(pool_stages=None)]
    assert [varies for _, varies, _ in told(compare(rows, rows))] == [
        "",
        "depth=6",
        "depth=18",
        "embed_dim=192",
        "pool_stages=none",
    ]


def test_a_grid_has_no_usual_value():
    rows = [row(batch_size=size, dtype=dtype) for size in (1, 64) for dtype in ("float32", "bfloat16")]
    assert [varies for _, varies, _ in told(compare(rows, rows))] == [
        "dtype=float32 batch_size=1",
        "dtype=bfloat16 batch_size=1",
        "dtype=float32 batch_size=64",
        "dtype=bfloat16 batch_size=64",
    ]


# --- what is not compared is said -----------------------------------------------------------------------------------


def test_points_without_a_pair_failed_points_and_points_without_rounds_are_listed():
    old = [row(), row(depth=1), row(depth=2), row(depth=3), row(depth=4), row(depth=5), row(depth=6)]
    new = [
        row(depth=7),
        row(),
        row(depth=2, status="oom"),
        row(depth=3, status="crashed"),
        row(depth=4, latency_ms_rounds=None),
        row(depth=5, latency_ms_rounds=(10.0, 0.0)),
        row(depth=6, latency_ms_rounds=(10.0, float("nan"))),
    ]
    old[3] = row(depth=3, status="timeout", latency_ms_rounds=None)
    found = compare(old, new, NAMES)
    assert len(found.compared) == 1
    assert [(p.varies, p.reason) for p in found.not_compared] == [
        ("depth=1", "only in old.csv"),
        ("depth=2", "oom in new.csv"),
        ("depth=3", "timeout in old.csv; crashed in new.csv"),
        ("depth=4", "no latency_ms_rounds in new.csv"),
        ("depth=5", "latency_ms_rounds 10 0 in new.csv"),
        ("depth=6", "latency_ms_rounds 10 nan in new.csv"),
        ("depth=7", "only in new.csv"),
    ]
    assert [p.varies for p in found.lost] == ["depth=1", "depth=2", "depth=4", "depth=5", "depth=6"]


def test_cells_that_are_no_points_are_listed_once():
    bad = row(img_size=70, status="invalid", error="70 is odd", latency_ms_rounds=None)
    worse = row(img_size=71, status="invalid", error="71 is odder", latency_ms_rounds=None)
    found = compare([bad, row(), bad], [row(), bad, worse], NAMES)
    assert found.not_compared == (
        NotCompared("hvt_s_1", "", "invalid in old.csv and new.csv: 70 is odd"),
        NotCompared("hvt_s_1", "", "invalid in new.csv: 71 is odder"),
    )


def test_a_point_with_one_round_is_unsure_and_says_why():
    found = compare([row(latency_ms_rounds=(10.0,))], [row(latency_ms_rounds=(20.0,))], NAMES)
    (point,) = found.compared
    assert (point.old_rounds, point.new_rounds, point.found.verdict) == (1, 1, "UNSURE")
    assert point.reason == ("1 round in old.csv and 1 round in new.csv; an interval needs 2: raise `rounds`")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ([], [row()], "old.csv has no points; name a CSV that `hvt-bench sweep` wrote"),
        (
            [row()],
            [row(status="invalid", error="odd")],
            "new.csv has no points; name a CSV that `hvt-bench sweep` wrote",
        ),
        (
            [row(), row(depth=6)],
            [row(dtype="bfloat16"), row(dtype="bfloat16", depth=6)],
            "old.csv -> new.csv: no point is in both: dtype is float32 in old.csv and bfloat16 in new.csv; "
            "compare two runs of the same sweep file",
        ),
        (
            [row(depth=depth) for depth in (1, 2, 3, 4)],
            [row(depth=6, device="cuda:0")],
            "old.csv -> new.csv: no point is in both: depth is 1, 2, 3, ... in old.csv and 6 in new.csv; "
            "device is cpu in old.csv and cuda in new.csv; compare two runs of the same sweep file",
        ),
        (
            [row(depth=6), row(img_size=160)],
            [row(), row(depth=6, img_size=160)],
            "old.csv -> new.csv: no point is in both: no row of one agrees with a row of the other in everything that "
            "describes a point; compare two runs of the same sweep file",
        ),
        (
            [row(latency_ms_rounds=None), row(depth=6, status="oom"), row(depth=7)],
            [row(), row(depth=6)],
            "old.csv -> new.csv: no point can be compared: 1 x no latency_ms_rounds in old.csv, 1 x oom in old.csv, "
            "1 x only in old.csv; `measure: [latency]` fills it",
        ),
        (
            [row(status="oom")],
            [row()],
            "old.csv -> new.csv: no point can be compared: 1 x oom in old.csv; see `error` in the CSV",
        ),
    ],
)
def test_nothing_to_compare_is_an_error_that_says_why(old, new, sentence):
    with pytest.raises(RequestError) as caught:
        compare(old, new, NAMES)
    assert str(caught.value) == sentence


# --- what must agree ------------------------------------------------------------------------------------------------


def test_every_column_that_is_looked_at_exists():
    assert {*WHAT, *HOW, *MUST_AGREE, *NOTED} <= COLUMNS.keys()
    assert not {*WHAT} & {*HOW, *MUST_AGREE, *NOTED}


@pytest.mark.parametrize("name", MUST_AGREE)
def test_different_devices_versions_and_protocols_are_refused(name):
    column = COLUMNS[name]
    values = {str: ("A", "B"), int: (1, 2), float: (1.5, 2.5), bool: (False, True)}[column.kind]
    old, new = ([row(**{name: value}), row(depth=6, **{name: value})] for value in values)
    with pytest.raises(RequestError) as caught:
        compare(old, new, NAMES)
    difference = f"{name} {csv_text(values[0])} -> {csv_text(values[1])}"
    assert str(caught.value) == (
        f"old.csv -> new.csv: not measured alike: {difference}; "
        "measure both alike, or give --force to compare them all the same"
    )
    forced = compare(old, new, NAMES, force=True)
    assert [str(d) for d in forced.forced] == [difference]
    assert len(forced.compared) == 2


def test_each_difference_is_named_the_most_frequent_value_first():
    old = [row(depth=depth, driver_version=None) for depth in range(1, 7)]
    new = [row(depth=d, driver_version=str(max(d, 2)), torch_version="9.9.8") for d in range(1, 7)]
    with pytest.raises(RequestError) as caught:
        compare(old, new, NAMES)
    assert "driver_version unknown -> 2, unknown -> 3, unknown -> 4 and 2 more; torch_version 9.9.9 -> 9.9.8;" in str(
        caught.value
    )


def test_a_difference_of_points_that_are_not_compared_is_none():
    old = [row(), row(depth=6, status="oom", torch_version="8.0")]
    new = [row(), row(depth=6), row(depth=7, torch_version="8.0")]
    assert compare(old, new).forced == ()


def test_another_machine_or_commit_is_noted():
    found = compare([row(git_commit="abc", hostname="here")], [row(git_commit="def", hostname="there")])
    assert found.forced == ()
    assert [str(d) for d in found.noted] == ["git_commit abc -> def", "hostname here -> there"]


# --- options --------------------------------------------------------------------------------------------------------


def test_confidence_and_margin_reach_the_verdict():
    old, new = [row()], [times(row(), 1.0102)]
    assert told(compare(old, new))[0][2] == "UNSURE"
    assert told(compare(old, new, margin_pct=3.0))[0][2] == "SAME"
    assert told(compare(old, new, margin_pct=0.5, confidence=0.9))[0][2] == "SLOWER"


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_that_is_none(confidence):
    with pytest.raises(RequestError, match=r"--confidence .*: give a number between 0 and 1, such as 0.95"):
        compare([row()], [row()], confidence=confidence)


@pytest.mark.parametrize("margin_pct", [-1.0, 101.0, float("nan")])
def test_a_margin_that_is_none(margin_pct):
    with pytest.raises(RequestError, match=r"--margin .*: give percent from 0 to 100, such as 2"):
        compare([row()], [row()], margin_pct=margin_pct)


def test_verdicts_are_read_from_a_list():
    assert verdicts_in("") == ()
    assert verdicts_in("slower") == ("SLOWER",)
    assert verdicts_in("Unsure, SLOWER,slower") == ("UNSURE", "SLOWER")
    with pytest.raises(RequestError, match="--fail-on: unknown verdict 'slow'; did you mean 'slower'"):
        verdicts_in("slow")
