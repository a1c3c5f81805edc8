"""What one network is and costs: its fields, where its MACs fall, totals."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable

from tabulate import tabulate

from hvt_bench.errors import RequestError, unknown
from hvt_bench.metrics.complexity import Breakdown, Complexity, arithmetic_intensity, breakdown
from hvt_bench.models import yaml_text
from hvt_bench.models.config import ModelConfig

Part = dict[str, str | int | None]  # one line of a breakdown; None is not applicable

_HEADERS = {"macs": "MACs", "share_pct": "%"}


def describe(name: str, config: ModelConfig, by: str = "block", form: str = "table", executed: bool = False) -> str:
    """Return the text of `hvt-bench show`; `by` is a key of BREAKDOWNS, `form` is `table`, `csv` or `json`.

    Raises CountError where the cost is not certain, RequestError where `by` or `form` is unknown.
    """
    if by not in BREAKDOWNS:
        raise RequestError(f"--by: {unknown('breakdown', by, BREAKDOWNS)}")
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    counted = breakdown(config, executed=executed)
    parts = BREAKDOWNS[by](counted)
    return _FORMS[form](name, config, counted, parts)


# --- where the MACs fall --------------------------------------------------------------------------------------------


def _by_block(counted: Breakdown) -> list[Part]:
    """Return the children of the network in order, each of its blocks on a line of its own."""
    lens = _tokens(counted)
    names: list[str] = []
    for name in counted.modules:
        child, _, below = name.partition(".")
        if name and (not below or (child == "blocks" and "." not in below)) and name != "blocks":
            names.append(name)
    rest = {
        key: getattr(counted.total, key) - sum(getattr(counted.modules[name], key) for name in names)
        for key in ("macs", "params", "activations")
    }
    own: list[Part] = [{"module": "(its own)", "tokens": None, **rest}] if any(rest.values()) or not names else []
    return own + [{"module": name, "tokens": lens.get(name), **_cost(counted, name)} for name in names]


def _by_module(counted: Breakdown) -> list[Part]:
    """Return every module, each with all that lies in it; the network itself first."""
    lens = _tokens(counted)
    return [{"module": name or "(all)", "tokens": lens.get(name), **_cost(counted, name)} for name in counted.modules]


def _by_operator(counted: Breakdown) -> list[Part]:
    """Return the operators that cost something, the dearest first."""
    ranked = sorted(counted.operators.items(), key=lambda item: -item[1].macs)
    nothing: Part = {"operator": "(none that costs)", "macs": 0, "activations": 0}
    parts: list[Part] = [{"operator": n, "macs": cost.macs, "activations": cost.activations} for n, cost in ranked]
    return parts or [nothing]


def _by_stage(counted: Breakdown) -> list[Part]:
    """Return the runs of blocks that see the same number of tokens, between what comes before and after them."""
    parts: list[Part] = []
    for tokens, run in itertools.groupby(_by_block(counted), key=lambda part: part["tokens"]):
        members = list(run)
        if tokens is None:
            parts += [{"stage": part["module"], **{k: v for k, v in part.items() if k != "module"}} for part in members]
            continue
        first, last = members[0]["module"], members[-1]["module"]
        total = {key: sum(int(part[key] or 0) for part in members) for key in ("macs", "params", "activations")}
        parts.append({"stage": first if first == last else f"{first} to {last}", "tokens": tokens, **total})
    return parts


def _tokens(counted: Breakdown) -> dict[str, int]:
    return {f"blocks.{block}": tokens for block, tokens in enumerate(counted.total.seq_lens or ())}


def _cost(counted: Breakdown, name: str) -> dict[str, int]:
    cost = counted.modules[name]
    return {"macs": cost.macs, "params": cost.params, "activations": cost.activations}


BREAKDOWNS: dict[str, Callable[[Breakdown], list[Part]]] = {
    "block": _by_block,
    "module": _by_module,
    "operator": _by_operator,
    "stage": _by_stage,
}


# --- as text --------------------------------------------------------------------------------------------------------


def _as_table(name: str, config: ModelConfig, counted: Breakdown, parts: list[Part]) -> str:
    total = counted.total
    label, *columns = parts[0]
    shown = [[part[label], *(_grouped(part[key]) for key in columns), _share(part, total.macs)] for part in parts]
    whole = {"macs": total.macs, "params": total.params, "activations": total.activations}
    shown.append(["total", *(_grouped(whole.get(key)) for key in columns), "100.0"])
    table = tabulate(
        shown,
        [_HEADERS.get(key, key) for key in (label, *columns, "share_pct")],
        tablefmt="simple",
        colalign=["left"] + ["right"] * (len(columns) + 1),
        disable_numparse=True,
    )
    fields = {key: value for key, value in config.fields().items() if value is not None}
    fvcore_flops = "unknown" if total.fvcore_flops is None else f"{total.fvcore_flops:,}"
    return "\n".join(
        [
            f"{name} (family {config.family})",
            "  ".join(f"{key}={yaml_text(value)}" for key, value in fields.items()),
            "",
            table,
            "",
            f"macs          {total.macs:,} ({total.macs / 1e9:.2f} G multiply-adds of one image)",
            f"fvcore_flops  {fvcore_flops}",
            f"activations   {total.activations:,}",
            f"params        {total.params:,} ({total.params / 1e6:.2f} M)",
            f"train_macs    {_training(counted)}",
            f"intensity     {_intensity(total)}",
            f"count_source  {total.count_source}",
        ]
    )


def _training(counted: Breakdown) -> str:
    plain, checkpointed = counted.total.train_macs, counted.checkpointed_train_macs
    if plain is None:
        return "unknown: no backward pass was counted"
    return f"{plain:,}" + (f" ({checkpointed:,} with activation checkpointing)" if checkpointed else "")


def _intensity(total: Complexity) -> str:
    found = arithmetic_intensity(total.model_dump(), 1, "float32")
    return "none" if found is None else f"{found:.3g} MACs a byte (1 image, float32, unfused)"


def _grouped(value: str | int | None) -> str:
    return f"{value:,}" if isinstance(value, int) else value or ""


def _share(part: Part, macs: int) -> str:
    return f"{100 * int(part['macs'] or 0) / macs:.1f}" if macs else ""


def _as_csv(name: str, config: ModelConfig, counted: Breakdown, parts: list[Part]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(parts[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(parts)
    return text.getvalue().rstrip("\n")


def _as_json(name: str, config: ModelConfig, counted: Breakdown, parts: list[Part]) -> str:
    return json.dumps({"model": name, "total": counted.total.model_dump(), "parts": parts}, indent=2)


_FORMS: dict[str, Callable[[str, ModelConfig, Breakdown, list[Part]], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "json": _as_json,
}
