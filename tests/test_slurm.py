"""The Slurm executor without Slurm: its commands are scripted; tests/test_slurm_real.py has the real ones."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import types
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hvt_bench.errors import (
    FileError,
    HvtBenchError,
    RequestError,
    WorkerCrashedError,
    WorkerMemoryError,
    WorkerTimeoutError,
)
from hvt_bench.executors import slurm, slurm_states, slurm_task, slurm_watch
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.executors.slurm import Resources, SlurmExecutor
from hvt_bench.executors.slurm_book import Book
from hvt_bench.executors.slurm_states import SilentError, TaskState, ask_accounting, ask_controller, largest_array
from hvt_bench.executors.slurm_task import ABANDONED, MOST_STARTS, Order, begun_file, result_file, run_task
from hvt_bench.executors.slurm_watch import Patience
from tests.cluster_functions import count, double, first

PATIENT = Patience(look_s=0.0, ask_s=0.0, grace_s=0.0, silent_s=0.0)


def key(item):
    return f"{item}.0.1" if isinstance(item, int | str) else f"{item[0]}.{item[1]}.1"


# --- what Slurm says --------------------------------------------------------------------------------------------------


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Programs that print what they are told to, and end as they are told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name, output="", error="", code=0):
        (folder / f"{name}.out").write_text(output)
        script = (
            f'#!/bin/sh\necho "$@" >> {folder}/{name}.args\ncat {folder}/{name}.out\necho "{error}" >&2\nexit {code}\n'
        )
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
        return folder / f"{name}.args"

    return write


def test_squeue_is_asked_by_name_and_tells_of_each_task(commands):
    asked = commands(
        "squeue", "7|0|a|RUNNING|None\n7|1|a|PENDING|Resources\n9|N/A|b|COMPLETED|None\n9|3|other|FAILED|\n"
    )
    states = ask_controller(["a", "b", "c"])
    assert states == {
        "a": {0: TaskState("7", "RUNNING"), 1: TaskState("7", "PENDING", "Resources")},
        "b": {0: TaskState("9", "COMPLETED")},
        "c": {},
    }
    assert "--name=a,b,c" in asked.read_text()
    assert [state.ended for state in (states["a"][0], states["a"][1], states["b"][0])] == [False, False, True]


def test_sacct_tells_of_ranges_and_of_who_cancelled(commands):
    commands("sacct", "7_0|a|CANCELLED by 1000\n7_[2-3,5%4]|a|PENDING\n8|b|OUT_OF_MEMORY\n9_1|other|FAILED\n")
    states = ask_accounting(["a", "b"], datetime(2026, 1, 31))
    assert {task: state.state for task, state in states["a"].items()} == {
        0: "CANCELLED", 2: "PENDING", 3: "PENDING", 5: "PENDING",
    }  # fmt: skip
    assert states["b"] == {0: TaskState("8", "OUT_OF_MEMORY")}


def test_without_accounting_nothing_is_known(commands):
    commands("sacct", error="Slurm accounting storage is disabled", code=1)
    assert ask_accounting(["a"], datetime(2026, 1, 31)) == {"a": {}}


def test_what_slurm_complains_of_is_said(commands, monkeypatch):
    commands("squeue", error="slurm_load_jobs error: Unable to contact slurm controller (connect failure)", code=1)
    with pytest.raises(SilentError, match="Unable to contact slurm controller"):
        ask_controller(["a"])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SilentError, match="squeue: No such file or directory"):
        ask_controller(["a"])


def test_slurm_is_not_waited_for_without_end(commands, monkeypatch, tmp_path):
    commands("squeue")
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(slurm_states, "ANSWER_S", 0.1)
    with pytest.raises(SilentError, match=r"squeue gives no answer within 0\.1 s"):
        ask_controller(["a"])


def test_the_largest_array_is_that_of_the_cluster(commands):
    commands("scontrol", "MaxArraySize            = 501\nMaxJobCount = 10000\n")
    assert largest_array() == 500
    commands("scontrol", code=1)
    assert largest_array() == 1000


# --- the book ---------------------------------------------------------------------------------------------------------


def test_a_book_knows_what_an_earlier_program_wrote(tmp_path):
    book = Book(tmp_path / "jobs")
    first = book.open("hvt", [["a.0.1", "a.1.1"], ["b.0.1"]])
    book.submitted(first, "17")
    book.take("a.0.1", node="n1", attempt=2)
    book.close()
    again = Book(tmp_path / "jobs")
    assert {key: (at.submission.job, at.task) for key, at in again.placed.items()} == {
        "a.1.1": ("17", 0),
        "b.0.1": ("17", 1),
    }
    assert again.placed["b.0.1"].submission.ident(1) == "17_1"
    assert again.unresolved == []
    again.close()


def test_an_item_that_was_taken_can_be_submitted_again(tmp_path):
    book = Book(tmp_path)
    for number in ("17", "18"):
        submission = book.open("hvt", [["a.0.1"]])
        book.submitted(submission, number)
        assert book.placed["a.0.1"].submission.job == number
        book.take("a.0.1", node="", attempt=1)
        assert book.placed == {}
    assert len({path for path in tmp_path.iterdir() if path.is_dir()}) == 2
    book.close()


def test_what_was_about_to_be_submitted_is_unresolved_until_it_is_found_or_given_up(tmp_path):
    book = Book(tmp_path)
    one, two = book.open("hvt", [["a.0.1"]]), book.open("hvt", [["b.0.1"]])
    book.close()
    book = Book(tmp_path)
    assert [submission.name for submission in book.unresolved] == [one.name, two.name]
    book.abandon(book.unresolved[0])
    book.submitted(book.unresolved[0], "3")
    assert book.unresolved == []
    assert list(book.placed) == ["b.0.1"]
    book.close()


@pytest.mark.parametrize("torn", ["", '{"op', '{"taken":{"key":"a.0.1","node":"n1","atte'])
def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path, torn):
    book = Book(tmp_path)
    book.submitted(book.open("hvt", [["a.0.1"]]), "17")
    book.close()
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write(torn)
    book = Book(tmp_path)
    book.take("a.0.1", node="n0", attempt=1)
    book.close()
    assert [*map(json.loads, (tmp_path / "jobs.jsonl").read_text().splitlines())][-1]["taken"]["node"] == "n0"
    assert (tmp_path / "jobs.jsonl").read_text().count("\n") == 3


def test_a_file_that_is_no_book_is_refused(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"open": 3}\n')
    with pytest.raises(FileError, match=r"jobs.jsonl:1: this is no book of jobs; move the folder away"):
        Book(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written"):
        Book(tmp_path / "file")


# --- in a task --------------------------------------------------------------------------------------------------------


@pytest.fixture
def handlers(monkeypatch):
    """Signal handlers as they were, after a task has set its own; and no waiting for a signal that may come."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    monkeypatch.setattr(slurm_task, "DYING_S", 0.0)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def orders(*items, function=double):
    return [Order(key(item), pickle.dumps((function, item)), 60.0) for item in items]


def results(folder, *items):
    return [pickle.loads(result_file(folder, key(item)).read_bytes()) for item in items]


def test_a_task_writes_a_result_for_each_item(tmp_path, handlers, monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    run_task(orders(3, "raise", "die", 5), tmp_path, ())
    three, raised, died, five = results(tmp_path, 3, "raise", "die", 5)
    assert [pickle.loads(found.value) for found in (three, five)] == [6, 10]
    assert (type(raised.error), str(raised.error)) == (ValueError, "no such number")
    assert str(died.error) == "the worker was ended by SIGSEGV"
    assert {(found.node, found.attempt) for found in (three, raised, died, five)} == {("n7", 1)}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_task_that_is_started_again_does_what_has_no_result(tmp_path, handlers, monkeypatch):
    items = [(str(tmp_path), "a", n) for n in range(2)]
    calls = [Order(f"a.{n}.1", pickle.dumps((count, item)), None) for n, item in enumerate(items)]
    run_task(calls[:1], tmp_path, ())
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run_task(calls, tmp_path, ())
    assert (tmp_path / "count").read_text() == ".."
    assert [pickle.loads((tmp_path / f"a.{n}.1.result").read_bytes()).attempt for n in range(2)] == [1, 2]


def test_an_item_that_its_task_never_survives_is_given_up(tmp_path, handlers):
    begun_file(tmp_path, key(3)).write_bytes(b"+" * MOST_STARTS)
    run_task(orders(3, 4), tmp_path, ())
    lost, well = results(tmp_path, 3, 4)
    assert str(lost.error) == "its task was lost each of the 3 times that it was begun"
    assert pickle.loads(well.value) == 8


def test_what_belongs_to_a_lost_item_is_not_begun(tmp_path, handlers):
    calls = [
        Order("a.0.1", pickle.dumps((double, "die")), None),
        Order("b.0.1", pickle.dumps((double, 1)), None),
        Order("a.1.1", pickle.dumps((double, "die")), None),
    ]
    run_task(calls, tmp_path, ())
    found = [pickle.loads((tmp_path / f"{name}.result").read_bytes()) for name in ("a.0.1", "b.0.1", "a.1.1")]
    assert [str(result.error) for result in found] == [
        "the worker was ended by SIGSEGV",
        "None",
        "the worker was ended by SIGSEGV",
    ]
    assert not begun_file(tmp_path, "a.1.1").exists()


@pytest.mark.parametrize("how", ["abandoned", "folder gone"])
def test_a_task_ends_where_nobody_waits_for_it(tmp_path, handlers, how):
    folder = tmp_path / "job"
    if how == "abandoned":
        folder.mkdir()
        (folder / ABANDONED).touch()
    run_task(orders(3), folder, ())
    assert not result_file(folder, key(3)).exists()


TASK = """
import os, signal, sys, pickle
from pathlib import Path
from hvt_bench.executors.slurm_task import Order, run_task
from tests.cluster_functions import wait_there
folder = Path(sys.argv[1])
run_task([Order("a.0.1", pickle.dumps((wait_there, str(folder))), None)], folder, ())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL])
def test_a_task_that_slurm_ends_leaves_no_result_and_no_worker(tmp_path, repository, number):
    """Its worker is ended by the same signal, and is no crash of the item."""
    command = [sys.executable, "-c", TASK, str(tmp_path)]
    with subprocess.Popen(command, cwd=repository) as task:
        until((tmp_path / "there").exists)
        until((tmp_path / "there").read_text)
        worker = int((tmp_path / "there").read_text())
        os.kill(worker, number)
        time.sleep(0.1)
        task.send_signal(number)
        task.wait(30)
    until(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text())
    assert not (tmp_path / "a.0.1.result").exists()


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- the map ----------------------------------------------------------------------------------------------------------


class FakeSlurm:
    """Takes jobs by submitit's words, runs their tasks at once unless it is told what becomes of them."""

    def __init__(self, monkeypatch):
        self.jobs = {}
        self.parameters = []
        self.fates = {}
        self.states = {}
        self.accounts = {}
        self.refusal = None
        self.silence = None
        utils = types.SimpleNamespace(
            FailedJobError=type("FailedJobError", (Exception,), {}),
            FailedSubmissionError=type("FailedSubmissionError", (Exception,), {}),
        )
        module = types.ModuleType("submitit")
        module.__spec__ = types.SimpleNamespace(name="submitit")
        module.core = types.SimpleNamespace(utils=utils)
        module.SlurmExecutor = lambda folder: Submitting(self, folder)
        self.utils = utils
        monkeypatch.setitem(sys.modules, "submitit", module)
        monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(slurm_task, "ProcessExecutor", lambda preload: InlineExecutor())
        monkeypatch.setattr(slurm, "largest_array", lambda: 4)
        monkeypatch.setattr(slurm, "ask_controller", self.ask)
        monkeypatch.setattr(slurm_watch, "ask_controller", self.ask)
        monkeypatch.setattr(
            slurm_watch, "ask_accounting", lambda names, since: {n: self.accounts.get(n, {}) for n in names}
        )

    def ask(self, names, answer_s=None):
        if self.silence:
            raise SilentError(self.silence)
        return {name: dict(self.states.get(name, {})) for name in names}

    @property
    def names(self):
        return list(self.states)


class Submitting:
    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder

    def update_parameters(self, **parameters):
        self.parameters = parameters

    def submit_array(self, calls):
        cluster = self.cluster
        if cluster.refusal:
            raise cluster.utils.FailedJobError(cluster.refusal)
        cluster.parameters.append(self.parameters)
        number = str(100 + len(cluster.parameters))
        states = cluster.states[self.parameters["job_name"]] = {}
        for task, call in enumerate(calls):
            fate = cluster.fates.get((len(cluster.parameters), task), "COMPLETED")
            if fate == "COMPLETED":
                call()
            if fate != "hidden":
                states[task] = TaskState(number, fate)
        ident = f"{number}_0" if len(calls) > 1 else number
        return [types.SimpleNamespace(job_id=ident)] * len(calls)


@pytest.fixture
def cluster(monkeypatch, handlers):
    return FakeSlurm(monkeypatch)


@pytest.fixture
def make(tmp_path, cluster):
    def executor(points_per_task=1, parameters=lambda item: {}, patience=PATIENT):
        needs = lambda item: Resources(parameters(item), points_per_task)  # noqa: E731
        return SlurmExecutor(tmp_path / "run.slurm", "hvt-test", needs, (), said.append, patience)

    said = executor.said = []
    return executor


def go(executor, items, function=double, timeout_s=lambda _: 60.0):
    return {outcome.item: outcome for outcome in executor.map(function, items, key, timeout_s)}


def test_items_become_arrays_no_larger_than_the_cluster_takes(make, cluster):
    outcomes = go(make(), range(6))
    assert {item: outcome.value for item, outcome in outcomes.items()} == {n: 2 * n for n in range(6)}
    assert make.said == ["submitted job 101: 4 rounds in 4 tasks", "submitted job 102: 2 rounds in 2 tasks"]


def test_what_belongs_together_goes_into_one_task(make, cluster, tmp_path):
    items = [(point, number) for number in range(2) for point in "abc"]
    assert {item: outcome.value for item, outcome in go(make(2), items, first).items()} == {
        item: item[0] for item in items
    }
    book = [json.loads(line) for line in (tmp_path / "run.slurm" / "jobs.jsonl").read_text().splitlines()]
    assert book[0]["open"]["tasks"] == [["a.0.1", "a.1.1", "b.0.1", "b.1.1"], ["c.0.1", "c.1.1"]]
    assert make.said == ["submitted job 101: 6 rounds in 2 tasks"]


def test_items_of_other_needs_go_into_other_jobs(make, cluster):
    go(make(parameters=lambda item: {"gpus_per_node": 1} if item % 2 else {}), range(4))
    assert [parameters.get("gpus_per_node") for parameters in cluster.parameters] == [None, 1]


def test_a_task_has_the_time_that_its_items_may_take_unless_it_is_given(make, cluster):
    go(make(3), range(3), timeout_s=lambda _: 300.0)
    go(make(3, lambda item: {"time": 5}), range(3, 6))
    assert [parameters["time"] for parameters in cluster.parameters] == [25, 5]
    with pytest.raises(RequestError, match="give time_min"):
        go(make(), [7], timeout_s=lambda _: None)


def test_no_signal_comes_before_the_end_of_the_time(make, cluster):
    go(make(parameters=lambda item: {"additional_parameters": {"reservation": "lab"}, "cpus_per_task": 3}), [1])
    (parameters,) = cluster.parameters
    assert parameters["additional_parameters"] == {"signal": "CONT@1", "reservation": "lab"}
    assert parameters["srun_args"] == ["--cpus-per-task=3"]


@pytest.mark.parametrize(
    ("state", "kind", "advice"),
    [
        ("OUT_OF_MEMORY", WorkerMemoryError, "raise mem_gb under slurm"),
        ("TIMEOUT", WorkerTimeoutError, "raise time_min under slurm"),
        ("NODE_FAIL", WorkerCrashedError, "--retry crashed submits it again"),
        ("PREEMPTED", WorkerCrashedError, "--retry crashed submits it again"),
        ("CANCELLED", WorkerCrashedError, "--retry crashed submits it again"),
        ("hidden", WorkerCrashedError, "Slurm knows it no longer: cancelled before it began, or ended long ago"),
    ],
)
def test_a_task_that_comes_to_nothing_costs_its_own_items(make, cluster, state, kind, advice):
    cluster.fates = {(1, 1): state}
    outcomes = go(make(), range(3))
    word = "UNKNOWN" if state == "hidden" else state
    assert type(outcomes[1].error) is kind
    assert str(outcomes[1].error) == f"Slurm ended task 101_1 as {word} before this round began; {advice}"
    assert [outcomes[n].value for n in (0, 2)] == [0, 4]


def test_what_the_controller_forgot_the_accounting_knows(make, cluster, monkeypatch):
    cluster.fates = {(1, 1): "hidden"}
    monkeypatch.setattr(
        slurm_watch,
        "ask_accounting",
        lambda names, since: {name: {1: TaskState("101", "OUT_OF_MEMORY")} for name in names},
    )
    assert type(go(make(), range(3))[1].error) is WorkerMemoryError


def test_the_last_words_of_a_task_are_in_the_error(make, cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster.fates = {(1, 0): "FAILED"}
    made = Book.submitted

    def submitted(book, submission, job):
        made(book, submission, job)
        (submission.folder / "101_0_log.err").write_text(
            "submitit INFO (2026)\nModuleNotFoundError: No module named 'nets'\n\n"
        )
        begun_file(submission.folder, "5.0.1").touch()

    monkeypatch.setattr(Book, "submitted", submitted)
    error = str(go(make(), [5])[5].error)
    assert error == (
        "Slurm ended task 101 as FAILED while this round ran; --retry crashed submits it again; its last words: "
        f"ModuleNotFoundError: No module named 'nets' (run.slurm/{cluster.names[0]}/101_0_log.err)"
    )


def test_a_result_that_comes_late_counts(make, cluster, monkeypatch):
    """The task has ended, and this node sees its file only after a while."""
    cluster.fates = {(1, 0): "COMPLETED"}
    names, looks = slurm_watch._names, []

    def names_later(folder):
        looks.append(folder)
        return set() if len(looks) < 4 else names(folder)

    monkeypatch.setattr(slurm_watch, "_names", names_later)
    patience = Patience(look_s=0.0, ask_s=0.0, grace_s=60.0)
    assert go(make(patience=patience), [5])[5].value == 10


def test_a_program_picks_up_what_another_left(make, cluster):
    cluster.fates = {(1, 1): "RUNNING"}
    early = make().map(double, range(3), key, lambda _: 60.0)
    taken = {next(early).item}
    early.close()
    (name,) = cluster.names
    cluster.states[name][1] = TaskState("101", "TIMEOUT")
    executor = make()
    outcomes = go(executor, [n for n in range(3) if n not in taken])
    assert make.said[1:] == ["picked up job 101: 2 rounds submitted earlier"]
    assert type(outcomes[1].error) is WorkerTimeoutError
    assert [outcome.value for item, outcome in outcomes.items() if item != 1] == [2 * ({0, 2} - taken).pop()]
    assert len(cluster.parameters) == 1


def test_what_was_taken_is_submitted_again_if_asked_for(make, cluster):
    cluster.fates = {(1, 0): "TIMEOUT"}
    assert type(go(make(), [4])[4].error) is WorkerTimeoutError
    assert go(make(), [4])[4].value == 8
    assert [said.split(":")[0] for said in make.said] == ["submitted job 101", "submitted job 102"]


def test_an_outcome_that_was_not_made_safe_is_handed_on_again(make, cluster):
    first = make().map(double, [4], key, lambda _: 60.0)
    assert next(first).value == 8
    first.close()  # as a kill does, before the next was asked for
    assert go(make(), [4])[4].value == 8
    assert len(cluster.parameters) == 1


def test_items_that_an_outcome_adds_are_submitted(make, cluster):
    items = [1]

    class More:
        def __iter__(self):
            return self

        def __next__(self):
            if not items:
                raise StopIteration
            return items.pop(0)

    seen = []
    for outcome in make().map(double, More(), key, lambda _: 60.0):
        seen.append(outcome.value)
        if outcome.item < 3:
            items.append(outcome.item + 1)
    assert seen == [2, 4, 6]


def test_an_interrupted_submission_is_found_by_its_name(make, cluster, monkeypatch):
    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Book, "submitted", die)
        with pytest.raises(KeyboardInterrupt):
            go(make(), range(3))
    monkeypatch.setattr(SlurmExecutor, "_hand_over", lambda *arguments: None)
    assert {item: outcome.value for item, outcome in go(make(), range(3)).items()} == {0: 0, 1: 2, 2: 4}
    assert make.said == ["picked up job 101: 3 rounds submitted earlier"]


def test_a_submission_that_slurm_knows_nothing_of_is_made_again(make, cluster, monkeypatch, tmp_path):
    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Submitting, "submit_array", die)
        with pytest.raises(KeyboardInterrupt):
            go(make(), range(3))
    assert go(make(), range(3))[2].value == 4
    assert make.said == ["submitted job 101: 3 rounds in 3 tasks"]
    assert len(list((tmp_path / "run.slurm").glob(f"*/{ABANDONED}"))) == 1


def test_a_refusal_is_said_in_slurms_words_and_forgotten(make, cluster):
    cluster.refusal = "sbatch: error: invalid partition specified: nix\nsbatch: error: Batch job submission failed\n"
    with pytest.raises(RequestError) as caught:
        go(make(), range(3))
    assert str(caught.value) == (
        "Slurm refuses the job: invalid partition specified: nix; Batch job submission failed; "
        "look at `slurm:` in the sweep file"
    )
    cluster.refusal = None
    assert go(make(), range(3))[2].value == 4


def test_slurm_that_does_not_answer_for_long_ends_the_map_and_not_the_jobs(make, cluster):
    cluster.fates = {(1, 0): "RUNNING"}
    cluster.silence = "Unable to contact slurm controller"
    with pytest.raises(
        HvtBenchError, match=r"has not answered for 0 s: Unable to contact .* the same command picks it up"
    ):
        go(make(), [4])


def test_what_goes_on_is_said_with_how_to_end_it(make, cluster):
    executor = make()
    assert executor.going_on() is None
    cluster.fates = {(1, 1): "RUNNING", (1, 2): "PENDING"}
    outcomes = executor.map(double, range(3), key, lambda _: 60.0)
    assert next(outcomes).value == 0
    rest = "The same command picks up what it finds; `scancel 101` ends it."
    assert executor.going_on() == f"Slurm goes on (job 101: 1 running, 1 waiting). {rest}"
    (states,) = cluster.states.values()
    states[2] = TaskState("101", "RUNNING")
    assert executor.going_on() == f"Slurm goes on (job 101: 2 running, 0 waiting). {rest}"
    cluster.silence = "Unable to contact slurm controller"
    assert executor.going_on() == f"Slurm goes on (job 101: 2 running, 0 waiting, when it last answered). {rest}"
    cluster.silence = None
    states.update({task: TaskState("101", "COMPLETED") for task in (1, 2)})
    assert executor.going_on() is None
    outcomes.close()


def test_without_slurm_or_submitit_it_says_so(tmp_path, monkeypatch):
    make = lambda: SlurmExecutor(tmp_path, "hvt", lambda item: Resources({}))  # noqa: E731
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(RequestError, match=r"there is no sbatch here; start it on a login node .*--shard"):
        make()
    monkeypatch.setattr(slurm.shutil, "which", lambda name: "/usr/bin/sbatch")
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"needs submitit: pip install 'hvt-bench\[slurm\]'"):
        make()


def test_a_result_that_cannot_be_read_is_a_crash(make, cluster, monkeypatch):
    submit = Submitting.submit_array

    def spoil(self, calls):
        jobs = submit(self, calls)
        result_file(self.folder, "4.0.1").write_bytes(pickle.dumps(3))
        return jobs

    monkeypatch.setattr(Submitting, "submit_array", spoil)
    assert "its result cannot be read: AssertionError" in str(go(make(), [4])[4].error)


def test_results_say_when_they_were_found(make, cluster):
    outcome = go(make(), [4])[4]
    assert abs((datetime.now(UTC) - outcome.started_at).total_seconds()) < 60
    assert outcome.seconds > 0
