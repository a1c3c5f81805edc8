"""describe: a reproduction as tables for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.reproduce import Reproduction, counted_up, reproduce
from hvt_bench.reproduce.accuracy import Joined
from hvt_bench.reproduce.cells import UNITS, Cell, Follow, NotCompared
from hvt_bench.reproduce.claims import Computed
from hvt_bench.reproduce.conventions import CONVENTIONS
from hvt_bench.row import csv_text

_CELLS = {
    "model": "left", "network": "left", "px": "right", "printed": "right", "ours": "right", "whole network": "right",
    "convention": "left", "off %": "right", "verdict": "left",
}  # fmt: skip
_REST = {"model": "left", "variant": "left", "params": "right", "FLOPs": "right", "top-1": "right", "why": "left"}
_JOINED = {"model": "left", "variant": "left", "data": "left", "printed": "right", "yours": "right", "diff": "right"}
_NAMES = {"params": "params", "flops": "FLOPs"}


def describe(
    system: str | None = None,
    form: str = "table",
    everything: bool = False,
    accuracy: Path | None = None,
    follow: Follow = iter,
) -> tuple[str, int]:
    """Return the text of `hvt-bench reproduce`, and how many cells differ without explanation.

    `form` is `table`, `markdown`, `csv` or `json`. With `everything`, the rows that are not compared are listed too,
    each with its reason. See `reproduce` for the others. Raises RequestError, FileError.
    """
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    found = reproduce(system, accuracy, follow)
    return _FORMS[form](found, everything), found.unexplained


# --- for people -----------------------------------------------------------------------------------------------------


def _as_table(found: Reproduction, everything: bool) -> str:
    return _sections(found, everything, "simple", "--- {} ---")


def _as_markdown(found: Reproduction, everything: bool) -> str:
    return _sections(found, everything, "github", "## {}")


def _sections(found: Reproduction, everything: bool, style: str, heading: str) -> str:
    texts = []
    for key in found.systems:
        cells = [cell for cell in found.cells if cell.row.key == key]
        rest = [row for row in found.not_compared if row.row.key == key]
        parts = [heading.format(key)]
        if cells:
            parts.append(_table(map(_cell_line, cells), _CELLS, style))
        remarks = [f"- {remark}" for remark in _remarks(cells)]
        remarks += [line for claim in found.claims if claim.claim.key == key for line in _claim_lines(claim)]
        parts += ["\n".join(remarks)] if remarks else []
        if everything and rest:
            parts += ["not compared:", _table(map(_rest_line, rest), _REST, style)]
        joined = [pair for pair in found.joined if pair.row.key == key]
        if joined:
            parts += ["top-1 in %:", _table(map(_joined_line, joined), _JOINED, style)]
        texts.append("\n\n".join([*parts, f"{key}: {_sum(cells, rest)}"]))
    end = [f"not joined: {sentence}" for sentence in found.not_joined]
    if len(found.systems) > 1:
        end.append(f"all: {_sum(found.cells, found.not_compared)}")
    hidden = found.not_compared and not everything
    end += ["--all lists what is not compared, and why"] if hidden else []
    return "\n\n".join([*texts, "\n".join(end)] if end else texts)


def _sum(cells: Sequence[Cell], rest: Sequence[NotCompared]) -> str:
    return f"{counted_up(cells)}; {plural(len(rest), 'row')} not compared"


def _table(lines: Iterable[list[str]], columns: dict[str, str], style: str) -> str:
    if style == "github":
        lines = ([text.replace("|", r"\|") for text in line] for line in lines)
    return tabulate(list(lines), list(columns), tablefmt=style, colalign=list(columns.values()), disable_numparse=True)


def _cell_line(cell: Cell) -> list[str]:
    row = cell.row
    ours = f"{cell.ours:,}" if cell.least == cell.ours else f"{cell.least:,} to {cell.ours:,}"
    return [
        row.model,
        row.network,
        row.resolution,
        f"{cell.printed} {UNITS[cell.quantity][1]} {_NAMES[cell.quantity]}",
        ours,
        "" if cell.whole == cell.ours else f"{cell.whole:,}",
        CONVENTIONS[row.convention].label,
        f"{cell.difference_pct:+.2f}",
        "DIFFERS" if cell.unexplained else cell.verdict,
    ]


def _remarks(cells: Sequence[Cell]) -> list[str]:
    """Say why cells differ, and where another image size than the printed one was counted; each sentence once."""
    remarks = [
        f"{cell.row.model}, {cell.printed} {UNITS[cell.quantity][1]} {_NAMES[cell.quantity]} "
        f"({cell.row.variant or cell.row.source}): {cell.explanation or 'differs, and nobody knows why'}"
        for cell in cells
        if cell.verdict == "differs"
    ]
    for cell in cells:
        size = cell.img_size
        if cell.row.resolution not in ("", str(size)):
            remarks.append(
                f"{cell.row.model} at {cell.row.resolution} px: its patches do not divide the image, and the source "
                f"drops what is left over; counted at {size} px"
            )
    return list(dict.fromkeys(remarks))


def _claim_lines(computed: Computed) -> list[str]:
    claim = computed.claim
    lines = [f'- claim: "{claim.text}" ({claim.source}); {claim.how}']
    for finding in computed.findings:
        lines.append(f"  - {'holds' if finding.holds else 'does not hold'}: {finding.convention}: {finding.found}")
    return lines


def _rest_line(rest: NotCompared) -> list[str]:
    row = rest.row
    return [row.model, row.variant, row.params_m, row.flops_g, row.top1, rest.reason]


def _joined_line(pair: Joined) -> list[str]:
    row = pair.row
    return [row.model, row.variant, row.dataset, row.top1, f"{pair.own:g}", f"{pair.difference:+.2f}"]


# --- for programs ---------------------------------------------------------------------------------------------------

_OF_ROW = (
    "model", "variant", "dataset", "resolution", "network", "convention", "top1", "top5", "throughput",
    "source", "location",
)  # fmt: skip
_OF_CELL = ("quantity", "printed", "ours", "least", "whole", "difference_pct", "verdict", "explanation")
_FIELDS = ("system", *_OF_CELL, "not_compared", "own_top1", *_OF_ROW)


def _records(found: Reproduction, everything: bool) -> list[dict[str, Any]]:
    """Return a record for each cell, and one for each row that is listed without a cell."""
    own = {pair.row: pair.own for pair in found.joined}
    records = []
    for cell in found.cells:
        records.append({name: getattr(cell, name) for name in _OF_CELL} | _of_row(cell, own))
    for rest in found.not_compared:
        if everything or rest.row in own:
            records.append(_of_row(rest, own) | {"not_compared": rest.reason})
    return records


def _of_row(found: Cell | NotCompared, own: dict[Any, float]) -> dict[str, Any]:
    row = found.row
    return {"system": row.key, "own_top1": own.get(row)} | {name: getattr(row, name) for name in _OF_ROW}


def _as_csv(found: Reproduction, everything: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for record in _records(found, everything):
        writer.writerow({name: csv_text(value) for name, value in record.items()})
    return text.getvalue().rstrip("\n")


def _as_json(found: Reproduction, everything: bool) -> str:
    claims = [
        {
            "system": computed.claim.key,
            "claim": computed.claim.text,
            "source": computed.claim.source,
            "how": computed.claim.how,
            "findings": [finding._asdict() for finding in computed.findings],
        }
        for computed in found.claims
    ]
    conventions = {name: convention.doc for name, convention in CONVENTIONS.items()}
    said = {
        "conventions": conventions,
        "cells": _records(found, everything),
        "claims": claims,
        "not_joined": found.not_joined,
        "summary": counted_up(found.cells),
    }
    return json.dumps(said, indent=2, ensure_ascii=False)


_FORMS: dict[str, Callable[[Reproduction, bool], str]] = {
    "table": _as_table,
    "markdown": _as_markdown,
    "csv": _as_csv,
    "json": _as_json,
}
