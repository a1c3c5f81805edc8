"""Commands that look at a network or at what was measured."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.cli.common import Executed, imported_for_good
from hvt_bench.errors import plural


def show(
    model: Annotated[
        str, typer.Argument(help="A variant or family, such as hvt_s_1; timm:NAME; package.module:factory.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Fields to change, such as depth=18; with --time, of the protocol too, such as batch_size=8.",
            metavar="KEY=VALUE...",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Where the MACs fall: block, module, operator or stage.")] = "block",
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    executed: Executed = False,
    timed: Annotated[bool, typer.Option("--time", help="Run it too, and show where the time falls.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Load its weights: a .pth, .pt or .safetensors file.", metavar="FILE")
    ] = None,
) -> None:
    """Show the fields of a network, where its tokens and MACs fall, and what it costs in all.

    Example: hvt-bench show hvt_s_1 depth=18
    """
    from hvt_bench.request import parse_request
    from hvt_bench.show import describe
    from hvt_bench.timed import READS

    reads, otherwise = (READS, f"--time reads {', '.join(READS)}") if timed else ((), "give --time to measure passes")
    weights = [f"checkpoint={json.dumps(str(checkpoint), ensure_ascii=False)}"] if checkpoint is not None else []
    point = parse_request(model, [*(changes or []), *weights], reads, otherwise)
    typer.echo(describe(point.model, point.config, by, form, executed, point if timed else None))


class Listing(StrEnum):
    """What `hvt-bench list` can list."""

    variants = "variants"
    families = "families"
    metrics = "metrics"
    figures = "figures"
    columns = "columns"


def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List the variants, families, metrics, figures or columns there are.

    Example: hvt-bench list variants
    """
    from hvt_bench import listing

    typer.echo(getattr(listing, what.value)())


def plot(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="CSVs that `hvt-bench sweep` wrote, then the figures to draw; all that they can fill, if none.",
            metavar="CSV... [FIGURE...]",
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="Columns to draw; `tradeoff` and `speedup` set the second against the first.", metavar="COLUMN,..."
        ),
    ] = "",
    hue: Annotated[str, typer.Option(help="Column whose values have a colour each.", metavar="COLUMN")] = "model",
    baseline: Annotated[
        str, typer.Option(help="`speedup`: model, or point_id, that others are held against.", metavar="MODEL")
    ] = "",
    accuracy: Annotated[
        Path | None, typer.Option(help="`accuracy`: CSV with columns model and top1, in percent.", metavar="FILE")
    ] = None,
    width: Annotated[str, typer.Option(help="Columns of a journal: one (3.5 in) or two (7.1 in).")] = "two",
    formats: Annotated[
        str, typer.Option("--format", help="File formats, such as png,svg,pdf.", metavar="FORMAT,...")
    ] = "png,svg",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Draw the rows of which this is true, as of `table`; repeatable.", metavar="TRUE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; that of the first CSV, if none.")] = None,
) -> None:
    """Draw the figures of a CSV, or of several together, beside it.

    Example: hvt-bench plot reports/run.csv scaling --width one
    """
    with imported_for_good():
        from hvt_bench.analysis.pick import keep, parse_condition
        from hvt_bench.analysis.together import together
        from hvt_bench.errors import RequestError
        from hvt_bench.plots import save_figures
        from hvt_bench.plots.asked import Asked
        from hvt_bench.reproduce.accuracy import own_accuracy
        from hvt_bench.table import read_table

    csvs = [Path(text) for text in inputs if text.endswith(".csv")] or [Path(inputs[0])]
    names = [text for text in inputs if Path(text) not in csvs]
    own = own_accuracy(accuracy) if accuracy is not None else {}
    asked = Asked(tuple(_names(metric)), hue, baseline, own)
    conditions = [parse_condition(text) for text in where or []]
    every = together(((csv, read_table(csv)) for csv in csvs), hue)
    rows = keep(every, conditions)
    if not rows and every:
        raise RequestError(f"--where {' --where '.join(where or [])}: no row of {plural(len(every), 'row')} is left")
    beside = csvs[0].with_stem("+".join(csv.stem for csv in csvs))
    drawn = save_figures(rows, beside, names, _names(formats), out, asked, width)
    for name, reason in drawn.not_drawn.items():
        typer.echo(f"not drawn: {name}: {reason}")
    for path in drawn.paths:
        typer.echo(f"wrote {path}")


def table(
    csv: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    form: Annotated[str, typer.Option("--format", help="markdown, latex (booktabs), html or csv.")] = "markdown",
    columns: Annotated[str, typer.Option(help="Columns to show; those that vary, if none.", metavar="COLUMN,...")] = "",
    sort: Annotated[
        str, typer.Option(help="Best, or else smallest, first; behind a -, last.", metavar="[-]COLUMN,...")
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep the rows of which this is true, such as 'latency_ms<5', 'warnings=noisy' (a list that has it), "
            "'seq_lens=196 97' (the whole list), 'axis=' (is empty) or 'axis!=' (is not); repeatable.",
            metavar="TRUE",
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Add ratios to this model at its centre, measured alike.", metavar="MODEL")
    ] = "",
) -> None:
    """Print a table of a CSV: the columns that vary, or those asked for; the best in bold.

    Example: hvt-bench table reports/run.csv --where 'latency_ms<50' --sort throughput_img_s --baseline deit_small
    """
    with imported_for_good():
        from hvt_bench.analysis.pick import Baseline, in_order, keep, parse_condition
        from hvt_bench.table import read_table
        from hvt_bench.typeset import missing_ratios, not_whole, typeset, varying

    conditions = [parse_condition(text) for text in where or []]
    rows = read_table(csv)
    base = Baseline(rows, baseline) if baseline else None
    kept = in_order(keep(rows, conditions), _names(sort))
    shown = _names(columns) or varying(kept)
    typer.echo(typeset(kept, form, shown, base))
    if not kept:
        typer.echo(f"no row of {plural(len(rows), 'row')} is left", err=True)
    for line in not_whole(kept, shown):
        typer.echo(line, err=True)
    alone = sum(base.of(row) is None for row in kept) if base else 0
    if alone:
        typer.echo(f"{plural(alone, 'row')} without ratios: no {baseline} was measured alike", err=True)
    for line in missing_ratios(kept, shown, base) if base else ():
        typer.echo(line, err=True)


def fit(
    csv: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    metric: Annotated[
        str,
        typer.Option(help="Columns to fit; macs,params,latency_ms,peak_memory_mib, if none.", metavar="COLUMN,..."),
    ] = "",
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Say how each metric grows along each axis: the exponent, overall and between neighbours.

    Example: hvt-bench fit reports/run.csv --metric macs,latency_ms
    """
    with imported_for_good():
        from hvt_bench.analysis.fit import fit_rows
        from hvt_bench.analysis.render_fits import render_fits
        from hvt_bench.table import read_table

    typer.echo(render_fits(fit_rows(read_table(csv), _names(metric)), form))


def report(
    csv: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; beside the CSV, if none.")] = None,
    baseline: Annotated[
        str, typer.Option(help="Hold the others against this model; the first ViT, if none.", metavar="MODEL")
    ] = "",
) -> None:
    """Write one HTML page about a CSV: findings, figures, a table to sort and filter, fits, failures.

    Example: hvt-bench report reports/run.csv
    """
    with imported_for_good():
        from hvt_bench.report import write_report

    typer.echo(f"wrote {write_report(csv, out, baseline)}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
