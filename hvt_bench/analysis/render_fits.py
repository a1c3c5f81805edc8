"""render_fits: fits as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hvt_bench.analysis.fit import Fit, Fits, plain
from hvt_bench.analysis.power import CONFIDENCE
from hvt_bench.errors import RequestError, unknown
from hvt_bench.row import csv_text

HEADERS = ("line", "axis", "metric", "at", "exponent", "interval", "off", "local exponents")
_RIGHT = ("exponent", "off")


def render_fits(found: Fits, form: str = "table") -> str:
    """Return fits as text; `form` is `table`, `csv` or `json`. Raises RequestError for another."""
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    return _FORMS[form](found)


def _as_table(found: Fits) -> str:
    lines = [cells(fit) for fit in found.fits]
    return "\n".join([*_aligned(lines), "", *remarks(found)])


def cells(fit: Fit) -> list[str]:
    """Return what a table says of a fit, under HEADERS."""
    return [
        fit.line,
        fit.axis,
        fit.metric,
        " ".join(f"{place:g}" for place in fit.x),
        _spelt(fit.exponent),
        "" if fit.low is None or fit.high is None else f"{_spelt(fit.low)} to {_spelt(fit.high)}",
        f"{fit.off_pct:.1f} %",
        " ".join(map(_spelt, fit.local)),
    ]


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table as tabulate's `simple` would; it takes five times as long, and there may be 10,000."""
    widths = [max(map(len, column)) for column in zip(HEADERS, *lines, strict=True)]
    widths = [max(width, len(header) + 2) for width, header in zip(widths, HEADERS, strict=True)]
    form = "  ".join(
        f"{{:{'>' if name in _RIGHT else '<'}{width}}}" for name, width in zip(HEADERS, widths, strict=True)
    )
    rule = ["-" * width for width in widths]
    for line in (HEADERS, rule, *lines):
        yield form.format(*line).rstrip()


def _spelt(exponent: float) -> str:
    return f"{round(exponent, 2) + 0.0:.2f}"  # and no -0.00


def remarks(found: Fits) -> list[str]:
    """Say what the columns mean, why an interval is missing, and what is not fitted."""
    said = [
        f"slope changes: {_name(fit)}: {fit.bend.below:.2f} up to {plain(fit.bend.at)}, {fit.bend.above:.2f} beyond "
        f"(AICc lower by {fit.bend.gain:.3g})"
        for fit in found.fits
        if fit.bend
    ]
    for what, reasons in (
        ("no interval", Counter((fit.metric, fit.no_interval) for fit in found.fits if fit.no_interval)),
        ("no change of slope looked for", Counter((fit.metric, fit.no_bend) for fit in found.fits if fit.no_bend)),
    ):
        by_reason: dict[str, list[str]] = {}
        for metric, reason in reasons:
            by_reason.setdefault(reason, []).append(metric)
        said += [f"{what}: {', '.join(metrics)}: {reason}" for reason, metrics in by_reason.items()]
    left_out: dict[tuple[str, str], list[str]] = {}
    for fit in found.fits:
        if fit.left_out:
            left_out.setdefault((f"{fit.line}, {fit.axis}", fit.left_out), []).append(fit.metric)
    lines: dict[str, list[str]] = {}
    for (line, why), metrics in left_out.items():
        lines.setdefault(why, []).append(f"{line}, {', '.join(metrics)}")
    said += [f"left out: {'; '.join(of)}: {why}" for why, of in lines.items()]
    said += [f"not fitted: {reason}" for reason in found.not_fitted]
    said += [f"held: {held}" for held in found.held]
    said.append("exponent   least-squares slope of log metric over log axis; local: between neighbours")
    said.append("off        how far the furthest point is from that power law")
    if any(fit.low is not None for fit in found.fits):
        said.append(f"interval   {100 * CONFIDENCE:g} %, from how far the rounds of each point are apart")
    return said


def _name(fit: Fit) -> str:
    return f"{fit.line}, {fit.axis}, {fit.metric}"


# --- for programs ---------------------------------------------------------------------------------------------------


def _record(fit: Fit) -> dict[str, Any]:
    values = asdict(fit)
    bend = values.pop("bend") or {}
    return values | {f"bend_{name}": bend.get(name) for name in ("at", "below", "above", "gain")}


def _as_csv(found: Fits) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = [_record(fit) for fit in found.fits]
    writer.writerow(records[0])
    writer.writerows(map(csv_text, record.values()) for record in records)
    return text.getvalue().rstrip("\n")


def _as_json(found: Fits) -> str:
    fits = [_record(fit) for fit in found.fits]
    held = {"held": found.held} if found.held else {}
    return json.dumps({"confidence": CONFIDENCE, "not_fitted": found.not_fitted, **held, "fits": fits}, indent=2)


_FORMS: dict[str, Callable[[Fits], str]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}
