"""Paths of modules, many of them told as one: `blocks.0-11.attn`.

A name that only looks like such a range, as a key of nn.ModuleDict may, is told in quotes: `branches.'0-11'.attn`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise, product
from typing import TypeVar

_DIGITS = "0|[1-9][0-9]{0,17}"
_NUMBER = re.compile(_DIGITS)
RANGE = re.compile(f"({_DIGITS})-({_DIGITS})")
_QUOTED = re.compile(f"'+(?:{RANGE.pattern})'+")
_MOST = 10_000  # modules that one path may stand for

Names = tuple[str, ...]
V = TypeVar("V", bound=Hashable)


def merged(values: Mapping[str, V]) -> dict[str, V]:
    """Put paths that differ in one number and have the same value together, from the innermost number outwards."""
    found: dict[Names, V] = {tuple(map(_quoted, path.split("."))): value for path, value in values.items()}
    for place in reversed(range(max(map(len, found), default=0))):
        found = _merged_at(place, found)
    return {".".join(names): value for names, value in found.items()}


def _merged_at(place: int, values: Mapping[Names, V]) -> dict[Names, V]:
    alike: dict[tuple[Names, Names, V], list[int]] = {}
    for names, value in values.items():
        if len(names) > place and _NUMBER.fullmatch(names[place]):
            alike.setdefault((names[:place], names[place + 1 :], value), []).append(int(names[place]))
    renamed: dict[Names, Names] = {}
    inside: set[Names] = set()
    for (before, after, _), numbers in alike.items():
        for run in _runs(numbers):
            name = f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0])
            renamed[(*before, str(run[0]), *after)] = (*before, name, *after)
            inside.update((*before, str(number), *after) for number in run[1:])
    return {renamed.get(names, names): value for names, value in values.items() if names not in inside}


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    """Cut numbers, in order, where one is missing."""
    ordered = sorted(numbers)
    runs = [ordered[:1]]
    for before, number in pairwise(ordered):
        if number == before + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def spelt_out(path: str) -> list[str]:
    """Return the paths that `merged` put together. Raises ValueError where they are too many to be meant."""
    choices = [
        range(int(match[1]), int(match[2]) + 1) if (match := RANGE.fullmatch(name)) else [unquoted(name)]
        for name in path.split(".")
    ]
    if math.prod(map(len, choices)) > _MOST:
        raise ValueError(f"'{path}' stands for more than {_MOST:,} modules")
    return [".".join(map(str, chosen)) for chosen in product(*choices)]


def _quoted(name: str) -> str:
    return f"'{name}'" if RANGE.fullmatch(name) or _QUOTED.fullmatch(name) else name


def unquoted(name: str) -> str:
    """Return the name that was told in quotes, lest it be taken for a range; any other as it is."""
    return name[1:-1] if _QUOTED.fullmatch(name) else name


def told(paths: Iterable[str], most: int = 3) -> str:
    """Name paths for a reader: merged, and only the first few."""
    names = list(merged(dict.fromkeys(paths, 0)))
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
