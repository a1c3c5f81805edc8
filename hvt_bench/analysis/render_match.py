"""render_match: what a search found, as a table for people, as CSV or as JSON; counted once more by fvcore."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from hvt_bench.analysis.designs import design_name
from hvt_bench.analysis.match import Match, Matches, recount
from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.row import csv_text

_UPWARD = ("embed_dim", "depth")  # dimensions whose usual values begin at the target's and go up


def render_match(found: Matches, form: str = "table", limit: int = 10) -> str:
    """Return matches as text, the `limit` best of those of all dimensions together; `form`: `table`, `csv`, `json`.

    Raises RequestError for another form or a limit below 1, CountError where fvcore finds other MACs than the search.
    """
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    if limit < 1:
        raise RequestError(f"--limit {limit}: give 1 or more")
    return _FORMS[form](found, limit)


def _as_table(found: Matches, limit: int) -> str:
    target = found.target
    lines = [_line("target", target.model, {}, target.macs, target.params, found, target.cost)]
    lines += [
        _line_of(kind if match.within else f"{kind}, nearest", found, match) for kind, match in found.shown(limit)
    ]
    memory = found.metric == "estimated_memory_mib"
    headers = ["what", "model", *found.values, "MACs (G)", "params (M)", *(["memory (MiB)"] if memory else [])]
    headers += [f"{found.metric} ratio", f"{_other(found)} ratio"]
    aligned = ["left", "left", *["right"] * (len(headers) - 2)]
    table = tabulate(lines, headers, tablefmt="simple", colalign=aligned, disable_numparse=True)
    return "\n".join([table, "", *_remarks(found, limit)])


def _line_of(kind: str, found: Matches, match: Match) -> list[str]:
    names = ", ".join(match.variants)
    model = f"{names} = {match.model}" if names else match.model
    macs = recount(match)
    return _line(kind, model, match.config.fields(), macs, match.params, found, match.cost)


def _line(
    kind: str,
    model: str,
    fields: dict[str, Any],
    macs: int,
    params: int,
    found: Matches,
    cost: float,
) -> list[str]:
    target = found.target
    own = fields or target.config.fields()
    other = macs / target.macs if _other(found) == "macs" else params / target.params
    memory = [f"{cost:,.1f}"] if found.metric == "estimated_memory_mib" else []
    return [
        kind,
        model,
        *(csv_text(own.get(name)) for name in found.values),
        f"{macs / 1e9:.2f}",
        f"{params / 1e6:.2f}",
        *memory,
        f"{cost / target.cost:.3f}",
        f"{other:.2f}",
    ]


def _other(found: Matches) -> str:
    """Name the count that stands beside the cost that is to be equalled."""
    return "macs" if found.metric == "params" else "params"


def _remarks(found: Matches, limit: int) -> list[str]:
    more = len(found.joint) - limit
    shown = f", the best {limit} above" if more > 0 else ""
    same = f", {found.repeated:,} the network of another (a field without effect)" if found.repeated else ""
    lost = f"{plural(found.invalid, 'more combination')} {'is' if found.invalid == 1 else 'are'}"
    why = [f"no network {found.why_invalid}"] if found.why_invalid else []
    return [
        f"varied     {'; '.join(f'{name} {_spelt(values)}' for name, values in found.values.items())}; "
        f"the rest as {design_name(found.base)}",
        *_start(found),
        f"searched   {plural(found.designs, 'design')}, {lost} no network{same}; "
        f"{plural(len(found.joint), 'design')} within {found.tolerance_pct:g} % of the target{shown}, "
        "and published variants",
        *why,
        "ranked     by params, then by each dimension that the target has, in this order; a smaller patch is more",
        "counted    what is shown, by fvcore and by PyTorch's FlopCounterMode; the search is by closed form",
    ]


def _start(found: Matches) -> list[str]:
    """Say from what a search went up that does not know the target's own value, and how to search below it."""
    theirs, base = type(found.target.config).model_fields, found.base.fields()
    names = [name for name, values in found.values.items() if name in _UPWARD and name not in theirs]
    starts = {name: values for name, values in found.values.items() if name in names and values[0] == base[name]}
    if not starts:
        return []
    at = ", ".join(f"{name} {csv_text(values[0])}" for name, values in starts.items())
    wider = " ".join(
        f"--values {name}={values[0] // 2}..{values[0]}:{values[1] - values[0]}"
        for name, values in starts.items()
        if len(values) > 1
    )
    widens = f"; {wider} searches below that" if wider else ""
    return [
        f"begins at  {at}, the usual of family {found.base.family}: that of {found.target.model} cannot be read{widens}"
    ]


def _spelt(values: Sequence[Any]) -> str:
    if len(values) <= 4:
        return ", ".join(map(csv_text, values))
    return f"{csv_text(values[0])}, {csv_text(values[1])} ... {csv_text(values[-1])}"


# --- for programs ---------------------------------------------------------------------------------------------------


def _records(found: Matches, limit: int) -> list[dict[str, Any]]:
    return [
        {
            "what": kind,
            "model": match.model,
            "variants": match.variants,
            **match.changes,
            "macs": recount(match),
            "params": match.params,
            "cost": match.cost,
            "cost_ratio": match.cost_ratio,
            "params_ratio": match.params_ratio,
            **{f"{name}_ratio": match.ratios.get(name) for name in found.values},
            "within": match.within,
        }
        for kind, match in found.shown(limit)
    ]


def _as_csv(found: Matches, limit: int) -> str:
    records = _records(found, limit)
    header = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([csv_text(record.get(name)) for name in header] for record in records)
    return text.getvalue().rstrip("\n")


def _as_json(found: Matches, limit: int) -> str:
    target = found.target
    said = {
        "target": {"model": target.model, "macs": target.macs, "params": target.params, "cost": target.cost},
        "metric": found.metric,
        "tolerance_pct": found.tolerance_pct,
        "base": design_name(found.base),
        "values": {name: list(values) for name, values in found.values.items()},
        "designs": found.designs,
        "invalid": found.invalid,
        "why_invalid": found.why_invalid,
        "repeated": found.repeated,
        "within": len(found.joint),
        "matches": _records(found, limit),
    }
    return json.dumps(said, indent=2)


_FORMS: dict[str, Callable[[Matches, int], str]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}
