"""Budgets in the code of a test: the call of `flops_budget`, and new numbers in its place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from hvt_bench.errors import FileError, unknown
from hvt_bench.files import write_whole
from hvt_bench.gate.changes import COSTS
from hvt_bench.gate.check import ITSELF, Counts, Finding, check_items
from hvt_bench.gate.forms import Budget, Relation, parse_budget, rewritten
from hvt_bench.gate.load import Item
from hvt_bench.gate.patterns import check_pattern
from hvt_bench.gate.render import told
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import parse_model
from hvt_bench.models.config import ModelConfig

QUANTITIES = ("macs", "params", "activations", "train_macs", "fvcore_flops")


class FlopsBudget:
    """Counts a network, and fails the test if it left its budgets."""

    def __init__(self, literals: Literals | None = None, case: str = "") -> None:
        self._literals = literals
        self._case = case
        self._counts = Counts()

    def __call__(
        self,
        model: nn.Module | str | ModelConfig,
        *inputs: Sequence[int] | Tensor,
        modules: Mapping[str, Mapping[str, Any]] | None = None,
        **budgets: Any,
    ) -> None:
        """Count one pass of `model`; `inputs` are what its forward takes: shapes, batch of 1 included, or tensors.

        Raises AssertionError if a budget does not hold, TypeError or ValueError where it is none, CountError where the
        cost is not certain.
        """
        __tracebackhide__ = True
        items = [_item(quantity, value, QUANTITIES) for quantity, value in budgets.items()]
        for pattern, found in (modules or {}).items():
            check_pattern(pattern)
            items += [_item(quantity, value, COSTS, pattern) for quantity, value in found.items()]
        if not items:
            raise TypeError(f"flops_budget needs a budget; these can have one: {', '.join(QUANTITIES)}, modules")
        others = {
            item.budget.other: parse_model(item.budget.other) for item in items if isinstance(item.budget, Relation)
        }
        own = parse_model(model) if isinstance(model, str) else model
        for name, config in others.items():
            if config == own:
                raise ValueError(f"flops_budget: {ITSELF.format(name)}")
        counted = breakdown(
            model, *(x if isinstance(x, Tensor) else torch.empty(tuple(x), device="meta") for x in inputs)
        )
        findings = check_items(items, counted, self._counts, others)
        broken = [finding for finding in findings if not finding.ok]
        if self._literals is not None:
            broken = self._literals.note(sys._getframe(1), findings, self._case)
        if broken:
            name = model if isinstance(model, str) else type(model).__name__
            lines = "".join(f"\n  {told(finding)}" for finding in broken)
            hint = "" if self._literals is not None else "\n  if that is meant, --update-budgets writes the new numbers"
            raise AssertionError(f"{name} left its FLOPs budget:{lines}{hint}")


def _item(quantity: str, value: object, known: Sequence[str], pattern: str = "") -> Item:
    if quantity not in known:
        raise TypeError(f"flops_budget: {unknown('quantity', quantity, known)}")
    try:
        budget = parse_budget(value)
    except ValueError as error:
        raise ValueError(f"flops_budget: {quantity}: {error}") from None
    if pattern and isinstance(budget, Relation):
        raise ValueError(f"flops_budget: {quantity} of {pattern}: a relation is of whole models")
    return Item(quantity, budget, pattern)


@dataclass(frozen=True, order=True)
class _Place:
    """Where a literal stands in a file, in bytes."""

    path: str
    start: int
    end: int
    line: int
    quantity: str


@dataclass(frozen=True)
class _Noted:
    """That a number was measured for a literal."""

    ok: bool
    """Whether the budget that stands there holds for it."""
    case: str
    """The test that ran."""


class Literals:
    """The budgets that are literals in test files, and what was measured for each of them."""

    def __init__(self) -> None:
        self._found: dict[_Place, dict[int, _Noted]] = {}
        self._sources: dict[str, bytes] = {}

    def note(self, frame: FrameType, findings: Sequence[Finding], case: str = "") -> list[Finding]:
        """Take down what was measured for each budget of the call in `frame`; return what is broken and not written.

        `case` is the test that runs.
        """
        call = self._call(frame)
        left = []
        for finding in findings:
            node = None if call is None else _literal(call, finding.item)
            place = None if node is None else self._place(frame.f_code.co_filename, node, finding.item.quantity)
            if place is None or not _rewritable(finding, self._text(place)):
                left.append(finding)
                continue
            assert isinstance(finding.measured, int)
            alike = self._found.setdefault(place, {})
            alike[finding.measured] = _Noted(finding.ok, case)
            if len(alike) > 1 and not all(other.ok for other in alike.values()):
                left.append(finding)  # one literal for networks, or modules, that cost different numbers
        return [finding for finding in left if not finding.ok]

    def write(self) -> tuple[list[str], list[str]]:
        """Rewrite the literals whose budgets are broken; return a line for each, and one for each that stays broken."""
        lines: list[str] = []
        left: list[str] = []
        for path, source in self._sources.items():
            text = source
            for place in sorted((place for place in self._found if place.path == path), reverse=True):
                found = list(self._found[place].items())
                where, old = f"{path}:{place.line}: {place.quantity}", self._text(place)
                if all(noted.ok for _, noted in found):
                    continue
                if len(found) > 1:
                    numbers = ", ".join(f"{measured:,}" for measured, _ in found)
                    cases = ", ".join(dict.fromkeys(noted.case for _, noted in found if not noted.ok))
                    left.append(f"{where} {old} stays broken in {cases}: one literal for networks that cost {numbers}")
                    continue
                quote = old[0] if old[0] in "'\"" else ""
                new = f"{quote}{rewritten(_unquoted(old), found[0][0])}{quote}"
                text = text[: place.start] + new.encode() + text[place.end :]
                lines.append(f"{where} {old} -> {new}")
            if text != source:
                if Path(path).read_bytes() != source:
                    raise FileError(f"{path}: was changed while its tests ran; run them again")
                write_whole(Path(path).resolve(), text, "make it writable")
        return sorted(lines), sorted(left)

    def _call(self, frame: FrameType) -> ast.Call | None:
        """Find the call that `frame` is making in its source."""
        path = frame.f_code.co_filename
        if path not in self._sources:
            try:
                self._sources[path] = Path(path).read_bytes()
            except OSError:
                return None
        line, end_line, column, end_column = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        for node in ast.walk(ast.parse(self._sources[path])):
            if isinstance(node, ast.Call) and (line, end_line, column, end_column) == (
                node.lineno,
                node.end_lineno,
                node.col_offset,
                node.end_col_offset,
            ):
                return node
        return None

    def _place(self, path: str, node: ast.Constant, quantity: str) -> _Place:
        starts = [0]
        for line in self._sources[path].splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        return _Place(path, start, starts[node.end_lineno - 1] + node.end_col_offset, node.lineno, quantity)

    def _text(self, place: _Place) -> str:
        return self._sources[place.path][place.start : place.end].decode()


def _rewritable(finding: Finding, text: str) -> bool:
    """Say whether a budget stands in the source as it is read, and has a number to be replaced."""
    budget = finding.item.budget
    if not isinstance(budget, Budget) or not isinstance(finding.measured, int):
        return False
    same = parse_budget(_unquoted(text)) if rewritten(_unquoted(text), finding.measured) is not None else None
    return isinstance(same, Budget) and (same.least, same.most) == (budget.least, budget.most)


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] in "'\"" else text


def _literal(call: ast.Call, item: Item) -> ast.Constant | None:
    """Find the literal of a budget in a call."""
    given: dict[object, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    found = given.get("modules" if item.pattern else item.quantity)
    for key in (item.pattern, item.quantity) if item.pattern else ():
        if not isinstance(found, ast.Dict):
            return None
        names = [name.value if isinstance(name, ast.Constant) else None for name in found.keys]
        found = found.values[names.index(key)] if key in names else None
    return found if isinstance(found, ast.Constant) and type(found.value) in (int, str) else None
