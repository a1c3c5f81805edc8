import json
from pathlib import Path

from hvt_bench.event_lines import event_line
from hvt_bench.events import Counted, Finished, Fitted, Measured, Noted, Started
from tests.test_progress import point, sample


def lines(*events):
    return [json.loads(event_line(event)) for event in events]


def test_each_kind_of_event_says_what_it_is_about():
    ours = {"point_id": point().point_id, "model": "hvt_s_1", "axis": "depth"}
    found = {"status": "ok", "error": None, "started_at": "", "seconds": 1.0, "ran_on": None}
    measured = sample(0, latency={"pass_ms": [3.0, 5.0, 99.0]}, memory={"peak_memory_mib": 7.5})
    assert lines(
        Started(3, 1, 2, 6, (Path("old.csv"),), "--fresh"),
        Noted("run.csv was changed"),
        Counted(point(), sample(None, complexity={"macs": 5})),
        Fitted(point(64)),
        Measured(point(), measured, 2, 3.14159),
        Measured(point(), sample(1, "oom", "no room"), 1),
        Finished(Path("run.csv"), ({"status": "ok"}, {"status": "oom"}, {"status": "ok"}), 9.87654),
    ) == [
        {
            "event": "started",
            "points": 3,
            "points_done": 1,
            "invalid": 2,
            "rounds": 6,
            "moved": ["old.csv"],
            "reason": "--fresh",
        },
        {"event": "noted", "text": "run.csv was changed"},
        {"event": "counted", **ours, **found, "macs": 5},
        {"event": "fitted", **ours, "point_id": point(64).point_id, "batch_size": 64},
        {
            "event": "measured",
            **ours,
            "round": 0,
            "attempt": 1,
            **found,
            "median_ms": 5.0,
            "peak_memory_mib": 7.5,
            "rounds_left": 2,
            "seconds_left": 3.142,
        },
        {
            "event": "measured",
            **ours,
            "round": 1,
            "attempt": 1,
            **found,
            "status": "oom",
            "error": "no room",
            "median_ms": None,
            "peak_memory_mib": None,
            "rounds_left": 1,
            "seconds_left": 0.0,
        },
        {"event": "finished", "path": "run.csv", "rows": 3, "statuses": {"ok": 2, "oom": 1}, "seconds": 9.877},
    ]
