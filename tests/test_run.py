import csv
import dataclasses
import errno
import itertools
import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from hvt_bench.errors import (
    FileError,
    HvtBenchError,
    RequestError,
    WorkerCrashedError,
    WorkerMemoryError,
    WorkerTimeoutError,
    WriteError,
)
from hvt_bench.events import Counted, Finished, Fitted, Measured, Noted, Started
from hvt_bench.executors import make_executor
from hvt_bench.executors.base import Outcome, Place
from hvt_bench.files import write_whole
from hvt_bench.journal import journal_line, read_journal
from hvt_bench.measure import count_point, measure_round
from hvt_bench.metrics.estimate import estimate
from hvt_bench.models import parse_model
from hvt_bench.output import journal_of
from hvt_bench.plan import WINDOW
from hvt_bench.point import Point
from hvt_bench.row import Sample
from hvt_bench.run import run_sweep
from hvt_bench.sweep import Sweep
from hvt_bench.table import read_table
from hvt_bench.training.checkpoints import checkpoint_path
from hvt_bench.training.data import Data
from hvt_bench.training.recipes import RECIPES
from tests.conftest import ENVIRONMENT, describe, fake_measure


def make_sweep(depths=(2, 4), name="s", metrics=("complexity", "memory", "latency"), rounds=2, **protocol):
    fields = {"device": "cpu", "batch_size": 1, "warmup_s": 0.1, "rounds": rounds, **protocol}
    points = tuple(
        Point(
            model="m",
            axis="depth",
            config=parse_model(f"hvt:depth={depth},img_size=64,embed_dim=64,num_classes=10"),
            **fields,
        )
        for depth in depths
    )
    return Sweep(name, points, metrics)


def go(sweep, path, measure=fake_measure, executor=None, **options):
    options = {"describe": describe, "clock": lambda: 0.0} | options
    return list(run_sweep(sweep, executor or make_executor("inline"), path, measure, **options))


def outside_sweep(*models, metrics=("complexity",)):
    fields = {"device": "cpu", "batch_size": 1, "warmup_s": 0.0, "min_time_s": 0.001, "rounds": 1, "timeout_s": 100.0}
    points = tuple(Point(model=model, config=parse_model(model), **fields) for model in models)
    return Sweep("o", points, metrics)


def visits_of(events):
    return [(e.point.config.depth, e.sample.round, e.sample.status) for e in events if isinstance(e, Measured)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.csv"


class ScriptedExecutor:
    """Runs inline, but lets the workers of some visits die."""

    places = ()

    def __init__(self, deaths):
        self.deaths = deaths

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item in items:
            key = (item.point.config.depth, item.round) if hasattr(item, "point") else getattr(item, "model", item)
            if key in self.deaths:
                yield Outcome(item, None, self.deaths[key])
            else:
                yield Outcome(item, function(item), None)


def test_a_sweep_counts_then_measures_then_writes(path):
    events = go(make_sweep(), path)
    assert isinstance(events[0], Started)
    assert [type(e) for e in events[1:]] == [Counted] * 2 + [Measured] * 4 + [Finished]
    assert events[0] == Started(points=2, points_done=0, invalid=0, rounds=4, moved=())
    assert [e.rounds_left for e in events if isinstance(e, Measured)] == [3, 2, 1, 0]
    rows = read_table(path)
    assert [(r["depth"], r["status"], r["rounds"], r["latency_ms"]) for r in rows] == [
        (2, "ok", 2, 3.0),
        (4, "ok", 2, 5.0),
    ]
    assert all(r["macs"] and r["device_name"] == "Test CPU" and r["sweep"] == "s" for r in rows)


def test_rounds_of_different_points_are_interleaved(path):
    rounds = [number for _, number, _ in visits_of(go(make_sweep(depths=range(1, 9), rounds=3), path))]
    assert rounds == [0] * 8 + [1] * 8 + [2] * 8


def test_the_order_is_shuffled_and_the_same_every_time(tmp_path):
    sweep = make_sweep(depths=range(1, 13))
    first = visits_of(go(sweep, tmp_path / "a.csv"))
    assert first == visits_of(go(sweep, tmp_path / "b.csv"))
    assert [depth for depth, *_ in first[:12]] != sorted(depth for depth, *_ in first[:12])
    assert [depth for depth, *_ in first[:12]] != [depth for depth, *_ in first[12:]]


def test_a_window_of_points_is_finished_before_the_next_begins(path):
    visits = visits_of(go(make_sweep(depths=range(1, WINDOW + 6), metrics=("latency",)), path))
    first = {depth for depth, *_ in visits[: 2 * WINDOW]}
    assert len(first) == WINDOW
    assert {depth for depth, *_ in visits[2 * WINDOW :]}.isdisjoint(first)


def test_running_again_measures_nothing(path):
    go(make_sweep(), path)
    before = path.read_text()
    events = go(make_sweep(), path)
    assert events[0] == Started(points=2, points_done=2, invalid=0, rounds=0, moved=())
    assert [type(e) for e in events] == [Started, Finished]
    assert path.read_text() == before


@pytest.mark.parametrize("stop_after", range(1, 8))
def test_a_stopped_sweep_goes_on_with_what_is_missing(tmp_path, stop_after):
    whole, path = tmp_path / "whole.csv", tmp_path / "run.csv"
    go(make_sweep(), whole)
    events = run_sweep(make_sweep(), make_executor("inline"), path, fake_measure, describe=describe, clock=lambda: 0.0)
    done = list(itertools.islice(events, stop_after))
    events.close()
    done += go(make_sweep(), path)
    assert sorted(visits_of(done)) == [(2, 0, "ok"), (2, 1, "ok"), (4, 0, "ok"), (4, 1, "ok")]
    assert stable(path) == stable(whole)


def stable(path):
    """Rows without what depends on when they were made."""
    return [{k: v for k, v in row.items() if k not in ("started_at", "seconds")} for row in read_table(path)]


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.95])
def test_a_torn_journal_goes_on_with_what_is_missing(path, kept):
    go(make_sweep(), path)
    whole = stable(path)
    journal = journal_of(path)
    content = journal.read_bytes()
    journal.write_bytes(content[: int(kept * len(content))])
    go(make_sweep(), path)
    assert stable(path) == whole


def test_more_rounds_measure_only_the_new_ones(path):
    go(make_sweep(), path)
    events = go(make_sweep(rounds=3), path)
    assert sorted(visits_of(events)) == [(2, 2, "ok"), (4, 2, "ok")]
    assert [row["rounds"] for row in read_table(path)] == [3, 3]


def test_a_metric_asked_for_later_is_measured_then(path):
    go(make_sweep(metrics=("complexity",)), path)
    assert [row["latency_ms"] for row in read_table(path)] == [None, None]
    events = go(make_sweep(metrics=("complexity", "latency")), path)
    assert len(visits_of(events)) == 4
    assert not any(isinstance(e, Counted) for e in events)
    assert [row["latency_ms"] for row in read_table(path)] == [3.0, 5.0]


def test_a_round_measures_only_the_metrics_that_it_lacks(path):
    go(make_sweep(metrics=("latency",)), path)
    seen = []
    more = make_sweep(metrics=("latency", "peak"))
    go(more, path, lambda visit: seen.append(visit.metrics) or fake_measure(visit))
    assert seen == [("peak",)] * 4


def test_a_metric_that_fails_later_takes_nothing_of_what_was_measured_before(path):
    go(make_sweep(metrics=("latency",)), path, only_asked)
    more = make_sweep(metrics=("memory",))
    go(more, path, executor=ScriptedExecutor({(2, 0): WorkerCrashedError("gone")}))
    lost, well = read_table(path)
    assert (lost["status"], lost["latency_ms_rounds"]) == ("crashed", (3.0, 3.0))
    assert (well["status"], well["latency_ms_rounds"]) == ("ok", (5.0, 5.0))
    assert visits_of(go(more, path, only_asked)) == []
    assert visits_of(go(more, path, only_asked, retry=["crashed"])) == [(2, 0, "ok"), (2, 1, "ok")]
    assert [(row["status"], row["latency_ms"], row["rounds"]) for row in read_table(path)] == [
        ("ok", 3.0, 2),
        ("ok", 5.0, 2),
    ]
    assert all(row["peak_memory_mib"] for row in read_table(path))


def test_a_training_is_not_made_again_since_a_pass_crashed_later(path):
    trained = {"seed": 0, "top1": 80.0, "top5": None, "losses": [1.0], "epochs_done": 1, "train_s": 9.0}
    trained |= {"wait_s": 0.0, "total_train_macs": 5}
    sweep = make_sweep(depths=(2,), metrics=("accuracy",), rounds=1)
    go(sweep, path, lambda visit: fake_measure(visit).model_copy(update={"values": {"accuracy": trained}}))
    more, seen = make_sweep(depths=(2,), metrics=("accuracy", "latency"), rounds=1), []
    go(more, path, executor=ScriptedExecutor({(2, 0): WorkerCrashedError("gone")}))
    assert [(row["status"], row["top1"]) for row in read_table(path)] == [("crashed", 80.0)]
    go(more, path, lambda visit: seen.append(visit.metrics) or only_asked(visit), retry=["crashed"])
    assert seen == [("latency",)]
    assert [(row["status"], row["top1"], row["latency_ms"]) for row in read_table(path)] == [("ok", 80.0, 3.0)]


def test_memory_is_estimated_where_it_is_measured_and_only_once(path):
    go(make_sweep(metrics=("complexity", "latency")), path)
    assert [row["estimated_memory_mib"] for row in read_table(path)] == [None, None]
    assert [type(e) for e in go(make_sweep(), path)] == [Started, Counted, Counted, Finished]
    assert [type(e) for e in go(make_sweep(), path)] == [Started, Finished]
    expected = [pytest.approx(estimate(point).total_mib, rel=1e-5) for point in make_sweep().points]
    assert [row["estimated_memory_mib"] for row in read_table(path)] == expected
    assert all(row["macs"] for row in read_table(path))


def test_a_point_that_cannot_be_measured_has_its_estimate(path):
    def out_of_memory(visit):
        return fake_measure(visit).model_copy(update={"status": "oom", "error": "no room", "values": {}})

    go(make_sweep(depths=(2,), metrics=("memory",)), path, out_of_memory)
    (row,) = read_table(path)
    assert (row["status"], row["peak_memory_mib"], row["macs"]) == ("oom", None, None)
    assert row["estimated_memory_mib"] > 0


def test_counting_alone_starts_no_worker(path):
    def never(visit):
        raise AssertionError

    events = go(make_sweep(metrics=("complexity",)), path, never)
    assert [type(e) for e in events] == [Started, Counted, Counted, Finished]
    assert [row["status"] for row in read_table(path)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("death", "status"), [(WorkerTimeoutError("ran too long"), "timeout"), (WorkerCrashedError("SIGKILL"), "crashed")]
)
def test_a_worker_that_does_not_come_back_is_a_row_and_the_sweep_goes_on(path, death, status):
    events = go(make_sweep(), path, executor=ScriptedExecutor({(2, 0): death}))
    assert sorted(visits_of(events)) == [(2, 0, status), (4, 0, "ok"), (4, 1, "ok")]
    failed, well = read_table(path)
    assert (failed["status"], failed["error"], failed["latency_ms"]) == (status, str(death), None)
    assert failed["macs"] is not None
    assert well["status"] == "ok"


def test_rounds_of_a_failed_point_count_as_settled_at_once(path):
    def measure(visit):
        if visit.point.config.fields()["depth"] == 2:
            return fake_measure(visit).model_copy(update={"status": "error", "error": "no", "values": {}})
        return fake_measure(visit)

    events = [event for event in go(make_sweep(rounds=3), path, measure) if isinstance(event, Measured)]
    left = 6
    for event in events:
        left -= 1 if event.sample.status == "ok" else 3
        assert event.rounds_left == left
    assert left == 0
    assert len(events) == 4


def test_a_point_whose_largest_batch_is_not_found_is_settled_at_once(path):
    events = go(make_sweep(max_batch=True), path, fits(0, []))
    assert [event.rounds_left for event in events if isinstance(event, Measured)] == [2, 0]


def test_failed_points_count_as_done_until_retried(path):
    go(make_sweep(), path, executor=ScriptedExecutor({(2, 1): WorkerTimeoutError("ran too long")}))
    assert visits_of(go(make_sweep(), path)) == []
    assert visits_of(go(make_sweep(), path, retry=["oom"])) == []
    events = go(make_sweep(), path, retry=["oom", "timeout"])
    assert visits_of(events) == [(2, 1, "ok")]
    assert [row["status"] for row in read_table(path)] == ["ok", "ok"]


def test_a_retry_that_was_stopped_is_gone_on_with(path):
    dead = {(depth, 1): WorkerTimeoutError("ran too long") for depth in (2, 4)}
    go(make_sweep(), path, executor=ScriptedExecutor(dead))
    options = {"describe": describe, "clock": lambda: 0.0, "retry": ["timeout"]}
    events = run_sweep(make_sweep(), make_executor("inline"), path, fake_measure, **options)
    ((first, *_),) = [visits_of([event]) for event in itertools.islice(events, 2) if isinstance(event, Measured)]
    events.close()
    write_whole(
        journal_of(path), "".join(journal_line(*line) for line in read_journal(journal_of(path)).lines()).encode()
    )
    events = go(make_sweep(), path)
    assert events[1] == Noted("goes on with 1 failed point that an earlier --retry did not finish")
    assert sorted([first, *visits_of(events)]) == [(2, 1, "ok"), (4, 1, "ok")]
    assert visits_of(go(make_sweep(), path)) == []


def test_a_retry_that_failed_again_is_done(path):
    dead = {(2, 1): WorkerTimeoutError("ran too long")}
    for retry in ([], ["timeout"]):
        go(make_sweep(), path, executor=ScriptedExecutor(dead), retry=retry)
    events = go(make_sweep(), path)
    assert [type(event) for event in events] == [Started, Finished]


def test_a_network_that_cannot_be_counted_is_not_measured(path, monkeypatch):
    from hvt_bench.errors import CountError

    def refuse(config, **options):
        raise CountError("aten::strange: no rule")

    monkeypatch.setattr("hvt_bench.measure.count", refuse)
    events = go(make_sweep(depths=(2,)), path)
    assert visits_of(events) == []
    (row,) = read_table(path)
    assert (row["status"], row["error"], row["macs"]) == ("error", "aten::strange: no rule", None)


def test_a_file_of_another_sweep_is_moved_aside_and_announced(path):
    go(make_sweep(name="first"), path)
    before = path.read_text()
    events = go(make_sweep(name="second"), path)
    moved_csv, moved_journal = events[0].moved
    assert moved_csv.name.startswith("run.first.20")
    assert moved_csv.name.endswith("Z.csv")
    assert moved_journal.name == moved_csv.name.removesuffix("csv") + "journal.jsonl"
    assert moved_csv.read_text() == before
    assert {row["sweep"] for row in read_table(path)} == {"second"}


def test_a_name_with_a_version_in_it_stays_whole(path):
    path = path.with_name("torch_2.15.csv")
    go(make_sweep(name="first"), path)
    events = go(make_sweep(name="second"), path)
    assert [moved.name.startswith("torch_2.15.first.20") for moved in events[0].moved] == [True, True]
    assert read_journal(events[0].moved[1]).sweep == "first"


def test_a_file_of_another_environment_is_moved_aside(path):
    go(make_sweep(), path)
    other = ENVIRONMENT.model_copy(update={"torch_version": "10.0.0"})
    events = go(make_sweep(), path, describe=lambda device: other)
    assert len(events[0].moved) == 2
    assert {row["torch_version"] for row in read_table(path)} == {"10.0.0"}


def test_fresh_moves_aside_and_never_overwrites(path):
    go(make_sweep(), path)
    for _ in range(3):
        events = go(make_sweep(), path, fresh=True)
        assert len(visits_of(events)) == 4
    assert len(list(path.parent.glob("run.s.*.csv"))) == 3


def test_a_table_without_its_journal_is_moved_aside(path):
    go(make_sweep(), path)
    journal_of(path).unlink()
    events = go(make_sweep(), path)
    assert len(events[0].moved) == 1
    assert len(visits_of(events)) == 4


def test_a_file_that_is_not_ours_is_refused_and_left_alone(path):
    path.write_text("my,own,notes\n")
    with pytest.raises(FileError, match="this is no table of hvt-bench"):
        go(make_sweep(), path)
    assert os.listdir(path.parent) == ["run.csv"]
    assert path.read_text() == "my,own,notes\n"


def test_a_path_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot be written: .*/file is a file; give --out another path"):
        go(make_sweep(), tmp_path / "file" / "run.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileError, match="is a directory; give --out a file name in it"):
        go(make_sweep(), tmp_path / "folder.csv")


def test_a_device_that_cannot_be_described_ends_the_sweep(path):
    with pytest.raises(HvtBenchError, match="device 'cpu' cannot be described: on fire"):
        go(make_sweep(), path, executor=ScriptedExecutor({"cpu": RuntimeError("on fire")}))
    assert not path.exists()


def test_the_table_is_rewritten_while_the_sweep_runs(path):
    times = itertools.count(step=3)
    seen = []
    for event in run_sweep(
        make_sweep(), make_executor("inline"), path, fake_measure, describe=describe, clock=lambda: next(times)
    ):
        if isinstance(event, Measured):
            seen.append(sum(row["rounds"] or 0 for row in read_table(path)) if path.exists() else None)
    assert seen[0] is not None
    assert sorted(seen) == seen
    assert seen[-1] >= 3


def test_the_seed_of_the_order_is_in_the_journal(path):
    go(make_sweep(), path)
    start = json.loads(journal_of(path).read_text().splitlines()[0])["run"]
    assert isinstance(start["seed"], int)
    assert start["metrics"] == ["complexity", "memory", "latency"]


def test_a_metric_no_longer_asked_for_keeps_what_was_measured(path):
    def only_asked(visit):
        sample = fake_measure(visit)
        return sample.model_copy(update={"values": {m: sample.values[m] for m in visit.metrics}})

    go(make_sweep(metrics=("complexity", "latency")), path, only_asked)
    go(make_sweep(metrics=("complexity", "memory")), path, only_asked)
    assert all(row["latency_ms"] and row["peak_memory_mib"] for row in read_table(path))


@pytest.mark.parametrize("second", [{"fresh": True}, {"name": "other"}])
def test_a_running_sweep_keeps_its_files(path, second):
    fresh = second.pop("fresh", False)
    first = run_sweep(make_sweep(), make_executor("inline"), path, fake_measure, describe=describe)
    next(first)
    holder = (
        rf"writing this file: process {os.getpid()} on {re.escape(socket.gethostname())}, since 20\S+Z; wait for it"
    )
    with pytest.raises(FileError, match=holder):
        go(make_sweep(**second), path, fresh=fresh)
    list(first)
    assert [row["rounds"] for row in read_table(path)] == [2, 2]
    assert sorted(os.listdir(path.parent)) == ["run.csv", "run.journal.jsonl"]


def test_a_file_that_is_not_ours_is_left_alone_beside_a_journal_that_is(path):
    go(make_sweep(), path)
    path.write_text("my,own,notes\n")
    with pytest.raises(FileError, match="this is no table of hvt-bench"):
        go(make_sweep(), path)
    assert path.read_text() == "my,own,notes\n"


def test_a_failed_round_is_told_and_tried_again_though_fewer_rounds_are_asked_for(path):
    go(make_sweep(rounds=3), path, executor=ScriptedExecutor({(2, 2): WorkerTimeoutError("ran too long")}))
    assert visits_of(go(make_sweep(rounds=2), path)) == []
    assert [row["status"] for row in read_table(path)] == ["timeout", "ok"]
    assert visits_of(go(make_sweep(rounds=2), path, retry=["timeout"])) == [(2, 2, "ok")]
    assert [row["status"] for row in read_table(path)] == ["ok", "ok"]


def test_a_row_names_the_machine_of_its_own_measurement(path):
    moved = ENVIRONMENT.model_copy(update={"hostname": "otherhost", "git_commit": "abc"})
    go(make_sweep(depths=(2,)), path)
    go(make_sweep(depths=(2, 4)), path, describe=lambda device: moved)
    assert [row["hostname"] for row in read_table(path)] == ["testhost", "otherhost"]
    go(make_sweep(depths=(2, 4)), path)
    assert [row["hostname"] for row in read_table(path)] == ["testhost", "otherhost"]


def test_a_csv_and_its_journal_move_under_the_same_name(path):
    go(make_sweep(), path)
    started_at = json.loads(journal_of(path).read_text().splitlines()[0])["run"]["started_at"]
    taken = path.with_name(f"run.s.{started_at.replace('-', '').replace(':', '')}.csv")
    taken.write_text("older")
    moved = go(make_sweep(), path, fresh=True)[0].moved
    assert [file.name.removeprefix(taken.stem) for file in moved] == ["-2.csv", "-2.journal.jsonl"]
    assert taken.read_text() == "older"


def test_a_refused_sweep_makes_no_folder(tmp_path):
    with pytest.raises(HvtBenchError, match="on fire"):
        go(make_sweep(), tmp_path / "new" / "run.csv", executor=ScriptedExecutor({"cpu": RuntimeError("on fire")}))
    assert os.listdir(tmp_path) == []


def test_the_folder_of_the_table_is_made(tmp_path):
    go(make_sweep(), tmp_path / "new" / "folder" / "run.csv")
    assert len(read_table(tmp_path / "new" / "folder" / "run.csv")) == 2


# --- files that change underneath -----------------------------------------------------------------------------------


def interrupted(path, after, do, sweep=None):
    """Run a sweep, and do something to its files after so many rounds; return the events."""
    seen = []
    for event in run_sweep(sweep or make_sweep(), make_executor("inline"), path, fake_measure, describe=describe):
        seen.append(event)
        if len(visits_of(seen)) == after and isinstance(event, Measured):
            do()
    return seen


def test_a_removed_journal_is_put_back_and_the_sweep_goes_on(path):
    journal = journal_of(path)
    events = interrupted(path, 2, journal.unlink)
    told = f"{journal} was removed while the sweep ran; it is there again, with all that was found"
    assert [e.text for e in events if isinstance(e, Noted)] == [told]
    assert len(visits_of(events)) == 4
    assert visits_of(go(make_sweep(), path)) == []


def test_a_second_sweep_in_place_of_a_removed_journal_is_left_alone(path):
    journal = journal_of(path)
    with pytest.raises(WriteError, match="another file was put in its place while the sweep ran; all that was found"):
        interrupted(path, 1, lambda: (journal.unlink(), go(make_sweep(), path)))
    assert visits_of(go(make_sweep(), path)) == []
    assert len(read_journal(next(path.parent.glob("run.rescued.*.journal.jsonl"))).samples) == 4


def test_a_removed_folder_is_made_again(tmp_path):
    path = tmp_path / "new" / "run.csv"
    events = interrupted(path, 2, lambda: shutil.rmtree(path.parent))
    assert len(visits_of(events)) == 4
    assert [row["rounds"] for row in read_table(path)] == [2, 2]
    assert visits_of(go(make_sweep(), path)) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda file: file.write_bytes(file.read_bytes() + b"note to self"), "something else wrote into it"),
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "something else wrote into it"),
        (
            lambda file: shutil.copy(file, file.with_suffix(".b")) and file.with_suffix(".b").replace(file),
            "another file",
        ),
    ],
)
def test_a_journal_that_something_else_changed_ends_the_sweep_and_nothing_is_lost(path, change, what):
    journal = journal_of(path)
    with pytest.raises(WriteError, match=f"{what} .*while the sweep ran; all that was found is in") as ended:
        interrupted(path, 2, lambda: change(journal))
    (rescued,) = path.parent.glob("run.rescued.*.journal.jsonl")
    assert f"all that was found is in {rescued}: rename it to the other's name" in str(ended.value)
    rescued.replace(journal)
    assert len(visits_of(go(make_sweep(), path))) == 1  # the third was found when the change was seen
    assert [row["rounds"] for row in read_table(path)] == [2, 2]


def test_a_table_that_someone_changed_is_kept(path):
    times = itertools.count(step=3)
    events = run_sweep(
        make_sweep(), make_executor("inline"), path, fake_measure, describe=describe, clock=lambda: next(times)
    )
    notes = []
    for event in events:
        notes += [event.text] if isinstance(event, Noted) else []
        if isinstance(event, Measured) and event.rounds_left == 2:
            path.write_text("mine now\n")
    (kept,) = path.parent.glob("run.changed.*.csv")
    assert notes == [f"{path} was changed while the sweep ran; what it was changed to is kept as {kept}"]
    assert kept.read_text() == "mine now\n"
    assert [row["rounds"] for row in read_table(path)] == [2, 2]


def test_a_table_that_is_as_its_journal_gives_it_is_not_read(path, monkeypatch):
    go(make_sweep(), path)
    written = path.read_text()
    monkeypatch.setattr("hvt_bench.output.read_table", lambda path: pytest.fail("it was read"))
    events = go(make_sweep(depths=(2, 4, 6)), path)
    assert (events[0].points_done, events[0].moved) == (2, ())
    assert path.read_text().startswith(written)


def changed_cell(path, name, text):
    """Write another value into the first row of a table, as a person would."""
    with path.open(newline="") as file:
        header, first, *others = csv.reader(file)
    first[header.index(name)] = text
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, first, *others])


@pytest.mark.parametrize(("name", "text"), [("latency_ms", "999"), ("point_id", "mine"), ("warnings", "noisy")])
def test_a_table_that_someone_changed_between_two_runs_is_kept(path, name, text):
    go(make_sweep(), path)
    written = path.read_text()
    changed_cell(path, name, text)
    changed = path.read_text()
    (note,) = [event for event in go(make_sweep(), path) if isinstance(event, Noted)]
    (kept,) = path.parent.glob("run.changed.*.csv")
    assert note.text == f"{path} held what its journal did not give; it is kept as {kept} and written anew"
    assert kept.read_text() == changed
    assert path.read_text() == written


def test_a_table_that_is_older_than_its_journal_is_no_changed_one(path):
    tables = []
    for rounds, metrics in ((1, ("complexity",)), (1, ("latency",)), (2, ("latency",)), (3, ("latency", "memory"))):
        go(make_sweep(rounds=rounds, metrics=metrics), path)
        tables.append(path.read_text())
    for table in tables:
        path.write_text(table)
        go(make_sweep(rounds=3, metrics=("latency", "memory")), path)
        assert path.read_text() == tables[-1]
    assert len(set(tables)) == 4
    assert not [*path.parent.glob("run.changed.*")]


def test_a_table_without_the_latest_columns_is_no_changed_one(path):
    go(make_sweep(), path)
    written = path.read_text()
    with path.open(newline="") as file:
        lines = [[*line[:3], *line[5:]] for line in csv.reader(file)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    go(make_sweep(), path)
    assert path.read_text() == written
    assert not [*path.parent.glob("run.changed.*")]


def test_a_full_disk_ends_the_sweep_with_what_was_found_and_it_goes_on_once_there_is_room(path, monkeypatch):
    journal, full = journal_of(path), 0
    real = os.fsync

    def fsync(file):
        nonlocal full
        full += os.path.samestat(os.fstat(file), journal.stat())
        if full > 6:  # run, cells, two countings and two rounds
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WriteError) as ended:
        go(make_sweep(), path)
    assert str(ended.value) == (
        f"{journal}: cannot be written: No space left on device; all that was finished before is in it, "
        "so make room, and the same command goes on from there"
    )
    monkeypatch.setattr(os, "fsync", real)
    assert len(visits_of(go(make_sweep(), path))) == 2
    assert [row["rounds"] for row in read_table(path)] == [2, 2]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(FileError) as refused:
        go(make_sweep(), path, describe=lambda _: pytest.fail("a worker was started"))
    assert str(refused.value) == f"{path}: cannot be written: read-only file system; give --out another path"
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    ("begun", "next_move"),
    [
        (False, "give --out another path"),
        (
            True,
            "all that was finished before is in its journal, so make room, and the same command goes on from there",
        ),
    ],
)
def test_a_disk_still_full_is_no_reason_to_begin_anew(path, monkeypatch, begun, next_move):
    if begun:
        go(make_sweep(), path)

    def refuse(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(FileError) as refused:
        go(make_sweep(), path)
    assert str(refused.value) == f"{path}: cannot be written: no space left on device; {next_move}"


def test_what_a_kill_left_half_written_is_removed(path):
    go(make_sweep(), path)
    torn = path.with_name(f".{path.name}.4711.tmp")
    torn.write_text("point_id,swe")
    go(make_sweep(), path)
    assert sorted(os.listdir(path.parent)) == ["run.csv", "run.journal.jsonl"]


# --- older versions ---------------------------------------------------------------------------------------------------

OLD = Path(__file__).parent / "golden" / "run_0.1.0.csv"  # as hvt-bench 0.1.0 wrote it


def test_a_run_of_the_first_version_is_read_and_kept(path):
    shutil.copy(OLD, path)
    shutil.copy(journal_of(OLD), journal_of(path))
    here = ENVIRONMENT.model_copy(update={"torch_version": "2.15.0+cu132", "hvt_bench_version": "0.2.0"})
    (started, *_) = go(make_sweep(name="old"), path, describe=lambda _: here)
    assert started.reason == (
        "its hvt_bench_version is 0.1.0, now it is 0.2.0, and measures otherwise; every command reads it, "
        "and hvt-bench 0.1 goes on with it"
    )
    kept, _ = started.moved
    rows = read_table(kept)
    assert [(row["depth"], row["macs"], row["latency_samples"], row["ran_on"]) for row in rows] == [
        (4, 2657280, 10, None),
        (2, 1956608, 10, None),
    ]
    derived = read_journal(started.moved[1]).rows()
    assert [(row["macs"], row["latency_ms"]) for row in derived] == [
        (row["macs"], pytest.approx(row["latency_ms"], rel=1e-5)) for row in rows
    ]


def test_a_run_from_before_the_latest_fields_goes_on(path):
    here = ENVIRONMENT.model_copy(update={"hvt_bench_version": "0.2.0"})
    go(make_sweep(rounds=1), path, describe=lambda _: here)
    journal = journal_of(path)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for newer in ("pid", "hostname", "attempt", "ran_on"):
            next(iter(line.values())).pop(newer, None)
        for found in line.get("run", {}).get("environments", {}).values():
            del found["cudnn_version"]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = path.read_text().splitlines()
    header = text[0].split(",")
    cut = [",".join(line.split(",")[: header.index("ran_on")]) for line in text]
    path.write_text("\n".join(",".join((a, b)) for a, b in zip(cut, ["status", "ok", "ok"], strict=True)) + "\n")
    assert [(row["macs"] is not None, row["ran_on"]) for row in read_table(path)] == [(True, None)] * 2
    now = here.model_copy(update={"hvt_bench_version": "0.2.1"})
    events = go(make_sweep(depths=(2, 4, 6), rounds=2), path, describe=lambda _: now)
    assert (events[0].moved, events[0].points_done, [e for e in events if isinstance(e, Noted)]) == ((), 0, [])
    assert sorted(visits_of(events)) == [(2, 1, "ok"), (4, 1, "ok"), (6, 0, "ok"), (6, 1, "ok")]
    assert [(row["rounds"], row["hvt_bench_version"]) for row in read_table(path)] == [(2, "0.2.1")] * 3
    found = [line["run"]["environments"] for line in map(json.loads, journal.read_text().splitlines()) if "run" in line]
    assert [environments["cpu"]["hvt_bench_version"] for environments in found] == ["0.2.0", "0.2.1"]
    (started, *_) = go(make_sweep(depths=(2, 4, 6)), path, describe=lambda _: now)
    assert (started.points_done, started.rounds) == (3, 0)


# --- the largest batch ------------------------------------------------------------------------------------------------


def fits(most, asked):
    """Stand in for measure_round on a machine that holds `most` images."""

    def measure(visit):
        asked.append((visit.point.batch_size, visit.metrics))
        if visit.point.batch_size <= most:
            return fake_measure(visit)
        return fake_measure(visit).model_copy(update={"status": "oom", "error": "no room", "values": {}})

    return measure


def test_the_largest_batch_is_found_once_and_then_measured(path):
    asked = []
    sweep = make_sweep(depths=(2,), max_batch=True)
    events = go(sweep, path, fits(5, asked))
    assert [type(e) for e in events] == [Started, Counted, Fitted, Measured, Measured, Finished]
    assert events[2].point.batch_size == 5
    assert asked == [(n, ("memory",)) for n in (1, 2, 4, 8, 6, 5, 5)] + [(5, ("memory", "latency"))] * 2
    (row,) = read_table(path)
    assert (row["batch_size"], row["max_batch"], row["status"], row["rounds"]) == (5, True, "ok", 2)
    asked.clear()
    go(make_sweep(depths=(2,), max_batch=True, rounds=3), path, fits(5, asked))
    assert asked == [(5, ("memory", "latency"))]
    assert read_table(path)[0]["batch_size"] == 5


def test_the_estimate_of_a_largest_batch_is_of_the_batch_that_was_found(path):
    go(make_sweep(depths=(2,), max_batch=True), path, fits(0, []))
    (row,) = read_table(path)
    assert (row["status"], row["batch_size"], row["estimated_memory_mib"]) == ("oom", None, None)
    go(make_sweep(depths=(2,), max_batch=True), path, fits(5, []), retry=["oom"])
    (point,) = make_sweep(depths=(2,), batch_size=5).points
    (row,) = read_table(path)
    assert row["macs"] > 0
    assert row["estimated_memory_mib"] == pytest.approx(estimate(point).total_mib, rel=1e-5)


def test_a_point_whose_largest_batch_is_not_found_is_a_failure_and_the_sweep_goes_on(path):
    def measure(visit):
        if visit.point.max_batch:
            return fake_measure(visit).model_copy(update={"status": "timeout", "error": "took too long", "values": {}})
        return fake_measure(visit)

    one, other = make_sweep(depths=(2,), max_batch=True).cells, make_sweep(depths=(4,)).cells
    sweep = Sweep("s", (*one, *other), ("complexity", "memory", "latency"))
    events = go(sweep, path, measure)
    assert visits_of(events) == [(2, 0, "timeout"), (4, 0, "ok"), (4, 1, "ok")]
    lost, well = read_table(path)
    assert lost["error"] == "looking for the largest batch: batch_size 1 took too long"
    assert (lost["batch_size"], lost["macs"] is not None, well["status"]) == (None, True, "ok")
    assert visits_of(go(sweep, path, fake_measure)) == []
    assert len(visits_of(go(sweep, path, fits(3, []), retry=["timeout"]))) == 2
    assert read_table(path)[0]["batch_size"] == 3


class Recording:
    """Runs inline and keeps the keys of what it ran."""

    places = ()

    def __init__(self):
        self.keys = []

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item in items:
            self.keys.append(key(item))
            yield Outcome(item, function(item), None)


def test_no_two_visits_of_a_sweep_have_one_key(path):
    workers = Recording()
    sweep = make_sweep(depths=(2,), max_batch=True)
    go(sweep, path, lambda visit: throttles(1, [])(visit) if len(visit.metrics) > 1 else fits(5, [])(visit), workers)
    (point,) = sweep.points
    visits = [key for key in workers.keys if key.startswith(point.point_id)]
    assert visits[:2] == [f"{point.point_id}.0.1.try-1", f"{point.point_id}.0.1.try-2"]
    assert visits[-3:] == [f"{point.point_id}.{end}" for end in ("0.1", "1.1", "0.2")]
    assert len(set(workers.keys)) == len(workers.keys)


# --- points that fail ---


def batches(*sizes, **options):
    points = [point for size in sizes for point in make_sweep(batch_size=size, rounds=1, **options).points]
    return Sweep("s", tuple(points), ("latency",))


def too_large_from(most, seen):
    """Stand in for measure_round where a batch above `most` does not fit the shallower network."""

    def measure(visit):
        seen.append((visit.point.config.depth, visit.point.batch_size))
        return fits(most if visit.point.config.depth == 2 else 999, [])(visit)

    return measure


def test_points_larger_than_one_that_ran_out_of_memory_are_not_tried(path):
    seen, sweep = [], batches(8, 1, 16, 32, 64)
    events = go(sweep, path, too_large_from(8, seen))
    assert [batch_size for depth, batch_size in seen if depth == 2] == [1, 8, 16]  # the smaller ones come first
    assert [batch_size for depth, batch_size in sorted(seen) if depth == 4] == [1, 8, 16, 32, 64]
    assert [e.rounds_left for e in events if isinstance(e, Measured)][-1] == 0
    rows = {(row["depth"], row["batch_size"]): row for row in read_table(path)}
    assert len(rows) == 10
    assert {key for key, row in rows.items() if row["status"] == "oom"} == {(2, 16), (2, 32), (2, 64)}
    smallest = f"{rows[2, 16]['point_id']} (batch_size 16)"
    skipped = {key: row for key, row in rows.items() if row["status"] == "oom" and key not in seen}
    assert len(skipped) == 2
    for row in skipped.values():
        assert row["error"] == (
            f"not tried: larger than point {smallest}, which ran out of memory; --no-skip --retry oom tries it"
        )
        assert row["seconds"] == 0


def test_what_ran_out_of_memory_earlier_tells_too_and_no_skip_tries_all(path):
    seen = []
    go(batches(16), path, too_large_from(8, seen))
    go(batches(16, 32, 64), path, too_large_from(8, seen))
    assert sorted(seen) == [(2, 16), (4, 16), (4, 32), (4, 64)]
    seen.clear()
    go(batches(16, 32, 64), path, too_large_from(32, seen), retry=["oom"], skip=False)
    assert sorted(seen) == [(2, 16), (2, 32), (2, 64)]
    assert [row["status"] for row in read_table(path)].count("oom") == 1


def test_a_point_that_differs_in_more_than_its_batch_is_tried(path):
    seen = []
    sweep = Sweep("s", (*batches(16).cells, *batches(32, mode="train").cells), ("latency",))
    go(sweep, path, too_large_from(8, seen))
    assert sorted(seen) == [(2, 16), (2, 32), (4, 16), (4, 32)]


def test_fail_fast_ends_at_the_first_failure_and_writes_what_was_found(path):
    depths = range(1, 9)
    deaths = {(depth, 0): WorkerCrashedError("SIGKILL") for depth in depths}
    events = go(make_sweep(depths), path, executor=ScriptedExecutor(deaths), fail_fast=True)
    assert [status for *_, status in visits_of(events)] == ["crashed"]
    assert isinstance(events[-1], Finished)
    assert sorted(str(row["status"]) for row in read_table(path)) == ["crashed", *["ok"] * 7]
    assert len(visits_of(go(make_sweep(depths), path))) == 14


def side_by_side(path):
    """Whether each row says that it was timed beside others."""
    return ["side_by_side" in (row["warnings"] or ()) for row in read_table(path)]


def only_asked(visit):
    """Stand in for measure_round and measure no more than is asked for."""
    found = fake_measure(visit)
    return found.model_copy(update={"values": {k: v for k, v in found.values.items() if k in visit.metrics}})


class Places(Recording):
    """Runs inline, as if at several places."""

    def __init__(self, *names):
        super().__init__()
        self.places = tuple(Place(name) for name in names)


@pytest.mark.parametrize(
    ("places", "metrics", "beside"),
    [
        (("", ""), ("latency",), True),
        (("",), ("latency",), False),
        (("", ""), ("memory",), False),
        (("cuda:0", "cuda:1"), ("latency",), False),
    ],
)
def test_points_timed_side_by_side_say_so_and_go_on_saying_it(path, places, metrics, beside):
    go(make_sweep(metrics=metrics), path, only_asked, Places(*places))
    assert side_by_side(path) == [beside] * 2
    go(make_sweep(metrics=("memory",)), path, only_asked)  # one at a time, and times stay as they were
    assert side_by_side(path) == [beside] * 2
    assert ("side_by_side" in journal_of(path).read_text()) == beside


def test_one_round_alone_is_beside_nothing(path):
    go(make_sweep(depths=(2,), rounds=1), path, executor=Places("", ""))
    assert side_by_side(path) == [False]


# --- the log ---


class Talking(ScriptedExecutor):
    """Runs inline; workers print what a script says."""

    def __init__(self, words, deaths=None):
        super().__init__(deaths or {})
        self.words = words

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for outcome in super().map(function, items, key, timeout_s):
            place = (outcome.item.point.config.depth, outcome.item.round) if hasattr(outcome.item, "point") else None
            yield dataclasses.replace(outcome, output=self.words.get(place, ""))


def test_what_workers_print_is_in_the_log_and_errors_name_it(path):
    words = {(2, 0): "Fatal Python error: Segmentation fault\n", (4, 1): "a warning\n"}
    go(make_sweep(), path, executor=Talking(words, {(2, 0): WorkerCrashedError("ended by SIGSEGV")}))
    failed, well = read_table(path)
    key = f"{failed['point_id']}.0.1"
    assert failed["error"] == f"ended by SIGSEGV; its output: run.log, {key}"
    assert (well["status"], well["error"]) == ("ok", None)
    log = path.with_suffix(".log").read_text().splitlines()
    found = {line.split()[2]: (line.partition(" m, ")[2], text) for line, text in zip(log[::2], log[1::2], strict=True)}
    assert found == {
        key: ("0 s, crashed: ended by SIGSEGV", "Fatal Python error: Segmentation fault"),
        f"{well['point_id']}.1.1": ("1 s, ok", "a warning"),
    }
    moved = go(make_sweep(), path, fresh=True)[0].moved
    assert [file.suffix for file in moved] == [".csv", ".jsonl", ".log"]


def test_workers_that_print_nothing_leave_no_log(path):
    go(make_sweep(), path, executor=ScriptedExecutor({(2, 0): WorkerCrashedError("gone")}))
    assert sorted(os.listdir(path.parent)) == ["run.csv", "run.journal.jsonl"]
    assert read_table(path)[0]["error"] == "gone"


# --- several GPUs ---


class Gpus:
    """Places with names, which take items in turn."""

    def __init__(self, *models):
        self.models = dict(enumerate(models))
        self.places = tuple(Place(f"cuda:{index}") for index in self.models)

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for number, item in enumerate(items):
            index = number % len(self.places)
            value = function(item)
            if item == "cuda":
                value = value.model_copy(update={"device_name": self.models[index]})
            yield Outcome(item, value, None, place=f"cuda:{index}")


def test_a_row_names_the_gpus_of_its_rounds(path):
    go(make_sweep(device="cuda", metrics=("latency",)), path, executor=Gpus("H", "H", "H"))
    assert [(row["device"], row["ran_on"]) for row in read_table(path)] == [
        ("cuda", ("cuda:0", "cuda:1")),
        ("cuda", ("cuda:0", "cuda:2")),
    ]


def test_gpus_of_two_kinds_are_refused(path):
    with pytest.raises(RequestError) as refused:
        go(make_sweep(device="cuda"), path, executor=Gpus("H", "A"))
    assert str(refused.value) == (
        "--devices: cuda:0 is a H and cuda:1 a A; rounds of one point would not compare, "
        "so give each kind of GPU a sweep of its own"
    )
    assert not path.exists()


def test_several_gpus_go_on_where_one_was(path):
    one, many = make_sweep(device="cuda:0", rounds=1), make_sweep(device="cuda", rounds=2)
    go(one, path)
    events = go(many, path, executor=Gpus("Test CPU", "Test CPU"))
    assert events[0].moved == ()
    assert sorted(visits_of(events)) == [(2, 1, "ok"), (4, 1, "ok")]
    assert [(row["device"], row["rounds"]) for row in read_table(path)] == [("cuda", 2), ("cuda", 2)]
    events = go(
        one, path, executor=Gpus("Other"), describe=lambda _: ENVIRONMENT.model_copy(update={"device_name": "O"})
    )
    assert len(events[0].moved) == 2


# --- throttled rounds -------------------------------------------------------------------------------------------------


def throttles(times, seen):
    """Stand in for measure_round on a GPU that is hot the first `times` visits of round 0."""

    def measure(visit):
        seen.append((visit.round, visit.attempt))
        hot = visit.round == 0 and visit.attempt <= times
        sample = fake_measure(visit)
        found = {"throttle_reasons": ["hw_thermal_slowdown"] if hot else []}
        values = {**sample.values, "conditions": found}
        return sample.model_copy(update={"attempt": visit.attempt, "values": values})

    return measure


def test_a_throttled_round_is_measured_again_after_the_others_and_said(path):
    seen = []
    events = go(make_sweep(depths=(2,), rounds=3), path, throttles(1, seen))
    assert seen == [(0, 1), (1, 1), (2, 1), (0, 2)]
    assert [e.rounds_left for e in events if isinstance(e, Measured)] == [3, 2, 1, 0]
    (row,) = read_table(path)
    assert (row["rounds"], row["remeasured"]) == (3, 1)
    lines = [json.loads(line) for line in journal_of(path).read_text().splitlines()]
    assert sum("sample" in line for line in lines) == 5  # all that was found stays in the journal


def test_a_throttled_round_is_measured_again_after_a_stop(path):
    seen = []
    sweep = make_sweep(depths=(2,), rounds=2)
    events = run_sweep(sweep, make_executor("inline"), path, throttles(1, seen), describe=describe)
    while seen != [(0, 1), (1, 1)]:
        next(events)
    events.close()
    go(sweep, path, throttles(1, seen))
    assert seen == [(0, 1), (1, 1), (0, 2)]
    assert read_table(path)[0]["remeasured"] == 1


def test_a_second_attempt_that_fails_does_not_cost_the_first(path):
    def measure(visit):
        sample = throttles(1, [])(visit)
        if visit.attempt == 1:
            return sample
        return sample.model_copy(update={"status": "oom", "error": "no room", "values": {}})

    go(make_sweep(depths=(2,), rounds=2), path, measure)
    (row,) = read_table(path)
    assert (row["status"], row["rounds"], row["latency_samples"], row["remeasured"]) == ("ok", 2, 6, 1)
    assert "throttled" in row["warnings"]


def test_a_largest_batch_that_did_not_fit_is_looked_for_again(path):
    def full(visit):
        if visit.metrics == ("memory",):
            return fake_measure(visit)
        return fake_measure(visit).model_copy(update={"status": "oom", "error": "no room", "values": {}})

    sweep = make_sweep(depths=(2,), max_batch=True)
    go(sweep, path, lambda visit: fits(4, [])(visit) if visit.metrics == ("memory",) else full(visit))
    assert [(row["batch_size"], row["status"]) for row in read_table(path)] == [(4, "oom")]
    go(sweep, path, fits(3, []), retry=["oom"])
    assert [(row["batch_size"], row["status"]) for row in read_table(path)] == [(3, "ok")]


def test_rounds_of_two_largest_batches_never_stand_in_one_row(path):
    """Round 0 fits at 4 and round 1 does not: without --retry the row stays; with it, both are of the new batch."""

    def full_in_round_1(visit):
        if visit.round == 1:
            return fake_measure(visit).model_copy(update={"status": "oom", "error": "no room", "values": {}})
        return fits(4, [])(visit)

    sweep = make_sweep(depths=(2,), max_batch=True)
    go(sweep, path, full_in_round_1)
    for _ in range(2):
        (row,) = read_table(path)
        assert (row["batch_size"], row["status"], row["rounds"]) == (4, "oom", 1)
        assert row["macs_per_s"] is not None
        go(sweep, path, fake_measure)
    asked = []
    go(sweep, path, fits(3, asked), retry=["oom"])
    assert asked[-2:] == [(3, ("memory", "latency"))] * 2
    (row,) = read_table(path)
    assert (row["batch_size"], row["status"], row["rounds"]) == (3, "ok", 2)


def test_a_stop_while_the_largest_batch_is_looked_for_again_mixes_nothing(path):
    sweep = make_sweep(depths=(2,), max_batch=True)
    oom = {"status": "oom", "error": "no room", "values": {}}
    go(sweep, path, lambda v: fake_measure(v).model_copy(update=oom) if v.round == 1 else fits(4, [])(v))
    events = run_sweep(sweep, make_executor("inline"), path, fits(3, []), describe=describe, retry=["oom"])
    while not isinstance(next(events), Fitted):
        pass
    events.close()
    asked = []
    go(sweep, path, fits(3, asked))
    assert asked == [(3, ("memory", "latency"))] * 2
    assert [(row["batch_size"], row["rounds"]) for row in read_table(path)] == [(3, 2)]


def test_a_gpu_that_stays_hot_is_tried_three_times(path):
    seen = []
    go(make_sweep(depths=(2,), rounds=1), path, throttles(9, seen))
    assert seen == [(0, 1), (0, 2), (0, 3)]
    (row,) = read_table(path)
    assert (row["status"], row["remeasured"]) == ("ok", 1)


def test_the_share_of_timed_passes_is_told(path):
    ticks = itertools.count(0, 10.0)

    def measure(visit):
        sample = fake_measure(visit)
        return sample.model_copy(update={"values": {"latency": {**sample.values["latency"], "timed_s": 2.5}}})

    finished = go(make_sweep(depths=(2,), metrics=("latency",)), path, measure, clock=lambda: next(ticks))[-1]
    assert finished.timed_s == 5.0
    assert finished.seconds > 0


SMALL = "hvt:depth=2,img_size=64,embed_dim=64"


@pytest.mark.parametrize(
    ("death", "status"), [(WorkerTimeoutError("ran too long"), "timeout"), (WorkerCrashedError("SIGKILL"), "crashed")]
)
def test_an_outside_network_that_dies_while_counted_is_a_row(path, module, death, status):
    bad, good = f"{module}:Net:depth=3", f"{module}:Net"
    events = go(outside_sweep(bad, SMALL, good), path, executor=ScriptedExecutor({bad: death}))
    counted = [(e.point.model, e.sample.round, e.sample.status) for e in events if isinstance(e, Counted)]
    assert counted == [(SMALL, None, "ok"), (bad, None, status), (good, None, "ok")]
    rows = {row["model"]: row for row in read_table(path)}
    assert (rows[bad]["status"], rows[bad]["error"], rows[bad]["macs"]) == (status, str(death), None)
    assert (rows[good]["status"], rows[good]["family"], rows[good]["model_kwargs"]) == ("ok", "external", None)


def test_our_own_networks_are_counted_without_a_worker(path):
    class NoExecutor:
        places = ()

        def map(self, function, items, key=str, timeout_s=lambda _: None):
            assert function is describe or not list(items)
            return iter([Outcome(item, function(item), None) for item in items])

    assert isinstance(go(outside_sweep(SMALL), path, executor=NoExecutor())[-1], Finished)


@pytest.mark.slow
def test_an_outside_network_is_counted_and_measured_in_real_workers(path, module):
    models = [
        f"{module}:{name}"
        for name in ("dies", "Net:depth=3", "DiesRunning", "Pair:input_shapes=[[4], [6]]", "reads_values")
    ]
    sweep = outside_sweep(*models, metrics=("complexity", "memory", "latency"))
    go(sweep, path, measure=measure_round, executor=make_executor("process"))
    found = [(row["model"], row["status"], row["rounds"]) for row in read_table(path)]
    statuses = ["crashed", "ok", "crashed", "ok", "ok"]
    assert found == [
        (model, status, 1 if status == "ok" else None) for model, status in zip(models, statuses, strict=True)
    ]
    assert read_table(path)[0]["error"] == "the worker ended with exit code 7 and no answer"
    assert all(row["peak_memory_mib"] < 50 for row in read_table(path) if row["status"] == "ok")


def test_an_outside_network_is_counted_once_for_points_that_measure_it_otherwise(path, monkeypatch):
    calls = []

    def count_once(point, metrics, executed):
        calls.append(point.batch_size)
        return count_point(point, metrics)

    monkeypatch.setattr("hvt_bench.counts.count_point", count_once)
    config = parse_model("torch.nn:Linear:in_features=4,out_features=4,input_shapes=[[4]]")
    points = tuple(
        Point(model="m", axis=None, config=config, device="cpu", batch_size=batch_size, warmup_s=0.1)
        for batch_size in (1, 2, 4)
    )
    go(Sweep("s", points, ("complexity",)), path)
    assert calls == [1]
    assert [(row["batch_size"], row["macs"]) for row in read_table(path)] == [(1, 16), (2, 16), (4, 16)]
    go(Sweep("s", (*points, points[0].model_copy(update={"num_threads": 7})), ("complexity", "memory")), path)
    assert calls == [1, 1, 2, 4]
    estimates = [row["estimated_memory_mib"] for row in read_table(path)]
    assert estimates[0] == estimates[3] < estimates[1] < estimates[2]


# --- on machines of others --------------------------------------------------------------------------------------------


class Nodes:
    """Measures rounds on nodes that have GPUs of the kinds that are named, one after the other, or that fail."""

    places = ()

    def __init__(self, *names):
        self.names = itertools.cycle(names)

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item, name in zip(items, self.names, strict=False):
            if isinstance(name, Exception):
                yield Outcome(item, None, name)
                continue
            here = ENVIRONMENT.model_copy(update={"device_name": name, "hostname": f"host of {name}"})
            yield Outcome(item, function(item).model_copy(update={"environment": here}), None)


def test_a_row_of_a_cluster_names_the_node_that_measured_it(path):
    events = go(make_sweep(depths=(2,)), path, away=Nodes("A100"))
    assert events[-1].timed_s == 0
    (row,) = read_table(path)
    assert (row["device_name"], row["hostname"], row["rounds"]) == ("A100", "host of A100", 2)
    assert visits_of(go(make_sweep(depths=(2,)), path, away=Nodes("H100"))) == []
    assert read_table(path)[0]["device_name"] == "A100"


def test_a_round_elsewhere_is_described_where_it_was_measured(path, monkeypatch):
    class Elsewhere(Nodes):
        def map(self, function, items, key=str, timeout_s=lambda _: None):
            return (Outcome(item, function(item), None) for item in items)

    seen = ENVIRONMENT.model_copy(update={"device_name": "H100"})
    monkeypatch.setattr("hvt_bench.measure.Environment.measure", lambda device: seen)
    go(make_sweep(depths=(2,)), path, away=Elsewhere())
    assert read_table(path)[0]["device_name"] == "H100"


def test_rounds_of_two_kinds_of_gpu_do_not_stand_in_one_row(path):
    go(make_sweep(depths=(2,)), path, away=Nodes("A100", "H100"))
    (row,) = read_table(path)
    assert (row["device_name"], row["rounds"], row["macs"] is None) == ("H100", 1, False)
    assert visits_of(go(make_sweep(depths=(2,)), path, away=Nodes("H100"))) == [(2, 0, "ok")]
    assert read_table(path)[0]["rounds"] == 2


def test_a_task_that_slurm_ends_for_its_memory_is_out_of_memory(path):
    go(make_sweep(depths=(2,), rounds=1), path, away=Nodes(WorkerMemoryError("Slurm ended task 7_0 as OUT_OF_MEMORY")))
    (row,) = read_table(path)
    assert (row["status"], row["error"], row["device_name"]) == ("oom", "Slurm ended task 7_0 as OUT_OF_MEMORY", None)
    assert row["macs"]


def test_what_has_come_is_in_the_table_while_nothing_else_comes(path):
    now, seen = 0.0, []

    class Slow(Nodes):
        def map(self, function, items, key=str, timeout_s=lambda _: None):
            nonlocal now
            for outcome in super().map(function, items):
                yield outcome
                now += 60  # nothing has come for a minute
                self.on_wait()
                seen.append(sum(row["rounds"] or 0 for row in read_table(path)))

    go(make_sweep(), path, away=Slow("A100"), clock=lambda: now)
    assert seen == [1, 2, 3, 4]


def test_the_jobs_of_a_run_are_moved_aside_with_it(path):
    go(make_sweep(), path)
    jobs = path.with_name("run.slurm")
    jobs.mkdir()
    moved = go(make_sweep(), path, fresh=True)[0].moved
    assert [file.suffix for file in moved] == [".csv", ".jsonl", ".slurm"]
    assert not jobs.exists()
    jobs.mkdir()
    path.unlink()
    journal_of(path).unlink()
    assert [file.suffix for file in go(make_sweep(), path)[0].moved] == [".slurm"]


# --- trainings ------------------------------------------------------------------------------------------------------


def training_sweep(depths=(2, 4), metrics=("accuracy",), rounds=3):
    return make_sweep(depths, metrics=metrics, rounds=rounds, data=Data(name="digits"), recipe=RECIPES["small"])


def fake_training(visit, **changes):
    found = {"seed": visit.round, "top1": 80.0 + visit.round, "top5": 99.0, "losses": [1.0], "epochs_done": 8}
    found |= {"train_s": 2.0, "wait_s": 0.0, "total_train_macs": 5}
    values = {"accuracy": found} if "accuracy" in visit.metrics else {}
    if "latency" in visit.metrics:
        values["latency"] = {"pass_ms": [1.0], "block_img_s": [100.0]}
    fields = {"point_id": visit.point.point_id, "round": visit.round, "attempt": visit.attempt, "values": values}
    return Sample(**(fields | {"started_at": "2026-01-31T12:00:00Z", "seconds": 1.0} | changes))


def diverging(depth, number):
    """Rounds of which one diverges."""

    def measure(visit):
        if (visit.point.config.depth, visit.round) != (depth, number):
            return fake_training(visit)
        lost = {"accuracy": {"seed": number, "diverged": True, "epochs_done": 1}}
        return fake_training(visit, status="error", error="the loss became nan", values=lost)

    return measure


def test_a_row_holds_the_seeds_of_a_training(path):
    go(training_sweep(), path, fake_training)
    rows = read_table(path)
    seen = [(row["top1"], row["top1_rounds"], row["top1_spread"]) for row in rows]
    assert seen == [(81.0, (80.0, 81.0, 82.0), 1.0)] * 2
    assert (rows[0]["data"], rows[0]["recipe"], rows[0]["epochs_done"]) == ("digits", "small", 8)


def test_a_seed_that_diverged_leaves_the_others_alone(path):
    events = go(training_sweep(), path, diverging(2, 0))
    assert sorted(visits_of(events)) == [
        (2, 0, "error"), (2, 1, "ok"), (2, 2, "ok"), (4, 0, "ok"), (4, 1, "ok"), (4, 2, "ok")
    ]  # fmt: skip
    (row, _) = read_table(path)
    assert (row["status"], row["error"], row["top1_rounds"]) == ("error", "the loss became nan", (81.0, 82.0))


@pytest.mark.parametrize(("retry", "again"), [((), []), (("error",), [(2, 0, "ok")])])
def test_a_seed_that_diverged_is_trained_again_only_if_asked(path, retry, again):
    go(training_sweep(), path, diverging(2, 0))
    assert visits_of(go(training_sweep(), path, fake_training, retry=retry)) == again


def test_a_stopped_sweep_goes_on_with_the_other_seeds_of_one_that_diverged(path):
    events = run_sweep(training_sweep(), make_executor("inline"), path, diverging(2, 0), describe=describe)
    for event in events:
        if isinstance(event, Measured) and event.sample.status == "error":
            events.close()
    left = visits_of(go(training_sweep(), path, diverging(2, 0)))
    assert {(2, 1, "ok"), (2, 2, "ok")} <= set(left)
    assert (2, 0, "error") not in left


def test_a_training_is_not_done_again_beside_another_metric(path):
    go(training_sweep(), path, fake_training)
    seen = []
    both = training_sweep(metrics=("latency", "accuracy"))
    go(both, path, lambda visit: seen.append(visit.metrics) or fake_training(visit))
    assert seen == [("latency",)] * 6
    assert all(row["top1"] == 81.0 and row["latency_ms"] == 1.0 for row in read_table(path))


def test_the_state_of_a_training_is_kept_until_its_sample_is(path):
    kept = []

    def measure(visit):
        kept.append(visit.checkpoints)
        visit.checkpoints.mkdir(exist_ok=True)
        checkpoint_path(visit.checkpoints, visit.point.point_id, visit.round).touch()
        return fake_training(visit, **({"status": "oom", "error": "no room"} if visit.round == 1 else {}))

    go(training_sweep(depths=(2,)), path, measure)
    assert set(kept) == {path.with_name("run.checkpoints")}
    assert [file.name[-5:] for file in kept[0].iterdir()] == [".1.pt"]


def test_a_fresh_sweep_does_not_go_on_from_old_states(path):
    go(training_sweep(), path, fake_training)
    (path.parent / "run.checkpoints").mkdir()
    (path.parent / "run.checkpoints" / "a.0.pt").touch()
    (started, *_) = go(training_sweep(), path, fake_training, fresh=True)
    assert [moved.suffix for moved in started.moved] == [".csv", ".jsonl", ".checkpoints"]
    assert not (path.parent / "run.checkpoints").exists()


def test_states_without_a_journal_are_moved_aside(path):
    (path.parent / "run.checkpoints").mkdir()
    (started, *_) = go(training_sweep(), path, fake_training)
    assert [moved.name.split(".")[1] for moved in started.moved] == ["orphaned"]
