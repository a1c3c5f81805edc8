"""What several commands share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

STOPPED = 130  # exit code of a program that Ctrl-C ended
Executed = Annotated[
    bool, typer.Option("--executed", help="Count a network whose cost depends on its image by running it on one.")
]


@contextmanager
def answering_ctrl_c(handler: Callable[..., object]) -> Iterator[None]:
    """Answer Ctrl-C with `handler`, unless whoever started this program said that it is to be ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, before)
