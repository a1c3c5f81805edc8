"""What happens while a sweep runs, as its events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvt_bench.point import Point
from hvt_bench.row import Row, Sample


@dataclass(frozen=True)
class Started:
    """The plan is made and the output is open; `moved` are files that stood in the way, under their new names."""

    points: int
    points_done: int
    invalid: int
    rounds: int
    moved: tuple[Path, ...]
    reason: str = ""
    """Why they were moved."""


@dataclass(frozen=True)
class Fitted:
    """The largest batch of a point was found; its `batch_size` is that."""

    point: Point


@dataclass(frozen=True)
class Counted:
    """The network of a point was counted."""

    point: Point
    sample: Sample


@dataclass(frozen=True)
class Measured:
    """A round of a point was measured, or failed; `rounds_left` are still to go, throttled ones again among them."""

    point: Point
    sample: Sample
    rounds_left: int
    seconds_left: float = 0.0
    """For these, by what rounds took so far."""


@dataclass(frozen=True)
class Finished:
    """Everything asked for was visited and the CSV is written."""

    path: Path
    rows: tuple[Row, ...]
    seconds: float = 0.0
    """Since the sweep was started."""
    timed_s: float = 0.0
    """Of these, warm-up and timed passes; the mean over places where there are several, 0 of a cluster."""


@dataclass(frozen=True)
class Noted:
    """Something happened to the files of the sweep that a person should know."""

    text: str


Event = Noted | Started | Fitted | Counted | Measured | Finished
