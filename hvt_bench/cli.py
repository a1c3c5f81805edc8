"""The command line: one short function per command, each calling the library. The only file that prints.

Nothing heavy is imported before a command runs: `hvt-bench --help` loads neither torch nor pandas.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvt_bench import __version__
from hvt_bench.errors import HvtBenchError, RequestError, plural

if TYPE_CHECKING:
    from hvt_bench.row import Row
    from hvt_bench.run import Event
    from hvt_bench.sweep import Sweep

app = typer.Typer(
    name="hvt-bench",
    help="How vision transformers scale: HVT against ViT and DeiT in FLOPs, latency and memory.",
    epilog="First steps: hvt-bench sweep sweeps/smoke.yaml, then hvt-bench plot reports/run.csv",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

MEASURE, LOOK, DECIDE, GUARD = "Measure", "Look", "Decide", "Guard"
DEFAULT_OUT = Path("reports/run.csv")
MAX_MIB = 1e12
STOPPED = 130  # exit code of a program that Ctrl-C ended
Executed = Annotated[
    bool, typer.Option("--executed", help="Count a network whose cost depends on its image by running it on one.")
]
USABLE_SHARE = 0.9  # of the memory that is free: the default of --memory-limit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 0 if all is well, 1 if something failed, 2 if the request was wrong."""
    try:
        with _ctrl_c(_stop):
            app(arguments)
    except RequestError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except HvtBenchError as error:
        typer.echo(f"failed: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # `hvt-bench list columns | head`
        sys.stderr.close()
        sys.exit(1)


def _stop(*_: object) -> None:
    """End at once: an import that Ctrl-C interrupts would say so at length, or not end."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


@contextmanager
def _ctrl_c(handler: Callable[..., object]) -> Iterator[None]:
    """Answer Ctrl-C with `handler`, unless whoever started this program said that it is to be ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, before)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hvt-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# --- measure --------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=MEASURE)
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/scaling.yaml.")],
    out: Annotated[Path, typer.Option(help="The CSV to write; its journal stands beside it.")] = DEFAULT_OUT,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, over the protocol's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew; what is there is moved aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and measure nothing.")] = False,
    retry: Annotated[
        str,
        typer.Option(help="Measure failed points again: oom,timeout,crashed,error.", metavar="STATUS,..."),
    ] = "",
    memory_limit: Annotated[
        float | None,
        typer.Option(help="MiB that a CPU point may allocate; default 90 % of what is free.", metavar="MIB"),
    ] = None,
    executed: Executed = False,
    executor: Annotated[
        str, typer.Option(help="process: a fresh process per round; inline: this one, for debugging.")
    ] = "process",
) -> None:
    """Measure every point of a sweep file and write a CSV.

    Running it again goes on where it stopped: only what is missing is measured.

    Example: hvt-bench sweep sweeps/scaling.yaml
    """
    from hvt_bench.executors import make_executor
    from hvt_bench.measure import available_memory_mib
    from hvt_bench.run import run_sweep
    from hvt_bench.sweep import load_sweep

    if out.suffix != ".csv":
        raise RequestError(f"--out {out}: the table is a CSV; give it a name that ends in .csv")
    workers = make_executor(executor, preload=["hvt_bench.measure"])
    plan = load_sweep(file, device, workers)
    if dry_run:
        _print_plan(plan)
        return
    if executor == "inline" and memory_limit is not None:
        raise RequestError("--memory-limit needs --executor process: it limits a process of its own")
    if memory_limit is not None and not 0 < memory_limit < MAX_MIB:
        raise RequestError(f"--memory-limit {memory_limit:g}: give MiB, more than 0 and less than {MAX_MIB:.0e}")
    if executor == "process" and memory_limit is None and (free := available_memory_mib()):
        memory_limit = USABLE_SHARE * free
    if memory_limit is None and any(point.max_batch and point.device == "cpu" for point in plan.points):
        raise RequestError("max_batch on a CPU needs a limit to run into: --memory-limit MIB, and --executor process")
    retried = _statuses(retry)
    events = run_sweep(plan, workers, out, fresh=fresh, retry=retried, memory_limit_mib=memory_limit, executed=executed)
    rows = _follow(plan, out, events)
    _print_result(out, rows, {cell.point_id for cell in plan.cells})


def _statuses(text: str) -> list[str]:
    from hvt_bench.errors import unknown
    from hvt_bench.run import FAILED

    statuses = [status.strip() for status in text.split(",") if status.strip()]
    for status in statuses:
        if status not in FAILED:
            raise RequestError(f"--retry: {unknown('status', status, FAILED)}")
    return statuses


def _follow(plan: Sweep, out: Path, events: Generator[Event, None, None]) -> tuple[Row, ...]:
    from hvt_bench.progress import Progress

    try:
        with _ctrl_c(signal.default_int_handler), Progress(plan, typer.echo) as progress:
            for event in events:
                progress.show(event)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not tear what is being written
        events.close()
        done = f"what was finished is in {out}" if out.exists() else "nothing was finished yet"
        typer.echo(f"stopped; {done}. The same command goes on from there.", err=True)
        raise typer.Exit(STOPPED) from None
    return progress.rows


def _print_plan(plan: Sweep) -> None:
    per_axis: dict[tuple[str, str], int] = {}
    for cell in plan.cells:
        key = (cell.model, cell.axis or "centre")
        per_axis[key] = per_axis.get(key, 0) + 1
    for (model, axis), cells in per_axis.items():
        typer.echo(f"{model:<24} {axis:<20} {cells:>6}")
    for cell in plan.invalid:
        typer.echo(f"invalid: {cell.model}: {cell.reason}")
    timed = set(plan.metrics) != {"complexity"}
    rounds = sum(point.rounds for point in plan.points) if timed else 0
    seconds = sum(point.rounds * (point.warmup_s + point.min_time_s) for point in plan.points) if timed else 0
    typer.echo(
        f"{plural(len(plan.points), 'point')} ({plural(plan.duplicates, 'duplicate')} merged, "
        f"{len(plan.invalid)} invalid), {plural(rounds, 'round')}, at least {seconds:.0f} s; "
        f"measures {', '.join(plan.metrics)}"
    )


def _print_result(out: Path, rows: Sequence[Row], asked: set[str]) -> None:
    """Say what was written; a failed point that the sweep file no longer asks for is no failure of this run."""
    from hvt_bench.verdicts import summary

    for warning in summary(rows):
        typer.echo(f"warning: {warning}", err=True)
    failed = [row for row in rows if row["status"] not in ("ok", "invalid") and row["point_id"] in asked]
    ok, invalid = (sum(row["status"] == status for row in rows) for status in ("ok", "invalid"))
    typer.echo(f"wrote {out}: {plural(len(rows), 'row')}, {ok} ok, {invalid} invalid")
    if failed:
        for row in failed:
            typer.echo(f"{row['status']}: {row['model']} ({row['point_id']}): {row['error']}", err=True)
        typer.echo(f"{plural(len(failed), 'point')} failed; --retry {failed[0]['status']} tries again", err=True)
        raise typer.Exit(1)


@app.command(rich_help_panel=MEASURE)
def estimate(
    model: Annotated[
        str, typer.Argument(help="A variant or family, such as deit_base; timm:NAME; package.module:factory.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="Fields of the network or the protocol, such as batch_size=256.", metavar="KEY=VALUE..."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Estimate the memory of a pass from shapes, and say which GPUs it fits; needs no GPU.

    Example: hvt-bench estimate deit_base batch_size=256 mode=train
    """
    from hvt_bench.cards import describe

    typer.echo(describe(model, changes or [], form))


# --- look -----------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=LOOK)
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
) -> None:
    """Show the fields of a network, where its tokens and MACs fall, and what it costs in all.

    Example: hvt-bench show hvt_s_1 depth=18
    """
    from hvt_bench.request import parse_request
    from hvt_bench.show import describe
    from hvt_bench.timed import READS

    reads, otherwise = (READS, f"--time reads {', '.join(READS)}") if timed else ((), "give --time to measure passes")
    point = parse_request(model, changes or [], reads, otherwise)
    typer.echo(describe(point.model, point.config, by, form, executed, point if timed else None))


class Listing(StrEnum):
    """What `hvt-bench list` can list."""

    variants = "variants"
    families = "families"
    metrics = "metrics"
    figures = "figures"
    columns = "columns"


@app.command("list", rich_help_panel=LOOK)
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List the variants, families, metrics, figures or columns there are.

    Example: hvt-bench list variants
    """
    from hvt_bench import listing

    typer.echo(getattr(listing, what.value)())


@app.command(rich_help_panel=LOOK)
def plot(
    csv: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures to draw; all that the CSV can fill, if none.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="File formats, such as png,svg,pdf.", metavar="FORMAT,...")
    ] = "png,svg",
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; that of the CSV, if none.")] = None,
) -> None:
    """Draw the figures of a CSV beside it.

    Example: hvt-bench plot reports/run.csv
    """
    from hvt_bench.plots import save_figures
    from hvt_bench.table import read_table

    drawn = save_figures(read_table(csv), csv, names or [], formats.split(","), out)
    for name, reason in drawn.not_drawn.items():
        typer.echo(f"not drawn: {name}: {reason}")
    for path in drawn.paths:
        typer.echo(f"wrote {path}")


@app.command(rich_help_panel=LOOK)
def table(csv: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")]) -> None:
    """Print a Markdown table of the columns of a CSV that vary.

    Example: hvt-bench table reports/run.csv
    """
    from hvt_bench.table import markdown, read_table

    typer.echo(markdown(read_table(csv)))


# --- decide ---------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=DECIDE)
def compare(
    old: Annotated[Path, typer.Argument(help="A CSV that `hvt-bench sweep` wrote.")],
    new: Annotated[Path, typer.Argument(help="A later one.")],
    fail_on: Annotated[
        str,
        typer.Option(help="Exit 1 if a point is one of these: slower,faster,unsure,same.", metavar="VERDICT,..."),
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
    if failed:
        typer.echo(f"{plural(failed, 'point')} {' or '.join(bad)}", err=True)
        raise typer.Exit(1)


# --- guard ----------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=GUARD)
def check(
    budgets: Annotated[Path, typer.Argument(help="A budgets file, such as sweeps/budgets.yaml.")],
    executed: Executed = False,
) -> None:
    """Exit 1 if a model left its FLOPs budget.

    Example: hvt-bench check sweeps/budgets.yaml
    """
    from hvt_bench.gate import check_budgets, render_text

    verdicts = check_budgets(budgets, executed)
    typer.echo(render_text(verdicts))
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)
