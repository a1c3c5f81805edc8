"""Commands that guard what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvt_bench.cli.common import Executed


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
