"""The page: what stands in each of its sections, laid out by the templates beside this file."""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hvt_bench import __version__
from hvt_bench.analysis import render_fits
from hvt_bench.analysis.fit import Fits, fit_rows
from hvt_bench.analysis.judge import CONFIDENCE
from hvt_bench.analysis.savings import usual_baseline
from hvt_bench.analysis.series import describe, varying_network, varying_protocol
from hvt_bench.errors import FileError, RequestError
from hvt_bench.plots import FIGURES, render_figure
from hvt_bench.plots.asked import Asked
from hvt_bench.report.captions import caption
from hvt_bench.report.findings import find
from hvt_bench.report.fronts import fronts
from hvt_bench.report.hints import bounds, hints
from hvt_bench.report.vector import inline_svg
from hvt_bench.row import COLUMNS, Row, csv_text
from hvt_bench.typeset import lay_out, shown_unit, varying
from hvt_bench.verdicts import summary

_MADE_ON = (
    "device_name", "cpu_name", "driver_version", "torch_version", "cuda_version", "cudnn_version", "hvt_bench_version",
    "git_commit", "hostname", "device", "num_threads", "dtype", "fp32_precision", "batch_size", "max_batch", "mode",
    "attention", "compile", "checkpointing", "rounds", "warmup_s", "warmup_passes", "min_time_s", "max_time_s",
    "stable_pct", "data", "recipe", "epochs_done",
)  # fmt: skip
"""What the rows were measured on, with and by."""

_SHOWN = 8  # values of one column of these


@dataclass(frozen=True)
class Figure:
    """One figure, as markup."""

    name: str
    doc: str
    svg: Markup
    caption: str
    """What this one shows, in a sentence; empty where `doc` says enough."""


def make_page(rows: Sequence[Row], source: str, sha256: str, baseline: str = "") -> str:
    """Return the page about `rows` of the CSV named `source`; all text of theirs is escaped.

    Raises FileError where there are no rows, RequestError where the baseline is in none.
    """
    if not rows:
        raise FileError(f"{source} has no rows; `hvt-bench sweep` writes them")
    fits = _fits(rows)
    held_against = baseline or (usual_baseline(rows) if len(_distinct(rows, "model")) > 1 else "")
    figures, not_drawn = _figures(rows, Asked(baseline=baseline))
    told = (*varying_network(rows), *varying_protocol(rows))
    templates = _templates()
    script, style = (_source(templates, name) for name in ("page.js", "style.css"))
    return templates.get_template("page.html").render(
        title=", ".join(_distinct(rows, "sweep")) or source,
        source=source,
        sha256=sha256,
        version=__version__,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        statuses=Counter(str(row["status"]) for row in rows),
        begun=min(_distinct(rows, "started_at"), default=""),
        minutes=sum(float(str(row["seconds"])) for row in rows if row["seconds"] is not None) / 60,
        findings=find(rows, fits, held_against),
        confidence_pct=f"{100 * CONFIDENCE:g}",
        baseline=held_against,
        trained=any(row["top1"] is not None for row in rows),
        made_on=list(_made_on(rows)),
        plan=list(_plan(rows)),
        figures=figures,
        not_drawn=not_drawn,
        **_points(rows),
        columns=list(_columns(rows)),
        fit_headers=render_fits.HEADERS,
        fit_lines=[render_fits.cells(fit) for fit in fits.fits] if fits else [],
        fit_remarks=render_fits.remarks(fits) if fits else [],
        fronts=fronts(rows, told),
        lost=[(row, _place(row, told)) for row in rows if row["status"] != "ok"],
        doubts=summary(rows),
        commits=_distinct(rows, "git_commit"),
        versions=_distinct(rows, "hvt_bench_version"),
        torch_versions=_distinct(rows, "torch_version"),
    )


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("hvt_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(templates: Environment, name: str) -> Markup:
    """Return a file of ours that goes into the page as it is."""
    assert templates.loader is not None
    text, _, _ = templates.loader.get_source(templates, name)
    return Markup(text)


def _fits(rows: Sequence[Row]) -> Fits | None:
    try:
        return fit_rows(rows)
    except RequestError:  # no axis, or one point on each
        return None


def _distinct(rows: Sequence[Row], column: str) -> list[str]:
    return [csv_text(value) for value in dict.fromkeys(row[column] for row in rows) if value is not None]


# --- what was run, and on what --------------------------------------------------------------------------------------


def _made_on(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield the name of each column that says how rows were measured, and its values, with how many rows have each."""
    for name in _MADE_ON:
        found = Counter(row[name] for row in rows if row[name] is not None)
        if found:
            unit = f" {COLUMNS[name].unit}" if COLUMNS[name].unit else ""
            spelt = [
                f"{csv_text(value)}{unit}" + f" ({number:,} rows)" * (len(found) > 1) for value, number in found.items()
            ]
            more = f" and {len(spelt) - _SHOWN:,} more" if len(spelt) > _SHOWN else ""
            yield name, ", ".join(spelt[:_SHOWN]) + more


def _plan(rows: Sequence[Row]) -> Iterator[tuple[str, str, int, dict[str, str]]]:
    """Yield each model, its family, its number of rows, and the values of each axis and of each field of a grid."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(str(row["model"]), []).append(row)
    for model, of_model in by_model.items():
        axes = {}
        for axis in dict.fromkeys(str(row["axis"]) for row in of_model if row["axis"] in COLUMNS):
            on_axis = [row for row in of_model if row["axis"] in (axis, None) and row[axis] is not None]
            values: list[Any] = list(dict.fromkeys(row[axis] for row in on_axis))
            axes[axis] = ", ".join(csv_text(value) for value in sorted(values))
        for name in (*varying_network(of_model), *varying_protocol(of_model)):
            taken: set[Any] = {row[name] for row in of_model if row["axis"] != name} - {None}
            if name not in axes:
                axes[name] = ", ".join(csv_text(value) for value in sorted(taken))
        yield model, str(of_model[0]["family"]), len(of_model), axes


def _place(row: Row, told: Sequence[str]) -> str:
    """Say where a row lies: `depth 6, batch 64`."""
    axis = [str(row["axis"])] if row["axis"] in COLUMNS else []
    return ", ".join(describe(row, dict.fromkeys([*axis, *told]))) or "centre"


# --- figures --------------------------------------------------------------------------------------------------------


def _figures(rows: Sequence[Row], asked: Asked) -> tuple[list[Figure], dict[str, str]]:
    """Draw what the rows can fill; return that, and why the others are not drawn."""
    lacking = {name: figure.lacks(rows, asked) for name, figure in FIGURES.items()}
    drawn = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # text stays text: the browser has a font
        for name, figure in FIGURES.items():
            if not lacking[name]:
                svg = inline_svg(render_figure(name, rows, ["svg"], asked)["svg"], name, figure.doc)
                drawn.append(Figure(name, figure.doc, Markup(svg), caption(name, rows)))
    return drawn, {name: why for name, why in lacking.items() if why}


# --- the table of points --------------------------------------------------------------------------------------------


def _points(rows: Sequence[Row]) -> Mapping[str, Any]:
    """Return the columns of the table, its lines, and what it can be filtered by."""
    names = [*varying(rows), "point_id"]
    laid = lay_out(rows, names, None)
    cells = []
    for column in laid:
        exact = [csv_text(row[column.name]) for row in rows] if column.right else column.texts
        values = ["" if raw == text else raw for raw, text in zip(exact, column.texts, strict=True)]
        best = [place in column.best for place in range(len(rows))]
        cells.append(zip(column.texts, values, best, repeat(column.right), strict=False))
    return {
        "heads": [
            (column.name, COLUMNS[column.name].label, shown_unit(column.name), column.right, COLUMNS[column.name].many)
            for column in laid
        ],
        "hints": list(hints(rows, names)),
        "placeholder": " ".join([_distinct(rows, "model")[0], *bounds(rows, names)[:1]]),
        "lines": zip(*cells, strict=True),  # of cells: text, value to sort and filter by if it is another, best, right
        "choices": {name: values for name in ("model", "axis", "status") if len(values := _distinct(rows, name)) > 1},
    }


def _columns(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Yield each column that has values: its name, unit, what it means, and its value where all rows share it."""
    for name, column in COLUMNS.items():
        values = {row[name] for row in rows}
        if values != {None}:
            yield name, column.unit, column.doc, csv_text(values.pop()) if len(values) == 1 else ""
