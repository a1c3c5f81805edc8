"""The book of what was submitted: which job has which items, written before and after each submission.

`jobs.jsonl` in the folder of the jobs is append-only, each line on disk before the next step is taken:
    {"open": {...}}      a job is about to be submitted under this name; a kill may follow
    {"job": {...}}       Slurm gave it this number
    {"abandoned": NAME}  no job of this name was found, and none that turns up later is wanted
    {"taken": {...}}     the result of an item was handed on and is safe
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvt_bench.errors import FileError


@dataclass
class Submission:
    """A job array: the items of its tasks, by their keys."""

    name: str
    folder: Path
    tasks: tuple[tuple[str, ...], ...]
    at: float
    """When it was written down, in seconds of the clock."""
    job: str | None = None
    """Slurm's number; None until it is known."""

    def ident(self, task: int) -> str:
        """Return what Slurm calls a task; a job of one task is no array."""
        return f"{self.job}_{task}" if len(self.tasks) > 1 else f"{self.job}"


@dataclass(frozen=True)
class Placing:
    """Which task of which job an item belongs to."""

    submission: Submission
    task: int


class Book:
    """What was submitted for the items of a map, by this program or by one that it goes on from."""

    def __init__(self, folder: Path) -> None:
        """Open the book, or make it. Raises FileError where it is not ours or cannot be written."""
        self.folder = folder
        self.placed: dict[str, Placing] = {}
        """By key: the latest placing whose result was not taken yet."""
        self._by_name: dict[str, Submission] = {}
        self._path = folder / "jobs.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab+")
        except OSError as error:
            raise FileError(f"{self._path}: cannot be written: {error.strerror}; give --out another path") from None
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._enter(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                self._file.close()
                raise FileError(f"{self._path}:{number}: this is no book of jobs; move the folder away") from None
        self._file.truncate(whole)  # a kill left the last line unfinished

    @property
    def unresolved(self) -> list[Submission]:
        """Those of which it is not known whether they were submitted."""
        return [submission for submission in self._by_name.values() if submission.job is None]

    def open(self, name: str, tasks: Sequence[Sequence[str]]) -> Submission:
        """Write down what is about to be submitted; its name, which begins with `name`, is like no other."""
        name = f"{name}-{secrets.token_hex(4)}"
        self._write({"open": {"name": name, "tasks": tasks, "at": time.time()}})
        submission = self._by_name[name]
        submission.folder.mkdir()
        return submission

    def submitted(self, submission: Submission, job: str) -> None:
        """Write down the number of a job."""
        self._write({"job": {"name": submission.name, "job": job}})

    def abandon(self, submission: Submission) -> None:
        """Write down that nobody waits for a job."""
        self._write({"abandoned": submission.name})

    def take(self, key: str, **how: Any) -> None:
        """Write down that the result of an item is safe elsewhere, and how it came about."""
        self._write({"taken": {"key": key, **how}})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._enter(entry)

    def _enter(self, entry: dict[str, Any]) -> None:
        if "open" in entry:
            found = entry["open"]
            tasks = tuple(tuple(keys) for keys in found["tasks"])
            submission = Submission(found["name"], self.folder / found["name"], tasks, float(found["at"]))
            self._by_name[submission.name] = submission
            for task, keys in enumerate(tasks):
                self.placed |= dict.fromkeys(keys, Placing(submission, task))
        elif "job" in entry:
            self._by_name[entry["job"]["name"]].job = str(entry["job"]["job"])
        elif "abandoned" in entry:
            submission = self._by_name.pop(entry["abandoned"])
            self.placed = {key: at for key, at in self.placed.items() if at.submission is not submission}
        else:
            self.placed.pop(entry["taken"]["key"], None)


def submissions(placings: Iterable[Placing]) -> list[Submission]:
    """Return the jobs of some items, each once."""
    return list({placing.submission.name: placing.submission for placing in placings}.values())
