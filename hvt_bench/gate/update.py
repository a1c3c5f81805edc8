"""New numbers in a budgets file, in the place of the old ones; everything else in it stays as it is."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from hvt_bench.errors import FileError
from hvt_bench.files import write_whole
from hvt_bench.gate.changes import COSTS, Modules
from hvt_bench.gate.check import Finding, Verdict, models_counted
from hvt_bench.gate.forms import Lengths, rewritten
from hvt_bench.gate.load import Budgets, load_budgets, read_budgets
from hvt_bench.gate.recorded import path_of, read_record, record_text
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import parse_model
from hvt_bench.yaml_file import Place, YamlFile, parse_yaml

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
    quote = old[0] if old[:1] in ("'", '"') else ""
    new = rewritten(old.strip(quote) if quote else old, measured)
    if new is None:
        return ValueError(f"now {measured:,}; a ceiling is somebody's decision: change it by hand")
    return f"{quote}{new}{quote}"


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
    file, names = YamlFile(path, {}, {}, ""), set()
    if path.exists():
        budgets = load_budgets(path)
        file, names = budgets.file, {entry.name for entry in budgets.entries}
    record: dict[str, Modules] = dict(read_record(path_of(path)))
    text, indent, end = file.text, _indent(file), "\r\n" if "\r\n" in file.text else "\n"
    text = (text if not text or text.endswith("\n") else text + end) or HEAD.format(name=path)
    for model in models:
        if model in names:
            raise file.error(("budgets", model), f"{model} has a budget already; --update takes new numbers on")
        names.add(model)
        counted = breakdown(parse_model(model), executed=executed)
        record[model] = {name: (cost.macs, cost.params, cost.activations) for name, cost in counted.modules.items()}
        lines = [f"{indent}{_key(model)}:", *(f"{indent}  {key}: {getattr(counted.total, key)}" for key in COSTS)]
        text += "".join(f"{line}{end}" for line in lines)
    try:
        read_budgets(parse_yaml(path, text))
    except FileError:
        raise FileError(f"{path}: cannot be added to, the way it is laid out; add these lines:\n{text}") from None
    return _write(file, text, record)


def _indent(file: YamlFile) -> str:
    """Return what stands before the first model of a file."""
    if not file.text:
        return "  "
    first = next(iter(file.data["budgets"]))
    line = file.text.splitlines()[file.lines["budgets", first] - 1]
    return line[: len(line) - len(line.lstrip())]


def _key(name: str) -> str:
    """Return a model's name as a key of YAML, in quotes if it needs them."""
    try:
        plain = yaml.safe_load(f"{name}: 1") == {name: 1}
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
