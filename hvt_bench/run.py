"""run_sweep: visit every point of a sweep, keep what is found, go on where an earlier start left off."""

from __future__ import annotations

import itertools
import os
import random
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from hvt_bench.environment import Environment
from hvt_bench.errors import FileError, HvtBenchError, WorkerTimeoutError
from hvt_bench.executors.base import Executor
from hvt_bench.measure import Visit, count_point, measure_round, utc_now
from hvt_bench.point import Point
from hvt_bench.row import Row, Sample, Status
from hvt_bench.sweep import Sweep
from hvt_bench.table import Journal, Run, held, in_turn, read_journal, read_table, write_table

WINDOW = 20  # points whose rounds are interleaved: drift shows as spread, and a killed sweep has finished rows
WRITE_EVERY_S = 5.0
DESCRIBE_LIMIT_S = 120.0  # a driver that does not answer is an error, not a program that waits
Place = TypeVar("Place", Point, Visit)  # a counting or a round
FAILED: tuple[Status, ...] = ("oom", "timeout", "crashed", "error")


@dataclass(frozen=True)
class Started:
    """The plan is made and the output is open; `moved` are files that stood in the way, under their new names."""

    points: int
    points_done: int
    invalid: int
    rounds: int
    moved: tuple[Path, ...]


@dataclass(frozen=True)
class Counted:
    """The network of a point was counted."""

    point: Point
    sample: Sample


@dataclass(frozen=True)
class Measured:
    """A round of a point was measured, or failed; `rounds_left` are still to go."""

    point: Point
    sample: Sample
    rounds_left: int


@dataclass(frozen=True)
class Finished:
    """Everything asked for was visited and the CSV is written."""

    path: Path
    rows: tuple[Row, ...]


Event = Started | Counted | Measured | Finished


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
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Visit the points of `sweep` that `path`, a CSV, does not hold yet, and write it as results come in.

    A file of another sweep or another environment, and with `fresh` any, is moved aside. Points that failed count as
    done unless their status is in `retry`. With `executed`, networks whose cost depends on their image are counted by
    running them once. Raises FileError, before anything is visited, where `path` cannot be
    written or holds something that is not ours.
    """
    path = Path(path)
    journal_path = journal_of(path)
    _check_writable(path)
    environments = _describe(sweep, executor, describe)
    with in_turn(path):
        with held(journal_path):
            earlier, moved = _make_way(path, sweep, environments, fresh)
        opened = Journal(journal_path)
    with opened as journal:
        seed = zlib.crc32(sweep.name.encode())
        started_at = utc_now()
        start = {
            "sweep": sweep.name,
            "started_at": started_at,
            "metrics": sweep.metrics,
            "seed": seed,
            "environments": {device: found.model_dump() for device, found in environments.items()},
        }
        journal.append("run", [start])
        run = earlier or Run(sweep.name, started_at, environments)
        run.environments |= environments
        _enter_cells(sweep, run, journal)
        to_count, visits = _plan(sweep, run, retry, seed, memory_limit_mib)
        todo = {visit.point.point_id for visit in visits} | {point.point_id for point in to_count}
        yield Started(len(sweep.points), len(sweep.points) - len(todo), len(sweep.invalid), len(visits), moved)
        writer = _Writer(path, run, clock)
        try:
            yield from _count(to_count, partial(count_point, executed=executed), executor, run, journal, writer)
            yield from _measure(visits, executor, measure, run, journal, writer)
        finally:
            writer.write()
        yield Finished(path, run.rows())


def journal_of(path: Path) -> Path:
    """Return where the journal of a CSV stands: `run.csv` has `run.journal.jsonl`."""
    return path.with_suffix(".journal.jsonl")


# --- before the first point -----------------------------------------------------------------------------------------


def _describe(sweep: Sweep, executor: Executor, describe: Callable[[str], Environment]) -> dict[str, Environment]:
    """Describe each device in a worker, so that CUDA starts there and not here."""
    devices = sorted({point.device for point in sweep.points})
    environments = {}
    for outcome in executor.map(describe, devices, lambda _: DESCRIBE_LIMIT_S):
        if outcome.value is None:
            raise HvtBenchError(f"device '{outcome.item}' cannot be described: {outcome.error}")
        environments[outcome.item] = outcome.value
    return environments


def _make_way(
    path: Path, sweep: Sweep, environments: dict[str, Environment], fresh: bool
) -> tuple[Run | None, tuple[Path, ...]]:
    """Return what an earlier start of the same sweep found; move any other file of ours aside."""
    journal_path = journal_of(path)
    earlier = read_journal(journal_path)
    if earlier is not None and path.exists():
        read_table(path)  # refuses a file that is not ours, whatever stands beside it
    if earlier is None:
        if not path.exists():
            return None, ()
        rows = read_table(path)
        name = str(rows[0]["sweep"]) if rows else "empty"
        return None, _move_aside([path], name, utc_now())
    comparable = all(
        environments[device].comparable(found)
        for device, found in earlier.environments.items()
        if device in environments
    )
    if earlier.sweep == sweep.name and comparable and not fresh:
        return earlier, ()
    return None, _move_aside([path, journal_path], earlier.sweep, earlier.started_at)


def _move_aside(paths: list[Path], name: str, moment: str) -> tuple[Path, ...]:
    """Rename files, all of them alike, to `run.NAME.MOMENT.csv` and so on; older files of that name are kept too."""
    moment = moment.replace("-", "").replace(":", "")
    for again in itertools.count(1):
        label = f"{name}.{moment}" if again == 1 else f"{name}.{moment}-{again}"
        targets = [path.with_name(path.name.replace(".", f".{label}.", 1)) for path in paths]
        if not any(target.exists() for target in targets):
            break
    moves = [(path, target) for path, target in zip(paths, targets, strict=True) if path.exists()]
    for path, target in moves:
        path.rename(target)
    return tuple(target for _, target in moves)


def _check_writable(path: Path) -> None:
    """Raise FileError if it is plain that no file can be made at `path`; makes nothing itself."""
    if path.is_dir():
        raise FileError(f"{path}: is a directory; give --out a file name in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise FileError(f"{path}: cannot be written: {above} is a file; give --out another path")
    if not os.access(above, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written: permission denied in {above}; give --out another path")


def _enter_cells(sweep: Sweep, run: Run, journal: Journal) -> None:
    """Put the cells into the journal that it does not hold yet, or holds otherwise."""
    new = []
    for cell in sweep.cells:
        columns = cell.columns()
        if run.cells.get(cell.point_id) != columns:
            run.cells[cell.point_id] = columns
            new.append(columns)
    journal.append("cell", new)


def _plan(
    sweep: Sweep, run: Run, retry: Sequence[str], seed: int, memory_limit_mib: float | None
) -> tuple[list[Point], list[Visit]]:
    """Return the points to count and the rounds to measure, in the order of measuring."""
    timed = tuple(metric for metric in sweep.metrics if metric != "complexity")
    found_earlier = run.by_point()
    to_count = []
    missing: dict[str, set[int]] = {}
    for point in sweep.points:
        found = found_earlier.get(point.point_id, {})
        failed = [number for number, sample in found.items() if sample.status != "ok"]
        if any(found[number].status not in retry for number in failed):
            continue
        counted = found.get(None)
        if "complexity" in sweep.metrics and (counted is None or counted.status != "ok"):
            to_count.append(point)
        asked = {*range(point.rounds), *(number for number in failed if number is not None)} if timed else set()
        missing[point.point_id] = {
            number
            for number in asked
            if number not in found or number in failed or any(metric not in found[number].values for metric in timed)
        }
    order = random.Random(seed)
    points = [point for point in sweep.points if missing.get(point.point_id)]
    order.shuffle(points)
    visits = []
    for first in range(0, len(points), WINDOW):
        window = points[first : first + WINDOW]
        for number in sorted(set().union(*(missing[point.point_id] for point in window))):
            order.shuffle(window)
            visits += [
                Visit(point, number, timed, memory_limit_mib) for point in window if number in missing[point.point_id]
            ]
    return to_count, visits


# --- the work -------------------------------------------------------------------------------------------------------


class _Writer:
    """Rewrites the CSV from the journal's content, now and then."""

    def __init__(self, path: Path, run: Run, clock: Callable[[], float]) -> None:
        self._path, self._run, self._clock = path, run, clock
        self._last = clock()

    def write(self) -> None:
        write_table(self._path, self._run.rows())

    def write_if_due(self) -> None:
        if self._clock() - self._last >= WRITE_EVERY_S:
            self.write()
            self._last = self._clock()


def _count(
    points: list[Point],
    count: Callable[[Point], Sample],
    executor: Executor,
    run: Run,
    journal: Journal,
    writer: _Writer,
) -> Iterator[Counted]:
    """Count our own networks here, and outside ones, which may crash or hang, in workers, each network once."""
    ours = ((point, count(point)) for point in points if not point.config.outside)
    alike: dict[object, list[Point]] = {}
    for point in points:
        if point.config.outside:
            alike.setdefault((point.config, point.checkpointing), []).append(point)
    theirs = _visited(executor, count, (group[0] for group in alike.values()))
    shared = (
        (point, sample.model_copy(update={"point_id": point.point_id, "seconds": sample.seconds * (point is first)}))
        for first, sample in theirs
        for point in alike[first.config, first.checkpointing]
    )
    for point, sample in itertools.chain(ours, shared):
        _keep(sample, run, journal)
        writer.write_if_due()
        yield Counted(point, sample)


def _measure(
    visits: list[Visit],
    executor: Executor,
    measure: Callable[[Visit], Sample],
    run: Run,
    journal: Journal,
    writer: _Writer,
) -> Iterator[Measured]:
    failed = {key[0] for key, sample in run.samples.items() if key[1] is None and sample.status != "ok"}
    left = len(visits)

    def pending() -> Iterator[Visit]:
        """Leave out the rounds of a point that has failed: they would fail alike."""
        nonlocal left
        for visit in visits:
            left -= 1
            if visit.point.point_id not in failed:
                yield visit

    for visit, sample in _visited(executor, measure, pending()):
        if sample.status != "ok":
            failed.add(sample.point_id)
        _keep(sample, run, journal)
        writer.write_if_due()
        yield Measured(visit.point, sample, left)


def _visited(
    executor: Executor, function: Callable[[Place], Sample], places: Iterable[Place]
) -> Iterator[tuple[Place, Sample]]:
    """Yield what workers found; where none came back, a sample that says how it ended."""
    started_at, start = utc_now(), time.perf_counter()
    for outcome in executor.map(function, places, lambda place: _point_and_round(place)[0].timeout_s):
        seconds = time.perf_counter() - start
        yield outcome.item, outcome.value or _lost(outcome.item, outcome.error, started_at, seconds)
        started_at, start = utc_now(), time.perf_counter()


def _point_and_round(place: Point | Visit) -> tuple[Point, int | None]:
    return (place.point, place.round) if isinstance(place, Visit) else (place, None)


def _lost(place: Point | Visit, error: BaseException | None, started_at: str, seconds: float) -> Sample:
    point, number = _point_and_round(place)
    known: Status = "timeout" if isinstance(error, WorkerTimeoutError) else "crashed"
    return Sample(
        point_id=point.point_id,
        round=number,
        values={},
        status=known,
        error=str(error),
        started_at=started_at,
        seconds=round(seconds, 3),
    )


def _keep(sample: Sample, run: Run, journal: Journal) -> None:
    journal.append("sample", [sample.model_dump(mode="json")])
    run.add(sample)
