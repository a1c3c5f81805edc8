"""The command that evaluates weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.errors import RequestError


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A variant or family, such as hvt_s_1; timm:NAME; package.module:factory.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Images: imagefolder:PATH (PATH/val/CLASS/IMAGE), digits, fashion_mnist[:PATH], cifar10:PATH, "
            "cifar100:PATH.",
            metavar="NAME[:PATH]",
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="Fields to change, such as num_classes=100.", metavar="KEY=VALUE..."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The weights: a .pth, .pt or .safetensors file.", metavar="FILE")
    ] = None,
    crop_pct: Annotated[
        float | None,
        typer.Option(help="Share of the resized image that is cut out; as published, if none.", metavar="SHARE"),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean of each channel, such as 0.5,0.5,0.5.", metavar="NUMBER,...")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Deviation of each channel, such as 0.5,0.5,0.5.", metavar="NUMBER,...")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, tf32, float16, bfloat16, amp_float16 or amp_bfloat16.", show_default="float32"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of one pass.", show_default="64")] = None,
    form: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Evaluate weights that you already have: top-1 and top-5, preprocessed as published, beside the printed ones.

    Example: hvt-bench evaluate hvt_s_1 --checkpoint hvt_s_1.pth --data imagefolder:PATH
    """
    from hvt_bench.evaluate import Asked
    from hvt_bench.evaluate import evaluate as run
    from hvt_bench.evaluate.render import check_form, render
    from hvt_bench.progress import counting_images

    check_form(form)
    weights = None if checkpoint is None else json.dumps(str(checkpoint), ensure_ascii=False)
    given = {"checkpoint": weights, "device": device, "dtype": dtype, "batch_size": batch_size}
    options = [f"{key}={value}" for key, value in given.items() if value is not None]
    asked = Asked(crop_pct, _numbers("--mean", mean), _numbers("--std", std))
    with counting_images() as seen:
        found = run(model, [*(changes or []), *options], data, asked, seen)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(render(found, form))


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise RequestError(f"{option} {text}: should be numbers, such as 0.485,0.456,0.406")
    return numbers
