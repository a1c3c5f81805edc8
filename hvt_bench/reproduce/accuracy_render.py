"""describe_claims: what the trainings of a run say of the claims, as a table for people, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from hvt_bench.analysis.trained import seeds_of
from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.reproduce.accuracy_claims import ACCURACY_CLAIMS
from hvt_bench.reproduce.accuracy_judge import CONFIDENCE, HEADING, ClaimsJudged, Judged, judge_claims
from hvt_bench.row import Row, csv_text
from hvt_bench.table import read_table

_COLUMNS = {
    "claim": "left", "A": "left", "B": "left", "top-1 of A": "right", "top-1 of B": "right", "A - B": "right",
    "interval": "right", "claimed": "right", "MACs of A / B": "right", "to train": "right", "verdict": "left",
}  # fmt: skip
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_IMAGENET = "imagefolder"  # its layout, so it may be ImageNet


def describe_claims(path: Path, form: str = "table") -> str:
    """Return the text of `hvt-bench reproduce --claims` for the CSV of a run.

    `form` is `table`, `markdown`, `csv` or `json`. Raises RequestError, FileError.
    """
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    return _FORMS[form](judge_claims(read_table(path), str(path)))


# --- for people -------------------------------------------------------------------------------------------------------


def _as_table(found: ClaimsJudged) -> str:
    return _text(found, "simple", "--- {} ---")


def _as_markdown(found: ClaimsJudged) -> str:
    return _text(found, "github", "## {}")


def _text(found: ClaimsJudged, style: str, heading: str) -> str:
    parts = []
    for setting in dict.fromkeys(map(_setting, found.judged)):
        pairs = [pair for pair in found.judged if _setting(pair) == setting]
        lines = [[text.replace("|", r"\|") if style == "github" else text for text in _line(pair)] for pair in pairs]
        table = tabulate(lines, list(_COLUMNS), tablefmt=style, colalign=list(_COLUMNS.values()), disable_numparse=True)
        parts += [
            heading.format(f"{setting}, {_seeds(pairs)}"),
            "\n".join(line.rstrip() for line in table.splitlines()),
        ]
    remarks = [*_undecided(found), *_passed_over(found), *_claims(), *_how(found)]
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)])


def _setting(pair: Judged) -> str:
    row = pair.a
    return f"data {row['data']}, {row['img_size']} px, {row['dtype']}, recipe {row['recipe']}"


def _seeds(pairs: Sequence[Judged]) -> str:
    """Say how many epochs and seeds there were."""
    rows = [row for pair in pairs for row in (pair.a, pair.b)]
    epochs = sorted({str(row["epochs_done"]) for row in rows if row["epochs_done"] is not None}, key=int)
    many = sorted({len(seeds_of(row)) for row in rows})
    seeds = plural(many[0], "seed") if len(many) == 1 else f"{many[0]} to {many[-1]} seeds"
    return ", ".join([*([f"{' or '.join(epochs)} epochs"] if epochs else []), seeds])


def _line(pair: Judged) -> list[str]:
    return [
        pair.claim.key,
        pair.a_name,
        pair.b_name,
        _top1(pair.a),
        _top1(pair.b),
        "" if pair.difference is None else f"{pair.difference:+.2f}",
        "" if pair.low is None or pair.high is None else f"{pair.low:+.2f} to {pair.high:+.2f}",
        f"> {pair.claim.above:g}",
        " = ".join(filter(None, (_costs(pair, "macs"), _ratio(pair, "macs")))),
        _costs(pair, "total_train_macs"),
        pair.verdict,
    ]


def _top1(row: Row) -> str:
    if row["top1"] is None:
        return ""
    spread = row["top1_spread"]
    known = isinstance(spread, int | float) and math.isfinite(spread)
    return f"{row['top1']:.2f}" + (f" ± {spread:.2f}" if known else "")


def _costs(pair: Judged, column: str) -> str:
    """Spell the cost of both sides: `9.0 / 16.7 M`."""
    costs = [float(str(row[column])) for row in (pair.a, pair.b) if row[column] is not None]
    if len(costs) < 2:
        return ""
    scale, unit = next((known for known in _UNITS if max(costs) >= known[0]), _UNITS[-1])
    return f"{costs[0] / scale:.1f} / {costs[1] / scale:.1f} {unit}".rstrip()


def _ratio(pair: Judged, column: str) -> str:
    ratio = pair.ratio(column)
    return "" if ratio is None else f"{ratio:.2f}"


def _undecided(found: ClaimsJudged) -> list[str]:
    """Say why there is no interval, each reason once, and what is not judged."""
    reasons: dict[str, list[str]] = {}
    for pair in found.judged:
        if pair.reason:
            reasons.setdefault(pair.reason, []).append(_named(pair, found.judged))
    return [
        *(f"undecided: {', '.join(pairs)}: {reason}" for reason, pairs in reasons.items()),
        *(f"not judged: {missing.claim.key}: {missing.reason}" for missing in found.missing),
    ]


def _passed_over(found: ClaimsJudged) -> list[str]:
    """Say where another B has more top-1 than the one of nearest MACs, and what the verdict would be with it."""
    said = []
    for pair in found.judged:
        if better := pair.better:
            macs = "" if better.macs_ratio is None else f", at {better.macs_ratio:.2f} x the MACs,"
            would = f"{better.verdict} as well" if better.verdict == pair.verdict else better.verdict
            said.append(
                f"passed over: {_named(pair, found.judged)}: A against {better.name}{macs} would be {would}; it has "
                f"more top-1, {better.top1:.2f}, but {pair.b_name} has the nearer MACs"
            )
    return said


def _named(pair: Judged, judged: Sequence[Judged]) -> str:
    """Name a claim and its sides, and the table that they are in where there are several."""
    varied = [name for name in HEADING if len({each.a[name] for each in judged}) > 1]
    where = "".join(f"; {name} {csv_text(pair.a[name])}" for name in varied)
    return f"{pair.claim.key} ({pair.a_name}, {pair.b_name}{where})"


def _claims() -> list[str]:
    return [
        f"{claim.key}: {claim.text} ({claim.source}). A: {claim.a.words}; B: {claim.b.words}"
        + (", of the same shape" if claim.alike else "")
        + (f"; A at {claim.least_macs:.2f} to {claim.most_macs:.2f} x the MACs of B" if claim.bounded else "")
        + f"; claimed: A - B > {claim.above:g}"
        for claim in ACCURACY_CLAIMS
    ]


def _how(found: ClaimsJudged) -> list[str]:
    """Say what the numbers are, and what they do not say."""
    if not found.judged:
        return []
    said = [
        f"interval: {100 * CONFIDENCE:g} %, of A - B in points of top-1, by Welch's t over seeds, not paired; ± is the "
        "standard deviation between seeds",
        "supported: the whole interval lies above what is claimed; contradicted: the whole of it lies below; "
        "undecided: anything else",
        _all_at_once(found.judged),
        "seeds change weights and the order of images, never the images: how far other test images would move a top-1 "
        "is in no interval here",
        _reach(found.judged),
    ]
    return [sentence for sentence in said if sentence]


def _all_at_once(judged: Sequence[Judged]) -> str:
    """Say which verdicts stand if all are looked at together."""
    held = [pair for pair in judged if pair.stands is not None]
    decided = [pair for pair in held if pair.verdict != "undecided"]
    if len(held) < 2:
        return ""
    falling = [_named(pair, judged) for pair in decided if not pair.stands]
    said = f"each interval is {100 * CONFIDENCE:g} % by itself, and there are {len(held)}"
    if not decided:
        return said
    error = f"with {100 * (1 - CONFIDENCE):g} % for any error among all of them (Holm)"
    if not falling:
        return f"{said}; {error}, {'all decided verdicts stand' if len(decided) > 1 else 'the decided verdict stands'}"
    return f"{said}; {error}, undecided would be: {', '.join(falling)}"


def _reach(judged: Sequence[Judged]) -> str:
    named = list(dict.fromkeys(str(pair.a["data"]).partition(":")[0] for pair in judged))
    paper = "the paper's claims are of ImageNet and CIFAR-100 at 224 px, after 300 epochs"
    if _IMAGENET in named:
        return f"this is of these images, this recipe and these networks; {paper}"
    return f"this is of {' and '.join(named)}, this recipe and these networks, and says nothing of ImageNet; {paper}"


# --- for programs -----------------------------------------------------------------------------------------------------

_OF_SIDE = ("top1", "top1_spread", "top1_rounds", "macs", "total_train_macs", "train_s")
_OF_BOTH = ("data", "recipe", "epochs_done", "img_size", "dtype")
_FIELDS = (
    "claim", "text", "source", "a", "b", "verdict", "reason", "difference", "low", "high", "claimed_above", "p_value",
    "stands", "macs_ratio", "total_train_macs_ratio",
    *(f"{side}_{name}" for side in ("a", "b") for name in _OF_SIDE),
    *_OF_BOTH,
)  # fmt: skip


def _records(found: ClaimsJudged) -> list[dict[str, Any]]:
    """Return a record for each pair, and one, without a verdict, for each claim that has none."""
    records = [_record(pair) for pair in found.judged]
    for missing in found.missing:
        said = {"claim": missing.claim.key, "text": missing.claim.text, "source": missing.claim.source}
        records.append(dict.fromkeys(_FIELDS) | said | {"reason": missing.reason})
    return records


def _record(pair: Judged) -> dict[str, Any]:
    claim = pair.claim
    values: dict[str, Any] = {"claim": claim.key, "text": claim.text, "source": claim.source}
    values |= {"a": pair.a_name, "b": pair.b_name, "difference": pair.difference, "claimed_above": claim.above}
    values |= {name: getattr(pair, name) for name in ("verdict", "reason", "low", "high", "p_value", "stands")}
    values |= {f"{name}_ratio": pair.ratio(name) for name in ("macs", "total_train_macs")}
    values |= {f"a_{name}": pair.a[name] for name in _OF_SIDE} | {f"b_{name}": pair.b[name] for name in _OF_SIDE}
    return values | {name: pair.a[name] for name in _OF_BOTH}


def _as_csv(found: ClaimsJudged) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for record in _records(found):
        writer.writerow({name: csv_text(value) for name, value in record.items()})
    return text.getvalue().rstrip("\n")


def _as_json(found: ClaimsJudged) -> str:
    said = {
        "confidence": CONFIDENCE,
        "claims": _finite(_records(found)),
        "remarks": [*_passed_over(found), *_how(found)],
    }
    return json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return it with null in place of what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_FORMS: dict[str, Callable[[ClaimsJudged], str]] = {
    "table": _as_table,
    "markdown": _as_markdown,
    "csv": _as_csv,
    "json": _as_json,
}
