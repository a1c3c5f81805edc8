"""What all metrics have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from hvt_bench.records import Record


class Metric(Record):
    """Columns of one kind of measurement; the fields of a row that stand or fall together."""

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what was found in each round, in order; there is at least one."""
        raise NotImplementedError
