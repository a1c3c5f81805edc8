"""render: a comparison as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from typing import get_args

from tabulate import tabulate

from hvt_bench.analysis.compare import Compared, Comparison, NotCompared
from hvt_bench.analysis.judge import Verdict
from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.row import Value, csv_text

EXPECTED_TO_SAY = 0.5  # verdicts by chance, from which on a reader is told of them
JOINT_ERROR = 0.05  # the chance that any point at all is called changed, in the advice

_HEADERS = ("model", "varies", "old ms", "new ms", "ratio", "interval", "verdict", "smallest change")


def render(comparison: Comparison, form: str = "table") -> str:
    """Return a comparison as text; `form` is `table`, `csv` or `json`. Raises RequestError for another."""
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    return _FORMS[form](comparison)


def _as_table(comparison: Comparison) -> str:
    lines = [
        [
            point.model,
            point.varies,
            *(f"{ms:.4g}" for ms in (point.found.old_ms, point.found.new_ms)),
            _ratio(point.found.ratio),
            _interval(point),
            point.found.verdict,
            "" if point.found.smallest_change_pct is None else f"{point.found.smallest_change_pct:.2g} %",
        ]
        for point in comparison.compared
    ]
    aligned = ["left", "left", "right", "right", "right", "left", "left", "right"]
    table = tabulate(lines, _HEADERS, tablefmt="simple", colalign=aligned, disable_numparse=True)
    return "\n".join([table, "", *_remarks(comparison), _summary(comparison)])


def _ratio(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 1000 else f"{ratio:.3g}"


def _interval(point: Compared) -> str:
    low, high = point.found.low, point.found.high
    return "" if low is None or high is None else f"{_ratio(low)} to {_ratio(high)}"


def _remarks(comparison: Comparison) -> list[str]:
    remarks = [f"UNSURE: {_name(point)}: {point.reason}" for point in comparison.compared if point.reason]
    remarks += [f"not compared: {_name(point)}: {point.reason}" for point in comparison.not_compared]
    remarks += [f"compared by force: {difference}" for difference in comparison.forced]
    remarks += [f"note: {difference}" for difference in comparison.noted]
    for side in ("old", "new"):
        doubts = Counter(doubt for point in comparison.compared for doubt in getattr(point, f"{side}_warnings"))
        told = ", ".join(f"{doubt} at {plural(number, 'point')}" for doubt, number in doubts.most_common())
        remarks += [f"doubtful: {side} rounds: {told}"] if doubts else []
    judged = sum(point.found.low is not None for point in comparison.compared)
    expected = (1 - comparison.confidence) * judged
    if expected >= EXPECTED_TO_SAY:
        remarks.append(
            f"by chance: had nothing changed, up to {expected:.2g} of {plural(judged, 'point')} would be called FASTER "
            f"or SLOWER; with --confidence {1 - JOINT_ERROR / judged:.6g}, any at all in one comparison of "
            f"{1 / JOINT_ERROR:.0f}"
        )
    return remarks


def _name(point: Compared | NotCompared) -> str:
    return f"{point.model} {point.varies}".strip()


def _summary(comparison: Comparison) -> str:
    counts = comparison.counts()
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict))
    return (
        f"{plural(len(comparison.compared), 'point')} compared: {verdicts}; {len(comparison.not_compared)} not; "
        f"interval {100 * comparison.confidence:g} %, margin {comparison.margin_pct:g} %"
    )


# --- for programs ---------------------------------------------------------------------------------------------------

_FIELDS = (
    "model", "varies", "verdict", "reason", "ratio", "low", "high", "smallest_change_pct",
    "old_ms", "new_ms", "old_rounds", "new_rounds", "old_warnings", "new_warnings",
)  # fmt: skip


def _record(point: Compared | NotCompared) -> dict[str, Value]:
    """Return one point by _FIELDS; what has no verdict was not compared."""
    values = {**vars(point), **(vars(point.found) if isinstance(point, Compared) else {})}
    return {name: values.get(name) for name in _FIELDS}


def _as_csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, "forced"])
    forced = "; ".join(map(str, comparison.forced))
    writer.writerows([*map(csv_text, _record(point).values()), forced] for point in comparison.points)
    return text.getvalue().rstrip("\n")


def _as_json(comparison: Comparison) -> str:
    said = {
        "confidence": comparison.confidence,
        "margin_pct": comparison.margin_pct,
        "forced": {difference.column: difference.pairs for difference in comparison.forced},
        "noted": {difference.column: difference.pairs for difference in comparison.noted},
        "points": [_record(point) for point in comparison.points],
    }
    return json.dumps(said, indent=2)


_FORMS: dict[str, Callable[[Comparison], str]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}
