"""Work in this process, so that breakpoints, profilers and print work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hvt_bench.executors.base import Item, Outcome, Value


class InlineExecutor:
    """Calls the function here. It cannot end an item that hangs, nor outlive one that crashes."""

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item; `timeout_s` is not heeded."""
        for item in items:
            try:
                yield Outcome(item, function(item), None)
            except Exception as error:
                yield Outcome(item, None, error)
