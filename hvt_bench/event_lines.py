"""Events of a sweep as JSON, one line each, for programs that watch: `hvt-bench sweep --json`."""

from __future__ import annotations

import json
from typing import Any

from hvt_bench.events import Counted, Event, Finished, Fitted, Measured, Noted, Started
from hvt_bench.point import Point
from hvt_bench.row import Sample


def event_line(event: Event) -> str:
    """Return the event as a line of JSON; `event` names its kind, and what is not known is null."""
    return json.dumps({"event": type(event).__name__.lower(), **_content(event)}, allow_nan=False)


def _content(event: Event) -> dict[str, Any]:
    if isinstance(event, Started):
        return {
            "points": event.points,
            "points_done": event.points_done,
            "invalid": event.invalid,
            "rounds": event.rounds,
            "moved": [str(path) for path in event.moved],
            "reason": event.reason,
        }
    if isinstance(event, Noted):
        return {"text": event.text}
    if isinstance(event, Fitted):
        return {**_point(event.point), "batch_size": event.point.batch_size}
    if isinstance(event, Counted):
        return {**_point(event.point), **_sample(event.sample), "macs": _found(event.sample, "complexity", "macs")}
    if isinstance(event, Measured):
        passes = sorted(_found(event.sample, "latency", "pass_ms") or [])
        return {
            **_point(event.point),
            "round": event.sample.round,
            "attempt": event.sample.attempt,
            **_sample(event.sample),
            "median_ms": passes[len(passes) // 2] if passes else None,
            "peak_memory_mib": _found(event.sample, "memory", "peak_memory_mib"),
            "rounds_left": event.rounds_left,
            "seconds_left": round(event.seconds_left, 3),
        }
    return _finished(event)


def _finished(event: Finished) -> dict[str, Any]:
    statuses = [str(row["status"]) for row in event.rows]
    return {
        "path": str(event.path),
        "rows": len(statuses),
        "statuses": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
        "seconds": round(event.seconds, 3),
    }


def _point(point: Point) -> dict[str, Any]:
    return {"point_id": point.point_id, "model": point.model, "axis": point.axis}


def _sample(sample: Sample) -> dict[str, Any]:
    known = ("status", "error", "started_at", "seconds", "ran_on")
    return {name: getattr(sample, name) for name in known}


def _found(sample: Sample, metric: str, name: str) -> Any:
    return sample.values.get(metric, {}).get(name)
