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
