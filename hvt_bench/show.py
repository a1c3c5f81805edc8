"""What one network is and costs: its fields, where its MACs and its time fall, totals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from tabulate import tabulate

from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.metrics.complexity import Breakdown, Complexity, arithmetic_intensity, breakdown
from hvt_bench.models import yaml_text
from hvt_bench.models.checkpoint import Loaded
from hvt_bench.models.config import ModelConfig
from hvt_bench.parts import BREAKDOWNS, TIMES, Part, cut, module_names
from hvt_bench.point import Point
from hvt_bench.timed import READS, Timed, check_timeable, time_point

_HEADERS = {"macs": "MACs", "share_pct": "%", "time_ms": "ms", "time_pct": "% of time", "macs_per_s": "GMACs/s"}
_DIGITS = {"share_pct": ".1f", "time_ms": ",.3f", "time_pct": ".1f"}
_SUMS = {  # what the total of a breakdown is, and what was timed with
    "block": ("the parts add up to", "hooks"),
    "module": ("with hooks, a pass takes", "them"),
    "operator": ("the operators add up to", "the profiler"),
    "stage": ("the parts add up to", "hooks"),
}
_MEASURED = ("device", "dtype", "batch_size", "attention", "num_threads")


@dataclass(frozen=True)
class Shown:
    """What `hvt-bench show` tells of one network."""

    name: str
    config: ModelConfig
    by: str
    loaded: Loaded | None
    """What its checkpoint gave it; None where it has none."""
    counted: Breakdown
    timed: Timed | None
    parts: list[Part]
    total: Part
    """The whole network, by the keys of a part."""


def describe(
    name: str,
    config: ModelConfig,
    by: str = "block",
    form: str = "table",
    executed: bool = False,
    measured: Point | None = None,
) -> str:
    """Return the text of `hvt-bench show`; `by` is a key of BREAKDOWNS, `form` is `table`, `csv` or `json`.

    With `measured`, a point of this network, its passes are timed. Raises CountError where the cost is not certain,
    RequestError where `by` or `form` is unknown or the passes cannot be taken apart, HvtBenchError where one fails.
    """
    if by not in BREAKDOWNS:
        raise RequestError(f"--by: {unknown('breakdown', by, BREAKDOWNS)}")
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    if measured is not None:
        check_timeable(measured)  # before the counting, which takes a while
    loaded = config.check_checkpoint()
    counted = breakdown(config, executed=executed)
    timed = None
    if measured is not None:
        timed = time_point(measured, module_names(counted, by))
        counted = _as_run(counted, measured)
    parts, total = cut(counted, timed, by)
    return _FORMS[form](Shown(name, config, by, loaded, counted, timed, parts, total))


def _as_run(counted: Breakdown, point: Point) -> Breakdown:
    """Return `counted` with the operators of the attention that the point asks for; it is counted as is usual."""
    if point.model_attention == point.config.usual_attention(training=False):
        return counted
    with torch.device("meta"):
        module = point.config.build(point.model_attention)
        inputs = [torch.empty(shape) for shape in point.config.input_shapes(1)]
    return replace(counted, operators=breakdown(module, *inputs).operators)


# --- as text --------------------------------------------------------------------------------------------------------


def _as_table(shown: Shown) -> str:
    config, total = shown.config, shown.counted.total
    label, *rest = shown.parts[0]
    columns = [*(key for key in rest if key not in TIMES), "share_pct", *(key for key in rest if key in TIMES)]
    lines = [*shown.parts, shown.total | {label: "total"}]
    table = tabulate(
        [[line[label], *(_cell(line | _share(line, total.macs), key) for key in columns)] for line in lines],
        [_HEADERS.get(key, key) for key in (label, *columns)],
        tablefmt="simple",
        colalign=["left"] + ["right"] * len(columns),
        disable_numparse=True,
    )
    fields = {key: value for key, value in config.fields().items() if value is not None}
    fvcore_flops = "unknown" if total.fvcore_flops is None else f"{total.fvcore_flops:,}"
    return "\n".join(
        [
            f"{shown.name} (family {config.family})",
            "  ".join(f"{key}={yaml_text(value)}" for key, value in fields.items()),
            "",
            table,
            "",
            *_timing(shown),
            *_weights(shown),
            f"macs          {total.macs:,} ({total.macs / 1e9:.2f} G multiply-adds of one image)",
            f"fvcore_flops  {fvcore_flops}",
            f"activations   {total.activations:,}",
            f"params        {total.params:,} ({total.params / 1e6:.2f} M)",
            f"train_macs    {_training(shown.counted)}",
            f"intensity     {_intensity(total)}",
            f"count_source  {total.count_source}",
        ]
    )


def _share(part: Part, macs: int) -> Part:
    return {"share_pct": 100 * part["macs"] / macs if macs and part["macs"] is not None else None}


def _cell(part: Part, key: str) -> str:
    value = part.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    if key == "macs_per_s":
        return f"{value / 1e9:,.1f}"
    return f"{value:{_DIGITS.get(key, ',')}}"


def _timing(shown: Shown) -> list[str]:
    """Say what was timed, and what taking it apart cost."""
    if shown.timed is None:
        return []
    line, point, machine = shown.timed.line, shown.timed.point, shown.timed.environment
    what, tool = _SUMS[shown.by]
    protocol = "  ".join(f"{key}={yaml_text(getattr(point, key))}" for key in _MEASURED)
    unknown_macs = [part["operator"] for part in shown.parts if part["macs"] is None]
    note = f"the MACs of {', '.join(unknown_macs)} stand with the operators that it is made of"
    return [
        f"time          {what} {shown.total['time_ms']:.3f} ms; a pass without {tool} takes {line.pass_ms:.3f} ms",
        f"measured      {protocol}; medians of {line.passes} passes",
        f"device_name   {machine.device_name}; PyTorch {machine.torch_version}",
        *([f"unmatched     {note}"] if unknown_macs else []),
    ]


def _weights(shown: Shown) -> list[str]:
    """Say what the checkpoint gave."""
    if shown.loaded is None:
        return []
    tensors, key = shown.loaded
    place = f" (its key '{key}')" if key is not None else ""
    return [f"checkpoint    {shown.config.checkpoint}: {plural(tensors, 'tensor')}, all loaded{place}"]


def _training(counted: Breakdown) -> str:
    plain, checkpointed = counted.total.train_macs, counted.checkpointed_train_macs
    if plain is None:
        return "unknown: no backward pass was counted"
    return f"{plain:,}" + (f" ({checkpointed:,} with activation checkpointing)" if checkpointed else "")


def _intensity(total: Complexity) -> str:
    found = arithmetic_intensity(total.model_dump(), 1, "float32")
    return "none" if found is None else f"{found:.3g} MACs a byte (1 image, float32, unfused)"


def _as_csv(shown: Shown) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(shown.parts[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(shown.parts)
    return text.getvalue().rstrip("\n")


def _as_json(shown: Shown) -> str:
    told: Part = {"model": shown.name, "total": shown.counted.total.model_dump(), "parts": shown.parts}
    if shown.loaded is not None:
        told["checkpoint"] = {"file": shown.config.checkpoint, **shown.loaded._asdict()}
    if shown.timed is not None:
        line, point, machine = shown.timed.line, shown.timed.point, shown.timed.environment
        told["time"] = {
            "total_ms": shown.total["time_ms"],
            "pass_ms": float(f"{line.pass_ms:.6g}"),
            "passes": line.passes,
            **{key: getattr(point, key) for key in READS},
            "device_name": machine.device_name,
            "torch_version": machine.torch_version,
        }
    return json.dumps(told, indent=2)


_FORMS: dict[str, Callable[[Shown], str]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}
