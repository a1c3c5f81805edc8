import itertools
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from types import NoneType

import pytest

from hvt_bench.errors import RequestError, WorkerCrashedError, WorkerMemoryError, WorkerTimeoutError
from hvt_bench.executors import EXECUTORS, make_executor, oom_kills
from hvt_bench.executors.base import Place
from hvt_bench.executors.process import ProcessExecutor


def double(number):
    return 2 * number


def pid_and(number):
    return os.getpid(), number


def misbehave(how):
    if how == "raise":
        raise ValueError("no such number")
    if how == "raise unpicklable":
        raise UnpicklableError(lambda: None)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "hang":
        time.sleep(600)
    if how == "hang a little":
        time.sleep(0.5)
    return how


def speak(how):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"from C\n")
    if how == "much":
        print("x" * 100_000)
    return misbehave(how)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("well", "to stdout\nto stderr\nfrom C\n"),
        ("die", "to stdout\nto stderr\nfrom C\n"),
        ("raise", "ValueError: no such number"),
        ("hang", "in misbehave\n"),
        ("much", "bytes before this\nxxxx"),
    ],
)
def test_what_a_worker_prints_is_in_its_outcome_however_it_ends(process, capfd, how, words):
    (outcome,) = process.map(speak, [how], timeout_s=lambda how: 4.0 if how == "hang" else None)
    assert words in outcome.output
    assert len(outcome.output) < 70_000
    assert capfd.readouterr() == ("", "")


class UnpicklableError(Exception):
    def __init__(self, function):
        super().__init__("holds a function")
        self.function = function


@pytest.fixture(scope="module")
def process():
    return make_executor("process")


@pytest.mark.parametrize("name", EXECUTORS)
def test_maps_in_order(name):
    outcomes = list(make_executor(name).map(double, [1, 2, 3]))
    assert [(o.item, o.value, o.error) for o in outcomes] == [(1, 2, None), (2, 4, None), (3, 6, None)]


@pytest.mark.parametrize("name", EXECUTORS)
def test_an_exception_is_an_outcome_and_the_map_goes_on(name):
    outcomes = list(make_executor(name).map(misbehave, ["raise", "well"]))
    assert isinstance(outcomes[0].error, ValueError)
    assert str(outcomes[0].error) == "no such number"
    assert outcomes[1].value == "well"


def test_inline_stays_in_this_process():
    (outcome,) = make_executor("inline").map(pid_and, [1])
    assert outcome.value == (os.getpid(), 1)


def test_each_item_has_a_process_of_its_own(process):
    pids = [outcome.value[0] for outcome in process.map(pid_and, [1, 2, 3])]
    assert len({*pids, os.getpid()}) == 4


def test_items_are_asked_for_one_at_a_time(process):
    asked = []

    def items():
        for number in range(3):
            asked.append(number)
            yield number

    for seen, _ in enumerate(process.map(double, items()), start=1):
        assert len(asked) == seen


@pytest.fixture(scope="module")
def two():
    return ProcessExecutor(places=[Place("left", {"PLACE": "L"}), Place("right", {"PLACE": "R"})])


def meet(folder_and_name):
    """End once the other one of two has started; `late` only after `early` has ended."""
    folder, name = folder_and_name
    Path(folder, name).touch()
    other = Path(folder, {"early": "late", "late": "early.ended"}[name])
    while not other.exists():
        time.sleep(0.005)
    return os.environ["PLACE"]


def test_as_many_items_are_under_way_as_there_are_places_and_the_first_to_end_comes_first(two, tmp_path):
    seen = []
    for outcome in two.map(meet, [(tmp_path, "late"), (tmp_path, "early")], timeout_s=lambda _: 60.0):
        seen.append((outcome.item[1], outcome.value, outcome.place))
        (tmp_path / f"{outcome.item[1]}.ended").touch()
    assert seen == [("early", "R", "right"), ("late", "L", "left")]


def test_never_two_on_one_place(two):
    outcomes = list(two.map(span, range(8)))
    for name in ("left", "right"):
        spans = sorted(outcome.value for outcome in outcomes if outcome.place == name)
        assert spans
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def span(number):
    start = time.monotonic()
    time.sleep(0.02)
    return start, time.monotonic()


class Refilled:
    """Items that have no more until an outcome adds one."""

    def __init__(self, *items):
        self.items = list(items)

    def __iter__(self):
        return self

    def __next__(self):
        if not self.items:
            raise StopIteration
        return self.items.pop(0)


@pytest.mark.parametrize("executor", ["inline", "process", "two"])
def test_items_that_an_outcome_adds_are_mapped_too(request, executor):
    workers = request.getfixturevalue(executor) if executor != "inline" else make_executor("inline")
    items, seen = Refilled(1), []
    for outcome in workers.map(double, items):
        seen.append(outcome.value)
        if outcome.item < 4:
            items.items.append(outcome.item + 1)
    assert seen == [2, 4, 6, 8]


def test_those_under_way_are_ended_with_the_map(two):
    outcomes = two.map(misbehave, ["hang", "well"], timeout_s=lambda _: 60.0)
    assert next(outcomes).value == "well"
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 30


def test_each_limit_is_that_of_its_own_item(two):
    outcomes = two.map(misbehave, ["hang", "hang a little"], timeout_s=lambda how: 0.2 if how == "hang" else 60.0)
    assert [(o.item, type(o.error)) for o in outcomes] == [("hang", WorkerTimeoutError), ("hang a little", NoneType)]


def test_an_outcome_says_when_it_started_and_how_long_it_took(process):
    before = datetime.now(UTC)
    (outcome,) = process.map(misbehave, ["hang a little"])
    assert before <= outcome.started_at <= datetime.now(UTC)
    assert 0.5 <= outcome.seconds < 60


def leave_a_child(_):
    """Die, and leave a child behind that holds all that this process held open."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(3)


def test_a_death_is_seen_though_a_child_lives_on(process):
    (outcome,) = process.map(leave_a_child, [1], timeout_s=lambda _: 15.0)
    assert str(outcome.error) == "the worker ended with exit code 3 and no answer"


def test_a_death_is_an_outcome_that_names_the_signal(process):
    dead, well = process.map(misbehave, ["die", "well"])
    assert isinstance(dead.error, WorkerCrashedError)
    assert str(dead.error) == "the worker was ended by SIGKILL; the system may have run out of memory"
    assert well.value == "well"


OTHERS = "low 0\nhigh 0\nmax 9\noom 9\noom_group_kill 0\n"
CGROUPS = {  # of version 2, of version 2 in a container, of version 1
    "0::/job/7\n": ("job/7/memory.events", "job/7/memory.max"),
    "0::/elsewhere\n": ("memory.events", "memory.max"),
    "4:memory:/job\n0::/\n": ("memory/job/memory.oom_control", "memory/job/memory.limit_in_bytes"),
}


@pytest.fixture(params=CGROUPS)
def cgroup(tmp_path, monkeypatch, request):
    """Stand in for the cgroup of this process; yield the file of its count."""
    (tmp_path / "own").write_text(request.param)
    count, limit = (tmp_path / name for name in CGROUPS[request.param])
    count.parent.mkdir(parents=True, exist_ok=True)
    count.write_text(f"{OTHERS}oom_kill 4\n")
    limit.write_text(f"{512 * 2**20}\n")
    monkeypatch.setattr(oom_kills, "CGROUPS", tmp_path)
    monkeypatch.setattr(oom_kills, "OF_PROCESS", tmp_path / "own")
    return count


def run_out_of_memory(count, how):
    if how == "oom":
        Path(count).write_text(f"{OTHERS}oom_kill 5\n")
    return misbehave("well" if how == "well" else "die")


def test_a_worker_that_the_system_ended_for_its_memory_is_told_from_one_that_somebody_ended(process, cgroup):
    outcomes = [*process.map(partial(run_out_of_memory, str(cgroup)), ["die", "oom", "well", "die"])]
    assert [type(outcome.error) for outcome in outcomes] == [
        WorkerCrashedError, WorkerMemoryError, NoneType, WorkerCrashedError,
    ]  # fmt: skip
    assert str(outcomes[1].error) == (
        "the system ended the worker: the 512 MiB of its cgroup ran out; give it less to do, or more memory"
    )


def test_one_kill_explains_one_death(cgroup):
    cgroup.with_name(cgroup.name.replace("oom_control", "limit_in_bytes").replace("events", "max")).write_text("max\n")
    kills = oom_kills.OomKills()
    assert kills.limit_mib is None
    assert not kills.explain_one()
    cgroup.write_text("oom_kill 5\n")
    assert [kills.explain_one(), kills.explain_one()] == [True, False]
    cgroup.write_text("oom_kill 7\n")
    kills.forget()
    assert not kills.explain_one()


def test_without_a_cgroup_the_machine_counts(tmp_path, monkeypatch):
    for name in ("CGROUPS", "OF_PROCESS", "OF_MACHINE"):
        monkeypatch.setattr(oom_kills, name, tmp_path / name)
    assert not oom_kills.OomKills().explain_one()
    (tmp_path / "OF_MACHINE").write_text("nr_free_pages 12\noom_kill 1\n")
    kills = oom_kills.OomKills()
    (tmp_path / "OF_MACHINE").write_text("nr_free_pages 12\noom_kill 2\n")
    assert kills.explain_one()


def test_an_early_exit_is_an_outcome_that_names_the_code(process):
    (outcome,) = process.map(misbehave, ["exit"])
    assert isinstance(outcome.error, WorkerCrashedError)
    assert str(outcome.error) == "the worker ended with exit code 3 and no answer"


def test_a_hang_is_ended_at_its_limit(process):
    hung, well = process.map(misbehave, ["hang", "well"], timeout_s=lambda how: 0.2 if how == "hang" else None)
    assert isinstance(hung.error, WorkerTimeoutError)
    assert str(hung.error) == "ran longer than its limit of 0.2 s and was ended"
    assert well.value == "well"


def test_an_exception_that_cannot_travel_keeps_its_words(process):
    (outcome,) = process.map(misbehave, ["raise unpicklable"])
    assert isinstance(outcome.error, RuntimeError)
    assert str(outcome.error) == "UnpicklableError: holds a function"


def test_an_unknown_executor_names_the_nearest():
    with pytest.raises(RequestError, match="unknown executor 'proces'; did you mean 'process'"):
        make_executor("proces")


# --- CUDA and the server ----------------------------------------------------------------------------------------------

SWEEP = """
import json
from hvt_bench.environment import resolve_device
from hvt_bench.executors import make_executor
from tests import test_executors
resolve_device("auto")
workers = make_executor("process", preload=["hvt_bench.measure"])
outcomes = list(workers.map(test_executors.{function}, [1, 2]))
for outcome in outcomes:
    if outcome.error:
        raise outcome.error
print(json.dumps([[outcome.value for outcome in outcomes], test_executors.server_state()]))
"""


def swept(function, repository):
    """What two workers of a sweep give, and how they leave the server behind; all in processes of their own."""
    code = SWEEP.format(function=function.__name__)
    answer = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True)
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout)


def cuda_state(_):
    loaded = "hvt_bench.measure" in sys.modules
    import torch

    return [loaded, torch.cuda.is_initialized(), os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK")]


def use_cuda(number):
    import torch

    return [torch.full((8,), float(number), device="cuda:0").sum().item(), *gpu_files("self")]


def server_state():
    pid = forkserver._forkserver._forkserver_pid
    return [gpu_files(pid), pid in nvml_pids()]


def nvml_pids():
    """The processes with a CUDA context, as NVML lists them: in a container maybe none, or by other numbers."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [process.pid for gpu in handles for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)]
    except pynvml.NVMLError:
        return []


def gpu_files(pid):
    """The files of the driver that a process holds open, as one does that has a CUDA context."""
    folder = Path(f"/proc/{pid}/fd")
    if not folder.exists():
        return []
    return sorted({target for fd in folder.iterdir() if (target := _target(fd)).startswith("/dev/nvidia")})


def _target(fd):
    try:
        return os.readlink(fd)
    except FileNotFoundError:  # the one that reads the folder
        return ""


def test_workers_of_a_sweep_start_without_cuda_and_ask_nvml_whether_there_is_one(repository):
    states, server = swept(cuda_state, repository)
    assert states == [[True, False, "1"]] * 2
    assert server == [[], False]


IMPORT = """
import torch

def fail(*arguments):
    raise AssertionError("CUDA was asked for")

for name in ("is_available", "device_count", "init", "_lazy_init"):
    setattr(torch.cuda, name, fail)
import hvt_bench.measure
"""


def test_loading_what_the_server_loads_asks_nothing_of_cuda(repository):
    answer = subprocess.run([sys.executable, "-c", IMPORT], cwd=repository, capture_output=True)
    assert answer.returncode == 0, answer.stderr.decode()


@pytest.mark.gpu
def test_workers_use_cuda_one_after_the_other_and_the_server_has_no_context(repository):
    (first, second), server = swept(use_cuda, repository)
    assert (first[0], second[0]) == (8.0, 16.0)
    if Path("/proc/self/fd").exists():
        assert first[1:], "a worker with a context holds no file of the driver: this test can see nothing"
    assert server == [[], False]
