"""Work in this process, so that breakpoints, profilers and print work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from hvt_bench.executors.base import Item, Outcome, Place, Value


class InlineExecutor:
    """Calls the function here. It cannot end an item that hangs, nor outlive one that crashes."""

    places = (Place(),)

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        key: Callable[[Item], str] = str,
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item; `key` and `timeout_s` are not heeded."""
        for item in items:
            started_at, start = datetime.now(UTC), time.perf_counter()
            value: Value | None = None
            failure: BaseException | None = None
            try:
                value = function(item)
            except Exception as error:
                failure = error
            yield Outcome(item, value, failure, started_at, time.perf_counter() - start)
