"""Watching tasks of Slurm jobs: which items have a result, and which will never have one."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hvt_bench.errors import HvtBenchError, WorkerCrashedError, WorkerError, WorkerMemoryError, WorkerTimeoutError
from hvt_bench.executors.slurm_book import Book, Placing, submissions
from hvt_bench.executors.slurm_states import (
    FORGOTTEN,
    SilentError,
    TaskState,
    ask_accounting,
    ask_controller,
)
from hvt_bench.executors.slurm_task import Result, begun_file, result_file

LAST_S = 5.0  # for an answer that somebody who pressed Ctrl-C waits for

_MEANING: dict[str, tuple[Callable[[str], WorkerError], str]] = {  # state: error, what can be done
    "OUT_OF_MEMORY": (WorkerMemoryError, "raise mem_gb under slurm"),
    "TIMEOUT": (WorkerTimeoutError, "raise time_min under slurm"),
    "DEADLINE": (WorkerTimeoutError, "raise time_min under slurm"),
    "COMPLETED": (WorkerCrashedError, "its result did not arrive: do all nodes see the folder of the CSV?"),
    FORGOTTEN: (WorkerCrashedError, "Slurm knows it no longer: cancelled before it began, or ended long ago"),
}


@dataclass(frozen=True)
class Patience:
    """How long is waited for what, in seconds."""

    look_s: float = 1.0
    """Between two looks for results."""
    ask_s: float = 15.0
    """Between two questions to Slurm."""
    grace_s: float = 30.0
    """For the result of a task that has ended; what another node wrote may be seen late."""
    silent_s: float = 900.0
    """For any answer of Slurm."""


USUAL = Patience()


@dataclass
class Watch:
    """The items of a map that wait for a result; `waiting` is the map's own, whose items go as they end."""

    book: Book
    waiting: Mapping[str, object]
    patience: Patience
    _states: dict[str, dict[int, TaskState]] = field(default_factory=dict)
    _ended_at: dict[tuple[str, int], float] = field(default_factory=dict)
    _asked_at: float = -float("inf")
    _silent_since: float | None = None

    def look(self) -> list[tuple[str, Result]]:
        """Return the items that have ended since: with their results, or, where none will come, with what Slurm says.

        Raises HvtBenchError where Slurm has not answered for long.
        """
        due = time.monotonic() - self._asked_at >= self.patience.ask_s
        over = self._over() if due else {}  # before the folders are looked at, so that a late result counts
        found = self._results()
        arrived = {key for key, _ in found}
        return found + [(key, self._lost(key, state)) for key, state in over.items() if key not in arrived]

    def ask_at_last(self) -> bool:
        """Ask Slurm once more, if it answers soon: how things stood at the last question may be long ago."""
        try:
            self._states = ask_controller([job.name for job in submissions(self._places().values())], LAST_S)
        except SilentError:
            return False
        return True

    def going_on(self) -> dict[str, tuple[int, int]]:
        """Return how many tasks run and how many wait, by the number of the job."""
        places = self._places().values()
        counts: dict[str, tuple[int, int]] = {}
        for name, task, job in {(at.submission.name, at.task, at.submission.job) for at in places}:
            state = self._states.get(name, {}).get(task)
            if job is not None and (state is None or not state.ended):
                running, pending = counts.get(job, (0, 0))
                runs = state is not None and state.state != "PENDING"
                counts[job] = (running + runs, pending + (not runs))
        return counts

    def _places(self) -> dict[str, Placing]:
        return {key: self.book.placed[key] for key in self.waiting if key in self.book.placed}

    def _results(self) -> list[tuple[str, Result]]:
        places = self._places()
        there = {s.name: _names(s.folder) for s in submissions(places.values())}
        found = []
        for key, at in places.items():
            path = result_file(at.submission.folder, key)
            if path.name in there[at.submission.name]:
                found.append((key, _read(path)))
        return found

    def _over(self) -> dict[str, TaskState]:
        """Return the items whose task has ended so long ago that no result will come."""
        places = self._places()
        jobs = submissions(places.values())
        self._asked_at = now = time.monotonic()
        try:
            self._states = ask_controller([job.name for job in jobs])
            self._silent_since = None
        except SilentError as error:
            self._silent_since = now if self._silent_since is None else self._silent_since
            if now - self._silent_since > self.patience.silent_s:
                raise HvtBenchError(
                    f"Slurm has not answered for {now - self._silent_since:.0f} s: {error}; "
                    "what runs goes on, and the same command picks it up"
                ) from None
            return {}
        over: dict[str, TaskState] = {}
        for key, at in places.items():
            state = self._states[at.submission.name].get(at.task)
            task = at.submission.name, at.task
            if state is not None and not state.ended:
                self._ended_at.pop(task, None)
            elif now - self._ended_at.setdefault(task, now) >= self.patience.grace_s:
                over[key] = state or TaskState(at.submission.job or "", FORGOTTEN)
        forgotten = [places[key] for key, state in over.items() if state.state == FORGOTTEN]
        if forgotten:
            jobs = submissions(forgotten)
            known = ask_accounting([job.name for job in jobs], datetime.fromtimestamp(min(job.at for job in jobs)))
            for key in over:
                state = known.get(places[key].submission.name, {}).get(places[key].task)
                if state is not None and state.ended:
                    over[key] = state
        return over

    def _lost(self, key: str, state: TaskState) -> Result:
        at = self.book.placed[key]
        begun = begun_file(at.submission.folder, key)
        try:
            since = datetime.fromtimestamp(begun.stat().st_mtime, UTC)
            when = "while this round ran"
        except OSError:
            since = datetime.now(UTC)
            when = "before this round began"
        kind, advice = _MEANING.get(state.state, (WorkerCrashedError, "--retry crashed submits it again"))
        log = at.submission.folder / f"{at.submission.ident(at.task)}_0_log.err"
        words = _last_line(log)
        error = kind(
            f"Slurm ended task {at.submission.ident(at.task)} as {state.state} {when}; {advice}"
            + (f"; its last words: {words}" if words else "")
            + (f" ({_near(log)})" if log.exists() else "")
        )
        return Result(None, error, since, (datetime.now(UTC) - since).total_seconds(), "", 0)


def _names(folder: Path) -> set[str]:
    """Return what lies in a folder; listing it makes a network file system look."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _read(path: Path) -> Result:
    try:
        result = pickle.loads(path.read_bytes())
        assert isinstance(result, Result)
        return result
    except Exception as error:  # another version of the code of others, say
        failure = WorkerCrashedError(f"{_near(path)}: its result cannot be read: {type(error).__name__}: {error}")
        return Result(None, failure, datetime.now(UTC), 0.0, "", 0)


def _last_line(log: Path) -> str:
    """Return the end of what a task wrote to its standard error."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip() and not line.startswith("submitit ")]
    return said[-1][:300] if said else ""


def _near(path: Path) -> str:
    """Spell a path from the current folder, if it lies there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
