import pytest
from scipy import stats

from hvt_bench.analysis.savings import MIN_POINTS, left_alone, pairs, rank_correlation, usual_baseline, why_no_pairs
from hvt_bench.errors import RequestError
from tests.rows import row

DEIT = {"model": "deit_small", "family": "vit", "pool_stages": None}


def made(model="hvt_s_1", **changes):
    base = DEIT if model == "deit_small" else {}
    return row(**{"model": model, "macs": 2_000, "latency_ms": 6.0, "point_id": f"{model}{changes}", **base, **changes})


ROWS = (
    made(),
    made("deit_small", macs=4_000, latency_ms=10.0),
    made(axis="depth", depth=6, macs=1_000, latency_ms=4.0),
)


def test_each_row_stands_beside_the_centre_of_the_baseline():
    found = pairs(ROWS, "deit_small")
    assert [(pair.row["depth"], pair.cost, pair.gain) for pair in found] == [(12, 0.5, 0.6), (6, 0.25, 0.4)]
    assert [pair.realised for pair in found] == pytest.approx([0.8, 0.8])


def test_nothing_is_realised_of_a_saving_that_is_none():
    (pair,) = pairs([made(macs=5_000), ROWS[1]], "deit_small")
    assert pair.realised is None


def test_a_row_is_held_against_what_was_measured_as_it_was():
    batches = [made("deit_small", batch_size=8, macs=4_000, latency_ms=50.0), made(batch_size=8, latency_ms=40.0)]
    assert [pair.gain for pair in pairs([*ROWS[:2], *batches], "deit_small")] == [0.6, 0.8]
    assert pairs([ROWS[1], made(batch_size=8)], "deit_small") == []
    assert why_no_pairs([ROWS[1], made(batch_size=8)], "deit_small") == "no other row was measured as deit_small was"


def test_a_baseline_that_was_not_timed_is_named_as_the_reason():
    failed = made("deit_small", macs=4_000, latency_ms=None, status="oom")
    why = "deit_small has no latency_ms above 0, its status is oom"
    assert why_no_pairs([ROWS[0], failed, ROWS[2]], "deit_small") == why
    assert left_alone([*ROWS[:1], failed, made(batch_size=8)], "deit_small") == [
        f"1 point not drawn ({why})",
        "1 point not drawn (no deit_small was measured alike)",
    ]
    assert left_alone(ROWS, "deit_small") == []


def test_macs_of_training_are_those_of_a_training_step():
    train = {"mode": "train", "macs": 1}
    rows = [made(train_macs=30, **train), made("deit_small", train_macs=120, latency_ms=12.0, **train)]
    assert [(pair.cost, pair.gain) for pair in pairs(rows, "deit_small")] == [(0.25, 0.5)]


def test_the_usual_baseline_is_the_first_vit_or_else_the_dearest():
    assert usual_baseline(ROWS) == "deit_small"
    assert usual_baseline([made(), made(model="big", macs=9_000)]) == "big"
    assert usual_baseline([made(axis="depth")]) == ""


def test_an_unknown_baseline_is_an_error():
    with pytest.raises(RequestError, match="unknown model 'deit'; known: deit_small, hvt_s_1"):
        why_no_pairs(ROWS, "deit")


@pytest.mark.parametrize("y", [(1, 2, 3, 4), (4, 3, 2, 1), (1, 3, 2, 4), (2, 2, 1, 5), (1, 1, 2, 2)])
def test_rank_correlation_is_spearmans(y):
    assert rank_correlation((1, 5, 6, 9), y) == pytest.approx(stats.spearmanr((1, 5, 6, 9), y).statistic)


@pytest.mark.parametrize("values", [range(MIN_POINTS - 1), [1] * 5])
def test_too_few_points_and_equal_ones_have_no_rank_correlation(values):
    assert rank_correlation(list(values), list(range(len(values)))) is None
