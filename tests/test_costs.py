import pytest

from hvt_bench.costs import Costs
from hvt_bench.measure import Visit
from tests.test_run import make_sweep

SHALLOW, DEEP = make_sweep(warmup_s=0.5, min_time_s=1.5).points  # 2 s a round at least


def visits(rounds=3):
    return [Visit(point, number, ("latency",)) for point in (SHALLOW, DEEP) for number in range(rounds)]


def test_nothing_measured_is_what_the_protocol_asks_at_least():
    costs = Costs(visits())
    assert (costs.seconds_left, costs.factor, costs.rounds_learned) == (12.0, 1.0, 0)


def test_a_point_takes_what_it_took_and_another_its_least_times_what_others_took():
    costs = Costs(visits())
    costs.drop(SHALLOW)
    costs.learn(SHALLOW, 3.0)
    assert costs.factor == 1.5
    assert costs.seconds_left == pytest.approx(2 * 3.0 + 3 * 2.0 * 1.5)
    costs.drop(DEEP)
    costs.learn(DEEP, 9.0)
    assert costs.seconds_left == pytest.approx(2 * 3.0 + 2 * 9.0)
    costs.drop(SHALLOW)
    costs.learn(SHALLOW, 5.0)
    assert costs.seconds_left == pytest.approx(1 * 4.0 + 2 * 9.0)


def test_rounds_that_come_again_and_rounds_left_out_count():
    costs = Costs(visits(1))
    costs.add(DEEP)
    assert costs.seconds_left == 6.0
    for point in (SHALLOW, DEEP, DEEP):
        costs.drop(point)
    assert costs.seconds_left == 0.0


def test_what_was_learned_before_anything_is_to_go_counts():
    costs = Costs()
    costs.learn(DEEP, 10.0)
    costs.add(DEEP)
    costs.add(SHALLOW)
    assert costs.seconds_left == pytest.approx(10.0 + 2.0 * 5.0)
