"""Which panels a figure draws: in the order of their numbers, and no more than can be read on a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from hvt_bench.plots import style
from hvt_bench.row import Row, csv_text

_LEAST_IN = 2.3  # width of a panel
_DEEP = 4  # rows of panels of 1.8 in with their titles and labels: a page
_MOST_ALONE = 6  # panels one under another, each as low as can be read
_MOST_SAID = 8  # panels not drawn that the footer names
_NUMBERED = re.compile(r"(.* )(\d+(?:\.\d+)?)")


def most_panels(figure: style.AnyFigure) -> int:
    """Return how many panels of a figure can be read on a page of its width: 12 on two columns, 6 on one."""
    return max(_MOST_ALONE, _DEEP * style.most_columns(figure, _LEAST_IN))


def ascending(ways: Iterable[str]) -> list[str]:
    """Return different ways of measuring, such as `float32, batch 64`: numbers ascend, words as they first appear."""
    found = list(dict.fromkeys(ways))
    parts = {way: [_NUMBERED.fullmatch(part) or part for part in way.split(", ")] for way in found}
    words = [[part if isinstance(part, str) else part[1] for part in of_way] for of_way in parts.values()]
    rank = {word: place for place, word in enumerate(dict.fromkeys(word for of_way in words for word in of_way))}
    keys = {
        way: [
            (rank[word], 0.0 if isinstance(part, str) else float(part[2])) for word, part in zip(named, of, strict=True)
        ]
        for (way, of), named in zip(parts.items(), words, strict=True)
    }
    return sorted(found, key=keys.__getitem__)


def evenly(ways: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of `ways`, evenly from the first to the last: the first alone hide where it leads."""
    if len(ways) <= most:
        return list(ways)
    steps = max(1, most - 1)
    return [ways[(2 * place * (len(ways) - 1) + steps) // (2 * steps)] for place in range(most)]


def where(row: Row, columns: Iterable[str]) -> str:
    """Return the options of `hvt-bench plot` that keep the rows which share the values of a row."""
    asked = (f"{name}={csv_text(row[name])}" for name in columns)
    return " ".join(f"--where {shlex.quote(condition)}" for condition in asked)


def fitting(
    figure: style.AnyFigure,
    wheres: Mapping[str, str],
    panels: Callable[[Sequence[str]], int] = len,
    most: int | None = None,
) -> tuple[list[str], list[str]]:
    """Choose the ways of which a figure draws panels; return them in order, and a note about the others.

    `wheres` gives for each way what `where` gives, `panels` how many panels some of the ways take, `most` how many
    there may be, if not `most_panels`.
    """
    ways, most = ascending(wheres), most or most_panels(figure)
    number = next((number for number in range(len(ways), 1, -1) if panels(evenly(ways, number)) <= most), 1)
    kept = evenly(ways, number)
    others = [way for way in ways if way not in kept]
    if not others:
        return kept, []
    more = f" and {len(others) - _MOST_SAID:,} more" if len(others) > _MOST_SAID else ""
    said = _listed(others[:_MOST_SAID])
    return kept, [f"no room on a page for {said}{more}: `{wheres[others[0]]}` draws the first of these"]


def _listed(ways: Sequence[str]) -> str:
    """Write `batch 3, 8`; ways that differ in more than a number with a semicolon between them."""
    if any(", " in way for way in ways):
        return "; ".join(ways)
    head = ways[0].rpartition(" ")[0] + " "
    if not all(way.startswith(head) for way in ways):
        return ", ".join(ways)
    return head + ", ".join(way.removeprefix(head) for way in ways)


def on_a_page(figure: style.AnyFigure, points: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep the points of `scatter.collect` of which a figure has room for panels, and say which it has not."""
    kept, notes = fitting(figure, dict(zip(points["way"], points["where"], strict=True)))
    return (points[points["way"].isin(kept)] if notes else points), notes
