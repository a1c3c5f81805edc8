"""Work on points in workers: a sample for each visit, whatever became of its worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from hvt_bench.errors import WorkerMemoryError, WorkerTimeoutError
from hvt_bench.executors.base import Executor, Outcome
from hvt_bench.log import Log
from hvt_bench.measure import Visit, utc_text
from hvt_bench.point import Point
from hvt_bench.row import Sample, Status

Work = TypeVar("Work", Point, Visit)
"""A counting, or a round."""


def visited(
    executor: Executor,
    function: Callable[[Work], Sample],
    works: Iterable[Work],
    key: Callable[[Work], str] | None = None,
    log: Log | None = None,
) -> Iterator[tuple[Work, Sample]]:
    """Yield what workers found; where none came back, a sample that says how it ended."""
    key = key or key_of
    for outcome in executor.map(function, works, key, _limit_s):
        sample = outcome.value or _lost(outcome)
        if outcome.place:
            sample = sample.model_copy(update={"ran_on": outcome.place})
        if log is not None:
            sample = log.keep(key(outcome.item), _point_and_round(outcome.item)[0].model, sample, outcome.output)
        yield outcome.item, sample


def key_of(work: Point | Visit) -> str:
    """Name a round, or a counting, among all those of a sweep."""
    if isinstance(work, Visit):
        return f"{work.point.point_id}.{work.round}.{work.attempt}"
    return f"{work.point_id}.{work.batch_size}.count"


def _limit_s(work: Point | Visit) -> float:
    return work.limit_s if isinstance(work, Visit) else work.timeout_s


def _point_and_round(work: Point | Visit) -> tuple[Point, int | None]:
    return (work.point, work.round) if isinstance(work, Visit) else (work, None)


def _lost(outcome: Outcome[Work, Sample]) -> Sample:
    point, number = _point_and_round(outcome.item)
    known: Status = "crashed"
    if isinstance(outcome.error, WorkerTimeoutError | WorkerMemoryError):
        known = "timeout" if isinstance(outcome.error, WorkerTimeoutError) else "oom"
    return Sample(
        point_id=point.point_id,
        round=number,
        values={},
        status=known,
        error=str(outcome.error),
        started_at=utc_text(outcome.started_at),
        seconds=round(outcome.seconds, 3),
    )
