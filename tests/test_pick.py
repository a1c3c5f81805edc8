"""Conditions, orders and baselines of tables."""

import pytest

from hvt_bench.analysis.pick import Baseline, in_order, keep, parse_condition, ratio
from hvt_bench.errors import RequestError
from hvt_bench.row import COLUMNS, Row
from tests.rows import row

ROWS = [
    row(
        point_id="a",
        depth=6,
        latency_ms=4.0,
        macs=1_000_000_000,
        warnings=("noisy", "other_load"),
        compile=True,
        seq_lens=(196, 97),
    ),
    row(point_id="b", depth=12, latency_ms=9.0, macs=2_000_000_000, warnings=("noisy",), compile=False),
    row(
        point_id="c", depth=24, latency_ms=None, macs=3_000_000_000, dtype="bfloat16", status="oom", seq_lens=(196, 196)
    ),
]


def kept(*texts):
    return "".join(row["point_id"] for row in keep(ROWS, [parse_condition(text) for text in texts]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("latency_ms<5", "a"),
        ("latency_ms < 9", "a"),
        ("latency_ms<=9.0", "ab"),
        ("latency_ms>4", "b"),
        ("latency_ms>=4", "ab"),
        ("latency_ms=9", "b"),
        ("latency_ms==9", "b"),
        ("latency_ms!=9", "a"),  # an empty cell never matches
        ("macs>=2G", "bc"),
        ("macs<=2000M", "ab"),
        ("macs<1.5e9", "a"),
        ("depth>.5k", ""),
        ("dtype=bfloat16", "c"),
        ("dtype!=bfloat16", "ab"),
        ("compile=true", "a"),
        ("compile!=true", "b"),
        ("warnings=other_load", "a"),
        ("warnings!=other_load", "b"),
        ("warnings=noisy", "ab"),
        ("warnings=noisy other_load", "a"),
        ("warnings!=noisy other_load", "b"),
        ("warnings=other_load noisy", ""),
        ("seq_lens=196", "ac"),
        ("seq_lens= 196  97 ", "a"),
        ("seq_lens!=196", ""),
        ("seq_lens!=196 97", "c"),
        ("seq_lens=", "b"),
        ("seq_lens!=", "ac"),
        ("latency_ms=", "c"),
        ("latency_ms == ", "c"),
        ("latency_ms!=", "ab"),
        ("compile=", "c"),
        ("warnings!=", "ab"),
        ("status=ok", "ab"),
        ("top_p=1", None),
    ],
)
def test_a_condition_keeps_the_rows_that_fulfil_it(text, found):
    if found is None:
        with pytest.raises(RequestError):
            kept(text)
    else:
        assert kept(text) == found


def test_all_conditions_must_hold():
    assert kept("latency_ms<=9", "macs>1G") == "b"
    assert kept() == "abc"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("latency<5", "--where 'latency<5': unknown column 'latency'; did you mean 'latency_ms'"),
        (
            "latency_ms~5",
            "--where 'latency_ms~5' is not of the form COLUMN OPERATOR VALUE, such as 'latency_ms<5'; operators: <=",
        ),
        ("latency_ms", "--where 'latency_ms' is not of the form COLUMN OPERATOR VALUE"),
        ("latency_ms<", "--where 'latency_ms<' is not of the form COLUMN OPERATOR VALUE"),
        (
            "latency_ms<5ms",
            "--where 'latency_ms<5ms': latency_ms is a number, and '5ms' is none, such as 5, 0.5 or 2.4G",
        ),
        ("latency_ms<>5", "--where 'latency_ms<>5': latency_ms is a number, and '>5' is none"),
        ("latency_ms<nan", "--where 'latency_ms<nan': latency_ms is a number, and 'nan' is none"),
        ("macs<1e999", "--where 'macs<1e999': macs is a number, and '1e999' is none"),
        ("model<hvt", "--where 'model<hvt': model is text, so it can be = or != and not <"),
        (
            "seq_lens>196",
            "--where 'seq_lens>196': seq_lens is a list (write 'seq_lens=196': has this item; 'seq_lens=196 97': is "
            "this whole list), so it can be = or != and not >",
        ),
        (
            "seq_lens=196,97",
            "--where 'seq_lens=196,97': seq_lens is a list (write 'seq_lens=196': has this item; 'seq_lens=196 97': is "
            "this whole list), and '196,97' is no number",
        ),
        (
            "warnings<noisy",
            "--where 'warnings<noisy': warnings is a list (write 'warnings=ITEM': has this item; "
            "'warnings=ITEM ITEM': is this whole list), so it can be = or != and not <",
        ),
        ("compile=yes", "--where 'compile=yes': compile is true or false, not 'yes'"),
        ("compile<true", "--where 'compile<true': compile is true or false, so it can be = or != and not <"),
    ],
)
def test_what_is_no_condition_is_a_sentence(text, sentence):
    with pytest.raises(RequestError) as caught:
        parse_condition(text)
    assert str(caught.value).startswith(sentence)


def test_nan_comes_last_in_either_order():
    rows = [row(point_id=name, top1=top1) for name, top1 in (("n", float("nan")), ("a", 1.0), ("b", 2.0))]
    assert (order("top1", rows=rows), order("-top1", rows=rows)) == ("ban", "abn")


def order(*columns, rows=ROWS):
    return "".join(row["point_id"] for row in in_order(rows, columns))


def test_the_best_come_first_and_the_empty_last():
    assert order("latency_ms") == "abc"
    assert order("-latency_ms") == "bac"
    fast = [row(point_id=name, throughput_img_s=rate) for name, rate in (("x", 5.0), ("y", 50.0), ("z", None))]
    assert order("throughput_img_s", rows=fast) == "yxz"
    assert order("-throughput_img_s", rows=fast) == "xyz"


def test_a_column_without_a_best_ascends():
    assert COLUMNS["depth"].best == ""
    assert order("depth") == "abc"
    assert order("-depth") == "cba"
    assert order("dtype", "-depth") == "cba"
    assert order("status", "depth") == "abc"
    assert order("warnings") == "bac"


def test_an_unknown_column_to_sort_by_is_a_sentence():
    with pytest.raises(RequestError, match=r"^--sort: unknown column 'latency'; did you mean 'latency_ms'"):
        in_order(ROWS, ["-latency"])


DEIT = {"model": "deit_small", "pool_stages": None}


def point(name, **changes):
    return row(**{"point_id": name, "axis": None} | changes)


def test_a_row_is_held_against_the_centre_that_was_measured_alike():
    rows = [
        point("one", **DEIT),
        point("many", **DEIT, batch_size=64),
        point("half", **DEIT, dtype="bfloat16", axis="dtype"),
        point("deeper", **DEIT, axis="depth", depth=24),
    ]
    base = Baseline(rows, "deit_small")
    assert base.of(point("x", axis="depth", depth=6)) is rows[0]
    assert base.of(point("x", batch_size=64)) is rows[1]
    assert base.of(point("x", dtype="bfloat16")) is rows[2]
    assert base.of(point("x", batch_size=8)) is None
    assert base.of(point("x", device_name="another")) is None
    assert base.of(rows[3]) is rows[0]


def test_of_several_centres_it_is_that_with_the_same_values_of_the_grid():
    rows = [point(f"at {size}", **DEIT, img_size=size) for size in (224, 384)]
    base = Baseline(rows, "deit_small")
    assert base.of(point("x", img_size=384)) is rows[1]
    assert base.of(point("x", img_size=160)) is None


def test_of_centres_trained_in_several_ways_it_is_that_trained_as_the_row_was_or_else_the_first():
    rows = [point(data, **DEIT, data=data, recipe="small") for data in ("digits", "cifar10")]
    base = Baseline([*rows, point("again", **DEIT, data="digits", recipe="deit")], "deit_small")
    assert base.of(point("x", data="cifar10", recipe="small")) is rows[1]
    assert base.of(point("x", data="digits", recipe="small")) is rows[0]
    assert base.of(point("x", data="mnist", recipe="small")) is rows[0]
    with pytest.raises(RequestError, match="the rows cifar10 and again are both its centre"):
        Baseline([rows[1], Row({**rows[1], "point_id": "again"})], "deit_small").of(rows[0])


def test_two_centres_all_the_same_are_refused():
    rows = [point("first", **DEIT), point("second", **DEIT)]
    with pytest.raises(RequestError) as caught:
        Baseline(rows, "deit_small").of(point("x"))
    assert str(caught.value) == (
        "--baseline deit_small: the rows first and second are both its centre, measured alike; give the point_id of one"
    )
    assert Baseline(rows, "second").of(point("x", batch_size=64)) is rows[1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("deit_smal", "--baseline: unknown model 'deit_smal'; did you mean 'deit_small'?"),
        (
            "deit_small",
            "--baseline deit_small: no row of it is the centre of its axes; give the point_id of one of its rows",
        ),
    ],
)
def test_a_baseline_that_is_not_there_is_a_sentence(name, sentence):
    with pytest.raises(RequestError) as caught:
        Baseline([point("deeper", **DEIT, axis="depth")], name)
    assert str(caught.value) == sentence


def test_an_invalid_cell_is_no_baseline():
    rows = [Row({"model": "deit_small", "status": "invalid"}), point("one", **DEIT)]
    assert Baseline(rows, "deit_small").of(point("x")) is rows[1]


@pytest.mark.parametrize(
    ("value", "base", "found"), [(1.0, 2.0, 0.5), (3, 2, 1.5), (None, 2, None), (1, None, None), (1, 0, None)]
)
def test_a_ratio_needs_two_numbers(value, base, found):
    assert ratio(value, base) == found
