"""Counting the networks of a sweep: ours here or, where they are many, on all cores; outside ones in workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from hvt_bench.executors.base import Executor
from hvt_bench.log import Log
from hvt_bench.measure import count_point
from hvt_bench.point import Point
from hvt_bench.row import Sample
from hvt_bench.visits import key_of, visited

MANY = 200  # networks: what it takes a worker to load PyTorch's tracer counts some twenty of them
LARGEST_BUNCH = 300  # counted by one worker, half a minute, so lost by a kill


def counted(
    points: Sequence[Point],
    metrics: tuple[str, ...],
    executed: bool,
    executor: Executor,
    counters: Executor | None = None,
    log: Log | None = None,
) -> Iterator[tuple[Point, Sample]]:
    """Yield each point and what it costs, as it is counted.

    Our own networks are counted in this process, or by `counters` where there are many; outside ones, which may crash
    or hang, by `executor`, those that make the same pass once.
    """
    count = partial(count_point, metrics=metrics, executed=executed)
    ours = [point for point in points if not point.config.outside]
    theirs = [point for point in points if point.config.outside]
    if counters is not None and len(counters.places) > 1 and len({_by_network(point) for point in ours}) >= MANY:
        yield from _in_bunches(ours, count, counters)
    else:
        yield from ((point, count(point)) for point in ours)
    yield from _outside(theirs, count, "memory" in metrics, executor, log)


def _in_bunches(
    points: Sequence[Point], count: Callable[[Point], Sample], counters: Executor
) -> Iterator[tuple[Point, Sample]]:
    """Count points of one network by one worker, which counts it once; a bunch whose worker dies, one by one."""
    networks: dict[object, list[Point]] = {}
    for point in points:
        networks.setdefault(_by_network(point), []).append(point)
    size = min(-(-len(networks) // len(counters.places)), LARGEST_BUNCH)
    alike = [*networks.values()]
    bunches = [[*itertools.chain(*alike[first : first + size])] for first in range(0, len(alike), size)]
    for outcome in counters.map(
        partial(_count_all, count), bunches, lambda bunch: f"{key_of(bunch[0])}-{len(bunch)}", _limit_s
    ):
        if outcome.value is None:
            yield from visited(counters, count, outcome.item)
        else:
            yield from zip(outcome.item, outcome.value, strict=True)


def _count_all(count: Callable[[Point], Sample], points: Sequence[Point]) -> list[Sample]:
    return [count(point) for point in points]


def _limit_s(points: Sequence[Point]) -> float:
    return sum(point.timeout_s for point in points)


def _outside(
    points: Sequence[Point],
    count: Callable[[Point], Sample],
    estimated: bool,
    executor: Executor,
    log: Log | None,
) -> Iterator[tuple[Point, Sample]]:
    """Count one pass of each network, then the others that are estimated: not of one whose first hung or crashed."""
    first_of = {_by_network(point): _by_pass(point) for point in reversed(points)}
    first = [point for point in points if not estimated or _by_pass(point) == first_of[_by_network(point)]]
    lost: dict[object, Sample] = {}
    for point, sample in _once(first, count, _by_network, executor, log):
        if sample.status in ("timeout", "crashed"):
            lost[_by_network(point)] = sample
        yield point, sample
    begun = {point.point_id for point in first}
    rest = [point for point in points if point.point_id not in begun]
    for point in rest:
        if sample_of_first := lost.get(_by_network(point)):
            yield point, _of(point, sample_of_first)
    yield from _once([point for point in rest if _by_network(point) not in lost], count, _by_pass, executor, log)


def _once(
    points: Sequence[Point],
    count: Callable[[Point], Sample],
    alike: Callable[[Point], object],
    executor: Executor,
    log: Log | None,
) -> Iterator[tuple[Point, Sample]]:
    """Count, of points that are `alike`, the first."""
    groups: dict[object, list[Point]] = {}
    for point in points:
        groups.setdefault(alike(point), []).append(point)
    for first, sample in visited(executor, count, (group[0] for group in groups.values()), log=log):
        for point in groups[alike(first)]:
            yield point, sample if point is first else _of(point, sample)


def _of(point: Point, sample: Sample) -> Sample:
    """Return what was found of another point, as what is found of this one."""
    return sample.model_copy(update={"point_id": point.point_id, "seconds": 0.0})


def _by_network(point: Point) -> object:
    return point.config, point.checkpointing


def _by_pass(point: Point) -> object:
    kind = point.device.partition(":")[0]
    return _by_network(point), kind, point.dtype, point.batch_size, point.max_batch, point.mode, point.attention
