"""What the benchmarks compare is right; how fast it is, they say themselves."""

import numpy as np
import pytest

from hvt_bench.metrics.complexity import count
from hvt_bench.models import parse_model
from tests.benchmarks import bookkeeping, gate, insight, repeatability
from tests.benchmarks.counting import PLAIN_EVERY, designs, differing


def test_the_designs_are_many_and_mixed():
    found = designs()
    assert len(found) >= 200
    assert {config.family for config in found} == {"vit", "hvt"}
    assert {config.img_size for config in found} >= {160, 512}
    assert {config.depth for config in found} >= {6, 48}


@pytest.mark.slow
def test_fvcore_on_real_networks_finds_what_shapes_alone_say():
    small = [config for config in designs()[::PLAIN_EVERY] if config.depth <= 24]
    assert len(small) >= 8
    assert differing(small, [count(config).macs for config in small]) == []


def test_a_count_that_differs_is_named():
    config = designs()[0]
    assert differing([config], [count(config).macs + 1]) == [config]


def test_the_rows_that_tables_are_timed_with_are_many_and_distinct():
    rows = insight.many_rows()
    assert len(rows) == len({row["point_id"] for row in rows}) == insight.ROWS
    assert len({row["model"] for row in rows}) > 600


def scripted(percent, rounds=repeatability.RECORDED):
    return (10.0 * np.exp(percent / 100 * np.random.default_rng(0).standard_normal(rounds))).tolist()


def test_quiet_rounds_keep_every_target():
    text, kept = repeatability.report(repeatability._point(), scripted(0.7), [(10.0, 10.1)] * 6 + [(10.0, 30.0)] * 4)
    assert kept
    lines = text.splitlines()
    assert [line[:4] for line in lines] == ["repe", "(a) ", "(b) ", "(c) "]
    assert ": 10 ms, 0.63 % of noise between rounds" in lines[0]
    assert "100% found SLOWER" in lines[2]
    assert "0.990, half of them 0.33 to 0.99" in lines[3]


@pytest.mark.parametrize(
    ("percent", "beside_torch", "missed"),
    [(6.0, [(10.0, 10.0)] * 2, "b"), (0.7, [(10.0, 10.5)] * 2, "c"), (6.0, [(10.5, 10.0)] * 2, "b, c")],
)
def test_a_target_that_is_missed_is_named(percent, beside_torch, missed):
    text, kept = repeatability.report(repeatability._point(), scripted(percent), beside_torch)
    assert not kept
    assert text.splitlines()[-1] == f"missed: {missed}"


def test_rounds_in_two_heaps_miss_the_first_target(monkeypatch):
    """Where all old rounds are of one heap and all new ones of another, every verdict is false."""
    monkeypatch.setattr(repeatability.random.Random, "sample", lambda self, rounds, number: rounds[:number])
    heaps = [*scripted(0.1, 5), *(2 * ms for ms in scripted(0.1, 5)), *scripted(0.1)]
    text, kept = repeatability.report(repeatability._point(), heaps, [(1.0, 1.0)] * 2)
    assert not kept
    assert "100% called FASTER or SLOWER, 96% to 100%" in text
    assert text.splitlines()[-1] == "missed: a"


def test_more_noise_needs_more_rounds():
    assert repeatability.rounds_needed(scripted(0.5)) == "95% are found from 3 rounds on"
    assert repeatability.rounds_needed(scripted(2.0)) == "95% are found from 5 rounds on"
    assert repeatability.rounds_needed(scripted(20.0)) == "95% need more than 30 rounds"


def test_the_gate_of_the_benchmark_is_of_a_hundred_networks():
    names = gate.models()
    found = {parse_model(name) for name in names}
    assert len(names) == len(found) == gate.MODELS
    assert {"vit_22b", "deit_tiny", "hvt_s_1"} <= set(names) | {name.partition(":")[0] for name in names}


def test_the_sweep_that_bookkeeping_is_timed_with_goes_on_where_it_was(tmp_path):
    assert bookkeeping.visit_all(5, tmp_path / "run.csv")[2] == 0
    assert bookkeeping.visit_all(8, tmp_path / "run.csv")[2] == 5


def test_a_command_that_takes_too_long_is_named():
    assert insight.told("ten rows", {"fit": 4.96, "report": 19.0}, {"fit": 5.0, "report": 20.0}) == (
        "ten rows: fit 5.0 s (target: at most 5), report 19.0 s (target: at most 20)",
        True,
    )
    text, kept = insight.told("ten rows", {"fit": 5.1, "report": 30.0}, {"fit": 5.0, "report": 20.0})
    assert text.endswith("; missed: fit, report")
    assert not kept
