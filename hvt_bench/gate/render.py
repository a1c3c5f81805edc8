"""What the gate says: on a terminal, in a pull request, as annotations of GitHub, as JUnit, as JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.gate.changes import COSTS, Change, changes, modules_of
from hvt_bench.gate.check import Finding, Verdict, label
from hvt_bench.gate.forms import Measured, percent

MOST_IN_TABLE = 50  # modules of one model in a folded table


@dataclass(frozen=True)
class Report:
    """All verdicts of one check."""

    verdicts: Sequence[Verdict]
    path: Path | None = None
    """The budgets file; None where another revision is the budget."""
    base: str | None = None
    """The revision that `before` is of; None: it was recorded beside the budgets file."""

    @property
    def ok(self) -> bool:
        """Whether every budget of every model holds."""
        return all(verdict.ok for verdict in self.verdicts)

    @property
    def summary(self) -> str:
        """Say how many models kept their budgets."""
        new = sum(verdict.ok and verdict.new for verdict in self.verdicts)
        kept = sum(verdict.ok for verdict in self.verdicts) - new
        what = "kept their budgets" if self.path is not None else f"cost what they cost at {self.base}"
        return f"{kept} of {plural(len(self.verdicts), 'model')} {what}{f'; {new} new since' if new else ''}"


def render(report: Report, form: str = "text") -> str:
    """Return a report as `form`, a key of FORMATS. Raises RequestError where there is no such form."""
    check_format(form)
    return FORMATS[form](report)


def check_format(form: str) -> None:
    """Raise RequestError where there is no such form."""
    if form not in FORMATS:
        raise RequestError(f"--format: {unknown('format', form, FORMATS)}")


def told(finding: Finding) -> str:
    """Say of one budget what was measured, and, if it is broken, by how much."""
    name = label(finding)
    if finding.problem is not None:
        return f"{name}: {finding.problem}" if finding.item.quantity not in finding.problem else finding.problem
    if finding.ok:
        return f"{name} {_number(finding.measured)}"
    assert finding.budget is not None
    assert finding.measured is not None
    off = finding.budget.difference(finding.measured)
    return f"{name} {_number(finding.measured)}, budget {finding.budget.describe()}: {off}"


def _number(value: Measured | None) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


# --- a terminal -----------------------------------------------------------------------------------------------------


def _text(report: Report) -> str:
    """Return one line a model, the broken ones last and with the modules that changed, and a line that sums up."""
    width = max(len(verdict.model) for verdict in report.verdicts)
    lines = []
    for verdict in sorted(report.verdicts, key=lambda verdict: not verdict.ok):
        mark = "BROKEN" if not verdict.ok else "new   " if verdict.new else "ok    "
        found = [verdict.error] if verdict.error else list(map(told, verdict.broken))
        found += [told(finding) for finding in verdict.findings if finding.ok]
        found += [verdict.note] if verdict.note else []
        lines.append(f"{mark}  {verdict.model:<{width}}  {'; '.join(found)}")
        lines += [f"        {change.describe()}" for change in verdict.changes()]
    return "\n".join([*lines, report.summary])


# --- a comment of a pull request ------------------------------------------------------------------------------------


def _markdown(report: Report) -> str:
    """Return before, after and change of each budget, and a folded table of modules for each model that changed."""
    broken = sum(not verdict.ok for verdict in report.verdicts)
    lines = [f"### FLOPs budgets: {plural(broken, 'model')} broken" if broken else "### FLOPs budgets: all kept", ""]
    header = ["", "model", "", "budget", f"at {report.base}" if report.base else "recorded", "now", "change"]
    rows = [row for verdict in sorted(report.verdicts, key=lambda v: v.ok) for row in _rows(verdict)]
    shown, folded = ([row for row in rows if bool(row[0] or row[-1]) is changed] for changed in (True, False))
    if shown:
        lines += [*_table(header, shown), ""]
    if folded:
        lines += ["<details><summary>unchanged</summary>", "", *_table(header, folded), "", "</details>", ""]
    for verdict in report.verdicts:
        lines += _modules(verdict)
    return "\n".join([*lines, report.summary])


def _rows(verdict: Verdict) -> list[list[str]]:
    name = f"`{verdict.model}`"
    if verdict.error is not None:
        return [["❌", name, verdict.error, "", "", "", ""]]
    rows = [["", name, verdict.note, "", "", "", ""]] if verdict.note else []
    for finding in verdict.findings:
        mark, budget = "" if finding.ok else "❌", "" if finding.budget is None else finding.budget.describe()
        if finding.problem is not None:
            rows.append([mark, name, f"{label(finding)}: {finding.problem}", budget, "", "", ""])
            continue
        quantity, change = finding.item.quantity, ""
        before = None
        if verdict.before is not None and quantity in COSTS and not finding.item.pattern and "" in verdict.before:
            before = verdict.before[""][COSTS.index(quantity)]
        if before is not None and isinstance(finding.measured, int) and finding.measured != before:
            change = f"{finding.measured - before:+,} ({percent(finding.measured, before)})"
        elif before is None and not finding.ok and finding.budget is not None and finding.measured is not None:
            change = finding.budget.difference(finding.measured)
        rows.append([mark, name, label(finding), budget, _number(before), _number(finding.measured), change])
    return rows


def _modules(verdict: Verdict) -> list[str]:
    """Return the folded table of what changed in a model."""
    if verdict.before is None or verdict.counted is None:
        return []
    after = modules_of(verdict.counted)
    found = [change for quantity in COSTS for change in changes(verdict.before, after, quantity)]
    if not found:
        return []
    rows = [
        [
            f"`{change.path or 'the network'}`" + (" (its own)" if change.own else ""),
            str(change.modules) if change.modules > 1 else "",
            change.quantity,
            _number(change.before),
            _number(change.after),
            f"{change.difference:+,}",
        ]
        for change in found[:MOST_IN_TABLE]
    ]
    header = ["module", "times", "", "before", "now", "change in all"]
    more = [f"and {len(found) - MOST_IN_TABLE} more", ""] if len(found) > MOST_IN_TABLE else []
    title = f"<details><summary>{verdict.model}: modules that changed</summary>"
    return [title, "", *_table(header, rows), "", *more, "</details>", ""]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    right = {"budget", "now", "change", "before", "times", "change in all"}
    marks = ["---:" if name in right or name.startswith(("at ", "recorded")) else "---" for name in header]
    lines = [header, marks, *rows]
    return [f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


# --- GitHub's annotations -------------------------------------------------------------------------------------------


def _github(report: Report) -> str:
    """Return a workflow command for each broken budget, which GitHub shows on its line of the budgets file."""
    lines = []
    for verdict in report.verdicts:
        if verdict.error is not None:
            lines.append(_annotation(report, verdict, verdict.entry.line, verdict.error))
        for finding in verdict.broken:
            moved = [change.describe() for change in verdict.changes(finding.item.quantity)]
            lines.append(_annotation(report, verdict, finding.item.line, "\n".join([told(finding), *moved])))
        if verdict.ok and verdict.new:
            lines.append(
                _command("warning", f"{verdict.model} is new, and held to nothing", None, None, str(verdict.note))
            )
    return "\n".join([*lines, report.summary])


def _annotation(report: Report, verdict: Verdict, line: int | None, message: str) -> str:
    """Return one command, escaped as actions/toolkit does (packages/core/src/command.ts)."""
    return _command("error", f"{verdict.model} left its FLOPs budget", report.path, line, message)


def _command(kind: str, title: str, path: Path | None, line: int | None, message: str) -> str:
    where = {} if path is None else {"file": _from_the_top(path), "line": str(line or 1)}
    text = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in {**where, "title": title}.items())
    return f"::{kind} {text}::{_escaped(message)}"


def _from_the_top(path: Path) -> str:
    """Return a path as GitHub shows it: from the top of its repository, else of the workspace of the workflow."""
    whole = path.resolve()
    tops = [folder for folder in whole.parents if (folder / ".git").exists()][:1]
    tops += [Path(text).resolve() for text in [os.environ.get("GITHUB_WORKSPACE")] if text]
    top = next((top for top in tops if whole.is_relative_to(top)), None)
    return (path if top is None else whole.relative_to(top)).as_posix()


def _escaped(text: str, more: str = "") -> str:
    for mark in f"%\r\n{more}":
        text = text.replace(mark, f"%{ord(mark):02X}")
    return text


# --- programs -------------------------------------------------------------------------------------------------------


def _junit(report: Report) -> str:
    """Return a test case for each model: `failure` is a broken budget, `error` one that could not be counted."""
    verdicts = report.verdicts
    errors = sum(verdict.error is not None for verdict in verdicts)
    numbers = {
        "tests": str(len(verdicts)),
        "failures": str(sum(not verdict.ok for verdict in verdicts) - errors),
        "errors": str(errors),
    }
    root = ElementTree.Element("testsuites", {"name": "hvt-bench check", **numbers})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _where(report), **numbers})
    for verdict in verdicts:
        attributes = {"classname": _where(report), "name": _printable(verdict.model)}
        if report.path is not None:
            attributes |= {"file": str(report.path), "line": str(verdict.entry.line or 1)}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if verdict.note:
            ElementTree.SubElement(case, "system-out").text = _printable(verdict.note)
        if verdict.ok:
            continue
        message = verdict.error or "; ".join(map(told, verdict.broken))
        problem = ElementTree.SubElement(case, "failure" if verdict.error is None else "error")
        problem.set("message", _printable(message))
        problem.text = _printable("\n".join([message, *(change.describe() for change in verdict.changes())]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _where(report: Report) -> str:
    return str(report.path) if report.path is not None else f"against {report.base}"


def _printable(text: str) -> str:
    """Leave out what XML 1.0 cannot hold, however it is escaped."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def _json(report: Report) -> str:
    return json.dumps(
        {
            "ok": report.ok,
            "budgets": None if report.path is None else str(report.path),
            "base": report.base,
            "models": [_told_to_programs(verdict) for verdict in report.verdicts],
        },
        indent=2,
    )


def _told_to_programs(verdict: Verdict) -> dict[str, Any]:
    return {
        "model": verdict.model,
        "ok": verdict.ok,
        "new": verdict.new,
        "error": verdict.error,
        "note": verdict.note,
        "line": verdict.entry.line,
        "findings": [
            {
                "quantity": finding.item.quantity,
                "pattern": finding.item.pattern or None,
                "modules": list(finding.modules),
                "line": finding.item.line,
                "ok": finding.ok,
                "measured": finding.measured,
                "budget": None if finding.budget is None else finding.budget.describe(),
                "problem": finding.problem,
            }
            for finding in verdict.findings
        ],
        "changes": [_change(change) for change in verdict.changes()],
    }


def _change(change: Change) -> dict[str, Any]:
    return {**asdict(change), "difference": change.difference}


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": _text,
    "markdown": _markdown,
    "github": _github,
    "junit": _junit,
    "json": _json,
}
