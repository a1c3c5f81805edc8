"""Commands that measure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvt_bench.cli.cluster import (
    PointsPerTask,
    Shard,
    SlurmOptions,
    make_queue,
    read_share,
    read_slurm,
    share_path,
)
from hvt_bench.cli.common import (
    STOPPED,
    TERMINATED,
    Executed,
    answering_ctrl_c,
    answering_sigterm,
    end_at_once,
    ignore_stops,
)
from hvt_bench.errors import RequestError, plural

if TYPE_CHECKING:
    from hvt_bench.events import Event
    from hvt_bench.executors.base import Executor
    from hvt_bench.progress import Progress, Watcher
    from hvt_bench.row import Row
    from hvt_bench.sweep import Sweep

DEFAULT_OUT = Path("reports/run.csv")
MAX_MIB = 1e12
PRELOAD = ("hvt_bench.measure",)  # what workers need


def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/scaling.yaml.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The CSV to write; its journal stands beside it.", show_default=str(DEFAULT_OUT)),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, over the protocol's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew; what is there is moved aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and measure nothing.")] = False,
    retry: Annotated[
        str,
        typer.Option(help="Measure failed points again: oom,timeout,crashed,error.", metavar="STATUS,..."),
    ] = "",
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first point that fails.")] = False,
    no_skip: Annotated[
        bool, typer.Option("--no-skip", help="Try points larger than one that ran out of memory too.")
    ] = False,
    memory_limit: Annotated[
        float | None,
        typer.Option(help="MiB that a CPU point may allocate; default 90 % of what is free.", metavar="MIB"),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Several GPUs, one point at a time on each: cuda:0,cuda:1.", metavar="GPU,..."),
    ] = None,
    gpus_per_point: Annotated[
        int | None,
        typer.Option(help="Train each network on so many of --devices together; passes are timed on one.", metavar="N"),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="CPU points side by side; they disturb each other.", metavar="N")
    ] = None,
    executed: Executed = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say what was written, and what failed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per event, for programs.")] = False,
    executor: Annotated[
        str,
        typer.Option(help="process: a fresh process per round; inline: this one, for debugging; slurm: a cluster."),
    ] = "process",
    slurm: SlurmOptions = None,
    points_per_task: PointsPerTask = None,
    shard: Shard = None,
) -> None:
    """Measure every point of a sweep file and write a CSV.

    Running it again goes on where it stopped: only what is missing is measured.

    Example: hvt-bench sweep sweeps/scaling.yaml
    """
    from hvt_bench.executors import make_executor
    from hvt_bench.measure import USABLE_SHARE, usable_memory_mib
    from hvt_bench.places import gpus_of, started_by_torchrun, trained_together
    from hvt_bench.run import environments_of, run_sweep
    from hvt_bench.sweep import load_sweep

    rank, together = started_by_torchrun()
    if rank > 0:
        return  # the first of torchrun's processes starts those that train, once for each round
    share = read_share(shard)
    out = out or share_path(DEFAULT_OUT, share)
    if out.suffix != ".csv":
        raise RequestError(f"--out {out}: the table is a CSV; give it a name that ends in .csv")
    if quiet and as_json:
        raise RequestError("--quiet and --json contradict each other; give one of them")
    if dry_run and as_json:
        raise RequestError("--dry-run prints a plan for people and has no events; leave out --json")
    on_cluster = executor == "slurm"
    _check_side_by_side(executor, device, devices, jobs)
    if gpus_per_point is not None and devices is None:
        raise RequestError(f"--gpus-per-point {gpus_per_point}: of which? add --devices, such as cuda:0,cuda:1")
    together = gpus_per_point or together
    if not on_cluster and (slurm or points_per_task):
        raise RequestError("--slurm and --points-per-task say what a task of a Slurm job is; add --executor slurm")
    local = "process" if on_cluster else executor
    workers = make_executor(local, PRELOAD)
    if together > 1 and devices is None:
        devices = gpus_of(load_sweep(file, device, workers), together)
    if devices is not None:
        from hvt_bench.places import gpu_places, on_any_gpu

        places = gpu_places(devices, together)
        plan = on_any_gpu(load_sweep(file, places[0].name.partition("+")[0], workers))
        workers = make_executor(executor, PRELOAD, places)
    else:
        plan = load_sweep(file, device, workers, read_slurm(slurm or [], points_per_task) if on_cluster else None)
    plan = trained_together(replace(plan, share=share), together)
    if jobs is not None:
        from hvt_bench.places import cpu_places

        workers = make_executor(executor, PRELOAD, cpu_places(jobs, plan))
    if dry_run:
        from hvt_bench.forecast import describe as describe_plan

        here = partial(environments_of, plan, None if on_cluster else workers)
        typer.echo(describe_plan(plan, out, here, _statuses(retry), len(workers.places), fresh))
        return
    if executor == "inline" and memory_limit is not None:
        raise RequestError("--memory-limit needs --executor process: it limits a process of its own")
    if memory_limit is not None and not 0 < memory_limit < MAX_MIB:
        raise RequestError(f"--memory-limit {memory_limit:g}: give MiB, more than 0 and less than {MAX_MIB:.0e}")
    if executor == "process" and memory_limit is None and (usable := usable_memory_mib()):
        memory_limit = usable / (jobs or 1)
    if on_cluster and memory_limit is None and plan.slurm.mem_gb is not None:
        memory_limit = USABLE_SHARE * plan.slurm.mem_gb * 1024
    queue = make_queue(plan, out, aside=quiet or as_json) if on_cluster else None
    if memory_limit is None and any(point.max_batch and point.device == "cpu" for point in plan.points):
        raise RequestError("max_batch on a CPU needs a limit to run into: --memory-limit MIB, and --executor process")
    retried = _statuses(retry)
    if jobs is not None and jobs > 1 and set(plan.metrics) != {"complexity"}:
        disturbed = f"{jobs} CPU points side by side disturb each other; compare no times with a run of one at a time"
        typer.echo(f"warning: {disturbed}", err=True)
    events = run_sweep(
        plan,
        workers,
        out,
        fresh=fresh,
        retry=retried,
        memory_limit_mib=memory_limit,
        executed=executed,
        fail_fast=fail_fast,
        skip=not no_skip,
        counters=_counters(local),
        away=queue,
    )
    rows = _follow(_watcher(plan, quiet, as_json), out, events, queue.going_on if queue else lambda: None)
    _print_result(out, rows, plan, silent=as_json)


def _check_side_by_side(executor: str, device: str | None, devices: str | None, jobs: int | None) -> None:
    """Refuse options that contradict each other."""
    given = "--devices" if devices is not None else "--jobs" if jobs is not None else None
    if given and executor == "inline":
        raise RequestError(f"{given} needs --executor process: in one process, points run one after the other")
    if given and executor == "slurm":
        raise RequestError(f"{given} is for one machine; on a cluster each task has a GPU, or cores, of its own")
    if devices is not None and jobs is not None:
        raise RequestError("--jobs is for points of a CPU; with --devices, each GPU takes one point at a time")
    if devices is not None and device is not None:
        raise RequestError(f"--device {device} and --devices {devices} contradict each other; give one of them")


def _counters(executor: str) -> Executor | None:
    """Return what counts many networks; in this process where points are measured in it too."""
    from hvt_bench.executors import make_executor
    from hvt_bench.places import counter_places

    return None if executor == "inline" else make_executor("process", PRELOAD, counter_places())


def _statuses(text: str) -> list[str]:
    from hvt_bench.errors import unknown
    from hvt_bench.run import FAILED

    statuses = [status.strip() for status in text.split(",") if status.strip()]
    for status in statuses:
        if status not in FAILED:
            raise RequestError(f"--retry: {unknown('status', status, FAILED)}")
    return statuses


def _watcher(plan: Sweep, quiet: bool, as_json: bool) -> Progress | Watcher:
    from hvt_bench.event_lines import event_line
    from hvt_bench.progress import Progress, Watcher, of_files

    if as_json:
        return Watcher(typer.echo, event_line)
    return Watcher(partial(typer.echo, err=True), of_files) if quiet else Progress(plan, typer.echo)


def _follow(
    watcher: Progress | Watcher,
    out: Path,
    events: Generator[Event, None, None],
    going_on: Callable[[], str | None],
) -> tuple[Row, ...]:
    from hvt_bench.events import Finished

    terminated: list[int] = []
    try:
        with answering_sigterm() as terminated, answering_ctrl_c(signal.default_int_handler), watcher:
            for event in events:
                if isinstance(event, Finished):
                    ignore_stops()
                watcher.show(event)
        if rest := going_on():  # the first failure ended the sweep
            typer.echo(rest, err=True)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end_at_once)  # what is being written then is torn, and mended at the next start
        rest = going_on()
        events.close()
        ignore_stops()
        done = f"what was finished is in {out}" if out.exists() else "nothing was finished yet"
        typer.echo(f"stopped; {done}. The same command goes on from there.", err=True)
        if rest:
            typer.echo(rest, err=True)
        raise typer.Exit(TERMINATED if terminated else STOPPED) from None
    return watcher.rows


def _print_result(out: Path, rows: Sequence[Row], plan: Sweep, silent: bool) -> None:
    """Say what was written; a failed point that the sweep file no longer asks for is no failure of this run."""
    from hvt_bench.progress import labels
    from hvt_bench.run import FAILED
    from hvt_bench.verdicts import summary

    points, label = {point.point_id: point for point in plan.points}, labels(plan)
    for warning in summary(rows):
        typer.echo(f"warning: {warning}", err=True)
    failed = [row for row in rows if row["status"] not in ("ok", "invalid") and row["point_id"] in points]
    ok, invalid = (sum(row["status"] == status for row in rows) for status in ("ok", "invalid"))
    if not silent:
        typer.echo(f"wrote {out}: {plural(len(rows), 'row')}, {ok} ok, {invalid} invalid")
    if failed:
        for row in failed:
            point_id = str(row["point_id"])
            typer.echo(f"{row['status']}: {label(points[point_id])} ({point_id}): {row['error']}", err=True)
        statuses = ",".join(status for status in FAILED if any(row["status"] == status for row in failed))
        left = _left(plan, rows)
        rest = f"; the same command goes on with {plural(left, 'other')} not measured yet" if left else ""
        typer.echo(f"{plural(len(failed), 'point')} failed; --retry {statuses} tries again{rest}", err=True)
        raise typer.Exit(1)


def _left(plan: Sweep, rows: Sequence[Row]) -> int:
    """Count the points that wait for a round, none of which failed."""
    found = {row["point_id"]: row for row in rows}
    in_rounds = set(plan.metrics) != {"complexity"}
    return sum(
        (row := found.get(point.point_id)) is None
        or (in_rounds and row["status"] == "ok" and int(str(row["rounds"] or 0)) < point.rounds)
        for point in plan.points
    )


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
