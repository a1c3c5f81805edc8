"""Commands and options for sweeps on many machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvt_bench.errors import RequestError, plural

if TYPE_CHECKING:
    from hvt_bench.executors.slurm import Resources, SlurmExecutor
    from hvt_bench.point import Point
    from hvt_bench.sweep import Sweep

SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        help="A key of slurm: in the sweep file, such as partition=gpu; may be repeated.",
        metavar="KEY=VALUE",
    ),
]
PointsPerTask = Annotated[
    int | None, typer.Option(help="Points that one task of a Slurm job works off.", min=1, metavar="N")
]
Shard = Annotated[
    str | None,
    typer.Option(help="Measure only this share of the points, such as 2/8; `merge` joins them.", metavar="N/OF"),
]


def read_share(text: str | None) -> tuple[int, int] | None:
    """Read `2/8`. Raises RequestError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise RequestError(f"--shard {text}: give a share and how many there are, such as 1/8 to 8/8")
    return int(found[1]), int(found[2])


def share_path(out: Path, share: tuple[int, int] | None) -> Path:
    """Return where a share is written if nobody says: `run.csv` has `run.shard-2-of-8.csv`."""
    return out if share is None else out.with_name(f"{out.stem}.shard-{share[0]}-of-{share[1]}.csv")


def read_slurm(options: Sequence[str], points_per_task: int | None) -> dict[str, Any]:
    """Read KEY=VALUE options, whose values are written as in a sweep file. Raises RequestError."""
    import yaml

    found: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not text:
            raise RequestError(f"--slurm {option}: write KEY=VALUE, such as partition=gpu")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise RequestError(f"--slurm {option}: '{text}' cannot be read; put it in quotes") from None
    if points_per_task is not None:
        found["points_per_task"] = points_per_task
    return found


def make_queue(plan: Sweep, out: Path, aside: bool) -> SlurmExecutor:
    """Make the executor for the rounds of a sweep; `aside` says which jobs there are on standard error.

    Raises RequestError where it cannot run on a cluster.
    """
    from hvt_bench.executors.slurm import Resources, SlurmExecutor
    from hvt_bench.output import slurm_of

    if any(point.max_batch for point in plan.points):
        raise RequestError("max_batch tries batches one after the other, each of which would queue; give batch_size")

    def resources(visit: Any) -> Resources:
        point: Point = visit.point
        return Resources(plan.slurm.parameters(point.device), plan.slurm.points_per_task)

    return SlurmExecutor(
        slurm_of(out), f"hvt-{plan.name}", resources, ["hvt_bench.measure"], partial(typer.echo, err=aside)
    )


def merge(
    out: Annotated[Path, typer.Argument(help="The CSV to write; what it holds already stays.")],
    files: Annotated[list[Path], typer.Argument(help="CSVs of shares of one sweep; their journals are read.")],
) -> None:
    """Join what several machines measured of one sweep.

    Example: hvt-bench merge reports/run.csv reports/run.shard-*.csv
    """
    from hvt_bench.merge import merge

    for path in (out, *files):
        if path.suffix != ".csv":
            raise RequestError(f"{path}: name the CSVs; each has its journal beside it")
    merged = merge(out, files)
    for conflict in merged.conflicts:
        typer.echo(f"warning: {conflict}", err=True)
    for share in merged.missing_shares:
        typer.echo(f"share {share} is missing")
    counts = {status: sum(row["status"] == status for row in merged.rows) for status in ("ok", "invalid")}
    failed = len(merged.rows) - sum(counts.values())
    typer.echo(
        f"wrote {out}: {plural(len(merged.rows), 'row')} of {plural(merged.files, 'file')}, {counts['ok']} ok, "
        f"{counts['invalid']} invalid, {failed} failed; {plural(merged.empty, 'point')} without any result"
    )
