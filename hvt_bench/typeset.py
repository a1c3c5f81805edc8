"""typeset: rows as a table to read: Markdown, LaTeX (booktabs), HTML; or CSV, exact.

Which columns, what a cell says and which is the best is the same in all of them (`lay_out`); each format then has one
function. Markdown names columns as the CSV does, LaTeX and HTML, which go to readers, by label and unit.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hvt_bench.analysis.beside import beside, has_beside, missing
from hvt_bench.analysis.pick import Baseline
from hvt_bench.analysis.trained import ACCURACIES, SPREADS, ended_badly, ended_well, varying_training
from hvt_bench.errors import RequestError, unknown
from hvt_bench.row import COLUMNS, Row, Value, csv_text

_BOOKKEEPING = frozenset(
    "point_id family ran_on device_name driver_version torch_version cuda_version cudnn_version cpu_name "
    "hvt_bench_version git_commit hostname started_at seconds latency_samples fvcore_flops activations seq_lens "
    "count_source arithmetic_intensity macs_per_s peak_macs_per_s peak_bytes_per_s mfu_pct parts_ms stage_parts_ms "
    "latency_ms_rounds resolution_ms reserved_memory_mib "
    "process_memory_mib clock_mhz_start clock_mhz_end fp32_precision cudnn_benchmark other_load_pct "
    "cpu_share_pct".split()
)
_SCALED = {"macs": (1e9, "G"), "train_macs": (1e9, "G"), "total_train_macs": (1e12, "T"), "params": (1e6, "M")}
_PERCENT_DIGITS = 2  # behind the point, of images: a test set has 10,000, or 50,000
_ALIKE = 100  # numbers of one column no further apart than so many times have the same digits after the point
_LARGE = 1e6  # beyond it, six significant digits and an exponent


@dataclass(frozen=True)
class Laid:
    """One column of a table, whatever its format."""

    name: str
    """As in the CSV."""
    baseline: str
    """The model that its ratios, or differences, are to; empty for the values themselves."""
    right: bool
    texts: tuple[str, ...]
    best: frozenset[int]
    """Places of the cells that are marked."""

    @property
    def is_ratio(self) -> bool:
        """Whether it holds values over those of the baseline; of percents it holds the difference, in points."""
        return bool(self.baseline) and self.name not in ACCURACIES

    @property
    def against(self) -> str:
        """What a heading adds: ` / deit_small`, ` - deit_small`; empty for the values themselves."""
        return f" {'/' if self.is_ratio else '-'} {self.baseline}" if self.baseline else ""


def typeset(
    rows: Sequence[Row], form: str = "markdown", columns: Sequence[str] = (), baseline: Baseline | None = None
) -> str:
    """Return a table of `rows` in the format `form`, of `columns`, or of those in which the rows differ.

    With a `baseline`, each column that has a best, and `params`, is followed by the ratio to it; of percents of
    images, by the difference in points, where both were trained alike. `top1` has its spread between seeds behind it,
    unless that has a column of its own. Raises RequestError where a format or a column is unknown.
    """
    if form not in FORMS:
        raise RequestError(f"--format: {unknown('format', form, FORMS)}")
    for name in columns:
        if name not in COLUMNS:
            raise RequestError(f"--columns: {unknown('column', name, COLUMNS)}")
    return FORMS[form](rows, columns or varying(rows), baseline)


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the columns in which `rows` have different values, apart from those that only keep the books.

    `model` is always among them, and so are `status` and `error` if a row is not `ok`.
    """
    always = {"model"} | ({"status", "error"} if any(row["status"] != "ok" for row in rows) else set())
    return [name for name in COLUMNS if name in always or (name not in _BOOKKEEPING and _varies(rows, name))]


def lay_out(rows: Sequence[Row], columns: Iterable[str], baseline: Baseline | None) -> list[Laid]:
    """Return the columns of a table of `rows`, with their texts."""
    names = list(columns)
    against = None if baseline is None else [baseline.of(row) for row in rows]
    laid = []
    for name in names:
        values = [row[name] for row in rows]
        right = COLUMNS[name].kind in (int, float) and not COLUMNS[name].many
        if name in SPREADS and SPREADS[name] not in names:
            texts = _with_spreads(values, [row[SPREADS[name]] for row in rows])
        else:
            texts = _texts(name, values)
        comparable = name not in ACCURACIES or not varying_training(rows)
        fit = [row[name] if name not in ACCURACIES or ended_well(row) else None for row in rows]
        laid.append(Laid(name, "", right, texts, _best(name, fit) if comparable else frozenset()))
        if baseline is not None and against is not None and has_beside(name):
            form = "+.2f" if name in ACCURACIES else ".2f"
            texts = tuple("" if found is None else f"{found:{form}}" for found in beside(name, rows, against))
            laid.append(Laid(name, baseline.name, True, texts, frozenset()))
    return laid


def _varies(rows: Sequence[Row], name: str) -> bool:
    return len({row[name] for row in rows} - {None}) > 1


def missing_ratios(rows: Sequence[Row], columns: Sequence[str], baseline: Baseline) -> list[str]:
    """Say how many values of a table of `columns` have nothing beside them, and why."""
    return missing(rows, columns, baseline)


def not_whole(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Say which rows of a table of `columns` have an accuracy that is not held against any."""
    shown = [name for name in columns if name in ACCURACIES]
    lost = ended_badly(rows) if shown else ""
    return [f"{lost}: {' and '.join(shown)} of the others alone, so never the best nor compared"] if lost else []


def _best(name: str, values: Sequence[Value]) -> frozenset[int]:
    """Places of the best value, where there is a best and not all are it."""
    known = [value for value in values if isinstance(value, int | float)]
    if not COLUMNS[name].best or len(set(known)) < 2:
        return frozenset()
    best = min(known) if COLUMNS[name].best == "low" else max(known)
    return frozenset(place for place, value in enumerate(values) if value == best)


# --- what a cell says -----------------------------------------------------------------------------------------------


def _texts(name: str, values: Sequence[Value]) -> tuple[str, ...]:
    if name in _SCALED:
        return tuple(_scaled(value / _SCALED[name][0]) if isinstance(value, int) else "" for value in values)
    if name in ACCURACIES or name in SPREADS.values():
        return tuple(
            f"{value:.{_PERCENT_DIGITS}f}" if isinstance(value, float) else csv_text(value) for value in values
        )
    digits = _common_digits([abs(value) for value in values if isinstance(value, float) and value])
    return tuple(_text(value, digits) for value in values)


def _with_spreads(values: Sequence[Value], spreads: Sequence[Value]) -> tuple[str, ...]:
    """Spell percents with their standard deviation between seeds: `84.55 ± 0.31`."""
    return tuple(
        " ± ".join(f"{number:.{_PERCENT_DIGITS}f}" for number in both if isinstance(number, int | float))
        for both in zip(values, spreads, strict=True)
    )


def _scaled(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.3g}"


def _common_digits(sizes: Sequence[float]) -> int | None:
    """Digits after the point that give the smallest number three that count; None where numbers are too far apart."""
    if not sizes or max(sizes) > _ALIKE * min(sizes) or max(sizes) >= _LARGE:
        return None
    return max(0, 2 - math.floor(math.log10(min(sizes))))


def _text(value: Value, digits: int | None) -> str:
    if not isinstance(value, float):
        return csv_text(value)
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:.3g}" if abs(value) < 1000 else csv_text(value)


def shown_unit(name: str) -> str:
    """Return the unit in which a table shows a column: `G` for MACs."""
    return _SCALED[name][1] if name in _SCALED else COLUMNS[name].unit


def _name_heading(column: Laid) -> str:
    """Name a column as the CSV does: its unit is in the name."""
    if column.baseline:
        return f"{column.name}{column.against}"
    return f"{column.name} ({shown_unit(column.name)})" if column.name in _SCALED else column.name


def _label_heading(column: Laid) -> str:
    label = COLUMNS[column.name].label
    if column.baseline:
        return f"{label}{column.against}"
    return f"{label} ({shown_unit(column.name)})" if shown_unit(column.name) else label


# --- formats --------------------------------------------------------------------------------------------------------


def _markdown(rows: Sequence[Row], columns: Sequence[str], baseline: Baseline | None) -> str:
    laid = lay_out(rows, columns, baseline)
    filled = []
    for column in laid:
        heading = _in_markdown(_name_heading(column))
        beside_bold = "  " if column.best else ""  # so that digits stand below digits in the source too
        cells = [
            f"**{_in_markdown(text)}**"
            if place in column.best
            else _in_markdown(f"x{text}" if column.is_ratio and text else text) + beside_bold
            for place, text in enumerate(column.texts)
        ]
        width = max(3, *map(len, [heading, *cells]))
        rule = "-" * (width - 1) + (":" if column.right else "-")
        adjust = str.rjust if column.right else str.ljust
        filled.append([adjust(heading, width), rule, *(adjust(cell, width) for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*filled, strict=True))


def _in_markdown(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _latex(rows: Sequence[Row], columns: Sequence[str], baseline: Baseline | None) -> str:
    laid = lay_out(rows, columns, baseline)
    body = [
        [
            f"\\textbf{{{_in_latex(text)}}}"
            if place in column.best
            else f"$\\times${text}"
            if column.is_ratio and text
            else _in_latex(text)
            for place, text in enumerate(column.texts)
        ]
        for column in laid
    ]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in laid)}}}",
        "\\toprule",
        " & ".join(_in_latex(_label_heading(column)) for column in laid) + r" \\",
        "\\midrule",
        *(" & ".join(line) + r" \\" for line in zip(*body, strict=True)),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _in_latex(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], " ".join(text.split()))


def _html(rows: Sequence[Row], columns: Sequence[str], baseline: Baseline | None) -> str:
    laid = lay_out(rows, columns, baseline)
    styles = [' class="number"' if column.right else "" for column in laid]
    body = [
        [
            f"<strong>{html.escape(text)}</strong>"
            if place in column.best
            else f"×{text}"
            if column.is_ratio and text
            else html.escape(text)
            for place, text in enumerate(column.texts)
        ]
        for column in laid
    ]
    heads = [
        f'<th scope="col"{style}>{html.escape(_label_heading(column))}</th>'
        for column, style in zip(laid, styles, strict=True)
    ]
    lines = ["<style>.number { text-align: right; font-variant-numeric: tabular-nums }</style>"]
    lines += ["<table>", "<thead>", f"<tr>{''.join(heads)}</tr>", "</thead>", "<tbody>"]
    for line in zip(*body, strict=True):
        cells = (f"<td{style}>{cell}</td>" for cell, style in zip(line, styles, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def _csv(rows: Sequence[Row], columns: Sequence[str], baseline: Baseline | None) -> str:
    """Every digit of the CSV; ratios in columns of their own, `macs_ratio`, and differences, `top1_difference`."""
    against = None if baseline is None else [baseline.of(row) for row in rows]
    header: list[str] = []
    filled: list[list[str]] = []
    for name in columns:
        values = [row[name] for row in rows]
        header.append(name)
        filled.append([csv_text(value) for value in values])
        if against is not None and has_beside(name):
            header.append(f"{name}_{'difference' if name in ACCURACIES else 'ratio'}")
            filled.append([csv_text(found) for found in beside(name, rows, against)])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*filled, strict=True))
    return text.getvalue().rstrip("\n")


FORMS: dict[str, Callable[[Sequence[Row], Sequence[str], Baseline | None], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "html": _html,
    "csv": _csv,
}
