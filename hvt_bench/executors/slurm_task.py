"""What runs in a task of a Slurm job: its items one after the other, each in a process of its own, each with a result.

A result is a file of its own, whole or not there. A task that Slurm starts again does what has no result yet.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hvt_bench.errors import WorkerCrashedError, WorkerError
from hvt_bench.executors.process import ProcessExecutor

MOST_STARTS = 3  # of an item that its task did not survive; a node that an item kills is given to it again otherwise
DYING_S = 1.0  # within this time a signal that ended a worker reaches its task too
LOADING_S = 600.0
ABANDONED = "abandoned"  # a file of this name says that nobody waits for the results


@dataclass(frozen=True)
class Order:
    """One item of a task. The task does not unpickle it, so it loads nothing heavy; its workers do."""

    key: str
    call: bytes
    """The function and the item, pickled."""
    timeout_s: float | None

    @property
    def group(self) -> str:
        """What items share that belong together: once a worker of one was lost, the others are not begun."""
        return group_of(self.key)


@dataclass(frozen=True)
class Result:
    """How an item of a task ended."""

    value: bytes | None
    """What the function returned, pickled."""
    error: BaseException | None
    started_at: datetime
    seconds: float
    node: str
    attempt: int
    """2 and more where Slurm had started the task before."""
    output: str = ""
    """What the worker printed."""


def group_of(key: str) -> str:
    """Return what stands before the first dot of a key."""
    return key.partition(".")[0]


def result_file(folder: Path, key: str) -> Path:
    """Return where the result of an item stands."""
    return folder / f"{key}.result"


def begun_file(folder: Path, key: str) -> Path:
    """Return what is there once an item was begun, a byte for each time."""
    return folder / f"{key}.begun"


def run_task(orders: Sequence[Order], folder: Path, preload: Sequence[str]) -> None:
    """Work off what has no result yet, unless nobody waits for it any more."""
    for number in (signal.SIGTERM, signal.SIGUSR2):  # submitit's answers would put the task into the queue again
        signal.signal(number, _end)
    executor = ProcessExecutor(preload)
    list(executor.map(len, [""], timeout_s=lambda _: LOADING_S))  # no item's time is spent on loading what all need
    attempt = int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1
    lost: dict[str, BaseException] = {}
    for order in orders:
        if not folder.is_dir() or (folder / ABANDONED).exists():
            return
        if result_file(folder, order.key).exists():
            continue
        earlier = lost.get(order.group) or _too_often(begun_file(folder, order.key))
        result = _failed(earlier, attempt) if earlier else _run(executor, order, attempt)
        if isinstance(result.error, WorkerCrashedError) and not earlier:
            time.sleep(DYING_S)
        if isinstance(result.error, WorkerError):
            lost[order.group] = result.error
        _write(result_file(folder, order.key), result)


def _run(executor: ProcessExecutor, order: Order, attempt: int) -> Result:
    (outcome,) = executor.map(_call, [order.call], timeout_s=lambda _: order.timeout_s)
    node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    return Result(outcome.value, outcome.error, outcome.started_at, outcome.seconds, node, attempt, outcome.output)


def _call(pickled: bytes) -> bytes:
    """Run in the worker."""
    function: Callable[[Any], Any]
    function, item = pickle.loads(pickled)
    return pickle.dumps(function(item))


def _too_often(begun: Path) -> WorkerCrashedError | None:
    """Take note that an item is begun; refuse where that was done before, too often."""
    starts = begun.stat().st_size if begun.exists() else 0
    if starts >= MOST_STARTS:
        return WorkerCrashedError(f"its task was lost each of the {starts} times that it was begun")
    with begun.open("ab") as file:
        file.write(b"+")
    return None


def _failed(error: BaseException, attempt: int) -> Result:
    node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    return Result(None, error, datetime.now(UTC), 0.0, node, attempt)


def _write(path: Path, result: Result) -> None:
    """Write whole, and only if there is none: a task that a lost node goes on with is no second result."""
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    beside.write_bytes(pickle.dumps(result))
    if path.exists():
        beside.unlink()
    else:
        beside.replace(path)


def _end(number: int, _: object) -> None:
    """End with the workers, which see it; nothing is half written."""
    os._exit(128 + number)
