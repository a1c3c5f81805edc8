"""What models cost at another git revision of the user's repository: counted there, by its own code.

The revision is checked out into a folder of its own, which is removed afterwards, and a fresh Python counts in it, with
that folder first on its path. The working tree is not touched.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hvt_bench
from hvt_bench.errors import HvtBenchError, RequestError
from hvt_bench.gate import there
from hvt_bench.gate.changes import COSTS, Modules
from hvt_bench.gate.check import Counts, Verdict, check_entry
from hvt_bench.gate.forms import parse_budget
from hvt_bench.gate.load import Budgets, Entry, Item
from hvt_bench.gate.worktree import environment, git, says, worktree
from hvt_bench.models import parse_model
from hvt_bench.models.config import ModelConfig

Spec = str | Mapping[str, Any]


@dataclass(frozen=True)
class AtRevision:
    """What became of one model there."""

    modules: Modules | None = None
    new: bool = False
    """There was no such model."""
    error: str | None = None
    """Why there is no count; of a model that is new, what was missing."""


def count_at(revision: str, models: Mapping[str, Spec], executed: bool = False) -> dict[str, AtRevision]:
    """Count models as a revision has them; `models` are what `parse_model` reads, by name.

    Raises RequestError where there is no such revision, HvtBenchError where nothing could be counted there.
    """
    here = Path.cwd()
    top = Path(git("rev-parse", "--show-toplevel", otherwise=f"--base {revision}: {here} is in no git repository"))
    hint = "fetch it first, as with actions/checkout and fetch-depth: 0"
    if revision.startswith("-"):
        raise RequestError(f"--base {revision}: a revision is a branch, a tag or a commit")
    commit = git(
        "rev-parse",
        "--verify",
        "--quiet",
        f"{revision}^{{commit}}",
        otherwise=f"--base {revision}: no such one; {hint}",
    )
    with worktree(top, commit) as tree:
        folder = tree / here.resolve().relative_to(top.resolve())
        answer = tree.parent / "counted.json"
        asked = {
            "models": dict(models),
            "executed": executed,
            "paths": _paths(top, tree, folder),
            "top": str(top.resolve()),
            "tree": str(tree),
            "library": str(Path(hvt_bench.__file__).parent.parent),
            "answer": str(answer),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-B", there.__file__],
            input=json.dumps(asked),
            cwd=folder if folder.is_dir() else tree,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not answer.exists():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise HvtBenchError(f"--base {revision}: nothing could be counted there: {said[:500]}")
        told = json.loads(answer.read_text())
    return {name: _read(found) for name, found in told.items()}


def before_and_notes(
    budgets: Budgets, revision: str, executed: bool = False
) -> tuple[dict[str, Modules], dict[str, str]]:
    """Return what the modules of each model of a file cost at a revision, and what to say where that is not known."""
    found = count_at(revision, {entry.name: entry.spec for entry in budgets.entries}, executed)
    before = {name: then.modules for name, then in found.items() if then.modules is not None}
    notes = {
        name: f"{'new since' if then.new else 'cannot be counted at'} {revision}: {then.error}"
        for name, then in found.items()
        if then.error is not None
    }
    return before, notes


def check_against(models: Sequence[str], revision: str, executed: bool = False) -> list[Verdict]:
    """Hold models against what they cost at a revision, which is their budget, to the last number.

    One that is new keeps it. Raises RequestError where a name is no model or there is no such revision.
    """
    configs = {name: parse_model(name) for name in models}
    then, counts = count_at(revision, {name: name for name in models}, executed), Counts(executed)
    verdicts = []
    for name, config in configs.items():
        found = then[name]
        numbers = dict(zip(COSTS, found.modules[""], strict=True)) if found.modules is not None else {}
        items = tuple(Item(quantity, parse_budget(number)) for quantity, number in numbers.items())
        verdict = check_entry(Entry(name, config, items, name), counts, {}, found.modules)
        if found.new and verdict.counted is not None:
            cost = "; ".join(f"{quantity} {getattr(verdict.counted.total, quantity):,}" for quantity in COSTS)
            note = f"new since {revision}: {cost}; {found.error}"
            outside = _no_revision_has(config)
            verdict = replace(verdict, note=note, new=True, error=outside and f"{outside}; {found.error}")
        elif found.error is not None and verdict.error is None:
            verdict = replace(verdict, error=f"at {revision}: {found.error}")
        verdicts.append(verdict)
    return verdicts


def _no_revision_has(config: ModelConfig) -> str | None:
    """Say that a model's module is not in the repository at all, so that it is not new; None if it can be."""
    module = str(config.fields().get("target", "")).partition(":")[0]
    spec = importlib.util.find_spec(module) if config.outside and module != "timm" else None
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    top = Path(git("rev-parse", "--show-toplevel", otherwise="this is no git repository")).resolve()
    if not file.is_relative_to(top):
        return f"{file} is not in this repository, so no revision of it has that"
    if says("-C", str(file.parent), "rev-parse", "--show-toplevel") != str(top):
        return f"{file.relative_to(top)} is in a submodule, whose files --base does not check out"
    if says("check-ignore", str(file)):
        return f"{file.relative_to(top)} is ignored by git, so no revision has it"
    return None


def _read(found: dict[str, Any]) -> AtRevision:
    if "modules" in found:
        return AtRevision({path: (macs, params, out) for path, (macs, params, out) in found["modules"].items()})
    return AtRevision(new=found["new"], error=found["error"])


def _paths(top: Path, tree: Path, folder: Path) -> list[str]:
    """Return where the code of the revision is looked for: where that of the working tree is, and the usual places."""
    inside = [Path(path).resolve() for path in sys.path if path]
    mapped = [tree / path.relative_to(top.resolve()) for path in inside if path.is_relative_to(top.resolve())]
    found = [path for path in (folder, *mapped, tree / "src", tree) if path.is_dir()]
    return list(dict.fromkeys(map(str, found)))
