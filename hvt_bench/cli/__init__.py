"""The command line: one short function per command, each calling the library. The only package that prints.

Nothing heavy is imported before a command runs: `hvt-bench --help` loads neither torch nor pandas.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from hvt_bench import __version__
from hvt_bench.cli import cluster, decide, evaluate, guard, look, measure, reference
from hvt_bench.cli.common import answering, end_at_once
from hvt_bench.errors import HvtBenchError, RequestError

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {  # by help panel, in the order of `hvt-bench --help`
    "Measure": (measure.sweep, cluster.merge, measure.estimate, evaluate.evaluate),
    "Look": (look.show, look.list_, look.plot, look.table, look.fit, look.report),
    "Decide": (decide.match, decide.compare),
    "Guard": (guard.check,),
    "Reference": (reference.reproduce, reference.schema),
}

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 0 if all is well, 1 if something failed, 2 if the request was wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console of an old code page has no ❌
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with answering(signal.SIGINT, end_at_once), answering(signal.SIGTERM, end_at_once):
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
    finally:
        if arguments is not None:  # whoever called goes on, and a finished sweep heeds no signal
            for number, handler in before.items():
                signal.signal(number, handler)


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


for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__.rstrip("_"), rich_help_panel=_panel)(_command)
