"""A Slurm cluster: items as tasks of a job array, submitted through submitit; results come back through files.

The folder of the jobs has to be one that all nodes see. Whatever ends this program, the tasks go on, and the next map
over the same items takes up what they found.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from hvt_bench.errors import HvtBenchError, RequestError, plural
from hvt_bench.executors.base import Item, Outcome, Place, Value
from hvt_bench.executors.slurm_book import Book, Submission, submissions
from hvt_bench.executors.slurm_states import SilentError, TaskState, ask_controller, largest_array
from hvt_bench.executors.slurm_task import ABANDONED, Order, Result, run_task
from hvt_bench.executors.slurm_watch import USUAL, Patience, Watch

Part = TypeVar("Part")
START_MIN = 10  # of the time limit of a task that nobody gave one: Python, PyTorch and a slow file system


@dataclass(frozen=True)
class Resources:
    """What a task asks Slurm for, in submitit's words, and how much work it is given."""

    parameters: Mapping[str, Any]
    groups_per_task: int = 1
    """How many groups of items, which share what stands before the first dot of their keys, a task works off."""


class SlurmExecutor:
    """Maps over a cluster; `resources` says what an item needs, `say` takes lines for a person to read."""

    places: tuple[Place, ...] = ()

    def __init__(
        self,
        folder: Path,
        name: str,
        resources: Callable[[Any], Resources],
        preload: Sequence[str] = (),
        say: Callable[[str], None] = print,
        patience: Patience = USUAL,
    ) -> None:
        """Make one that keeps its files in `folder`. Raises RequestError where there is no Slurm, or no submitit."""
        if shutil.which("sbatch") is None:
            raise RequestError(
                "--executor slurm: there is no sbatch here; start it on a login node of a Slurm cluster, "
                "or give each machine its part by --shard"
            )
        if importlib.util.find_spec("submitit") is None:
            raise RequestError("--executor slurm needs submitit: pip install 'hvt-bench[slurm]'")
        self.on_wait: Callable[[], None] = lambda: None
        """Called now and then while there is nothing to hand out."""
        self._folder, self._name, self._resources = folder.absolute(), name, resources
        self._preload, self._say, self._patience = tuple(preload), say, patience
        self._watch: Watch | None = None

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        key: Callable[[Item], str] = str,
        timeout_s: Callable[[Item], float | None] = lambda _: None,
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield the outcome of each item; those that an earlier map submitted, and nobody took, are not submitted anew.

        Raises RequestError where Slurm refuses a job, HvtBenchError where it does not answer for long.
        """
        source = iter(items)
        arrived = {key(item): item for item in source}
        if not arrived:
            return
        waiting: dict[str, Item] = {}
        with closing(Book(self._folder)) as book:
            watch = self._watch = Watch(book, waiting, self._patience)
            while True:
                waiting |= arrived
                orders = {name: _order(function, item, name, timeout_s(item)) for name, item in arrived.items()}
                self._resolve(book, orders)
                picked_up = [name for name in orders if name in book.placed]
                if picked_up:
                    jobs = ", ".join(str(s.job) for s in submissions(book.placed[name] for name in picked_up))
                    self._say(f"picked up job {jobs}: {plural(len(picked_up), 'round')} submitted earlier")
                self._submit(book, {n: (arrived[n], order) for n, order in orders.items() if n not in book.placed})
                if not waiting:
                    return
                found = watch.look()
                for name, result in found:
                    yield _outcome(waiting.pop(name), result)
                    book.take(name, node=result.node, attempt=result.attempt)  # after the caller made it safe
                if not found:
                    self.on_wait()
                    time.sleep(self._patience.look_s)
                arrived = {key(item): item for item in source}

    def going_on(self) -> str | None:
        """Say which jobs outlive this program, and how to end them; None if there are none."""
        if self._watch is None or not self._watch.going_on():
            return None
        when = "" if self._watch.ask_at_last() else ", when it last answered"
        if not (counts := self._watch.going_on()):
            return None
        jobs = ", ".join(
            f"job {job}: {running} running, {pending} waiting" for job, (running, pending) in counts.items()
        )
        rest = f"The same command picks up what it finds; `scancel {' '.join(counts)}` ends it."
        return f"Slurm goes on ({jobs}{when}). {rest}"

    def _resolve(self, book: Book, orders: Mapping[str, Order]) -> None:
        """Find the jobs whose submission a kill interrupted; what Slurm does not know after a while was never there."""
        while unresolved := book.unresolved:
            try:
                states = ask_controller([submission.name for submission in unresolved])
            except SilentError as error:
                raise HvtBenchError(f"Slurm does not say what it was given: {error}; try again later") from None
            for submission in unresolved:
                if tasks := states[submission.name]:
                    book.submitted(submission, next(iter(tasks.values())).job)
                    self._hand_over(book, submission, tasks, orders)
                elif time.time() - submission.at > self._patience.grace_s:
                    if submission.folder.is_dir():
                        (submission.folder / ABANDONED).touch()
                    book.abandon(submission)
            if book.unresolved:
                time.sleep(self._patience.look_s)

    def _hand_over(
        self, book: Book, submission: Submission, states: Mapping[int, TaskState], orders: Mapping[str, Order]
    ) -> None:
        """Give the tasks of a job what submitit gives them after submitting, and did not; they wait a minute for it."""
        from submitit.core.utils import DelayedSubmission, JobPaths

        for task, keys in enumerate(submission.tasks):
            path = JobPaths(submission.folder, job_id=submission.ident(task)).submitted_pickle
            wanted = [orders[key] for key in keys if key in orders]
            if path.exists():
                continue
            if task in states and states[task].ended:
                for key in keys:
                    book.take(key, node="", attempt=0)  # it came to nothing, so its items are submitted anew
            else:
                beside = path.with_suffix(".tmp")
                DelayedSubmission(run_task, wanted, submission.folder, self._preload).dump(beside)
                beside.replace(path)

    def _submit(self, book: Book, orders: Mapping[str, tuple[Any, Order]]) -> None:
        """Submit items in as few job arrays as their needs and Slurm's limit allow."""
        groups: dict[str, list[tuple[Any, Order]]] = {}
        for item, order in orders.values():
            groups.setdefault(order.group, []).append((item, order))
        alike: dict[str, tuple[Resources, list[list[Order]]]] = {}
        for group in groups.values():
            needs = self._resources(group[0][0])
            _, members = alike.setdefault(repr(needs), (needs, []))
            members.append([order for _, order in group])
        most = largest_array() if alike else 1
        for needs, members in alike.values():
            tasks = [[order for group in part for order in group] for part in _parts(members, needs.groups_per_task)]
            for array in _parts(tasks, most):
                self._submit_array(book, array, needs)

    def _submit_array(self, book: Book, tasks: Sequence[Sequence[Order]], needs: Resources) -> None:
        import submitit

        submission = book.open(self._name, [[order.key for order in task] for task in tasks])
        executor = submitit.SlurmExecutor(submission.folder)
        cpus = needs.parameters.get("cpus_per_task", 1)
        parameters = {
            "time": _limit_min(tasks),
            **needs.parameters,
            "job_name": submission.name,
            "srun_args": [f"--cpus-per-task={cpus}"],  # since Slurm 22.05 srun does not take it over from sbatch
            "additional_parameters": {
                # submitit asks for a warning before the time limit, which ends a Python that is still importing
                "signal": "CONT@1",
                **needs.parameters.get("additional_parameters", {}),
            },
        }
        try:
            executor.update_parameters(**parameters)
            calls = [partial(run_task, list(task), submission.folder, self._preload) for task in tasks]
            with redirect_stderr(StringIO()):  # submitit prints what it raises too
                first, *_ = executor.submit_array(calls)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            (submission.folder / ABANDONED).touch()
            book.abandon(submission)
            words = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).strip().splitlines())
            raise RequestError(f"Slurm refuses the job: {words}; look at `slurm:` in the sweep file") from None
        book.submitted(submission, first.job_id.partition("_")[0])
        rounds = sum(map(len, tasks))
        self._say(f"submitted job {submission.job}: {plural(rounds, 'round')} in {plural(len(tasks), 'task')}")


def _order(function: Callable[[Item], Value], item: Item, key: str, timeout_s: float | None) -> Order:
    return Order(key, pickle.dumps((function, item)), timeout_s)


def _outcome(item: Item, result: Result) -> Outcome[Item, Any]:
    value = None if result.value is None else pickle.loads(result.value)
    return Outcome(item, value, result.error, result.started_at, result.seconds, output=result.output)


def _parts(whole: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    return (whole[first : first + size] for first in range(0, len(whole), size))


def _limit_min(tasks: Sequence[Sequence[Order]]) -> int:
    """Return minutes in which no task can run out of time before each of its items does."""
    limits = [sum(order.timeout_s or math.inf for order in task) for task in tasks]
    if math.isinf(max(limits)):
        raise RequestError("an item without a time limit needs one of its task: give time_min")
    return START_MIN + math.ceil(max(limits) / 60)
