"""Commands that guard what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.cli.common import Executed
from hvt_bench.errors import RequestError


def check(
    budgets: Annotated[Path, typer.Argument(help="A budgets file, such as sweeps/budgets.yaml.")],
    executed: Executed = False,
    form: Annotated[str, typer.Option("--format", help="text, markdown, github, junit or json.")] = "text",
    update: Annotated[bool, typer.Option("--update", help="Write the numbers of now into the file.")] = False,
    init: Annotated[
        list[str] | None,
        typer.Option(help="Add this model to the file, which is made if missing; may be repeated.", metavar="MODEL"),
    ] = None,
) -> None:
    """Exit 1 if a model left its FLOPs budget.

    Example: hvt-bench check sweeps/budgets.yaml
    """
    from hvt_bench.gate.check import check_budgets
    from hvt_bench.gate.load import load_budgets
    from hvt_bench.gate.recorded import path_of, read_record
    from hvt_bench.gate.render import Report, check_format, render
    from hvt_bench.gate.update import write_first, write_update

    check_format(form)
    if (update or init) and form != "text":
        raise RequestError(f"--format {form} is for a check; --update and --init print what they change")
    if update and init:
        raise RequestError("--update is for models that the file has and --init for new ones; give one of them")
    if init:
        typer.echo(write_first(budgets, init, executed))
        return
    asked = load_budgets(budgets)
    verdicts = check_budgets(asked, executed, read_record(path_of(budgets)))
    if update:
        changed, left = write_update(asked, verdicts)
        typer.echo(changed or "nothing to update")
        for sentence in left:
            typer.echo(f"left as it is: {sentence}", err=True)
        raise typer.Exit(1 if left else 0)
    report = Report(verdicts, budgets)
    typer.echo(render(report, form))
    if not report.ok:
        raise typer.Exit(1)
