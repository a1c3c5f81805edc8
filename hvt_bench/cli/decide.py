"""Commands that decide between networks or runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.errors import plural


def compare(
    old: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    new: Annotated[Path, typer.Argument(help="A later one.")],
    fail_on: Annotated[
        str,
        typer.Option(
            help="Exit 1 if a point is one of these (slower,faster,unsure,same), or is measured no longer.",
            metavar="VERDICT,...",
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Compare other devices, versions or protocols too.")] = False,
    margin: Annotated[float, typer.Option(help="Changes up to this are the SAME.", metavar="PERCENT")] = 2.0,
    confidence: Annotated[float, typer.Option(help="Of the interval of each point.", metavar="SHARE")] = 0.95,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Say of each point of two CSVs whether its latency is the SAME, FASTER or SLOWER now, or UNSURE.

    Example: hvt-bench compare old.csv new.csv --fail-on slower
    """
    from hvt_bench.analysis.compare import compare, verdicts_in
    from hvt_bench.analysis.render import render
    from hvt_bench.table import read_table

    bad = verdicts_in(fail_on)
    tables, names = (read_table(old), read_table(new)), (str(old), str(new))
    found = compare(*tables, names, confidence=confidence, margin_pct=margin, force=force)
    typer.echo(render(found, form))
    failed = sum(found.counts()[verdict] for verdict in bad)
    lost = len(found.lost) if bad else 0
    if failed:
        typer.echo(f"{plural(failed, 'point')} {' or '.join(bad)}", err=True)
    if lost:
        typer.echo(f"{plural(lost, 'point')} measured in {old} and not in {new}", err=True)
    if failed or lost:
        raise typer.Exit(1)


def match(
    to: Annotated[str, typer.Option(help="The network to equal, as `show` takes it.", metavar="MODEL")],
    family: Annotated[str, typer.Option(help="The family to search.", metavar="FAMILY")] = "hvt",
    vary: Annotated[
        str,
        typer.Option(
            help="Its fields to vary; what it has of embed_dim,depth,img_size,patch_size,pool_stages, if none.",
            metavar="FIELD,...",
        ),
    ] = "",
    values: Annotated[
        list[str] | None,
        typer.Option(help="What a field takes: depth=12..24:4 or depth=12,18; repeatable.", metavar="FIELD=VALUES"),
    ] = None,
    tolerance: Annotated[str, typer.Option(help="How far the cost may be off.", metavar="PERCENT")] = "2%",
    metric: Annotated[str, typer.Option(help="The cost: macs, params or estimated_memory_mib.")] = "macs",
    batch_size: Annotated[int, typer.Option(help="Of the pass whose memory is estimated.", min=1)] = 64,
    mode: Annotated[str, typer.Option(help="Of the pass whose memory is estimated: infer or train.")] = "infer",
    limit: Annotated[int, typer.Option(help="How many designs to show of all dimensions together.")] = 10,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Find the networks of a family that cost as much as another one, and are larger.

    Example: hvt-bench match --to deit_tiny --family hvt --vary embed_dim,pool_stages --tolerance 12%
    """
    from hvt_bench.analysis.match import match, parse_percent
    from hvt_bench.analysis.render_match import render_match

    varied = [name.strip() for name in vary.split(",") if name.strip()]
    found = match(to, family, varied, values or [], parse_percent(tolerance), metric, batch_size, mode)
    typer.echo(render_match(found, form, limit))
