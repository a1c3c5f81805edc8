"""Counting on all cores; which networks are counted once is tested with run_sweep."""

import pytest

from hvt_bench.counts import counted
from hvt_bench.errors import WorkerTimeoutError
from hvt_bench.executors.base import Outcome, Place
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.executors.process import ProcessExecutor
from tests.test_run import make_sweep, outside_sweep

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


class Hanging:
    """The worker of one network hangs."""

    places = ()

    def __init__(self, model):
        self.model, self.asked = model, []

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item in items:
            self.asked.append((item.model, item.batch_size))
            lost = item.model == self.model
            error = WorkerTimeoutError("ran longer than its limit of 9 s and was ended") if lost else None
            yield Outcome(item, None if lost else function(item), error)


def test_an_outside_network_that_hangs_is_tried_once_for_all_its_batches():
    models = [f"torch.nn:Linear:in_features={n},out_features=4,input_shapes=[[{n}]]" for n in (4, 8)]
    points = [
        point.model_copy(update={"batch_size": batch_size})
        for batch_size in (1, 2, 4)
        for point in outside_sweep(*models).points
    ]
    workers = Hanging(models[0])
    samples = {
        (point.model, point.batch_size): (sample.point_id == point.point_id, sample.status, sample.error)
        for point, sample in counted(points, ("complexity", "memory"), False, workers)
    }
    hangs, well = models
    assert sorted(workers.asked) == sorted([(hangs, 1), (well, 1), (well, 2), (well, 4)])
    lost = (True, "timeout", "ran longer than its limit of 9 s and was ended")
    assert samples == {(hangs, n): lost for n in (1, 2, 4)} | {(well, n): (True, "ok", None) for n in (1, 2, 4)}


@pytest.mark.slow
def test_all_cores_count_what_one_counts(few_are_many):
    points = points_of(1, 2, 3, 4)
    assert found(points, ProcessExecutor(["hvt_bench.measure"], TWO), ("complexity", "memory")) == found(
        points, None, ("complexity", "memory")
    )
