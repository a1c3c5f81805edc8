"""Commands that decide between networks or runs."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvt_bench.cli.common import STOPPED, TERMINATED, answering_ctrl_c, answering_sigterm
from hvt_bench.errors import RequestError, plural, unknown

if TYPE_CHECKING:
    from hvt_bench.row import Row
    from hvt_bench.sweep import Sweep


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
    batch_size: Annotated[
        int | None, typer.Option(help="Of the pass whose memory is estimated (64, if none) or measured.", min=1)
    ] = None,
    mode: Annotated[str, typer.Option(help="Of that pass: infer or train.")] = "infer",
    measure: Annotated[
        str,
        typer.Option(help="Measure what is found, and rank it by the first: latency,memory.", metavar="METRIC,..."),
    ] = "",
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="How to measure, as in a sweep file: rounds=10, dtype=bfloat16; repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep what is measured as a CSV, and go on from it; it is thrown away, if none.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many designs to show of all dimensions together.")] = 10,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Find the networks of a family that cost as much as another one, and are larger.

    Example: hvt-bench match --to deit_tiny --family hvt --vary embed_dim,pool_stages --tolerance 12%
    """
    from hvt_bench.analysis.match import match, parse_percent
    from hvt_bench.analysis.render_match import render_match

    varied = [name.strip() for name in vary.split(",") if name.strip()]
    measured = [name.strip() for name in measure.split(",") if name.strip()]
    if not measured and (protocol or out):
        raise RequestError(f"{'--protocol' if protocol else '--out'} says how to measure; give --measure latency too")
    if out is not None and out.suffix != ".csv":
        raise RequestError(f"--out {out}: the table is a CSV; give it a name that ends in .csv")
    search = partial(match, to, family, varied, values or [], parse_percent(tolerance), metric, batch_size or 64, mode)
    if not measured:
        typer.echo(render_match(search(), form, limit))
        return

    from hvt_bench.rivals import judge_contest, parse_protocol, plan_contest
    from hvt_bench.rivals.render import FORMS, render_contest

    if form not in FORMS:
        raise RequestError(f"--format: {unknown('format', form, FORMS)}")
    asked: dict[str, Any] = {"mode": mode} | ({"batch_size": batch_size} if batch_size else {})
    settled = parse_protocol(protocol or [], **asked)
    found = search()
    plan = plan_contest(found, measured, settled, limit)
    with ExitStack() as cleanup:
        path = out or Path(cleanup.enter_context(TemporaryDirectory())) / "match.csv"
        contest = judge_contest(plan, _measured(plan.sweep, path, kept=out is not None))
    typer.echo(render_contest(contest, form))
    if failed := sum(rival.row["status"] not in ("ok", "invalid") for rival in contest.rivals):
        typer.echo(f"{plural(failed, 'network')} failed", err=True)
        raise typer.Exit(1)


def _measured(sweep: Sweep, path: Path, kept: bool) -> tuple[Row, ...]:
    """Visit the points of a sweep, saying on stderr how far it is."""
    from hvt_bench.executors import make_executor
    from hvt_bench.measure import usable_memory_mib
    from hvt_bench.progress import Progress
    from hvt_bench.run import run_sweep

    workers = make_executor("process", preload=["hvt_bench.measure"])
    events = run_sweep(sweep, workers, path, memory_limit_mib=usable_memory_mib())
    terminated: list[int] = []
    try:
        with (
            answering_sigterm() as terminated,
            answering_ctrl_c(signal.default_int_handler),
            Progress(sweep, partial(typer.echo, err=True), bar=False) as progress,
        ):
            for event in events:
                progress.show(event)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second one must not tear what is being written
        events.close()
        typer.echo("stopped" + f"; what was finished is in {path}" * kept, err=True)
        raise typer.Exit(TERMINATED if terminated else STOPPED) from None
    return progress.rows
