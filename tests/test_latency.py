import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.metrics.latency import (
    MIN_BLOCKS,
    MIN_PASSES,
    MIN_WARMUP_PASSES,
    PASSES_SHARE,
    Latency,
    Stopwatch,
    measure_latency,
)


class Script(Stopwatch):
    """A machine on which each pass takes the next of some times, once the host waits for it."""

    def __init__(self, *times, then=None):
        super().__init__("script")
        self.times, self.then = list(times), times[-1] if then is None else then
        self.clock = self.pending = 0.0
        self.passes = 0
        self.log = []

    def run(self):
        self.pending += self.times[self.passes] if self.passes < len(self.times) else self.then
        self.passes += 1
        self.log.append("run")

    def synchronize(self):
        self.clock += self.pending
        self.pending = 0.0
        self.log.append("wait")

    def now(self):
        self.log.append("now")
        return self.clock


def measured(script, batch_size=1, warmup_s=0.0, min_time_s=1e-9):
    return measure_latency(script.run, script, batch_size, warmup_s, min_time_s)


def test_warm_up_is_not_counted():
    slow = [9.0] * MIN_WARMUP_PASSES
    found = measured(Script(*slow, 0.5))
    assert found["pass_ms"] == pytest.approx([500.0] * MIN_PASSES)


def test_warm_up_lasts_as_long_as_asked_and_three_passes_at_least():
    script = Script(*[1.0] * 10, 0.125)
    assert measured(script, warmup_s=10.0)["pass_ms"] == pytest.approx([125.0] * MIN_PASSES)
    script = Script(*[1.0] * 10, 0.125)
    assert measured(script, warmup_s=9.5)["pass_ms"] == pytest.approx([125.0] * MIN_PASSES)
    script = Script(*[100.0] * 3, 0.125)
    assert measured(script, warmup_s=1.0)["pass_ms"] == pytest.approx([125.0] * MIN_PASSES)
    assert MIN_WARMUP_PASSES == 3


def test_there_are_at_least_five_passes_and_three_blocks_however_long_they_take():
    found = measured(Script(60.0))
    assert len(found["pass_ms"]) == MIN_PASSES == 5
    assert len(found["block_img_s"]) == MIN_BLOCKS == 3


def test_the_time_asked_for_is_split_between_passes_and_blocks():
    script = Script(0.125)
    found = measured(script, min_time_s=16.0)
    assert PASSES_SHARE == 0.75
    assert len(found["pass_ms"]) == 12.0 / 0.125
    assert len(found["block_img_s"]) == 4.0 / 0.125
    assert script.clock == pytest.approx(3 * 0.125 + 16.0)


def test_a_pass_that_crosses_the_limit_is_the_last():
    script = Script(1.0)
    found = measured(script, min_time_s=13.0)
    assert len(found["pass_ms"]) == 10  # 9.75 s are asked for
    assert len(found["block_img_s"]) == 4  # 3.25 s


def test_passes_are_timed_one_by_one_in_order():
    found = measured(Script(*[9.0] * 3, 1.0, 2.0, 3.0, 4.0, 5.0))
    assert found["pass_ms"] == pytest.approx([1000.0, 2000.0, 3000.0, 4000.0, 5000.0])


@pytest.mark.parametrize(
    ("passes", "in_block"),
    [
        ([0.5] * 5, 1),
        ([0.0078125] * 5, 2),
        ([0.001953125] * 5, 6),
        ([0.001953125, 0.001953125, 0.001953125, 10.0, 10.0], 6),  # the median, not the mean
        ([0.001953125, 0.001953125, 10.0, 10.0, 10.0], 1),
        ([0.015625] * 5, 1),
    ],
)
def test_a_block_has_as_many_passes_as_fill_ten_milliseconds_by_the_median_pass(passes, in_block):
    script = Script(*[1.0] * 3, *passes, 0.25)
    found = measured(script, batch_size=4)
    assert script.passes == 3 + 5 + 3 * in_block
    assert found["block_img_s"] == pytest.approx([4 / 0.25] * 3)


def test_throughput_comes_from_its_own_passes():
    found = measured(Script(*[1.0] * 8, 0.5, 0.25, 0.125), batch_size=2)
    assert found["pass_ms"] == pytest.approx([1000.0] * 5)
    assert found["block_img_s"] == pytest.approx([4.0, 8.0, 16.0])


def test_the_host_waits_for_each_pass_and_only_at_the_ends_of_a_block():
    script = Script(*[1.0] * 3, *[0.00390625] * 5, 0.00390625)
    measured(script)
    script_of_pass = ["now", "run", "wait", "now"]
    script_of_block = ["now", *["run"] * 3, "wait", "now"]
    start = ["wait", "now"]
    assert script.log == [*start, *script_of_pass * 3, *start, *script_of_pass * 5, *start, *script_of_block * 3]


def test_what_the_device_still_does_from_before_is_not_counted():
    script = Script(1.0)
    script.pending = 1000.0
    assert measured(script)["pass_ms"] == pytest.approx([1000.0] * 5)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=30), st.floats(0, 1), st.floats(1e-3, 3), st.integers(1, 64)
)
def test_whatever_a_pass_takes_the_limits_hold(times, warmup_s, min_time_s, batch_size):
    script = Script(*times, then=0.01)
    found = measured(script, batch_size, warmup_s, min_time_s)
    assert len(found["pass_ms"]) >= MIN_PASSES
    assert len(found["block_img_s"]) >= MIN_BLOCKS
    assert sum(found["pass_ms"]) / 1e3 >= PASSES_SHARE * min_time_s * (1 - 1e-9)
    assert all(math.isfinite(value) and value > 0 for values in found.values() for value in values)


# --- summing up -------------------------------------------------------------------------------------------------------


def test_the_summary_of_one_round():
    found = Latency.summarise([{"pass_ms": [4.0, 1.0, 3.0, 2.0, 5.0], "block_img_s": [100.0, 90.0, 300.0]}])
    assert found == Latency(
        latency_ms=3.0,
        latency_ms_p05=1.2,
        latency_ms_p95=4.8,
        latency_samples=5,
        latency_spread_pct=None,
        throughput_img_s=100.0,
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
    assert Latency.summarise(rounds[::-1]) == found


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


def test_the_real_stopwatch_goes_forward():
    stopwatch = Stopwatch("cpu")
    stopwatch.synchronize()
    assert stopwatch.now() <= stopwatch.now()


@pytest.mark.gpu
def test_the_real_stopwatch_waits_for_the_gpu():
    import torch

    stopwatch = Stopwatch("cuda:0")
    x = torch.randn(8192, 8192, device="cuda:0")
    stopwatch.synchronize()
    for _ in range(20):
        x @ x
    done = torch.cuda.Event()
    done.record()
    assert not done.query()
    stopwatch.synchronize()
    assert done.query()
