"""The printed numbers of the papers beside ours: what `hvt-bench reproduce` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hvt_bench.reproduce.accuracy import Joined, join_accuracy
from hvt_bench.reproduce.cells import Cell, Follow, NotCompared, chosen, compare
from hvt_bench.reproduce.claims import Computed, compute


@dataclass(frozen=True)
class Reproduction:
    """What came out for some systems."""

    systems: tuple[str, ...]
    cells: tuple[Cell, ...]
    not_compared: tuple[NotCompared, ...]
    claims: tuple[Computed, ...]
    joined: tuple[Joined, ...] = ()
    not_joined: tuple[str, ...] = ()

    @property
    def unexplained(self) -> int:
        """Cells that differ, and nobody knows why."""
        return sum(cell.unexplained for cell in self.cells)


def reproduce(system: str | None = None, accuracy: Path | None = None, follow: Follow = iter) -> Reproduction:
    """Set every printed cell of a system, or of all, beside what we count; needs no GPU.

    `accuracy` is a CSV of own top-1 values; see `join_accuracy`. Raises RequestError, FileError.
    """
    systems = chosen(system)
    joined, strange = join_accuracy(accuracy, systems) if accuracy is not None else ((), ())
    cells, rest = compare(systems, follow)
    return Reproduction(systems, cells, rest, compute(systems), joined, strange)


def counted_up(cells: Iterable[Cell]) -> str:
    """Say how many of how many cells match, and what became of the others."""
    verdicts = Counter("unexplained" if cell.unexplained else cell.verdict for cell in cells)
    told = [
        f"{verdicts[name]} {words}"
        for name, words in (
            ("within", "within tolerance"),
            ("bracketed", "bracketed"),
            ("differs", "different for a known cause"),
            ("unexplained", "UNEXPLAINED"),
        )
        if verdicts[name]
    ]
    return ", ".join([f"{verdicts['match']} of {verdicts.total()} printed cells match", *told])
