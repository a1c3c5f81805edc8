"""Run: what is known of a sweep, as its journal tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hvt_bench.collect import collect
from hvt_bench.environment import Environment
from hvt_bench.metrics.accuracy import sound
from hvt_bench.row import Row, Sample


@dataclass
class Run:
    """What a journal holds."""

    sweep: str
    started_at: str
    environments: dict[str, Environment]
    """By device, as of the latest start."""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[tuple[str, int | None], Sample] = field(default_factory=dict)
    found_in: dict[str, Environment] = field(default_factory=dict)
    """By point: where its latest sample was found."""
    _rows: dict[str, Row] = field(default_factory=dict, repr=False, compare=False)
    """As they were collected, until something changes them: of 10,000 rows, few do between two writes of the CSV."""
    shares: set[tuple[int, int]] = field(default_factory=set)
    """Which shares of the points were asked for, each as its number and their number; empty if all were."""
    again: set[tuple[str, int | None]] = field(default_factory=set)
    """Failed rounds that a start was asked to measure again, and that were not measured since."""

    def enter(self, columns: dict[str, Any]) -> None:
        """Keep what is known of a cell; rounds of a largest batch that is looked for anew are of another batch."""
        point_id = columns["point_id"]
        before = self.cells.get(point_id, {}).get("batch_size")
        self.cells[point_id] = columns
        self._rows.pop(point_id, None)
        if before is not None and columns.get("batch_size") != before:
            self._drop_rounds(point_id)

    def add(self, sample: Sample) -> None:
        """Keep a sample, found just now; of a round measured again, what only the earlier visit measured stays.

        So it does where the later one failed: a training of hours is not lost to a pass that crashed.
        Where a round went well and is measured again only since the GPU was throttled, a failure does not replace it.
        Rounds of another device, of a cluster that has several kinds, are dropped: none of them go into one row.
        """
        before = self.found_in.get(sample.point_id)
        here = sample.environment or self.environments[self.cells[sample.point_id]["device"]]
        if before is not None and not here.comparable(before):
            self._drop_rounds(sample.point_id)
        if before is None or here.device_name is not None:  # else it was lost, and nobody knows where
            self.found_in[sample.point_id] = here
        key = sample.point_id, sample.round
        earlier = self.samples.get(key)
        if earlier is not None and earlier.status == "ok" and sample.status != "ok" and sample.attempt > 1:
            sample = earlier.model_copy(update={"attempt": sample.attempt})
        elif earlier is not None and (before_it := sound(earlier.values)):
            timed = sample if "latency" in sample.values else earlier
            kept = {"values": {**before_it, **sample.values}, "side_by_side": timed.side_by_side}
            sample = sample.model_copy(update=kept)
        self.samples[key] = sample
        self.again.discard(key)
        self._rows.pop(sample.point_id, None)

    def _drop_rounds(self, point_id: str) -> None:
        self.samples = {key: found for key, found in self.samples.items() if key[0] != point_id or key[1] is None}

    def by_point(self) -> dict[str, dict[int | None, Sample]]:
        """Return the samples of each point, by round; None is the counting."""
        found: dict[str, dict[int | None, Sample]] = {}
        for (point_id, number), sample in self.samples.items():
            found.setdefault(point_id, {})[number] = sample
        return found

    def rows(self) -> tuple[Row, ...]:
        """Rows of the cells that have any result, in the order in which they were first met."""
        found = self.by_point()
        for point_id, columns in self.cells.items():
            if point_id not in self._rows and (point_id in found or "status" in columns):
                known, samples = {"sweep": self.sweep, **columns}, [*found.get(point_id, {}).values()]
                self._rows[point_id] = collect(known, samples, self.found_in.get(point_id))
        return tuple(self._rows[point_id] for point_id in self.cells if point_id in self._rows)

    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield kind and content of the lines of a journal that holds this: each sample where it was found."""
        start: dict[str, Any] = {"sweep": self.sweep, "started_at": self.started_at}
        if self.shares:
            start["shares"] = sorted(self.shares)
        environments: dict[str, Environment] = {}
        found = self.by_point()
        for point_id, columns in self.cells.items():
            there = {columns["device"]: self.found_in[point_id]} if point_id in found else {}
            if not environments or environments | there != environments:
                environments = (environments or self.environments) | there
                yield "run", start | {"environments": {name: env.model_dump() for name, env in environments.items()}}
            yield "cell", columns
            for sample in found.get(point_id, {}).values():
                yield "sample", sample.entry()
        if environments != self.environments or self.again:
            here = {"environments": {name: env.model_dump() for name, env in self.environments.items()}}
            yield "run", start | here | ({"again": sorted(self.again, key=str)} if self.again else {})
