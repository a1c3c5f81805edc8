"""What rounds take, by what rounds took: the time left of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hvt_bench.measure import Visit
from hvt_bench.point import Point
from hvt_bench.training.data import DATA_SETS

TRAINED_MACS_PER_S = 1e11  # of a forward pass; drops out as soon as one training is measured


class Costs:
    """Rounds to go, and their seconds: those of a point as its rounds so far, else its least times what others took."""

    def __init__(self, visits: Iterable[Visit] = ()) -> None:
        self._left: Counter[str] = Counter()
        self._least: dict[str, float] = {}
        self._took: dict[str, tuple[int, float]] = {}
        self._least_took, self._all_took = 0.0, 0.0
        self._known_left, self._least_left = 0.0, 0.0
        for visit in visits:
            self.add(visit.point)

    def add(self, point: Point) -> None:
        """One round more to go."""
        self._change(point, 1)

    def drop(self, point: Point) -> None:
        """One round less to go."""
        self._change(point, -1)

    def learn(self, point: Point, seconds: float) -> None:
        """Take note of what a round of the point took."""
        self._enter(point.point_id, -1)
        rounds, took = self._took.get(point.point_id, (0, 0.0))
        self._took[point.point_id] = rounds + 1, took + seconds
        self._enter(point.point_id, 1)
        self._least_took += least_s(point)
        self._all_took += seconds

    @property
    def rounds_learned(self) -> int:
        """Rounds that told what they took."""
        return sum(rounds for rounds, _ in self._took.values())

    @property
    def factor(self) -> float:
        """What rounds took, in times of their least; 1 where none is known."""
        return self._all_took / self._least_took if self._least_took else 1.0

    @property
    def seconds_left(self) -> float:
        """What the rounds to go will take, one after the other."""
        return max(0.0, self._known_left + self.factor * self._least_left)

    def _change(self, point: Point, rounds: int) -> None:
        point_id = point.point_id
        self._least.setdefault(point_id, least_s(point))
        self._enter(point_id, -1)
        self._left[point_id] += rounds
        self._enter(point_id, 1)

    def _enter(self, point_id: str, sign: int) -> None:
        """Add the point's rounds to go to the sums, or take them out."""
        left = sign * self._left[point_id]
        if point_id in self._took:
            rounds, took = self._took[point_id]
            self._known_left += left * took / rounds
        else:
            self._least_left += left * self._least.get(point_id, 0.0)


def least_s(point: Point) -> float:
    """Return what a round takes at least, by the protocol.

    Of a training, whose time no protocol says, what is in proportion to its MACs: passes are little beside it.
    """
    if point.recipe is None or point.data is None:
        return point.warmup_s + point.min_time_s
    images = point.recipe.epochs * (point.data.subset or DATA_SETS[point.data.name].train or 1)
    return images * (point.config.closed_form_macs() or 1) / TRAINED_MACS_PER_S
