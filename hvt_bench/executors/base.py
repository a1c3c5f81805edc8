"""Executor: maps a function over items, somewhere, and tells how each of them ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """How one item ended: with a value, or with the exception that the function raised or that its worker met."""

    item: Item
    value: Value | None
    error: BaseException | None


class Executor(Protocol):
    """Maps a function over items; knows nothing of what they are."""

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item as it ends, asking for the next item only then.

        `timeout_s` gives the time limit of an item in seconds. A dead or hanging worker is an outcome whose error is
        a WorkerError; the map goes on with the next item.
        """
        ...
