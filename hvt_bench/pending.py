"""Which round comes next: a failed point has no more, a throttled one comes again, one too large is not tried."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hvt_bench.costs import Costs
from hvt_bench.measure import Visit, utc_now
from hvt_bench.plan import fails_alone, still_to_measure, wants_another_attempt
from hvt_bench.point import Point
from hvt_bench.row import Sample


class Pending(Iterator[Visit]):
    """The rounds still to be measured; has more again once one comes back that is to be measured another time."""

    def __init__(self, visits: Iterable[Visit], failed: set[str], too_large: TooLarge | None) -> None:
        self._queue = deque(visits)
        self._costs = Costs(self._queue)
        self._to_go = Counter(visit.point.point_id for visit in self._queue)
        self._failed: set[str] = set()
        for point in {visit.point.point_id: visit.point for visit in self._queue}.values():
            if point.point_id in failed:
                self._leave_out(point)
        self._too_large = too_large
        self._skipped: list[tuple[Visit, Sample]] = []
        self._under_way = 0

    def __next__(self) -> Visit:
        """Leave out the rounds of a point that has failed: they would fail alike."""
        while self._queue:
            visit = self._queue.popleft()
            if visit.point.point_id in self._failed:
                continue
            self._to_go[visit.point.point_id] -= 1
            self._under_way += 1
            if self._too_large is None or (smaller := self._too_large.than(visit.point)) is None:
                return visit
            self._leave_out(visit.point)
            self._skipped.append((visit, _not_tried(visit, smaller)))
        raise StopIteration

    def results(self, found: Iterator[tuple[Visit, Sample]]) -> Iterator[tuple[Visit, Sample]]:
        """Yield what was found, and, of the rounds that were not tried meanwhile, a sample that says why."""
        for visit, sample in found:
            yield visit, sample
            yield from self._not_tried()
        yield from self._not_tried()

    def _not_tried(self) -> Iterator[tuple[Visit, Sample]]:
        while self._skipped:
            yield self._skipped.pop(0)

    def ended(self, visit: Visit, sample: Sample) -> None:
        """Take note of what came of a visit."""
        self._under_way -= 1
        self._costs.drop(visit.point)
        if sample.status == "ok":
            self._costs.learn(visit.point, sample.seconds)
        if sample.status != "ok" and visit.attempt == 1 and not fails_alone(sample):
            self._leave_out(visit.point)
        elif wants_another_attempt(sample) and visit.point.point_id not in self._failed:
            metrics = still_to_measure(visit.metrics, sample)
            self._queue.append(replace(visit, attempt=visit.attempt + 1, metrics=metrics))
            self._to_go[visit.point.point_id] += 1
            self._costs.add(visit.point)
        if sample.status == "oom" and self._too_large is not None:
            self._too_large.add(visit.point)

    def _leave_out(self, point: Point) -> None:
        """Count the rounds of a point that has failed as settled."""
        self._failed.add(point.point_id)
        for _ in range(self._to_go.pop(point.point_id, 0)):
            self._costs.drop(point)

    @property
    def seconds_left(self) -> float:
        """What these will take, one after the other, by what rounds took so far."""
        return self._costs.seconds_left

    @property
    def rounds_left(self) -> int:
        """Rounds still to come, those under way among them."""
        return self._to_go.total() + self._under_way


class TooLarge:
    """The points that ran out of memory: of each kind, alike but for the batch size, that of the smallest batch."""

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._smallest: dict[str, tuple[int, str]] = {}
        for point in points:
            self.add(point)

    def add(self, point: Point) -> None:
        """Take note of a point that ran out of memory."""
        if not point.max_batch:
            found = point.batch_size, point.point_id
            self._smallest[point.kind_id] = min(found, self._smallest.get(point.kind_id, found))

    def than(self, point: Point) -> str | None:
        """Name the point that was too large already and is like `point` but for its smaller batch; None if none is."""
        if point.max_batch or not self._smallest:
            return None
        batch_size, point_id = self._smallest.get(point.kind_id, (point.batch_size, ""))
        return f"{point_id} (batch_size {batch_size})" if batch_size < point.batch_size else None


def _not_tried(visit: Visit, smaller: str) -> Sample:
    return Sample(
        point_id=visit.point.point_id,
        round=visit.round,
        values={},
        status="oom",
        error=f"not tried: larger than point {smaller}, which ran out of memory; --no-skip --retry oom tries it",
        started_at=utc_now(),
        seconds=0.0,
    )
