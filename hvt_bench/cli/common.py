"""What several commands share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Annotated

import typer

STOPPED = 130  # exit code of a program that Ctrl-C ended
TERMINATED = 143  # and of one that SIGTERM did, as `kill` and a batch system send it
Executed = Annotated[
    bool, typer.Option("--executed", help="Count a network whose cost depends on its image by running it on one.")
]


@contextmanager
def prints_aside() -> Iterator[None]:
    """Send what code of others prints to stderr, its subprocesses included: stdout is for the answer alone."""
    with redirect_stdout(sys.stderr):
        if sys.__stdout__ is None or sys.__stderr__ is None:  # one of them is closed, and its number may be another's
            yield
            return
        sys.__stdout__.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            sys.__stdout__.flush()
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def answering(number: int, handler: Callable[..., object]) -> Iterator[None]:
    """Answer a signal with `handler`, unless whoever started this program said that it is to be ignored."""
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        if signal.getsignal(number) is handler:
            signal.signal(number, before)


answering_ctrl_c = partial(answering, signal.SIGINT)


@contextmanager
def answering_sigterm() -> Iterator[list[int]]:
    """Answer SIGTERM as Ctrl-C; what this yields has it in it once it came."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # which waits where a worker is being started

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, before)


def ignore_stops() -> None:
    """Let nothing stop the program any more: it has little to say yet, and its exit code is that of what it did."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_at_once(number: int = signal.SIGINT, *_: object) -> None:
    """Answer Ctrl-C and SIGTERM so: an import that they interrupted would say so at length, or not end."""
    os.write(2, b"stopped\n")
    os._exit(TERMINATED if number == signal.SIGTERM else STOPPED)


@contextmanager
def imported_for_good() -> Iterator[None]:
    """Spare the garbage collector what is imported meanwhile: none of it is garbage, and looking takes time.

    It is not frozen: that is never freed, and libraries written with nanobind list all of it as leaks at the end.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
