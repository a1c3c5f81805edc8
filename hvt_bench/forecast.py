"""What a sweep will do, before it does: points, costs, memory and time. Nothing is run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from hvt_bench.costs import Costs
from hvt_bench.environment import Environment
from hvt_bench.errors import CountError, UnsupportedError, plural
from hvt_bench.known import Run
from hvt_bench.metrics.estimate import estimate
from hvt_bench.output import look
from hvt_bench.plan import plan_visits, to_retry
from hvt_bench.point import Point
from hvt_bench.sweep import Cell, Sweep

ESTIMATED = 3  # points with the most MACs of a pass, and as many with the most weights: one takes a fifth of a second


def describe(
    sweep: Sweep,
    path: Path,
    environments: Callable[[], dict[str, Environment]],
    retry: Sequence[str] = (),
    places: int = 1,
    fresh: bool = False,
) -> str:
    """Say what a start of the sweep would do that writes to `path`, by what is found there. Raises FileError.

    `environments` describes the devices of the sweep, and is called where that tells whether the start goes on.
    """
    earlier, reason = look(path, sweep.name, environments, fresh)
    run = earlier or Run(sweep.name, "", {})
    run.again |= to_retry(sweep, run, retry)
    to_count, visits = plan_visits(sweep, run, 0, None)
    todo = {visit.point.point_id for visit in visits} | {point.point_id for point in to_count}
    costs = Costs(visits)
    points = {point.point_id: point for point in sweep.points}
    for (point_id, number), sample in run.samples.items():
        if point_id in points and number is not None and sample.status == "ok":
            costs.learn(points[point_id], sample.seconds)
    number, merged = len(sweep.points), plural(sweep.duplicates, "duplicate")
    return "\n".join(
        [
            *([f"moves aside what stands at {path}, and begins anew: {reason}"] if reason else []),
            *_per_axis(sweep),
            *(f"invalid: {cell.model}: {cell.reason}" for cell in sweep.invalid),
            f"{plural(number, 'point')} ({merged} merged, {len(sweep.invalid)} invalid); {number - len(todo):,} of "
            f"{number:,} done, {len(todo):,} to go in {plural(len(visits), 'round')}; "
            f"measures {', '.join(sweep.metrics)}",
            *_macs(sweep, run),
            *_memory(sweep),
            *_time(costs, places, len(visits), sweep.metrics),
        ]
    )


def _per_axis(sweep: Sweep) -> list[str]:
    mine: list[Cell] = [*sweep.points, *sweep.invalid]
    cells = Counter((cell.model, cell.axis or "centre") for cell in mine)
    return [f"{model:<24} {axis:<20} {number:>6}" for (model, axis), number in cells.items()]


def _macs_of(point: Point, run: Run) -> int | None:
    """Return what is counted already, or the closed form; None for an outside network that nobody counted."""
    counted = run.samples.get((point.point_id, None))
    found = counted.values.get("complexity", {}).get("macs") if counted else None
    return found if found is not None else point.config.closed_form_macs()


def _macs(sweep: Sweep, run: Run) -> list[str]:
    known = [(macs, point) for point in sweep.points if (macs := _macs_of(point, run)) is not None]
    if not known:
        return []
    most, largest = max(known, key=lambda pair: pair[0])
    unknown = len(sweep.points) - len(known)
    total = f"{_short(sum(macs for macs, _ in known))} in all points, an image each"
    beside = f", {unknown} outside ones not counted yet" if unknown else ""
    return [f"macs    {total}{beside}; the most {_short(most)}: {_name(largest)}"]


def _short(macs: int) -> str:
    return f"{macs / 1e9:,.2f} G" if macs >= 1e8 else f"{macs / 1e6:,.2f} M"


def _memory(sweep: Sweep) -> list[str]:
    """Estimate the points that compute the most; those that look for their largest batch take what there is."""
    if set(sweep.metrics) == {"complexity"}:
        return []
    ours = [point for point in sweep.points if not point.max_batch and not point.config.outside]
    heaviest = [
        point
        for weight in (_pass_macs, _weights)
        for point in sorted(ours, key=lambda point: -weight(point))[:ESTIMATED]
    ]
    found = []
    for number, point in enumerate(dict.fromkeys(heaviest)):
        with contextlib.suppress(CountError, UnsupportedError):
            found.append((estimate(point).total_mib, -number, point))
    if not found:
        return []
    mib, _, point = max(found)
    return [f"memory  {mib:,.0f} MiB estimated for the point that takes the most: {_name(point)}"]


def _pass_macs(point: Point) -> int:
    return (point.config.closed_form_macs() or 0) * point.batch_size * (3 if point.mode == "train" else 1)


def _weights(point: Point) -> int:
    return point.config.closed_form_params() or 0


def _time(costs: Costs, places: int, visits: int, metrics: Sequence[str]) -> list[str]:
    if not visits:
        return []
    trained, seconds = "accuracy" in metrics, costs.seconds_left / places
    spent = f"{seconds:,.0f} s"
    side_by_side = f" at {places} places" if places > 1 else ""
    if rounds := costs.rounds_learned:
        known = f"{plural(rounds, 'round')} measured so far"
        more = "" if trained else f" took {costs.factor:.1f} x what the protocol asks at least"
        return [f"time    about {spent}{side_by_side}; {'by ' * trained}{known}{more}"]
    if trained:
        return ["time    a training in each round; nothing is measured yet that says how long one takes"]
    unknown = "nothing is measured yet that says what "
    if "latency" not in metrics:
        return [f"time    {unknown}{plural(visits, 'round')} take"]
    beside = "starting a process for each, building and loading add"
    least = spent if seconds >= 10 else f"{seconds:.2g} s"
    return [f"time    at least {least}{side_by_side} of passes that the protocol asks for; {unknown}{beside}"]


def _name(point: Point) -> str:
    """Name a point by its model, its place on its axis and its batch."""
    values = point.config.fields() | point.columns()
    axis = f" {point.axis}={values[point.axis]}" if point.axis else ""
    return f"{point.model}{axis} batch_size={point.batch_size}"
