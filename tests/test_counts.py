"""Counting on all cores; which networks are counted once is tested with run_sweep."""

import pytest

from hvt_bench.counts import counted
from hvt_bench.executors.base import Outcome, Place
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.executors.process import ProcessExecutor
from tests.test_run import make_sweep

TWO = (Place(), Place())


class Dying:
    """Two places; the worker of a bunch that holds a network of this depth dies."""

    places = TWO

    def __init__(self, depth):
        self.depth, self.items = depth, []

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item in items:
            self.items.append(item)
            bunch = isinstance(item, list)
            if bunch and self.depth in [point.config.depth for point in item]:
                yield Outcome(item, None, RuntimeError("died"))
            else:
                yield Outcome(item, function(item), None)


def found(points, counters, metrics=("complexity",)):
    """Samples by point, without when they were made."""
    pairs = list(counted(points, metrics, False, InlineExecutor(), counters))
    assert all(point.point_id == sample.point_id for point, sample in pairs)
    return {point.point_id: (sample.round, sample.status, sample.values) for point, sample in pairs}


@pytest.fixture
def few_are_many(monkeypatch):
    monkeypatch.setattr("hvt_bench.counts.MANY", 3)


def points_of(*depths, batch_sizes=(1, 4)):
    return [point for batch_size in batch_sizes for point in make_sweep(depths, batch_size=batch_size).points]


def test_points_of_one_network_are_in_one_bunch_and_a_dead_bunch_is_counted_one_by_one(few_are_many):
    points, counters = points_of(1, 2, 3), Dying(3)
    assert found(points, counters) == found(points, None)
    first, second, *alone = counters.items
    assert [[point.config.depth for point in bunch] for bunch in (first, second)] == [[1, 1, 2, 2], [3, 3]]
    assert alone == second


def test_few_networks_are_counted_here(few_are_many):
    counters = Dying(None)
    found(points_of(1, 2), counters)
    assert counters.items == []


@pytest.mark.slow
def test_all_cores_count_what_one_counts(few_are_many):
    points = points_of(1, 2, 3, 4)
    assert found(points, ProcessExecutor(["hvt_bench.measure"], TWO), ("complexity", "memory")) == found(
        points, None, ("complexity", "memory")
    )
