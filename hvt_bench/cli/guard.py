"""Commands that guard what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvt_bench.cli.common import Executed
from hvt_bench.errors import RequestError

if TYPE_CHECKING:
    from hvt_bench.gate.render import Report


def check(
    what: Annotated[
        list[str],
        typer.Argument(help="A budgets file, such as sweeps/budgets.yaml; or, with --base, models.", metavar="BUDGETS"),
    ],
    executed: Executed = False,
    form: Annotated[str, typer.Option("--format", help="text, markdown, github, junit or json.")] = "text",
    update: Annotated[bool, typer.Option("--update", help="Write the numbers of now into the file.")] = False,
    init: Annotated[
        list[str] | None,
        typer.Option(help="Add this model to the file, which is made if missing; may be repeated.", metavar="MODEL"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Count this git revision of the current repository too, and compare.", metavar="REVISION"),
    ] = None,
) -> None:
    """Exit 1 if a model left its FLOPs budget.

    Example: hvt-bench check sweeps/budgets.yaml
    """
    from hvt_bench.gate.render import check_format, render
    from hvt_bench.gate.revision import check_against
    from hvt_bench.gate.update import write_first

    check_format(form)
    if (update or init) and (form != "text" or base is not None):
        raise RequestError("--format and --base are for a check; --update and --init print what they change")
    if update and init:
        raise RequestError("--update is for models that the file has and --init for new ones; give one of them")
    if base is not None and not _is_file(what[0]):
        from hvt_bench.gate.render import Report

        report = Report(check_against(what, base, executed), base=base)
    elif len(what) > 1:
        raise RequestError(f"'{what[1]}': one budgets file is checked; models are named with --base REVISION")
    elif init:
        typer.echo(write_first(Path(what[0]), init, executed))
        return
    else:
        report = _check_file(Path(what[0]), executed, base, update)
    typer.echo(render(report, form))
    if not report.ok:
        raise typer.Exit(1)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or Path(name).is_file()


def _check_file(path: Path, executed: bool, base: str | None, update: bool) -> Report:
    from hvt_bench.gate.check import check_budgets
    from hvt_bench.gate.load import load_budgets
    from hvt_bench.gate.recorded import path_of, read_record
    from hvt_bench.gate.render import Report
    from hvt_bench.gate.revision import before_and_notes
    from hvt_bench.gate.update import write_update

    budgets = load_budgets(path)
    if base is not None:
        before, notes = before_and_notes(budgets, base, executed)
        return Report(check_budgets(budgets, executed, before, notes), path, base)
    verdicts = check_budgets(budgets, executed, read_record(path_of(path)))
    if not update:
        return Report(verdicts, path)
    changed, left = write_update(budgets, verdicts)
    typer.echo(changed or "nothing to update")
    for sentence in left:
        typer.echo(f"left as it is: {sentence}", err=True)
    raise typer.Exit(1 if left else 0)
