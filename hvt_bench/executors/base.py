"""Executor: maps a function over items, somewhere, and tells how each of them ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Place:
    """Where one item at a time runs."""

    name: str = ""
    """What an outcome calls it, such as `cuda:1`; empty where all places are the same."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is set in the environment of an item's process before the function is called."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """How one item ended: with a value, or with the exception that the function raised or that its worker met."""

    item: Item
    value: Value | None
    error: BaseException | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    """Since it was started, that of its process included."""
    place: str = ""
    """Name of the place where it ran."""
    output: str = ""
    """What its process printed, the end of it if that is long; empty where it ran in this one."""


class Executor(Protocol):
    """Maps a function over items; knows nothing of what they are."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Places of one item each, so as many items as these are under way; none where that is nobody's business."""
        ...

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        key: Callable[[Item], str] = str,
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item, in the order in which they end.

        An item is asked for once there is a place for it. Outcomes may give rise to further items, so an iterator that
        has no more is asked again after each outcome; the map ends where it has none and nothing is under way.

        `key` gives a short text that no other item has, of letters, digits, `.` and `-`, for executors that keep
        results in files; items that belong together, as the rounds of a point do, share what is before its first dot.
        `timeout_s` gives the time limit of an item in seconds. A dead or hanging worker is an outcome whose error is a
        WorkerError; the map goes on with the next item.
        """
        ...


class Queue(Executor, Protocol):
    """An executor whose items wait for machines of others; small work is better done elsewhere."""

    on_wait: Callable[[], None]
    """Called now and then while no outcome is there."""
