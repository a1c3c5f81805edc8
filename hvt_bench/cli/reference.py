"""Commands that say what others have published, and what the files here hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.cli.measure import DEFAULT_OUT
from hvt_bench.errors import RequestError


def reproduce(
    system: Annotated[
        str | None,
        typer.Argument(
            help="hvt, dynamicvit, timm, ...; all of them, if none. With --claims, the CSV of a run; "
            f"{DEFAULT_OUT}, if none.",
            metavar="SYSTEM",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List what is not compared too, and why.")] = False,
    accuracy: Annotated[Path | None, typer.Option(help="Your own top-1: a CSV with columns model and top1.")] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Judge what the paper claims of accuracy by the trainings of a run.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or markdown.")] = "table",
) -> None:
    """Set what papers print of params and FLOPs beside our count; exit 1 if one differs and nobody knows why.

    Example: hvt-bench reproduce hvt
    """
    if claims:
        _judge_claims(Path(system or DEFAULT_OUT), everything, accuracy, form)
        return
    from hvt_bench.progress import bar
    from hvt_bench.reproduce.render import describe

    text, unexplained = describe(system, form, everything, accuracy, bar("counting"))
    typer.echo(text)
    if unexplained:
        many = "1 cell differs" if unexplained == 1 else f"{unexplained} cells differ"
        typer.echo(f"{many} from what is printed, and nobody knows why", err=True)
        raise typer.Exit(1)


def _judge_claims(path: Path, everything: bool, accuracy: Path | None, form: str) -> None:
    """Say what a run says of the claims about accuracy; whatever comes out, that is no failure."""
    if everything or accuracy is not None:
        raise RequestError(
            f"{'--all' if everything else '--accuracy'} is about printed numbers, and --claims about a run; "
            "leave one of them out"
        )
    from hvt_bench.reproduce.accuracy_render import describe_claims

    typer.echo(describe_claims(path, form))


def schema(
    kind: Annotated[str, typer.Argument(help="sweep or budgets.", metavar="KIND")],
) -> None:
    """Print the JSON schema of a kind of file, with which an editor completes keys and marks mistakes.

    Example: hvt-bench schema sweep > sweep.schema.json
    """
    from hvt_bench.schema import describe

    typer.echo(describe(kind))
