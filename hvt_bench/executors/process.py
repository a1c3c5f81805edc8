"""A fresh process per item, forked from a server that has loaded the heavy modules.

No item sees the CUDA context, the allocator or the crash of another, and a process costs tens of milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from hvt_bench.errors import WorkerCrashedError, WorkerTimeoutError
from hvt_bench.executors.base import Item, Outcome, Value


class ProcessExecutor:
    """Runs one item at a time, each in a process of its own; `preload` names the modules the server loads."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", *preload])

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item; `function` and items are pickled, so they live at the top of a module."""
        for item in items:
            yield self._run(function, item, timeout_s(item))

    def _run(self, function: Callable[[Item], Value], item: Item, limit_s: float | None) -> Outcome[Item, Value]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, function, item), daemon=True)
        try:
            resource_tracker.ensure_running()  # which `start` else does, and lets Ctrl-C through
            with _interrupts_held():
                process.start()
            theirs.close()
            if not ours.poll(limit_s):
                error = f"ran longer than its limit of {limit_s:g} s and was ended"
                return Outcome(item, None, WorkerTimeoutError(error))
            value, failure = ours.recv()
            return Outcome(item, value, failure)
        except (EOFError, ConnectionResetError):
            process.join()
            return Outcome(item, None, WorkerCrashedError(_last_words(process.exitcode)))
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
            ours.close()


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


def _work(pipe: Connection, function: Callable[[Item], Value], item: Item) -> None:
    """Run in the worker: call, send the value or the exception back."""
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        answer: tuple[Value | None, BaseException | None] = (function(item), None)
    except Exception as error:
        answer = (None, _picklable(error))
    pipe.send(answer)


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


def _last_words(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}"
    return f"the worker ended with exit code {exit_code} and no answer"
