"""run_sweep: visit every point of a sweep, keep what is found, go on where an earlier start left off."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hvt_bench.counts import counted
from hvt_bench.environment import Environment
from hvt_bench.errors import HvtBenchError, RequestError, WriteError, plural
from hvt_bench.events import Counted, Event, Finished, Fitted, Measured, Noted, Started
from hvt_bench.executors.base import Executor, Queue
from hvt_bench.journal import Journal, held, in_turn
from hvt_bench.known import Run
from hvt_bench.largest import largest_batch
from hvt_bench.log import Log
from hvt_bench.measure import Visit, estimate_point, measure_round, measure_there, utc_now
from hvt_bench.output import (
    Writer,
    check_writable,
    checkpoints_of,
    journal_of,
    keep_changed,
    log_of,
    make_way,
    rescue,
)
from hvt_bench.pending import Pending, TooLarge
from hvt_bench.plan import plan_visits, to_retry
from hvt_bench.point import ANY_GPU, Point
from hvt_bench.row import Sample, Status
from hvt_bench.sweep import Sweep
from hvt_bench.training.checkpoints import forget
from hvt_bench.visits import key_of, visited

RESCUED = "rename it to the other's name, and the same command goes on"
DESCRIBE_LIMIT_S = 120.0  # a driver that does not answer is an error, not a program that waits
FAILED: tuple[Status, ...] = ("oom", "timeout", "crashed", "error")


def run_sweep(
    sweep: Sweep,
    executor: Executor,
    path: str | Path,
    measure: Callable[[Visit], Sample] = measure_round,
    *,
    describe: Callable[[str], Environment] = Environment.measure,
    fresh: bool = False,
    retry: Sequence[str] = (),
    memory_limit_mib: float | None = None,
    executed: bool = False,
    fail_fast: bool = False,
    skip: bool = True,
    counters: Executor | None = None,
    away: Queue | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Visit the points of `sweep` that `path`, a CSV, does not hold yet, and write it as results come in.

    A file of another sweep or another environment, and with `fresh` any, is moved aside. Points that failed count as
    done unless their status is in `retry`, or was in that of a start that did not come to them. With `executed`,
    networks whose cost depends on their image are counted by running them once; where there are many of our own,
    `counters` count them. With `fail_fast` the first failure ends the sweep; with `skip`, points larger than one that
    ran out of memory are not tried. Several GPUs of one `executor` have to be alike. With `away`, rounds are measured
    there and described by who measures them, and `executor` does the small work that comes before. Raises FileError,
    before anything is visited, where `path` cannot be written or holds something that is not ours; WriteError where it
    cannot be written any longer.
    """
    began = clock()
    path = Path(path)
    journal_path = journal_of(path)
    check_writable(path)
    environments = environments_of(sweep, executor if away is None else None, describe)
    notes: deque[str] = deque()
    with in_turn(path):
        with held(journal_path):
            earlier, moved, reason = make_way(path, sweep.name, environments, fresh)
            changed = keep_changed(path, earlier) if earlier is not None else None
        if changed is not None:
            notes.append(f"{path} held what its journal did not give; it is kept as {changed} and written anew")
        opened = Journal(journal_path, notes.append)
    with opened as journal:
        seed = zlib.crc32(sweep.name.encode())
        started_at = utc_now()
        run = earlier or Run(sweep.name, started_at, environments)
        run.environments |= environments
        start = {
            "sweep": sweep.name,
            "started_at": started_at,
            "metrics": sweep.metrics,
            "seed": seed,
            "environments": {device: found.model_dump() for device, found in environments.items()},
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
        }
        if sweep.share is not None:
            start["shares"] = [sweep.share]
        asked = to_retry(sweep, run, retry)
        if asked:
            start["again"] = sorted(asked, key=str)
        if unfinished := {point_id for point_id, _ in (run.again & to_retry(sweep, run, FAILED)) - asked}:
            points = plural(len(unfinished), "failed point")
            notes.append(f"goes on with {points} that an earlier --retry did not finish")
        run.again |= asked
        writer, log = Writer(path, run, clock, notes.append), Log(log_of(path))

        def visit_all(to_count: list[Point], visits: list[Visit]) -> Generator[Counted | Fitted | Measured, None, None]:
            for point, sample in counted(to_count, sweep.metrics, executed, executor, counters, log):
                _keep(sample, run, journal)
                writer.write_if_due()
                yield Counted(point, sample)
            if away is None:
                left, place, function = (
                    (yield from _fit(visits, executor, measure, run, journal, log)),
                    executor,
                    measure,
                )
            else:
                left, place, function = visits, away, partial(measure_there, measure=measure)
                away.on_wait = writer.catch_up
            too_large = TooLarge(_ran_out(sweep, run, visits)) if skip else None
            yield from _measure(left, place, function, run, journal, writer, too_large, log)

        timed_s = 0.0
        try:
            journal.append("run", [start])
            _enter_cells(sweep, run, journal)
            to_count, visits = plan_visits(sweep, run, seed, memory_limit_mib, checkpoints_of(path))
            todo = {visit.point.point_id for visit in visits} | {point.point_id for point in to_count}
            done = len(sweep.points) - len(todo)
            yield Started(len(sweep.points), done, len(sweep.invalid), len(visits), moved, reason)
            yield from _told(notes)
            with contextlib.closing(visit_all(to_count, visits)) as events:
                for event in events:
                    yield from _told(notes)
                    yield event
                    if not isinstance(event, Fitted):
                        timed_s += event.sample.values.get("latency", {}).get("timed_s", 0.0)
                        if fail_fast and event.sample.status in FAILED:
                            break
        except WriteError as error:
            with contextlib.suppress(WriteError):
                writer.write()
            if journal.intact:
                raise
            raise WriteError(f"{error}; all that was found is in {rescue(path, run)}: {RESCUED}") from None
        except BaseException:
            writer.write()
            raise
        writer.write()
        yield from _told(notes)
        timed_s = timed_s / max(1, len(executor.places)) if away is None else 0.0
        yield Finished(path, run.rows(), clock() - began, timed_s)


def _told(notes: deque[str]) -> Iterator[Noted]:
    while notes:
        yield Noted(notes.popleft())


# --- before the first point -----------------------------------------------------------------------------------------


def environments_of(
    sweep: Sweep, executor: Executor | None, describe: Callable[[str], Environment] = Environment.measure
) -> dict[str, Environment]:
    """Describe each device in a worker, so that CUDA starts there and not here; of GPUs at will, each one.

    Without an executor they are elsewhere, on a cluster.
    """
    if executor is None:
        return {point.device: Environment.elsewhere() for point in sweep.points}
    named = sum(bool(place.name) for place in executor.places)
    devices = sorted({point.device for point in sweep.points})
    asked = [device for device in devices for _ in range(max(1, named) if device == ANY_GPU else 1)]
    environments: dict[str, Environment] = {}
    first = ""
    for outcome in executor.map(describe, asked, str, lambda _: DESCRIBE_LIMIT_S):
        if outcome.value is None:
            raise HvtBenchError(f"device '{outcome.place or outcome.item}' cannot be described: {outcome.error}")
        known = environments.setdefault(outcome.item, outcome.value)
        first = first or outcome.place
        if known.device_name != outcome.value.device_name:
            raise RequestError(
                f"--devices: {first} is a {known.device_name} and {outcome.place} a {outcome.value.device_name}; "
                "rounds of one point would not compare, so give each kind of GPU a sweep of its own"
            )
    return environments


def _enter_cells(sweep: Sweep, run: Run, journal: Journal) -> None:
    """Put the cells into the journal that it does not hold yet, or holds otherwise.

    The largest batch of a point that was found before stays, unless not even that did fit and it is to be tried again.
    """
    new = []
    too_large = {key[0] for key in run.again if (found := run.samples.get(key)) is not None and found.status == "oom"}
    for cell in sweep.cells:
        columns = cell.columns()
        if isinstance(cell, Point) and cell.max_batch:
            known = run.cells.get(cell.point_id, {}) if cell.point_id not in too_large else {}
            columns["batch_size"] = known.get("batch_size")
        if run.cells.get(cell.point_id) != columns:
            run.enter(columns)
            new.append(columns)
    journal.append("cell", new)


# --- the work -------------------------------------------------------------------------------------------------------


def _fit(
    visits: list[Visit],
    executor: Executor,
    measure: Callable[[Visit], Sample],
    run: Run,
    journal: Journal,
    log: Log,
) -> Generator[Fitted | Measured, None, list[Visit]]:
    """Find the batch size of each point that asks for its largest; return the visits with it."""
    found: dict[str, Point | None] = {}
    rounds = Counter(visit.point.point_id for visit in visits)
    for point_id, visit in {visit.point.point_id: visit for visit in reversed(visits) if visit.point.max_batch}.items():
        columns = run.cells[point_id]
        if columns["batch_size"] is None and point_id not in _uncounted(run):
            tries = itertools.count(1)

            def attempt(point: Point, visit: Visit = visit, tries: Iterator[int] = tries) -> Sample:
                trial, number = replace(visit, point=point, metrics=("memory",)), next(tries)
                return next(visited(executor, measure, [trial], lambda trial: f"{key_of(trial)}.try-{number}", log))[1]

            batch_size = largest_batch(visit.point, attempt)
            if isinstance(batch_size, Sample):
                _keep(batch_size, run, journal)
                found[point_id] = None
                del rounds[point_id]
                yield Measured(visit.point, batch_size, rounds.total())
                continue
            columns = columns | {"batch_size": batch_size}
            run.enter(columns)
            journal.append("cell", [columns])
            fitted = visit.point.model_copy(update={"batch_size": batch_size})
            if "memory" in visit.metrics:
                for _, sample in visited(executor, estimate_point, [fitted]):
                    if sample.status == "ok":
                        _keep(sample, run, journal)
            yield Fitted(fitted)
        found[point_id] = visit.point.model_copy(update={"batch_size": columns["batch_size"]})
    pairs = [(visit, found.get(visit.point.point_id, visit.point)) for visit in visits]
    return [replace(visit, point=point) for visit, point in pairs if point is not None]


def _ran_out(sweep: Sweep, run: Run, visits: list[Visit]) -> Iterator[Point]:
    """Yield the points that ran out of memory earlier, and are not tried again."""
    again = {visit.point.point_id for visit in visits}
    lost = {key[0] for key, sample in run.samples.items() if sample.status == "oom"}
    return (point for point in sweep.points if point.point_id in lost - again)


def _uncounted(run: Run) -> set[str]:
    """Return the points whose counting failed."""
    return {key[0] for key, sample in run.samples.items() if key[1] is None and sample.status != "ok"}


def _measure(
    visits: list[Visit],
    executor: Executor,
    measure: Callable[[Visit], Sample],
    run: Run,
    journal: Journal,
    writer: Writer,
    too_large: TooLarge | None,
    log: Log,
) -> Iterator[Measured]:
    """Measure rounds; one in which the GPU was throttled is visited again after the others."""
    pending = Pending(visits, _uncounted(run), too_large)
    shared = sum(not place.name for place in executor.places)  # GPUs have names
    beside = min(shared, len(visits))
    for visit, sample in pending.results(visited(executor, measure, pending, log=log)):
        pending.ended(visit, sample)
        if beside > 1 and "latency" in sample.values:
            sample = sample.model_copy(update={"side_by_side": beside})
        _keep(sample, run, journal)
        if "accuracy" in visit.metrics and sample.status == "ok" and visit.checkpoints is not None:
            forget(visit.checkpoints, sample.point_id, visit.round)
        writer.write_if_due()
        left = pending.seconds_left / max(1, len(executor.places))
        yield Measured(visit.point, sample, pending.rounds_left, left)


def _keep(sample: Sample, run: Run, journal: Journal) -> None:
    run.add(sample)  # first, so that it is rescued where the journal cannot take it
    journal.append("sample", [sample.entry()])
