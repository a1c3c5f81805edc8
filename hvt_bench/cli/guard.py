"""Commands that guard what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvt_bench.cli.common import Executed, prints_aside
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

    check_format(form)
    if (update or init) and (form != "text" or base is not None):
        raise RequestError("--format and --base are for a check; --update and --init print what they change")
    if update and init:
        raise RequestError("--update is for models that the file has and --init for new ones; give one of them")
    alone = base is not None and not _is_file(what[0])
    if len(what) > 1 and not alone:
        raise RequestError(f"'{what[1]}': one budgets file is checked; models are named with --base REVISION")
    if init or update:
        _write(Path(what[0]), init, executed)
        return
    with prints_aside():
        report = _against(what, str(base), executed) if alone else _check_file(Path(what[0]), executed, base)
    said = render(report, form)
    typer.echo(said if form == "text" else said.encode())  # what programs read is UTF-8 wherever it is printed
    if not report.ok:
        raise typer.Exit(1)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or Path(name).is_file()


def _against(models: list[str], base: str, executed: bool) -> Report:
    from hvt_bench.gate.render import Report
    from hvt_bench.gate.revision import check_against

    return Report(check_against(models, base, executed), base=base)


def _check_file(path: Path, executed: bool, base: str | None) -> Report:
    from hvt_bench.gate.check import check_budgets
    from hvt_bench.gate.load import load_budgets
    from hvt_bench.gate.recorded import path_of, read_record
    from hvt_bench.gate.render import Report
    from hvt_bench.gate.revision import before_and_notes

    budgets = load_budgets(path)
    if base is None:
        return Report(check_budgets(budgets, executed, read_record(path_of(path))), path)
    before, notes = before_and_notes(budgets, base, executed)
    return Report(check_budgets(budgets, executed, before, notes), path, base)


def _write(path: Path, init: list[str] | None, executed: bool) -> None:
    from hvt_bench.gate.check import check_budgets
    from hvt_bench.gate.load import load_budgets
    from hvt_bench.gate.update import write_first, write_update

    left: tuple[str, ...] = ()
    with prints_aside():
        if init:
            changed = write_first(path, init, executed)
        else:
            budgets = load_budgets(path)
            changed, left = write_update(budgets, check_budgets(budgets, executed))
    typer.echo(changed or "nothing to update")
    for sentence in left:
        typer.echo(f"left as it is: {sentence}", err=True)
    if left:
        raise typer.Exit(1)
