"""An evaluation as text, and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tabulate import tabulate

from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.evaluate import READS, Evaluation

_HEADERS = ("", "top-1 %", "error", "top-5 %", "error", "of")


def render(found: Evaluation, form: str) -> str:
    """Return the text of `hvt-bench evaluate`; `form` is `text` or `json`."""
    return FORMS[form](found)


def check_form(form: str) -> None:
    """Raise RequestError where there is no such format."""
    if form not in FORMS:
        raise RequestError(f"--format: {unknown('format', form, FORMS)}")


def _as_text(found: Evaluation) -> str:
    measured = ["measured", *_share(found, found.top1), *_share(found, found.top5), plural(found.images, "image")]
    printed = [
        ["printed", row.top1, "", row.top5, "", f"ImageNet-1k: {row.model}, {row.source}"] for row in found.printed
    ]
    table = tabulate(
        [measured, *printed],
        _HEADERS,
        tablefmt="simple",
        colalign=("left", "right", "right", "right", "right", "left"),
        disable_numparse=True,
    )
    protocol = "  ".join(f"{key}={getattr(found.point, key)}" for key in READS)
    lines = [
        f"{found.name} (family {found.point.config.family})",
        "",
        *(line.rstrip() for line in table.splitlines()),
        "",
        *_weights(found),
        f"data           {found.where}: {plural(found.images, 'image')} of {found.classes:,} classes",
        f"preprocessing  {_preprocessing(found)}",
        f"               as in {found.preprocessing.source}",
        f"protocol       {protocol}",
        "error          standard error of a share of so many images",
    ]
    return "\n".join(lines)


def _share(found: Evaluation, percent: float | None) -> list[str]:
    return ["", ""] if percent is None else [f"{percent:.2f}", f"{found.standard_error(percent):.2f}"]


def _weights(found: Evaluation) -> list[str]:
    if found.loaded is None:
        return ["checkpoint     none: the weights are those that the factory gave"]
    tensors, key = found.loaded
    place = f" (its key '{key}')" if key is not None else ""
    return [f"checkpoint     {found.point.config.checkpoint}: {plural(tensors, 'tensor')}, all loaded{place}"]


def _preprocessing(found: Evaluation) -> str:
    done, side = found.preprocessing, found.side
    mode = "centre" if done.crop_mode == "center" else done.crop_mode
    cut = f", {mode} of {side} px" if done.resize_px(side) != side or mode != "centre" else ""
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (done.mean, done.std))
    return f"resized to {done.resize_px(side)} px ({done.interpolation}){cut}; mean {mean}, std {std}"


def _as_json(found: Evaluation) -> str:
    done, point = found.preprocessing, found.point
    told: dict[str, Any] = {
        "model": found.name,
        "top1": found.top1,
        "top1_error": found.standard_error(found.top1),
        "top5": found.top5,
        "top5_error": None if found.top5 is None else found.standard_error(found.top5),
        "images": found.images,
        "classes": found.classes,
        "printed": [
            {"model": row.model, "top1": float(row.top1), "top5": float(row.top5), "source": row.source}
            for row in found.printed
        ],
        "checkpoint": found.loaded and {"file": point.config.checkpoint, **found.loaded._asdict()},
        "data": found.where,
        "preprocessing": {
            "resize_px": done.resize_px(found.side),
            "crop_px": found.side,
            "crop_pct": done.crop_pct,
            "crop_mode": done.crop_mode,
            "interpolation": done.interpolation,
            "mean": done.mean,
            "std": done.std,
            "source": done.source,
        },
        **{key: getattr(point, key) for key in READS},
        "warnings": found.warnings,
    }
    return json.dumps(told, indent=2)


FORMS: dict[str, Callable[[Evaluation], str]] = {"text": _as_text, "json": _as_json}
