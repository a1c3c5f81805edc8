"""New numbers in a budgets file, in the place of the old ones; everything else in it stays as it is."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from hvt_bench.errors import FileError
from hvt_bench.files import write_whole
from hvt_bench.gate.changes import COSTS, Modules
from hvt_bench.gate.check import Finding, Verdict, models_counted
from hvt_bench.gate.forms import Budget, Lengths, rewritten
from hvt_bench.gate.load import Budgets, read_budgets
from hvt_bench.gate.recorded import path_of, read_record, record_text
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import parse_model
from hvt_bench.yaml_file import Place, YamlFile, load_yaml, parse_yaml

NEXT = "make it writable, or copy the file to another folder"
HEAD = """\
# What each model costs, of one image. The gate: exit 1 if a number moved, up or down.
# hvt-bench check {name}                # --update takes the new numbers on
budgets:
"""


@dataclass(frozen=True)
class Update:
    """What became of the broken budgets of a file."""

    text: str
    """The budgets file."""
    left: tuple[str, ...]
    """What stays broken, and why."""
    kept: tuple[str, ...]
    """The models that keep all their budgets now."""


def updated(budgets: Budgets, verdicts: Sequence[Verdict]) -> Update:
    """Return the file with the numbers that were measured; a ceiling, which somebody decided on, is left alone."""
    edits: dict[tuple[int, int], str] = {}
    left: list[str] = []
    kept: list[str] = []
    for verdict in verdicts:
        before = len(left)
        if verdict.error is not None:
            left.append(f"{verdict.model}: {verdict.error}")
        by_place: dict[Place, list[Finding]] = {}
        for finding in verdict.findings:
            by_place.setdefault(finding.item.place, []).append(finding)
        for place, found in by_place.items():
            if all(finding.ok for finding in found):
                continue
            start, end = budgets.file.spans[place]
            new = _rewritten(budgets.file.text[start:end], found)
            if isinstance(new, ValueError):
                left.append(f"{verdict.model}: {'.'.join(map(str, place[2:]))}: {new}")
            else:
                edits[start, end] = new
        if len(left) == before:
            kept.append(verdict.model)
    text = budgets.file.text
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return Update(text, tuple(left), tuple(kept))


def _rewritten(old: str, found: Sequence[Finding]) -> str | ValueError:
    """Return the new text of one budget, or why there is none."""
    if problem := next((finding.problem for finding in found if finding.problem is not None), None):
        return ValueError(problem)
    if len(found) > 1:
        return ValueError("the modules cost different numbers; give each a budget, by a narrower path")
    measured = found[0].measured
    assert measured is not None
    if isinstance(measured, tuple):
        assert isinstance(found[0].budget, Lengths)
        if not old.startswith("["):
            return ValueError(f"write it as [a, b, ...] to have it updated; now {' '.join(map(str, measured))}")
        return f"[{', '.join(map(str, measured))}]"
    budget = found[0].budget
    if not isinstance(budget, Budget) or budget.centre is None:
        return ValueError(f"now {measured:,}; a ceiling is somebody's decision: change it by hand")
    tags, plain = re.fullmatch(r"((?:[!&]\S*\s+)*)(.*)", old, re.DOTALL).groups()  # type: ignore[union-attr]
    if plain[:1] in ("|", ">") or "\n" in plain:
        return ValueError(f"now {measured:,}; text of several lines is not rewritten: write it on one")
    quote = plain[0] if plain[:1] in ("'", '"') else ""
    new = rewritten(plain.strip(quote) if quote else plain, measured) or rewritten(budget.text, measured)
    return f"{tags}{quote}{new}{quote}"


def write_update(budgets: Budgets, verdicts: Sequence[Verdict]) -> tuple[str, tuple[str, ...]]:
    """Write new numbers and the record of modules; return the difference, and what stays broken. Raises FileError."""
    path, update = budgets.file.path, updated(budgets, verdicts)
    read_budgets(parse_yaml(path, update.text))  # what could not be read again is not written
    counted = models_counted(verdicts)
    before = read_record(path_of(path))
    record = {
        entry.name: counted[entry.name] if entry.name in update.kept else before[entry.name]
        for entry in budgets.entries
        if entry.name in update.kept or entry.name in before
    }
    return _write(budgets.file, update.text, record), update.left


def write_first(path: Path, models: Sequence[str], executed: bool = False) -> str:
    """Add models to a budgets file, which is made where there is none; return the difference.

    Raises FileError where the file has such a model, or cannot be added to; ConfigError or CountError where a model
    cannot be built or counted. Nothing is written then.
    """
    file, names, added = YamlFile(path, {}, {}, ""), set(), {}
    if path.exists():
        file = load_yaml(path, empty=True)
        names = {entry.name for entry in read_budgets(file).entries} if _has_models(file) else set()
    record: dict[str, Modules] = dict(read_record(path_of(path)))
    for model in models:
        if model in names:
            raise file.error(("budgets", model), f"{model} has a budget already; --update takes new numbers on")
        names.add(model)
        counted = breakdown(parse_model(model), executed=executed)
        record[model] = {name: (cost.macs, cost.params, cost.activations) for name, cost in counted.modules.items()}
        added[model] = {key: getattr(counted.total, key) for key in COSTS}
    text = _with_models(file, added)
    try:
        read_budgets(parse_yaml(path, text))
    except FileError:
        raise FileError(
            f"{path}: cannot be added to, the way it is laid out; add these lines:\n{_lines(added)}"
        ) from None
    return _write(file, text, record)


def _has_models(file: YamlFile) -> bool:
    """Say whether a file has more than the bare key `budgets`, if that."""
    return bool(set(file.data) - {"budgets"} or file.data.get("budgets"))


def _with_models(file: YamlFile, added: Mapping[str, Mapping[str, int]]) -> str:
    """Return the text of a file with more models, laid out as the others are."""
    text, end = file.text, "\r\n" if "\r\n" in file.text else "\n"
    if not file.data:
        head = ["budgets:"] if text.strip() else HEAD.format(name=file.path).splitlines()
        return _ended(text, end) + "".join(f"{line}{end}" for line in head) + _lines(added, end=end)
    start, stop = file.spans["budgets",]
    models = file.data["budgets"]
    if not models:  # a bare key, or a mapping of nothing behind it
        return _ended(text[:start].rstrip(" ") + text[stop:], end) + _lines(added, end=end)
    last = file.spans["budgets", list(models)[-1]][1]
    if text[start] == "{":
        inner = "".join(f", {_key(name, flow=True)}: {{{_inline(costs)}}}" for name, costs in added.items())
        return text[:last] + inner + text[last:]
    line = text.splitlines()[file.lines["budgets", next(iter(models))] - 1]
    return _ended(text, end) + _lines(added, line[: len(line) - len(line.lstrip())], end)


def _ended(text: str, end: str) -> str:
    return text if not text or text.endswith("\n") else text + end


def _lines(added: Mapping[str, Mapping[str, int]], indent: str = "  ", end: str = "\n") -> str:
    """Return models as lines of a budgets file."""
    lines = []
    for name, costs in added.items():
        lines += [f"{indent}{_key(name)}:", *(f"{indent}  {key}: {cost}" for key, cost in costs.items())]
    return "".join(f"{line}{end}" for line in lines)


def _inline(costs: Mapping[str, int]) -> str:
    return ", ".join(f"{key}: {cost}" for key, cost in costs.items())


def _key(name: str, flow: bool = False) -> str:
    """Return a model's name as a key of YAML, in quotes if it needs them, as more do in braces."""
    try:
        plain = yaml.safe_load(f"{{{name}: 1}}" if flow else f"{name}: 1") == {name: 1}
    except yaml.YAMLError:
        plain = False
    return name if plain else json.dumps(name)


def _write(file: YamlFile, text: str, record: Mapping[str, Modules]) -> str:
    """Write what changed; return the difference of the budgets file, and a line on the record."""
    lines: list[str] = []
    if text != file.text:
        names = (str(file.path) if file.text else "/dev/null", str(file.path))
        lines += difflib.unified_diff(file.text.splitlines(), text.splitlines(), *names, lineterm="", n=1)
        write_whole(file.path.resolve(), text.encode(), NEXT)
    beside = path_of(file.path)
    told = record_text(record).encode()
    if not beside.exists() or beside.read_bytes() != told:
        write_whole(beside.resolve(), told, NEXT)
        lines.append(f"wrote {beside}: what falls on each module")
    return "\n".join(lines)
