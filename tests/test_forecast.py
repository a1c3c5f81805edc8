import re

import pytest

from hvt_bench.errors import FileError
from hvt_bench.forecast import describe
from hvt_bench.metrics.estimate import estimate
from hvt_bench.output import journal_of
from hvt_bench.sweep import Sweep
from tests.conftest import ENVIRONMENT
from tests.test_run import (
    ScriptedExecutor,
    WorkerCrashedError,
    fake_training,
    go,
    make_sweep,
    outside_sweep,
    training_sweep,
)


def told(sweep, path, environment=ENVIRONMENT, **options):
    return describe(sweep, path, lambda: {"cpu": environment}, **options)


def lines_of(sweep, path, **options):
    return told(sweep, path, **options).splitlines()


def test_what_is_done_and_what_rounds_took_is_told(tmp_path):
    path = tmp_path / "run.csv"
    sweep = make_sweep(warmup_s=0.5, min_time_s=1.5, rounds=3)
    go(make_sweep(depths=(2,), warmup_s=0.5, min_time_s=1.5, rounds=2), path)  # each round took 1 s of 2
    assert lines_of(sweep, path)[1] == (
        "2 points (0 duplicates merged, 0 invalid); 0 of 2 done, 2 to go in 4 rounds; "
        "measures complexity, memory, latency"
    )
    took = "2 rounds measured so far took 0.5 x what the protocol asks at least"
    assert lines_of(sweep, path)[-1] == f"time    about 4 s; {took}"
    assert lines_of(sweep, path, places=2)[-1] == f"time    about 2 s at 2 places; {took}"


def test_before_anything_is_measured_the_least_is_told_and_what_it_leaves_out(tmp_path):
    path, unknown = tmp_path / "run.csv", "nothing is measured yet that says what "
    for seconds, least in ((0.004, "0.016"), (1.9, "7.6"), (9.0, "36")):
        sweep = make_sweep(warmup_s=0.0, min_time_s=seconds, max_time_s=2 * seconds)
        assert lines_of(sweep, path)[-1] == (
            f"time    at least {least} s of passes that the protocol asks for; {unknown}"
            "starting a process for each, building and loading add"
        )
    assert lines_of(make_sweep(metrics=("memory",)), path)[-1] == f"time    {unknown}4 rounds take"


def test_a_training_is_told_by_trainings_in_proportion_to_their_macs(tmp_path):
    path = tmp_path / "run.csv"
    assert lines_of(training_sweep(), path)[-1] == (
        "time    a training in each round; nothing is measured yet that says how long one takes"
    )
    go(training_sweep(depths=(2,)), path, fake_training)  # each took 1 s
    time = re.fullmatch(r"time    about (\d) s; by 3 rounds measured so far", lines_of(training_sweep(), path)[-1])
    known, other = (point.config.closed_form_macs() for point in training_sweep().points)
    assert int(time[1]) == round(3 * other / known) == 4


def test_failed_points_are_to_go_where_they_are_to_be_tried_again(tmp_path):
    path = tmp_path / "run.csv"
    go(make_sweep(), path, executor=ScriptedExecutor({(2, 0): WorkerCrashedError("gone")}))
    assert "2 of 2 done, 0 to go in 0 rounds" in told(make_sweep(), path)
    assert "1 of 2 done, 1 to go in 2 rounds" in told(make_sweep(), path, retry=["crashed"])


@pytest.mark.parametrize(
    ("name", "changes", "fresh", "reason"),
    [
        ("s", {}, True, "--fresh"),
        ("other", {}, False, "it is of the sweep 'other', this one is 's'"),
        ("s", {"torch_version": "10.0.0"}, False, "its torch_version is 9.9.9, now it is 10.0.0"),
    ],
)
def test_what_a_start_would_move_aside_tells_nothing_and_is_said(tmp_path, name, changes, fresh, reason):
    path, now = tmp_path / "run.csv", ENVIRONMENT.model_copy(update=changes)
    go(make_sweep(name=name), path)
    lines = lines_of(make_sweep(), path, environment=now, fresh=fresh)
    assert lines[0] == f"moves aside what stands at {path}, and begins anew: {reason}"
    assert "0 of 2 done" in lines[2]
    started = go(make_sweep(), path, describe=lambda device: now, fresh=fresh)[0]
    assert (started.reason, started.points_done) == (reason, 0)


def test_devices_are_described_only_where_a_journal_stands(tmp_path):
    path = tmp_path / "run.csv"
    assert "0 of 2 done" in describe(make_sweep(), path, pytest.fail)
    go(make_sweep(), path)
    journal_of(path).unlink()
    said = "moves aside what stands at .*: run.journal.jsonl, which would be gone on with, is missing"
    assert re.match(said, describe(make_sweep(), path, pytest.fail))
    journal_of(path).write_text("notes\n")
    with pytest.raises(FileError, match="this is no line of an hvt-bench journal"):
        told(make_sweep(), path)


def test_the_largest_is_named_by_macs_and_by_memory(tmp_path):
    small, large = make_sweep(depths=(2,), batch_size=64).points, make_sweep(depths=(30,)).points
    sweep = Sweep("s", (*small, *large), ("complexity", "memory"))
    *_, macs, memory, _ = lines_of(sweep, tmp_path / "run.csv")
    assert macs.endswith(": m depth=30 batch_size=1")
    peak = max(estimate(point).total_mib for point in sweep.points)
    assert memory.startswith(f"memory  {peak:,.0f} MiB estimated for the point that takes the most: m depth=")


def test_outside_networks_are_told_once_they_are_counted(tmp_path):
    path = tmp_path / "run.csv"
    sweep = outside_sweep("torch.nn:Linear:in_features=4,out_features=4,input_shapes=[[4]]", "hvt_s_1")
    assert "an image each, 1 outside ones not counted yet; the most 2.40 G: hvt_s_1" in told(sweep, path)
    go(sweep, path)
    assert "an image each; the most 2.40 G" in told(sweep, path)


def test_counting_alone_takes_no_time_and_no_memory(tmp_path):
    assert [line.split()[0] for line in lines_of(make_sweep(metrics=("complexity",)), tmp_path / "run.csv")] == [
        "m",
        "2",
        "macs",
    ]
