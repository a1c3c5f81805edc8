"""Patterns that name modules: `blocks.*.attn`, `**.head`, `blocks.0-5.linear1`. Matched without going back and forth.

*        any text within one name
**       any number of names, or none; within a name, any text, dots too
?        one character
[01]     one of these
0-5      as a whole name: one of these numbers
'0-5'    as a whole name: that name, which is no range
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from hvt_bench.gate.paths import RANGE, unquoted

LONGEST = 1_000  # characters of a pattern

_STAR, _GAP, _NAMES = "*", "**", "**."
_ANY = {_GAP: r".*?", _NAMES: r"(?:.*?\.)??"}
_INSIDE = re.compile(r"(\*\*|\*|\?|\[\w+\])")


def matching(pattern: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that a pattern names; the network itself, "", has no name."""
    asked = _compiled(pattern)
    return [path for path in paths if path and asked.fullmatch(path)]


def check_pattern(pattern: str) -> None:
    """Raise ValueError, with a sentence, where a pattern cannot be meant."""
    if len(pattern) > LONGEST:
        raise ValueError(f"'{pattern[:20]}...' is no path of modules: it has {len(pattern):,} characters")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Write a pattern as a regular expression of atomic groups.

    What stands before a wildcard is taken where it first matches, for good: the wildcard reaches all that comes after
    any later match, too. So the time is at most that of the length of a path squared.
    """
    runs: list[tuple[str, list[str]]] = [("", [""])]  # a wildcard that crosses dots, and what stands up to the next
    tail = ""
    names = re.sub(r"\*{2,}", "**", pattern).split(".")
    names = [name for i, name in enumerate(names) if name != "**" or names[i - 1 : i] != ["**"]]
    for place, name in enumerate(names):
        last = place == len(names) - 1
        if name == "**" and place and last:
            runs[-1][1][-1] = runs[-1][1][-1].removesuffix(r"\.")
            tail = r"(?:\..*)?"
        elif name == "**":
            runs.append((_GAP if last else _NAMES, [""]))
        else:
            _add(runs, name)
            runs[-1][1][-1] += "" if last else r"\."
    *before, (any_text, parts) = runs
    whole = "".join(f"(?>{_ANY.get(first, '')}{_chain(found)})" for first, found in before)
    whole += _ANY.get(any_text, "") + _chain(parts[:-1])
    whole += f"{'[^.]*' if len(parts) > 1 else ''}{parts[-1]}{tail}"
    return re.compile(whole, re.DOTALL)


def _add(runs: list[tuple[str, list[str]]], name: str) -> None:
    """Put one name behind what there is; what stands between two `*` is one part of a run."""
    if match := RANGE.fullmatch(name):
        runs[-1][1][-1] += rf"(?:{re.escape(name)}|{_between(match[1], match[2])})(?![^.])"
        return
    if unquoted(name) != name:
        runs[-1][1][-1] += re.escape(unquoted(name))
        return
    for piece in _INSIDE.split(name):
        if piece == _GAP:
            runs.append((_GAP, [""]))
        elif piece == _STAR:
            runs[-1][1].append("")
        else:
            runs[-1][1][-1] += "[^.]" if piece == "?" else piece if piece[:1] == "[" and piece else re.escape(piece)


def _chain(parts: list[str]) -> str:
    """Join the parts between `*`."""
    return "".join(part if i == 0 else rf"(?>[^.]*?{part})" for i, part in enumerate(parts))


def _between(least: str, most: str) -> str:
    """Return an expression for the numbers from `least` to `most`; one that nothing matches where there are none."""
    found = ["(?!)"]
    for length in range(len(least), len(most) + 1):
        low = least if length == len(least) else "1" + "0" * (length - 1)
        high = most if length == len(most) else "9" * length
        found += [_digits(low, high)] if low <= high else []
    return "|".join(found)


def _digits(least: str, most: str) -> str:
    """Return an expression for the texts of as many digits from `least` to `most`."""
    if least == most:
        return least
    rest = len(least) - 1
    first, last = int(least[0]), int(most[0])
    if first == last:
        return f"{first}(?:{_digits(least[1:], most[1:])})"
    found = [f"{first}(?:{_digits(least[1:], '9' * rest)})", f"{last}(?:{_digits('0' * rest, most[1:])})"]
    if first + 1 < last:
        found.append(f"[{first + 1}-{last - 1}][0-9]{{{rest}}}")
    return "|".join(found)
