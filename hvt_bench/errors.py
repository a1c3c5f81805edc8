"""The exceptions of hvt-bench.

    HvtBenchError
    ├── RequestError            the request is wrong: nothing was run or written (exit code 2)
    │   ├── ConfigError         no network with these fields exists
    │   │   ├── FieldError        whatever the other fields are: one value is out of the question
    │   │   ├── ProtocolError     the network exists, and cannot be measured like this: `key` says which key
    │   │   └── UnsupportedError  the network exists, and cannot do what is asked of it
    │   └── FileError           a file cannot be read, is not ours, or asks for something impossible
    ├── CountError              the cost of a network cannot be counted with certainty
    ├── WriteError              a file can no longer be written while work goes on; what was found before is kept
    ├── DivergedError           the loss of a training is not finite
    ├── TrainingMemoryError     a training ran out of memory
    └── WorkerError             an item of work did not come back
        ├── WorkerTimeoutError  it ran past its time limit and was ended
        ├── WorkerMemoryError   it took more memory than it was given and was ended
        └── WorkerCrashedError  its process died

An error message is one sentence or two that name the file, the key, the value and the next move.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 100  # names are too many to be read


class HvtBenchError(Exception):
    """Everything hvt-bench raises on purpose."""


class RequestError(HvtBenchError):
    """The request is wrong: nothing was run or written."""


class ConfigError(RequestError):
    """No network with these fields exists."""


class FieldError(ConfigError):
    """A field has a value that no network of its family can take, whatever the other fields are."""


class ProtocolError(ConfigError):
    """A network cannot be measured in the way that one key of the protocol asks for."""

    def __init__(self, sentence: str, key: str = "") -> None:
        super().__init__(sentence)
        self.key = key


class UnsupportedError(ConfigError):
    """The network exists, and cannot do what is asked of it."""


class FileError(RequestError):
    """A file cannot be read, is not ours, or asks for something impossible."""


class CountError(HvtBenchError):
    """The cost of a network cannot be counted with certainty."""


class WriteError(HvtBenchError):
    """A file can no longer be written while work goes on; what was found before is kept."""


class DivergedError(HvtBenchError):
    """The loss of a training is not finite; `epochs_done` went well before."""

    def __init__(self, sentence: str, epochs_done: int = 0) -> None:
        super().__init__(sentence)
        self.epochs_done = epochs_done


class TrainingMemoryError(HvtBenchError):
    """A training ran out of memory."""


class WorkerError(HvtBenchError):
    """An item of work did not come back."""


class WorkerTimeoutError(WorkerError):
    """A worker ran past its time limit and was ended."""


class WorkerMemoryError(WorkerError):
    """A worker took more memory than it was given and was ended."""


class WorkerCrashedError(WorkerError):
    """The process of a worker died."""


def unknown(what: str, given: object, known: Iterable[str]) -> str:
    """Say that `given` is no `what`, and name the nearest of `known`, at most three, or, if they are few, all."""
    names = sorted(known)
    found = difflib.get_close_matches(str(given), names, n=3, cutoff=0.6)
    near = [f"'{name}'" for name in found or names if found or name.lower() == str(given).lower()]
    others = f"known: {', '.join(names)}" if len(names) <= MANY else f"none of the {len(names):,} known ones is near"
    hint = f"did you mean {' or '.join(near)}?" if near else others
    return f"unknown {what} '{given}'; {hint}"


def plural(number: int, noun: str) -> str:
    """Return `1 point`, `2 points`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
