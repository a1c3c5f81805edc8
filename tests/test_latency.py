import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.metrics.latency import (
    BLOCK_S,
    BLOCKS_SHARE,
    MIN_BLOCKS,
    MIN_PASSES,
    Latency,
    is_stable,
    measure_latency,
)
from hvt_bench.point import Protocol
from tests.scripted import Script


def protocol(**changes):
    fields = {
        "device": "cpu",
        "batch_size": 1,
        "warmup_s": 0.0,
        "min_time_s": 1e-9,
        "max_time_s": 1e-9,
        "num_threads": 1,
    }
    return Protocol(**fields | changes)


def measured(script, **changes):
    return measure_latency(script.run, script, protocol(**changes))


def test_warm_up_is_not_counted():
    found = measured(Script(9.0, 9.0, 9.0, 0.5))
    assert found["pass_ms"] == pytest.approx([500.0] * MIN_PASSES)
    assert found["warmup_ms"] == pytest.approx([9000.0] * 3)


@pytest.mark.parametrize(
    ("times", "changes", "passes"),
    [
        ([1.0] * 10, {"warmup_s": 10.0}, 10),
        ([1.0] * 10, {"warmup_s": 9.5}, 10),
        ([100.0] * 3, {"warmup_s": 1.0}, 3),
        ([0.5] * 10, {"warmup_passes": 10}, 10),
        ([0.5] * 10, {"warmup_passes": 10, "warmup_s": 1.0}, 10),
        ([0.5] * 10, {"warmup_passes": 4, "warmup_s": 5.0}, 10),
    ],
)
def test_warm_up_has_the_passes_and_the_time_asked_for(times, changes, passes):
    found = measured(Script(*times, 0.125), **changes)
    assert len(found["warmup_ms"]) == passes
    assert found["pass_ms"] == pytest.approx([125.0] * MIN_PASSES)


def test_there_are_at_least_five_passes_and_three_blocks_however_long_they_take():
    found = measured(Script(60.0), min_time_s=1.0, max_time_s=1.0)
    assert len(found["pass_ms"]) == MIN_PASSES == 5
    assert len(found["block_img_s"]) == MIN_BLOCKS == 3


def test_passes_fill_the_time_asked_for_and_blocks_come_on_top():
    script = Script(0.125)
    found = measured(script, min_time_s=16.0, max_time_s=48.0)
    assert len(found["pass_ms"]) == 16.0 / 0.125
    assert len(found["block_img_s"]) == 16.0 * BLOCKS_SHARE / 0.125
    assert found["timed_s"] == pytest.approx(script.clock)
    assert script.clock == pytest.approx(3 * 0.125 + 16.0 * (1 + BLOCKS_SHARE))


def test_a_pass_that_crosses_the_limit_is_the_last():
    found = measured(Script(1.0), min_time_s=9.5, max_time_s=9.5)
    assert len(found["pass_ms"]) == 10


def test_passes_are_timed_one_by_one_in_order():
    found = measured(Script(*[9.0] * 3, 1.0, 2.0, 3.0, 4.0, 5.0))
    assert found["pass_ms"] == pytest.approx([1000.0, 2000.0, 3000.0, 4000.0, 5000.0])


# --- when to stop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passes", "stable"),
    [
        ([1.0] * 5, True),
        ([1.0, 1.0, 1.0, 1.005, 1.005], True),
        ([1.0, 1.0, 1.02, 1.02, 1.02], False),
        ([1.0, 1.0, 0.98, 0.98, 0.98], False),
        ([1.0, 9.0, 1.0, 1.0, 9.0, 1.0], True),  # medians do not see single slow passes
        ([5.0, 5.0, 1.0, 1.0], False),
    ],
)
def test_passes_are_stable_when_the_medians_of_their_halves_agree(passes, stable):
    assert is_stable(passes, 1.0) is stable


def test_stable_passes_stop_when_the_time_asked_for_is_over():
    found = measured(Script(0.5), min_time_s=8.0, max_time_s=80.0)
    assert (len(found["pass_ms"]), found["converged"]) == (16, True)


def test_passes_that_are_not_stable_go_on_until_they_are():
    """Four slow passes, then fast ones: the halves agree once the slow ones are few enough in the first, and again.

    Looks are at 6 s and then every 2 s, after 8, 12, 16, 20 and 24 passes.
    """
    found = measured(Script(*[0.5] * 3, *[1.0] * 4, 0.5), min_time_s=8.0, max_time_s=80.0)
    passes = found["pass_ms"]
    assert found["converged"]
    assert passes == [1000.0] * 4 + [500.0] * 20
    assert [is_stable(passes[:number], 1.0) for number in (8, 12, 16, 20, 24)] == [False, False, False, True, True]


def test_passes_that_never_become_stable_stop_at_the_cap():
    times = [1.0 + 0.5 * number for number in range(40)]
    found = measured(Script(*times), min_time_s=8.0, max_time_s=20.0)
    assert not found["converged"]
    assert sum(found["pass_ms"][:-1]) < 20_000 <= sum(found["pass_ms"])


def test_a_wider_tolerance_stops_earlier():
    times = [1.0 + 0.01 * number for number in range(1000)]
    few = measured(Script(*times), min_time_s=8.0, max_time_s=100.0, stable_pct=50.0)
    many = measured(Script(*times), min_time_s=8.0, max_time_s=100.0, stable_pct=0.1)
    assert (few["converged"], many["converged"]) == (True, False)
    assert len(few["pass_ms"]) < len(many["pass_ms"])


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passes", "in_block"),
    [
        ([0.5] * 5, 1),
        ([0.0078125] * 5, 2),
        ([0.001953125] * 5, 7),
        ([0.001953125, 0.001953125, 0.001953125, 10.0, 10.0], 7),  # the median, not the mean
        ([0.001953125, 0.001953125, 10.0, 10.0, 10.0], 1),
        ([0.015625] * 5, 1),
    ],
)
def test_a_block_has_as_many_passes_as_fill_ten_milliseconds_by_the_median_pass(passes, in_block):
    script = Script(*[1.0] * 3, *passes, 0.25)
    found = measured(script, batch_size=4)
    assert script.passes == 3 + 5 + 3 * in_block
    assert found["block_img_s"] == pytest.approx([4 / 0.25] * 3)


def test_a_block_that_turns_out_short_is_not_counted_and_the_next_is_longer():
    """Without waiting for each, passes take a millisecond and not eight: two are no block of ten."""
    script = Script(*[0.0078125] * 8, 0.0009765625)
    images = []
    found = measure_latency(script.run, script, protocol(), end=images.append)
    assert images == [script.passes - 3]
    assert len(found["block_img_s"]) == MIN_BLOCKS
    assert found["block_img_s"] == pytest.approx([1024.0] * 3)
    assert script.passes == 3 + 5 + 2 + 3 * math.ceil(1.25 * 2 * BLOCK_S / (2 * 0.0009765625))


def test_blocks_begin_again_when_a_later_one_is_short():
    """Every block has ten milliseconds: the second has not, so the first, which was held up, does not count either."""
    script = Script(*[1.0] * 8, 0.25, 0.005, 0.02)
    found = measured(script)
    assert found["block_img_s"] == pytest.approx([50.0] * 3)


def test_throughput_comes_from_its_own_passes():
    found = measured(Script(*[1.0] * 8, 0.5, 0.25, 0.125), batch_size=2)
    assert found["pass_ms"] == pytest.approx([1000.0] * 5)
    assert found["block_img_s"] == pytest.approx([4.0, 8.0, 16.0])


def test_the_host_waits_for_each_pass_and_only_at_the_ends_of_a_block():
    script = Script(*[1.0] * 3, *[0.00390625] * 5, 0.00390625)
    measured(script)
    of_pass = ["wait", "now", "run", "wait", "now"]
    of_block = ["wait", "now", *["run"] * 4, "wait", "now"]
    assert script.log == [*of_pass * 3, "now", *of_pass * 5, *of_block * 3, "now"]


def test_what_the_device_still_does_from_before_is_not_counted():
    script = Script(1.0)
    script.pending = 1000.0
    assert measured(script)["pass_ms"] == pytest.approx([1000.0] * 5)


# --- phases, devices, witnesses ---------------------------------------------------------------------------------------


def test_the_phases_of_a_training_step_are_timed_apart():
    script = Script(*[1.0] * 3, *[2.0, 4.0, 6.0, 8.0, 10.0], 1.0, phases=(0.25, 0.5, 0.25))
    found = measured(script, mode="train")
    assert found["pass_ms"] == pytest.approx([2000.0, 4000.0, 6000.0, 8000.0, 10000.0])
    assert found["phase_ms"]["forward"] == pytest.approx([500.0, 1000.0, 1500.0, 2000.0, 2500.0])
    assert found["phase_ms"]["backward"] == pytest.approx([1000.0, 2000.0, 3000.0, 4000.0, 5000.0])
    assert found["phase_ms"]["step"] == found["phase_ms"]["forward"]


def test_a_forward_pass_has_no_phases_and_a_cpu_no_device_time():
    assert measured(Script(1.0)).keys() & {"phase_ms", "device_ms", "device_source"} == set()


def test_the_time_of_the_device_is_that_of_one_pass():
    script = Script(0.25, recorded=("graph", 0.125))
    found = measured(script, min_time_s=8.0, max_time_s=8.0)
    assert found["device_source"] == "graph"
    assert found["device_ms"] == pytest.approx([125.0] * 8)
    assert script.graph_allowed


def test_a_training_step_is_not_captured_in_a_graph():
    script = Script(0.25, recorded=("queue", 0.125))
    assert measured(script, mode="train")["device_source"] == "queue"
    assert not script.graph_allowed


def test_the_witness_sees_the_timed_passes_and_nothing_else():
    script = Script(1.0)
    measure_latency(
        script.run,
        script,
        protocol(batch_size=8),
        lambda: script.log.append("begin"),
        lambda images: script.log.append(images),
    )
    begin, end = script.log.index("begin"), script.log.index(8 * (5 + 3))
    assert script.log[:begin].count("run") == 3
    assert script.log[begin:end].count("run") == 8
    assert "run" not in script.log[end:]


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.floats(1e-5, 10.0), min_size=1, max_size=30),
    st.floats(0, 1),
    st.floats(1e-3, 3),
    st.floats(1, 4),
    st.integers(1, 64),
)
def test_whatever_a_pass_takes_the_limits_hold(times, warmup_s, min_time_s, cap, batch_size):
    limits = {"warmup_s": warmup_s, "min_time_s": min_time_s, "max_time_s": cap * min_time_s}
    found = measured(Script(*times, then=0.01), batch_size=batch_size, **limits)
    assert len(found["pass_ms"]) >= MIN_PASSES
    assert len(found["block_img_s"]) >= MIN_BLOCKS
    assert sum(found["warmup_ms"]) / 1e3 >= warmup_s - 1e-6
    assert sum(found["pass_ms"]) / 1e3 >= min_time_s - 1e-6
    assert found["converged"] or sum(found["pass_ms"]) / 1e3 >= cap * min_time_s - 1e-6
    assert all(math.isfinite(value) and value > 0 for name in ("pass_ms", "block_img_s") for value in found[name])


# --- summing up -------------------------------------------------------------------------------------------------------


def test_the_summary_of_one_round():
    found = Latency.summarise([{"pass_ms": [4.0, 1.0, 3.0, 2.0, 5.0], "block_img_s": [100.0, 90.0, 300.0]}])
    assert found == Latency(
        latency_ms=3.0,
        latency_ms_p05=1.2,
        latency_ms_p95=4.8,
        latency_samples=5,
        latency_ms_rounds=(3.0,),
        latency_spread_pct=None,
        converged=None,
        device_latency_ms=None,
        device_latency_source=None,
        throughput_img_s=100.0,
        forward_ms=None,
        backward_ms=None,
        step_ms=None,
        resolution_ms=None,
        compile_s=None,
    )


def test_the_summary_of_two_rounds():
    rounds = [
        {"pass_ms": [1.0, 2.0, 3.0], "block_img_s": [10.0, 20.0, 30.0]},
        {"pass_ms": [3.0, 4.0, 5.0, 6.0, 20.0], "block_img_s": [40.0, 50.0]},
    ]
    found = Latency.summarise(rounds)
    assert found.latency_ms == 3.5  # the median of 2 and 5, whatever the number of passes
    assert found.latency_samples == 8
    assert found.latency_spread_pct == pytest.approx(100 * 3 / 3.5)
    assert found.throughput_img_s == 32.5  # of 20 and 45
    assert found.latency_ms_p05 == pytest.approx(1.35)  # of 1 2 3 3 4 5 6 20
    assert found.latency_ms_p95 == pytest.approx(15.1)
    assert found.latency_ms_rounds == (2.0, 5.0)
    backwards = Latency.summarise(rounds[::-1])
    assert backwards.model_copy(update={"latency_ms_rounds": (2.0, 5.0)}) == found


def test_the_summary_of_three_rounds_takes_the_middle_one():
    rounds = [{"pass_ms": [ms], "block_img_s": [1e3 / ms]} for ms in (10.0, 12.0, 50.0)]
    found = Latency.summarise(rounds)
    assert found.latency_ms == 12.0
    assert found.latency_spread_pct == pytest.approx(100 * 40 / 12)
    assert found.throughput_img_s == pytest.approx(1e3 / 12)


def test_rounds_that_agree_have_no_spread():
    rounds = [{"pass_ms": [2.0], "block_img_s": [1.0]}] * 2
    assert Latency.summarise(rounds).latency_spread_pct == 0.0


def test_a_whole_number_from_a_journal_is_fine():
    assert Latency.summarise([{"pass_ms": [2, 4], "block_img_s": [3]}]).latency_ms == 3.0


NUMBERS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9)


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_medians_are_those_of_numpy_to_the_last_bit(rounds):
    found = Latency.summarise([{"pass_ms": passes, "block_img_s": passes} for passes in rounds])
    medians = [float(np.median(passes)) for passes in rounds]
    assert found.latency_ms_rounds == tuple(medians)
    assert (found.latency_ms, found.throughput_img_s) == (float(np.median(medians)),) * 2


@pytest.mark.parametrize("damaged", [[], ["1", "2", "3"], "3", ["3"], [None], [[1.0, 2.0]], None, {"a": 1.0}])
@pytest.mark.parametrize("key", ["pass_ms", "block_img_s"])
def test_what_is_no_list_of_numbers_is_refused(key, damaged):
    with pytest.raises((ValueError, TypeError)):
        Latency.summarise([{"pass_ms": [1.0], "block_img_s": [1.0]} | {key: damaged}])


def test_a_point_converged_if_all_its_rounds_did():
    rounds = [{"pass_ms": [2.0], "block_img_s": [1.0], "converged": found} for found in (True, True, False)]
    assert Latency.summarise(rounds[:2]).converged is True
    assert Latency.summarise(rounds).converged is False


def test_device_phases_and_compiling_are_medians_over_rounds():
    rounds = [
        {
            "pass_ms": [9.0],
            "block_img_s": [1.0],
            "device_ms": [1.0, 2.0, 9.0],
            "device_source": "graph",
            "phase_ms": {"forward": [1.0], "backward": [2.0], "step": [3.0]},
            "compile_s": 30.0,
        },
        {
            "pass_ms": [9.0],
            "block_img_s": [1.0],
            "device_ms": [4.0],
            "device_source": "graph",
            "phase_ms": {"forward": [1.0, 2.0, 3.0], "backward": [2.0], "step": [4.0]},
            "compile_s": 40.0,
        },
    ]
    found = Latency.summarise(rounds)
    assert (found.device_latency_ms, found.device_latency_source) == (3.0, "graph")
    assert (found.forward_ms, found.backward_ms, found.step_ms) == (1.5, 2.0, 3.5)
    assert found.compile_s == 35.0
