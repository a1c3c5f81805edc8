"""Which GPU a pass fits: the texts of `hvt-bench estimate`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from tabulate import tabulate

from hvt_bench.errors import RequestError, unknown
from hvt_bench.metrics.estimate import Peak, estimate
from hvt_bench.models import yaml_text
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Point, Protocol
from hvt_bench.records import explain
from hvt_bench.request import read_request
from hvt_bench.settle import settle_attention

CARDS_GIB = (16, 24, 40, 80, 141)
RESERVE_GIB = 1.0
"""Left free beside the tensors: the CUDA context with PyTorch's kernels takes about half of it, workspaces the rest."""
RESERVE_PCT = 10
"""Of the card: up to 6 % of what its name says goes to error correction and the driver, the rest is for fragmentation.
nvidia-smi says 15,360 MiB of a T4 of 16 GiB, 23,028 of an A10G of 24, 81,559 of an H100 of 80."""

READS = ("device", "dtype", "batch_size", "mode", "attention", "compile", "checkpointing")
"""Fields of the protocol on which an estimate depends, or that it refuses to be silent about."""
USUAL = {"device": "cuda", "batch_size": 64}  # what a sweep takes on a machine with a GPU


def describe(model: str, changes: Sequence[str] = (), form: str = "table") -> str:
    """Return the text of `hvt-bench estimate`; `changes` are key=value, `form` is `table` or `json`.

    Raises RequestError where a key, a value or `form` is out of the question, CountError where the network does not run
    on shapes alone.
    """
    if form not in _FORMS:
        raise RequestError(f"--format: {unknown('format', form, _FORMS)}")
    point = _point(model, changes)
    point.config.check_checkpoint()
    return _FORMS[form](point, estimate(point))


def verdict(estimated_mib: float, card_gib: float) -> str:
    """Say whether a pass fits a card, or, if that is without the reserve, that it is tight."""
    estimated_gib = estimated_mib / 1024
    if estimated_gib > card_gib:
        return "does not fit"
    return "fits" if estimated_gib <= card_gib * (1 - RESERVE_PCT / 100) - RESERVE_GIB else "tight"


def _point(model: str, changes: Sequence[str]) -> Point:
    return estimated_point(*read_request(model, changes, READS, f"an estimate reads {', '.join(READS)}"))


def estimated_point(name: str, config: ModelConfig, given: Mapping[str, Any]) -> Point:
    """Return what is estimated where only `given`, of READS, is said of the protocol. Raises RequestError."""
    given = {key: value for key, value in given.items() if value != "auto"}
    protocol: dict[str, Any] = {**USUAL, **given, "warmup_s": 0.0}
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", str(protocol["device"])):
        raise RequestError(unknown("device", protocol["device"], ["cpu", "cuda", "cuda:N", "mps"]))
    protocol.setdefault("attention", config.usual_attention(protocol.get("mode") == "train"))
    if protocol["device"] == "cuda":
        protocol["device"] = "cuda:0"  # whether or not there is one here
    try:
        point = Point(model=name, config=config, **settle_attention(protocol, config))
    except ValidationError as error:
        raise RequestError("; ".join(sentence for _, sentence in explain(error, Protocol.model_fields))) from None
    point.check()
    return point


# --- as text --------------------------------------------------------------------------------------------------------


def _as_table(point: Point, peak: Peak) -> str:
    kinds = [[kind.replace("_", " "), f"{mib:,.1f}"] for kind, mib in peak.mib.items() if mib]
    kinds.append(["estimate", f"{peak.total_mib:,.1f}"])
    parts = [
        f"{point.model} (family {point.config.family})",
        "  ".join(f"{key}={yaml_text(getattr(point, key))}" for key in READS),
        "",
        _table(kinds, ["at the peak", "MiB"], ["left", "right"]),
        "",
    ]
    if point.device.startswith("cuda"):
        cards = [[f"{card} GiB", verdict(peak.total_mib, card)] for card in CARDS_GIB]
        parts += [_table(cards, ["card", "this pass"], ["right", "left"]), ""]
    return "\n".join([*parts, *_notes(point, peak)])


def _notes(point: Point, peak: Peak) -> list[str]:
    weights = "as one fused kernel, without N x N weights" if peak.fused_attention else "with its N x N weights, if any"
    if peak.fast_path:
        weights += "; nn.MultiheadAttention as outside its fast path, which may need a fifth more or less"
    notes = [
        f"attention  {weights}",
        "estimate   tensors that live at once, from shapes; no workspaces, no fragmentation, no CUDA context",
    ]
    if point.device.startswith("cuda"):
        notes.append(
            f"fits       with {RESERVE_PCT} % of the card and {RESERVE_GIB:g} GiB free for these; tight: with less"
        )
    if point.compile:
        notes.append("compile    estimated as not compiled")
    return notes


def _table(rows: list[list[str]], header: list[str], aligned: list[str]) -> str:
    return tabulate(rows, header, tablefmt="simple", colalign=aligned, disable_numparse=True)


def _as_json(point: Point, peak: Peak) -> str:
    found: dict[str, Any] = {
        "model": point.model,
        **{key: getattr(point, key) for key in READS},
        "estimated_memory_mib": round(peak.total_mib, 3),
        "at_the_peak_mib": {kind: round(mib, 3) for kind, mib in peak.mib.items()},
        "fused_attention": peak.fused_attention,
    }
    if point.device.startswith("cuda"):
        found["cards_gib"] = {str(card): verdict(peak.total_mib, card) for card in CARDS_GIB}
    return json.dumps(found, indent=2)


_FORMS: dict[str, Callable[[Point, Peak], str]] = {"table": _as_table, "json": _as_json}
