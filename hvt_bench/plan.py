"""What a sweep has left to do: which points to count, which rounds to measure, in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from hvt_bench.known import Run
from hvt_bench.measure import Visit
from hvt_bench.metrics.accuracy import diverged, sound
from hvt_bench.metrics.conditions import throttled
from hvt_bench.point import Point
from hvt_bench.row import Sample
from hvt_bench.sweep import Sweep

WINDOW = 20  # points whose rounds are interleaved: drift shows as spread, and a killed sweep has finished rows
MAX_ATTEMPTS = 3  # at a round in which the GPU was throttled


def wants_another_attempt(sample: Sample) -> bool:
    """Say whether a round is to be measured again, because the GPU was throttled."""
    seen = sample.values.get("conditions")
    return sample.status == "ok" and seen is not None and throttled(seen) and sample.attempt < MAX_ATTEMPTS


def fails_alone(sample: Sample) -> bool:
    """Say whether a round failed in a way that says nothing of the other rounds of its point: a seed that diverged."""
    return sample.status != "ok" and diverged(sample.values)


def still_to_measure(metrics: Sequence[str], known: Sample | None) -> tuple[str, ...]:
    """Return what a visit to a round measures: what it lacks.

    Of one that failed or was throttled it is all again, but for a training that went well.
    """
    if known is None:
        return tuple(metrics)
    again = known.status != "ok" or wants_another_attempt(known)
    done = {"accuracy"} & sound(known.values).keys() if again else known.values.keys()
    return tuple(metric for metric in metrics if metric not in done)


_BY_SHAPES = {"complexity": "complexity", "memory": "estimate"}
"""What is found without running a network, by the metric that asks for it."""


def to_retry(sweep: Sweep, run: Run, statuses: Sequence[str]) -> set[tuple[str, int | None]]:
    """Return the rounds, and the countings, of the sweep's points that ended with one of `statuses`."""
    points = {point.point_id for point in sweep.points}
    return {key for key, sample in run.samples.items() if sample.status in statuses and key[0] in points}


def plan_visits(
    sweep: Sweep,
    run: Run,
    seed: int,
    memory_limit_mib: float | None,
    checkpoints: Path | None = None,
) -> tuple[list[Point], list[Visit]]:
    """Return the points to count and the rounds to measure, in the order of measuring."""
    timed = tuple(metric for metric in sweep.metrics if metric != "complexity")
    by_shapes = [found for metric, found in _BY_SHAPES.items() if metric in sweep.metrics]
    found_earlier = run.by_point()
    to_count = []
    missing: dict[str, set[int]] = {}
    for point in sweep.points:
        found = found_earlier.get(point.point_id, {})
        failed = [number for number, sample in found.items() if sample.status != "ok"]
        given_up = {number for number in failed if (point.point_id, number) not in run.again}
        if any(not fails_alone(found[number]) for number in given_up):
            continue
        counted = found.get(None)
        if any(counted is None or counted.status != "ok" or name not in counted.values for name in by_shapes):
            to_count.append(point)
        asked = {*range(point.rounds), *(number for number in failed if number is not None)} if timed else set()
        missing[point.point_id] = {
            number
            for number in asked - given_up
            if number not in found
            or number in failed
            or any(metric not in found[number].values for metric in timed)
            or wants_another_attempt(found[number])
        }
    order = random.Random(seed)
    points = [point for point in sweep.points if missing.get(point.point_id)]
    order.shuffle(points)
    points = _smaller_first(points)
    begun: set[str] = set()
    visits = []
    for first in range(0, len(points), WINDOW):
        window = points[first : first + WINDOW]
        for number in sorted(set().union(*(missing[point.point_id] for point in window))):
            order.shuffle(window)
            for point in window if begun.issuperset(point.point_id for point in window) else _smaller_first(window):
                if number in missing[point.point_id]:
                    begun.add(point.point_id)
                    known = found_earlier.get(point.point_id, {}).get(number)
                    attempt = known.attempt + 1 if known is not None and wants_another_attempt(known) else 1
                    metrics = still_to_measure(timed, known)
                    visits.append(
                        Visit(point, number, metrics, memory_limit_mib, attempt, checkpoints, sweep.processes)
                    )
    return to_count, visits


def _smaller_first(points: list[Point]) -> list[Point]:
    """Let points that differ in batch size alone change places: one that is too large spares those still larger."""
    if len({point.batch_size for point in points}) < 2:
        return points
    places: dict[str, list[int]] = {}
    for place, point in enumerate(points):
        places.setdefault(point.kind_id, []).append(place)
    ordered = [*points]
    for of_kind in places.values():
        by_batch = sorted((points[place] for place in of_kind), key=lambda point: point.batch_size)
        for place, point in zip(of_kind, by_batch, strict=True):
            ordered[place] = point
    return ordered
