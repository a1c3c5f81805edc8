"""A fresh process per item, forked from a server that has loaded the heavy modules.

No item sees the CUDA context, the allocator or the crash of another, and a process costs tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Any, Generic

from hvt_bench.errors import WorkerCrashedError, WorkerError, WorkerMemoryError, WorkerTimeoutError
from hvt_bench.executors.base import Item, Outcome, Place, Value
from hvt_bench.executors.oom_kills import OomKills

ASK = signal.SIGUSR1  # for the stack of a worker
ANSWER_S = 0.3
MAX_OUTPUT = 65_536  # bytes of what a worker printed that are kept


class ProcessExecutor:
    """Runs one item at each of its places, each in a process of its own; `preload` is what the server loads."""

    def __init__(self, preload: Sequence[str] = (), places: Sequence[Place] = (Place(),)) -> None:
        self.places = tuple(places)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", *preload])

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        key: Callable[[Item], str] = str,
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item; `function` and items are pickled, so they live at the top of a module."""
        source = iter(items)
        free = list(self.places)
        workers: list[_Worker[Item, Value]] = []
        kills = OomKills()
        try:
            while True:
                while free and (found := [*itertools.islice(source, 1)]):
                    place = free.pop(0)
                    if not workers:
                        kills.forget()
                    workers.append(_Worker(self._context, function, found[0], timeout_s(found[0]), place))
                if not workers:
                    return
                ended = _first_to_end(workers)
                outcome = ended.outcome(kills)
                workers.remove(ended)
                free.append(ended.place)
                yield outcome
        finally:
            for worker in workers:
                worker.end()


class _Worker(Generic[Item, Value]):
    """A process that works on one item."""

    def __init__(
        self,
        context: ForkServerContext,
        function: Callable[[Item], Value],
        item: Item,
        limit_s: float | None,
        place: Place,
    ) -> None:
        self.place = place
        self._item, self._limit_s = item, limit_s
        self._started_at, self._start = datetime.now(UTC), time.monotonic()
        self._pipe, theirs = context.Pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        output = Connection(os.dup(self._output.fileno()), readable=False)  # for it travels, as a file does not
        self._process = context.Process(
            target=_work, args=(theirs, output, function, item, dict(place.environment)), daemon=True
        )
        try:
            resource_tracker.ensure_running()  # which `start` else does, and lets Ctrl-C through
            with _interrupts_held():
                self._process.start()
            theirs.close()
            output.close()
        except BaseException:
            self.end()
            raise

    @property
    def signs(self) -> list[Connection | int]:
        """What becomes readable once it ends: its answer, or its death, which a child of its own may outlive."""
        return [self._pipe, self._process.sentinel]

    @property
    def seconds_left(self) -> float | None:
        """Until its time limit; less than 0 past it, None where it has none."""
        return None if self._limit_s is None else self._start + self._limit_s - time.monotonic()

    def outcome(self, kills: OomKills) -> Outcome[Item, Value]:
        """Return how it ended, which `signs` or `seconds_left` told; end it if it did not."""
        value: Value | None = None
        failure: BaseException | None
        try:
            if self._pipe.poll():
                value, failure = self._pipe.recv()
            elif wait([self._process.sentinel], 0):
                raise EOFError
            else:
                self._ask_where_it_is()
                failure = WorkerTimeoutError(f"ran longer than its limit of {self._limit_s:g} s and was ended")
        except (EOFError, ConnectionResetError):
            self._process.join()
            failure = _failure(self._process.exitcode, kills)
        finally:
            output = self._printed()
            self.end()
        seconds = time.monotonic() - self._start
        return Outcome(self._item, value, failure, self._started_at, seconds, self.place.name, output)

    def end(self) -> None:
        """End the process, if there is one still, and wait for that."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._output.close()

    def _ask_where_it_is(self) -> None:
        """Let a process that hangs print its stack."""
        with contextlib.suppress(OSError):
            if self._process.pid is not None:
                os.kill(self._process.pid, ASK)
                wait([self._process.sentinel], ANSWER_S)

    def _printed(self) -> str:
        """Read without moving where the process writes next."""
        file = self._output.fileno()
        before = max(0, os.fstat(file).st_size - MAX_OUTPUT)
        cut = f"... {before:,} bytes before this\n" if before else ""
        return cut + os.pread(file, MAX_OUTPUT, before).decode(errors="replace")


def _first_to_end(workers: Sequence[_Worker[Item, Value]]) -> _Worker[Item, Value]:
    """Wait until a worker ends or runs past its limit."""
    while True:
        limits = [worker.seconds_left for worker in workers if worker.seconds_left is not None]
        seen = wait([sign for worker in workers for sign in worker.signs], max(0.0, min(limits)) if limits else None)
        for worker in workers:
            left = worker.seconds_left
            if any(sign in seen for sign in worker.signs) or (left is not None and left <= 0):
                return worker


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait: it would leave a worker without its orders, or the server without its modules.

    What is started here inherits the mask, so Ctrl-C never reaches it; the parent ends its workers. The mask alone
    would not do for the parent, which answers a signal that any of its threads receives.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield  # Ctrl-C does not interrupt this
        return
    received: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if received:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def children_allowed() -> Iterator[None]:
    """Let this process have workers though it is one itself, which multiprocessing forbids its daemons.

    They outlive no one: each looks whether its parent is there. Until Python lets a daemon say so.
    """
    config: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    daemon = config.get("daemon", False)
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = daemon


def _work(
    pipe: Connection,
    output: Connection,
    function: Callable[[Item], Value],
    item: Item,
    environment: Mapping[str, str],
) -> None:
    """Run in the worker: call, send the value or the exception back."""
    os.environ.update(environment)
    _print_into(output)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        answer: tuple[Value | None, BaseException | None] = (function(item), None)
    except Exception as error:
        traceback.print_exc()
        answer = (None, _picklable(error))
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.send(answer)


def _print_into(output: Connection) -> None:
    """Let all that this process prints go there at once; the stack, if it crashes, and whenever it is asked for."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()
    faulthandler.register(ASK, all_threads=True)


def _end_with_parent(pipe: Connection) -> None:
    """Wait for the other end of the pipe to close, which a parent's death does, and end this process."""
    try:
        pipe.poll(None)
    finally:
        os._exit(1)


def _picklable(error: Exception) -> Exception:
    """Return `error`, or its words where it would not survive the pipe."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _failure(exit_code: int | None, kills: OomKills) -> WorkerError:
    if exit_code == -signal.SIGKILL and kills.explain_one():
        there = f"the {kills.limit_mib:,.0f} MiB of its cgroup" if kills.limit_mib else "the memory"
        return WorkerMemoryError(f"the system ended the worker: {there} ran out; give it less to do, or more memory")
    return WorkerCrashedError(_last_words(exit_code))


def _last_words(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}"
    return f"the worker ended with exit code {exit_code} and no answer"
