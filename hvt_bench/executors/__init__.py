"""EXECUTORS: where work can happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvt_bench.errors import RequestError, unknown
from hvt_bench.executors.base import Executor, Place
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.executors.process import ProcessExecutor

EXECUTORS: dict[str, Callable[[Sequence[str], Sequence[Place]], Executor]] = {
    "inline": lambda preload, places: InlineExecutor(),
    "process": ProcessExecutor,
}


def make_executor(name: str, preload: Sequence[str] = (), places: Sequence[Place] = (Place(),)) -> Executor:
    """Make an executor; `preload` names the modules that its workers will need, `places` where they run.

    Raises RequestError.
    """
    if name not in EXECUTORS:
        raise RequestError(unknown("executor", name, [*EXECUTORS, "slurm"]))
    return EXECUTORS[name](preload, places)
