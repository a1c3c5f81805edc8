import pytest

from hvt_bench.row import Row
from hvt_bench.verdicts import WARNINGS, summary, warnings_of

GOOD = {
    "point_id": "abc",
    "model": "hvt_s_1",
    "axis": "depth",
    "device": "cpu",
    "num_threads": 2,
    "cpu_share_pct": 95.0,
    "depth": 12,
    "latency_ms": 10.0,
    "latency_ms_rounds": (10.0, 10.1, 9.9),
    "latency_spread_pct": 2.0,
    "converged": True,
    "stable_pct": 1.0,
    "max_time_s": 6.0,
    "device_latency_ms": 9.5,
    "resolution_ms": 1e-4,
    "other_load_pct": 1.0,
    "alloc_retries": 0,
}

BAD = {  # changes, and what is said of them
    "noisy": (
        {"latency_spread_pct": 23.4},
        "its rounds are 23 % apart. Other work on the machine, or clocks that change; close other programs, "
        "raise rounds or min_time_s.",
    ),
    "not_converged": (
        {"converged": False},
        "passes were not stable to 1 % after 6 s. A machine that speeds up or slows down; "
        "raise max_time_s or warmup_s.",
    ),
    "throttled": (
        {"throttle_reasons": "hw_thermal_slowdown"},
        "the GPU was held back: hw_thermal_slowdown. Heat or a power limit; cool the card, lock its clocks "
        "(nvidia-smi -lgc), or say so beside the number.",
    ),
    "other_load": (
        {"other_load_pct": 31.0},
        "other processes took 31 % of the cores. Close them, or measure where nothing else runs.",
    ),
    "side_by_side": (
        {"side_by_side": 4},
        "it was timed while other points ran on the same cores. They disturb each other; compare no times with a run "
        "of one at a time, or measure without --jobs.",
    ),
    "low_cpu_share": (
        {"cpu_share_pct": 20.0},
        "this process had 20 % of its 2 cores. A limit on CPU time, other load, or a network too small for its "
        "threads; lower num_threads, raise batch_size.",
    ),
    "slow_first_round": (
        {"latency_ms_rounds": (12.0, 10.0, 9.0)},
        "its first round took 1.20 x the slowest of the others. Files not yet in memory, or clocks that rise; "
        "raise warmup_s, or measure again with --fresh.",
    ),
    "coarse_clock": (
        {"resolution_ms": 0.5},
        "a pass of 10 ms is few steps of a clock of 0.5 ms. Raise batch_size.",
    ),
    "launch_bound": (
        {"device_latency_ms": 4.0},
        "the device works 40 % of a pass. The host cannot launch fast enough; raise batch_size, or compile: true.",
    ),
    "alloc_retries": (
        {"alloc_retries": 2},
        "the allocator had to free memory and try again 2 times. Memory is all but full, which costs time; "
        "take a smaller batch_size.",
    ),
}


def judged(**changes):
    values = GOOD | changes
    return values | {"warnings": warnings_of(values) or None}


def test_a_good_row_and_one_that_was_not_measured_deserve_no_warning():
    assert judged()["warnings"] is None
    assert warnings_of({}) == ()
    assert summary([judged()]) == []


def test_every_warning_is_tested():
    assert BAD.keys() == WARNINGS.keys()


@pytest.mark.parametrize("name", BAD)
def test_each_warning_says_what_was_seen_the_likely_cause_and_what_to_try(name):
    changes, sentence = BAD[name]
    assert judged(**changes)["warnings"] == (name,)
    assert summary([judged(**changes)]) == [f"{name}: hvt_s_1 depth=12 (abc): {sentence}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_spread_pct": 10.0},
        {"other_load_pct": 5.0},
        {"side_by_side": 1},
        {"side_by_side": None},
        {"latency_ms_rounds": (12.0, 11.5, 9.0)},
        {"latency_ms_rounds": (12.0, 9.0)},  # of two rounds, either may be the odd one
        {"latency_ms_rounds": (12.0,)},
        {"device_latency_ms": 7.5},
        {"device_latency_ms": None},
        {"resolution_ms": 0.1},
        {"resolution_ms": 0.0},
        {"throttle_reasons": ""},
        {"converged": None},
        {"cpu_share_pct": 60.0},
        {"device": "cuda:0", "cpu_share_pct": 10.0},
    ],
)
def test_what_is_just_well_is_not_warned_of(changes):
    assert judged(**changes)["warnings"] is None


def test_many_rows_make_one_line_which_names_the_worst():
    failed = {"latency_ms": None, "warnings": None}
    rows = [judged(latency_spread_pct=12.0), judged(latency_spread_pct=40.0, depth=18), judged(), failed]
    (line,) = summary(rows)
    assert line.startswith("noisy: 2 of 3 points, the worst hvt_s_1 depth=18 (abc): its rounds are 40 % apart. ")


def test_what_varies_among_the_points_names_them():
    rows = [judged(compile=True, converged=False), judged(compile=False)]
    assert summary(rows)[0].startswith("not_converged: 1 of 2 points, the worst hvt_s_1 depth=12 compile=true (abc): ")


def test_a_point_at_the_centre_is_named_by_its_model():
    assert summary([judged(axis=None, converged=False)])[0].startswith("not_converged: hvt_s_1 (abc): passes were")


def test_rows_of_an_older_table_can_be_judged():
    assert summary([Row({"model": "hvt_s_1"})]) == []


def test_points_on_several_kinds_of_gpu_are_said():
    rows = [judged(device="cuda:0", device_name=name) for name in ("A100", "H100", "A100", None)]
    rows.append(judged(device="cpu", device_name="Xeon"))
    (line,) = summary(rows)
    assert line.startswith("mixed: 'cuda:0' is not the same everywhere: 2 points on A100, 1 point on H100. Their times")
