"""render: a contest as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from tabulate import tabulate

from hvt_bench.analysis.judge import CONFIDENCE
from hvt_bench.errors import RequestError, unknown
from hvt_bench.rivals import MEASURED, Contest, Rival
from hvt_bench.row import Row, Value, csv_text
from hvt_bench.verdicts import summary


def render_contest(contest: Contest, form: str = "table") -> str:
    """Return a contest as text; `form` is `table`, `csv` or `json`. Raises RequestError for another."""
    if form not in FORMS:
        raise RequestError(f"--format: {unknown('format', form, FORMS)}")
    return FORMS[form](contest)


def _as_table(contest: Contest) -> str:
    headers = ["what", "model", *contest.plan.found.values, "MACs (G)", "params ratio"]
    for name in contest.plan.measured:
        column = MEASURED[name]
        headers += [column, "ratio", "interval", "verdict"] if name == "latency" else [column, "ratio"]
    lines = [_line(contest, "target", contest.target, None)]
    lines += [_line(contest, ", ".join(rival.kinds), rival.row, rival) for rival in contest.rivals]
    aligned = ["left", "left", *["right"] * (len(headers) - 2)]
    table = tabulate(lines, headers, tablefmt="simple", colalign=aligned, disable_numparse=True)
    return "\n".join([table, "", *_remarks(contest)])


def _line(contest: Contest, what: str, row: Row, rival: Rival | None) -> list[str]:
    fields = rival.match.config.fields() if rival else contest.plan.found.target.config.fields()
    macs = row["macs"]
    line = [
        what,
        ", ".join([*(rival.match.variants if rival else ()), str(row["model"])]),
        *(_value(fields.get(name), rival, name) for name in contest.plan.found.values),
        f"{macs / 1e9:.2f}" if isinstance(macs, int) else "",
        f"{rival.match.params_ratio:.2f}" if rival else "1.00",
    ]
    for name in contest.plan.measured:
        value = row[MEASURED[name]]
        if name == "memory":
            share = rival.ratios["memory"] if rival else 1.0
            line += [_number(value, ",.1f"), _number(share, ".3f")]
        elif rival is None:
            line += [_number(value, ".4g"), "1.000", "", ""]
        elif rival.found is None or rival.found.low is None:
            line += [_number(value, ".4g"), _number(rival.ratios["latency"], ".3f"), "", _verdict(rival)]
        else:
            interval = f"{rival.found.low:.3f} to {rival.found.high:.3f}"
            line += [_number(value, ".4g"), f"{rival.found.ratio:.3f}", interval, rival.found.verdict]
    return line


def _value(value: Value, rival: Rival | None, name: str) -> str:
    """Spell the value of a dimension, and its ratio to the target's where that has one: `256 x1.33`."""
    ratio = rival.match.ratios.get(name) if rival else None
    return csv_text(value) if ratio is None else f"{csv_text(value)} x{ratio:.2f}"


def _verdict(rival: Rival) -> str:
    return "UNSURE" if rival.row["status"] == "ok" else str(rival.row["status"])


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""


def _remarks(contest: Contest) -> list[str]:
    plan = contest.plan
    tolerance = f"{plan.found.tolerance_pct:g} %"
    said = [f"measured   {_how(contest.target)}; rounds of all networks in turns, each in a process of its own"]
    if "latency" in plan.measured:
        said += [
            f"ratio      of geometric means of rounds, over the target's; latency_ms is their median. "
            f"Interval: {100 * CONFIDENCE:g} %, Welch's, from rounds",
            f"verdict    SAME: the interval lies within {tolerance} of the target; FASTER, SLOWER: it excludes 1, and "
            "leaves that; UNSURE: these rounds do not tell",
        ]
    if "memory" in plan.measured:
        said.append("memory     the largest of the rounds; no interval")
    said.append(
        f"ranked     by {MEASURED[plan.measured[0]]}, of designs whose {plan.found.metric} are within {tolerance} of "
        "the target's; those whose intervals overlap may change places"
    )
    said += [
        f"{rival.row['status']:<10} {rival.row['model']}: {rival.row['error']}"
        for rival in contest.rivals
        if rival.row["status"] != "ok"
    ]
    rows = [contest.target, *(rival.row for rival in contest.rivals)]
    return [*said, *(f"warning    {line}" for line in summary(rows))]


def _how(row: Row) -> str:
    shown = ("device_name", "dtype", "batch_size", "mode", "attention", "num_threads", "rounds", "torch_version")
    named = ("batch_size", "num_threads", "rounds", "torch_version")
    return ", ".join(
        f"{name} {csv_text(row[name])}" if name in named else csv_text(row[name])
        for name in shown
        if row[name] is not None
    )


# --- for programs ---------------------------------------------------------------------------------------------------


def _records(contest: Contest) -> list[dict[str, Any]]:
    return [
        {
            "what": rival.kinds,
            "model": rival.row["model"],
            "variants": rival.match.variants,
            **rival.match.changes,
            "macs": rival.row["macs"],
            "params": rival.row["params"],
            "params_ratio": rival.match.params_ratio,
            **{f"{name}_ratio": rival.match.ratios.get(name) for name in contest.plan.found.values},
            **{MEASURED[name]: rival.row[MEASURED[name]] for name in contest.plan.measured},
            **{f"{MEASURED[name]}_ratio": rival.ratios[name] for name in contest.plan.measured},
            "low": rival.found.low if rival.found else None,
            "high": rival.found.high if rival.found else None,
            "verdict": rival.found.verdict if rival.found else None,
            "status": rival.row["status"],
            "error": rival.row["error"],
        }
        for rival in contest.rivals
    ]


def _as_csv(contest: Contest) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = _records(contest)
    writer.writerow(records[0])
    writer.writerows(map(csv_text, record.values()) for record in records)
    return text.getvalue().rstrip("\n")


def _as_json(contest: Contest) -> str:
    target, plan = contest.target, contest.plan
    said = {
        "target": {"model": target["model"], "macs": target["macs"]}
        | {MEASURED[name]: target[MEASURED[name]] for name in plan.measured},
        "metric": plan.found.metric,
        "tolerance_pct": plan.found.tolerance_pct,
        "confidence": CONFIDENCE,
        "ranked_by": MEASURED[plan.measured[0]],
        "rivals": _records(contest),
    }
    return json.dumps(said, indent=2)


FORMS: dict[str, Callable[[Contest], str]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}
