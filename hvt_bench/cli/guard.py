"""Commands that guard what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.cli.common import Executed


def check(
    budgets: Annotated[Path, typer.Argument(help="A budgets file, such as sweeps/budgets.yaml.")],
    executed: Executed = False,
    form: Annotated[str, typer.Option("--format", help="text, markdown, github, junit or json.")] = "text",
) -> None:
    """Exit 1 if a model left its FLOPs budget.

    Example: hvt-bench check sweeps/budgets.yaml
    """
    from hvt_bench.gate.check import check_budgets
    from hvt_bench.gate.load import load_budgets
    from hvt_bench.gate.render import Report, check_format, render

    check_format(form)
    report = Report(check_budgets(load_budgets(budgets), executed), budgets)
    typer.echo(render(report, form))
    if not report.ok:
        raise typer.Exit(1)
