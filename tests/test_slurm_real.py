"""The Slurm executor on a real Slurm; see tests/test_slurm.py for what needs none."""

import contextlib
import itertools
import json
import subprocess
import sys
from datetime import date, datetime, time

import pytest

from hvt_bench.executors.slurm import Resources, SlurmExecutor
from hvt_bench.executors.slurm_states import ask_accounting, ask_controller
from hvt_bench.executors.slurm_watch import Patience
from tests.cluster_functions import act, key
from tests.mini_cluster import MiniCluster, missing, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]


@contextlib.contextmanager
def running(cluster):
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running(MiniCluster(tmp_path_factory.mktemp("slurm"))) as cluster:
        yield cluster


def maker(cluster, folder, monkeypatch):
    for name in ("SLURM_CONF", "PYTHONPATH"):
        monkeypatch.setenv(name, cluster.environment[name])

    def make(points_per_task=1):
        needs = Resources({"gpus_per_node": 1}, points_per_task)
        quick = Patience(look_s=0.1, ask_s=0.5, grace_s=2.0)
        return SlurmExecutor(folder / "run.slurm", "hvt-test", lambda _: needs, say=said.append, patience=quick)

    said = make.said = []
    return make


@pytest.fixture
def make(cluster, tmp_path, monkeypatch):
    return maker(cluster, tmp_path, monkeypatch)


def test_an_array_outlives_a_crash_a_hang_a_dead_node_and_a_cancellation(make, cluster, tmp_path):
    """24 points, two a task; then those again that failed: a complete table, each result taken once."""
    how = {2: "die", 4: "hang", 8: "sleep 100", 12: "hold 2", 14: "hold 2"}
    items = [(number, how.get(number, "well"), str(tmp_path)) for number in range(24)]
    outcomes = {}
    doomed = cancelled = None
    for outcome in make(2).map(act, items, key, lambda item: 2.0 if item[1] == "hang" else 100.0):
        assert outcome.item[0] not in outcomes
        outcomes[outcome.item[0]] = outcome
        job = make.said[0].split()[2].strip(":")
        if not cancelled and ran(tmp_path, 8):
            cluster.run("scancel", f"{job}_4")
            cancelled = wait_for(lambda ident=f"{job}_4": "CANCELLED" in state(cluster, ident))
        if doomed is None and (begun := ran(tmp_path, 12)):
            (doomed,) = begun
            cluster.kill_node(doomed)
    cluster.up()  # the node is mended
    other = {"n0": "n1", "n1": "n0"}[doomed]
    assert sorted(outcomes) == list(range(24))
    assert make.said == [f"submitted job {job}: 24 rounds in 12 tasks"]
    failed = {number: str(outcome.error) for number, outcome in outcomes.items() if outcome.error is not None}
    assert failed.pop(2) == "the worker was ended by SIGSEGV"
    assert failed.pop(4) == "ran longer than its limit of 2 s and was ended"
    assert failed.pop(8).startswith(f"Slurm ended task {job}_4 as CANCELLED while this round ran; --retry crashed")
    assert failed.pop(9).startswith(f"Slurm ended task {job}_4 as CANCELLED before this round began; --retry crashed")
    assert failed == {}
    assert outcomes[12].value["node"] == other
    assert ran(tmp_path, 12) == sorted([doomed, other])
    retried = list(make().map(act, [(n, "well", str(tmp_path)) for n in (2, 4, 8, 9)], key, lambda _: 100.0))
    assert sorted(outcome.value["number"] for outcome in retried) == [2, 4, 8, 9]
    assert make.said[-1].endswith(": 4 rounds in 4 tasks")


def ran(folder, number):
    """Return where an item was begun, once for each time."""
    return sorted(path.name.split(".")[1] for path in folder.glob(f"{number}.*.ran"))


def state(cluster, ident):
    return cluster.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={ident}")


def test_no_two_tasks_have_one_gpu_at_one_time(make, tmp_path):
    items = [(number, "hold 0.5", str(tmp_path)) for number in range(8)]
    held = {}
    for outcome in make().map(act, items, key, lambda _: 100.0):
        found = outcome.value
        held.setdefault((found["node"], found["gpu"]), []).append(found["held"])
    assert len(held) == 4
    for spans in held.values():
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(sorted(spans)))


PROGRAM = """
import sys
from pathlib import Path
from hvt_bench.executors.slurm import Resources, SlurmExecutor
from tests.cluster_functions import act, key
folder = Path(sys.argv[1])
how = {0: "well", 1: "sleep 2", 2: "sleep 2", 3: "sleep 2", 4: "sleep 2"}
items = [(number, how.get(number, "well"), str(folder)) for number in range(7)]
executor = SlurmExecutor(folder / "run.slurm", "hvt-test", lambda item: Resources({"gpus_per_node": 1}))
for outcome in executor.map(act, items, key, lambda _: 100.0):
    print(outcome.item[0], flush=True)
"""


def test_a_killed_program_leaves_its_tasks_to_the_next_one(make, cluster, tmp_path):
    """One item was handed on; of the others one is cancelled while it waits, some are preempted."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True) as program:
        job = program.stdout.readline().split()[2].strip(":")
        assert program.stdout.readline() == "0\n"
        program.kill()
    cluster.run("scancel", f"{job}_6")  # squeue hides it from now on
    wait_for(lambda: ran(tmp_path, 1))
    (node,) = ran(tmp_path, 1)
    cluster.run(
        "sbatch", "-p", "urgent", "-w", node, "-c", "4", "--gpus-per-node=2", "--output=/dev/null", "--wrap=sleep 0.1"
    )
    wait_for(lambda: len(ran(tmp_path, 1)) > 1)
    items = [(number, "well", str(tmp_path)) for number in range(1, 7)]
    outcomes = {outcome.item[0]: outcome for outcome in make().map(act, items, key, lambda _: 100.0)}
    assert make.said == [f"picked up job {job}: 6 rounds submitted earlier"]
    forgotten = str(outcomes.pop(6).error)
    assert forgotten.startswith(
        f"Slurm ended task {job}_6 as UNKNOWN before this round began; Slurm knows it no longer"
    )
    assert {number: outcome.value["number"] for number, outcome in outcomes.items()} == {n: n for n in range(1, 6)}
    assert len(ran(tmp_path, 0)) == len(ran(tmp_path, 5)) == 1
    taken = [json.loads(line).get("taken") for line in (tmp_path / "run.slurm/jobs.jsonl").read_text().splitlines()]
    assert {"key": "1.0.1", "node": node, "attempt": 2} in taken


@pytest.mark.skipif(bool(missing(accounting=True)), reason=missing(accounting=True))
def test_the_accounting_tells_the_same_as_the_controller(tmp_path, monkeypatch):
    with running(MiniCluster(tmp_path / "slurm", accounting=True)) as cluster:
        make = maker(cluster, tmp_path, monkeypatch)
        items = [(0, "well", str(tmp_path)), (1, "sleep 100", str(tmp_path)), (2, "well", str(tmp_path))]
        for _ in make().map(act, items, key, lambda _: 100.0):
            job = make.said[0].split()[2].strip(":")
            wait_for(lambda: ran(tmp_path, 1))
            cluster.run("scancel", f"{job}_1")
        (name,) = (path.name for path in (tmp_path / "run.slurm").iterdir() if path.is_dir())
        known = ask_controller([name])
        assert [known[name][task].state for task in range(3)] == ["COMPLETED", "CANCELLED", "COMPLETED"]
        today = datetime.combine(date.today(), time.min)
        wait_for(lambda: states(ask_accounting([name], today)) == states(known))


def states(found):
    return {task: state.state for tasks in found.values() for task, state in tasks.items()}


@pytest.mark.parametrize("killed_after", ["sbatch", "all is handed over"])
def test_a_program_killed_while_it_submits_does_not_submit_twice(make, cluster, tmp_path, monkeypatch, killed_after):
    import submitit

    from hvt_bench.executors.slurm_book import Book

    def die(*arguments):
        raise KeyboardInterrupt

    items = [(number, "well", str(tmp_path)) for number in range(3)]
    with monkeypatch.context() as patch:
        if killed_after == "sbatch":
            whole = submitit.core.utils.JobPaths.move_temporary_file
            moved = lambda paths, file, name, **how: whole(paths, file, name, **how) if "file" in name else die()  # noqa: E731
            patch.setattr(submitit.core.utils.JobPaths, "move_temporary_file", moved)
        else:
            patch.setattr(Book, "submitted", die)
        with pytest.raises(KeyboardInterrupt):
            list(make().map(act, items, key, lambda _: 100.0))
    outcomes = list(make().map(act, items, key, lambda _: 100.0))
    assert sorted(outcome.value["number"] for outcome in outcomes) == [0, 1, 2]
    assert [len(ran(tmp_path, number)) for number in range(3)] == [1, 1, 1]
    assert "picked up" in make.said[0]
    assert len(make.said) == 1


NETS = """
import os
import time
from pathlib import Path

from torch import nn


class Dies(nn.Linear):
    def __init__(self):
        super().__init__(32, 10)

    def forward(self, images):
        if "SLURM_JOB_ID" in os.environ and not Path("mended").exists():
            os._exit(7)
        return super().forward(images)


class Hangs(Dies):
    def forward(self, images):
        if "SLURM_JOB_ID" in os.environ and not Path("mended").exists():
            time.sleep(600)
        return super().forward(images)
"""
SWEEP = """
name: on_cluster
models:
  - {family: hvt, img_size: 32, embed_dim: 32, depth: 1, num_heads: 1, num_classes: 10, name: small}
  - {target: "nets:Dies", name: dies, input_shapes: [[3, 32, 32]]}
  - {target: "nets:Hangs", name: hangs, input_shapes: [[3, 32, 32]]}
axes: {depth: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}
grid: {qkv_bias: [true, false]}
measure: [complexity, latency]
protocol: {device: cpu, num_threads: 1, warmup_s: 0, warmup_passes: 1, min_time_s: 0.001, rounds: 1, timeout_s: 15}
slurm: {partition: main, points_per_task: 12, mem_gb: 1.5}
"""


def test_a_sweep_on_a_cluster_ends_with_the_integers_of_one_that_is_not(cluster, tmp_path, monkeypatch):
    from hvt_bench.executors import make_executor
    from hvt_bench.row import COLUMNS
    from hvt_bench.run import run_sweep
    from hvt_bench.sweep import load_sweep
    from hvt_bench.table import read_table

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "hvt_bench", "sweep", "sweep.yaml", "--executor", "slurm", "--out", "run.csv"]

    def sweep(*options):
        return subprocess.run(
            [*command, *options], env=cluster.environment, capture_output=True, text=True, timeout=170
        )

    first = sweep()
    assert first.returncode == 1, first.stderr
    assert "submitted job" in first.stdout
    assert "24 rounds in 2 tasks" in first.stdout
    assert "2 points failed; --retry" in first.stderr
    failed = {
        row["model"]: (row["status"], row["error"].partition(";")[0])
        for row in read_table("run.csv")
        if row["status"] != "ok"
    }
    assert failed == {
        "dies": ("crashed", "the worker ended with exit code 7 and no answer"),
        "hangs": ("timeout", "ran longer than its limit of 15 s and was ended"),
    }
    (tmp_path / "mended").touch()
    again = sweep("--retry", "crashed,timeout")
    assert again.returncode == 0, again.stderr
    assert "2 rounds in 1 task\n" in again.stdout
    assert "wrote run.csv: 24 rows, 24 ok, 0 invalid" in again.stdout
    list(run_sweep(load_sweep("sweep.yaml"), make_executor("inline"), "inline.csv"))
    counted = [name for name, column in COLUMNS.items() if column.kind is int and name != "latency_samples"]
    here, there = (
        {row["point_id"]: [row[name] for name in (*counted, "status")] for row in read_table(f"{name}.csv")}
        for name in ("inline", "run")
    )
    assert there == here
    assert len(here) == 24
    assert all(row["device_name"] and row["hostname"] for row in read_table("run.csv"))
