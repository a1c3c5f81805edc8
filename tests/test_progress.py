import io
from pathlib import Path

from rich.console import Console

from hvt_bench.events import Counted, Finished, Fitted, Measured, Noted, Started
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from hvt_bench.progress import Progress, Watcher, bar, counting_images, of_files
from hvt_bench.row import Sample
from hvt_bench.sweep import Sweep


def point(batch_size=1, axis="depth"):
    return Point(
        model="hvt_s_1", axis=axis, config=parse_model("hvt_s_1"), device="cpu", batch_size=batch_size, warmup_s=0.5
    )


def sample(number, status="ok", error=None, **values):
    return Sample(point_id="x", round=number, values=values, status=status, error=error, started_at="", seconds=1.0)


def lines_of(sweep, *events):
    lines = []
    with Progress(sweep, lines.append, bar=False) as progress:
        for event in events:
            progress.show(event)
    return lines, progress


def test_lines_without_a_terminal():
    sweep = Sweep("s", (point(),), ("latency",))
    lines, progress = lines_of(
        sweep,
        Started(points=3, points_done=1, invalid=2, rounds=3, moved=(Path("run.old.csv"),)),
        Counted(point(), sample(None)),
        Measured(point(), sample(0, latency={"pass_ms": [3.0, 12.345, 99.0]}), 2, 65.4),
        Measured(point(axis=None), sample(1, memory={"peak_memory_mib": 123.4}), 1, 3723.0),
        Measured(point(), sample(2, "oom", "no room"), 0),
        Measured(point(), sample(2, accuracy={"top1": 82.345, "epochs_done": 8, "train_s": 99.6}), 0),
        Finished(Path("run.csv"), ("row",)),
    )
    assert lines == [
        "kept an earlier run as run.old.csv",
        "3 points, 2 invalid; 1 of 3 done, 2 to go in 3 rounds",
        "[1/3] hvt_s_1 depth=12: 12.3 ms; 1:05 left",
        "[2/3] hvt_s_1: 123 MiB; 1:02:03 left",
        "[3/3] hvt_s_1 depth=12: oom: no room; 1 failed",
        "[3/3] hvt_s_1 depth=12: 82.34 % right after 8 epochs, 100 s; 1 failed",
    ]
    assert progress.rows == ("row",)


def test_a_round_of_what_was_missing_alone_says_what_it_found():
    found = (
        {"parts": {"parts_ms": [1.0, 11.345]}, "peak": {"peak_macs_per_s": 8.51e10}},
        {"peak": {"peak_macs_per_s": 8.51e10}},
        {"parts": {}, "peak": {}},
    )
    events = [Measured(point(), sample(number, **values), 2 - number) for number, values in enumerate(found)]
    lines, _ = lines_of(Sweep("s", (point(),), ("parts", "peak")), Started(1, 0, 0, 3, ()), *events)
    assert lines[1:] == [
        "[1/3] hvt_s_1 depth=12: parts of 12.3 ms, peak of 85.1 GMACs/s; 0:00 left",
        "[2/3] hvt_s_1 depth=12: peak of 85.1 GMACs/s; 0:00 left",
        "[3/3] hvt_s_1 depth=12: nothing found",
    ]


def test_what_happened_to_the_files_and_why_they_moved_is_said():
    lines, _ = lines_of(
        Sweep("s", (point(),), ()), Started(1, 0, 0, 0, (Path("old.csv"),), "it is old"), Noted("run.csv was changed")
    )
    assert lines[0] == "kept an earlier run as old.csv: it is old"
    assert lines[-1] == "note: run.csv was changed"


def test_a_watcher_says_what_it_is_told_to_say_and_keeps_the_rows():
    said = []
    with Watcher(said.append, lambda event: type(event).__name__ if isinstance(event, Started) else None) as watcher:
        watcher.show(Started(1, 0, 0, 0, ()))
        watcher.show(Finished(Path("run.csv"), ("row",)))
    assert (said, watcher.rows) == (["Started"], ("row",))


def test_of_files_says_what_moved_and_why_and_nothing_of_other_events():
    moved = Started(1, 0, 0, 0, (Path("old.csv"), Path("old.journal.jsonl")), "it is old")
    assert of_files(moved) == (
        "kept an earlier run as old.csv: it is old\nkept an earlier run as old.journal.jsonl: it is old"
    )
    assert of_files(Noted("run.csv was changed")) == "note: run.csv was changed"
    assert of_files(Started(1, 0, 0, 0, ())) is None
    assert of_files(Counted(point(), sample(None))) is None


def test_a_largest_batch_a_second_attempt_and_the_share_of_timed_passes_are_said():
    sweep = Sweep("s", (point(),), ("latency",))
    hot = sample(0, latency={"pass_ms": [3.0]}).model_copy(update={"attempt": 2})
    lines, _ = lines_of(
        sweep,
        Started(1, 0, 0, 1, ()),
        Fitted(point(1024)),
        Measured(point(), hot, 0),
        Finished(Path("run.csv"), (), seconds=50.0, timed_s=40.0),
    )
    assert lines[1:] == [
        "hvt_s_1 depth=12: the largest batch is 1,024",
        "[1/1] hvt_s_1 depth=12: 3 ms (attempt 2: the GPU was throttled)",
        "80 % of 50 s were warm-up and timed passes",
    ]


def test_what_varies_in_the_sweep_is_part_of_a_label():
    sweep = Sweep("s", (point(1), point(64)), ("latency",))
    lines, _ = lines_of(
        sweep,
        Started(2, 0, 0, 1, ()),
        Measured(point(64, axis="batch_size"), sample(0, latency={"pass_ms": [5.0]}), 0),
    )
    assert lines[-1] == "[1/1] hvt_s_1 batch_size=64: 5 ms"


def test_a_network_that_cannot_be_counted_is_said():
    lines, _ = lines_of(
        Sweep("s", (point(),), ()), Started(1, 0, 0, 0, ()), Counted(point(), sample(None, "error", "no rule"))
    )
    assert lines[-1] == "hvt_s_1 depth=12: error: no rule"


def test_a_terminal_gets_a_bar(capsys):
    with Progress(Sweep("s", (point(),), ()), print, bar=True) as progress:
        progress.show(Started(1, 0, 0, 2, ()))
        progress.show(Counted(point(), sample(None)))
        progress.show(Measured(point(), sample(0, latency={"pass_ms": [5.0]}), 1))
        progress.show(Measured(point(), sample(1, "oom", "no room"), 1))
        progress.show(Finished(Path("run.csv"), ()))  # the last round, of a point that had failed, was left out
    shown = capsys.readouterr().out
    assert "1 point, 0 invalid; 0 of 1 done, 1 to go in 2 rounds" in shown
    assert "hvt_s_1 depth=12: oom: no room" in shown
    assert "2/2" in shown


def test_work_of_a_few_seconds_is_followed_in_silence_where_no_terminal_is(capsys):
    assert list(bar("counting")([1, 2, 3])) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_it_shows_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert list(bar("counting")([1, 2, 3])) == [1, 2, 3]
    out, err = capsys.readouterr()
    assert out == ""
    assert "counting" in err
    assert "100%" in err


def test_images_are_counted_at_each_tenth_without_a_terminal(capsys):
    with counting_images() as seen:
        for done in range(30, 1000, 30):
            seen(done, done // 2, 1000)
        seen(1000, 500, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert lines[:2] == ["120 of 1,000 images: top-1 50.00 %", "210 of 1,000 images: top-1 50.00 %"]


def test_images_are_counted_by_a_bar_on_a_terminal():
    text = io.StringIO()
    with counting_images(Console(file=text, force_terminal=True, width=100, legacy_windows=False)) as seen:
        seen(64, 32, 1000)
    assert "top-1 50.00 %" in text.getvalue()
    assert "64/1000" in text.getvalue()
