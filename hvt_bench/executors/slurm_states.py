"""What Slurm says of our jobs: by squeue, and by sacct of those that its controller forgot, if it keeps accounts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

ANSWER_S = 60.0
ENDED = {  # `man squeue`, job state codes; any other, one that a later Slurm adds too, may still come to something
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
FORGOTTEN = "UNKNOWN"


class SilentError(Exception):
    """Slurm does not answer."""


@dataclass(frozen=True)
class TaskState:
    """Where a task of a job array stands."""

    job: str
    """Number of the array."""
    state: str
    reason: str = ""
    """Why it waits, in Slurm's word."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED


def ask_controller(names: Sequence[str], answer_s: float | None = None) -> dict[str, dict[int, TaskState]]:
    """Return the states of the tasks of jobs, by the job's name and the task's number. Raises SilentError.

    It is given `answer_s` seconds, or, if that is None, ANSWER_S.
    A task that is missing has ended a while ago, or was cancelled while it waited: squeue hides such a one.
    """
    states: dict[str, dict[int, TaskState]] = {name: {} for name in names}
    output = _run(
        "squeue", "--array", "--states=all", "--noheader", f"--name={','.join(names)}", "--format=%F|%K|%j|%T|%r",
        answer_s=answer_s,
    )  # fmt: skip
    for line in output.splitlines():
        job, number, name, state, reason = line.split("|")
        if name in states:
            task = int(number) if number.isdecimal() else 0  # N/A: a job of one task is no array
            states[name][task] = TaskState(job, state, "" if reason == "None" else reason)
    return states


def ask_accounting(names: Sequence[str], since: datetime) -> dict[str, dict[int, TaskState]]:
    """Return the same from the accounting, of jobs submitted at `since` or later; empty where there is none."""
    states: dict[str, dict[int, TaskState]] = {name: {} for name in names}
    options = ("--allocations", "--parsable2", "--noheader", "--format=JobID,JobName,State")
    try:
        output = _run("sacct", f"--name={','.join(names)}", f"--starttime={since:%Y-%m-%dT%H:%M:%S}", *options)
    except SilentError:
        return states  # `Slurm accounting storage is disabled`
    for line in output.splitlines():
        ident, name, state = line.split("|")
        if name in states:
            for job, task in _tasks(ident):
                states[name][task] = TaskState(job, state.split()[0])  # CANCELLED by 1000
    return states


def _tasks(ident: str) -> Iterator[tuple[str, int]]:
    """Read `12`, `12_3` and `12_[3-5,7%2]`."""
    job, _, rest = ident.partition("_")
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", rest.partition("%")[0]) or [("0", "")]:
        for number in range(int(first), int(last or first) + 1):
            yield job, number


def largest_array() -> int:
    """Return how many tasks an array may have: Slurm's MaxArraySize, 1001 where it does not say."""
    try:
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _run("scontrol", "show", "config"))
    except SilentError:
        found = None
    return max(1, int(found[1]) - 1) if found else 1000


def _run(*command: str, answer_s: float | None = None) -> str:
    limit_s = ANSWER_S if answer_s is None else answer_s
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise SilentError(f"{command[0]} gives no answer within {limit_s:g} s") from None
    except OSError as error:
        raise SilentError(f"{command[0]}: {error.strerror}") from None
    if answer.returncode:
        raise SilentError(" ".join(answer.stderr.split()) or f"{command[0]} ended with exit code {answer.returncode}")
    return answer.stdout
