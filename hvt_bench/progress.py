"""What a person sees while a sweep runs: a bar on a terminal, a line a round where the output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, track
from rich.progress import Progress as RichProgress

from hvt_bench.errors import plural
from hvt_bench.events import Counted, Event, Finished, Fitted, Measured, Noted, Started
from hvt_bench.models import yaml_text
from hvt_bench.point import SWEEPABLE, Point
from hvt_bench.row import Row, Sample
from hvt_bench.sweep import Sweep

Item = TypeVar("Item")


def bar(description: str) -> Callable[[Sequence[Item]], Iterable[Item]]:
    """Return what goes through items and shows how far it is, on a terminal; for work of a few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return iter
    return lambda items: track(items, description, console=console, transient=True)


@contextmanager
def counting_images(console: Console | None = None) -> Iterator[Callable[[int, int, int], None]]:
    """Yield what is told how many images are done, how many of them are right, and how many there are.

    On a terminal it draws a bar; elsewhere it says so, on stderr, at each tenth.
    """
    console = console or Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield partial(_say_tenth, console, set())
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("evaluating", total=None)

        def draw(done: int, right: int, images: int) -> None:
            shown.update(task, completed=done, total=images, description=f"top-1 {100 * right / done:.2f} %")

        yield draw


def _say_tenth(console: Console, said: set[int], done: int, right: int, images: int) -> None:
    tenth = 10 * done // images
    if done < images and tenth and tenth not in said:
        said.add(tenth)
        text = f"{done:,} of {images:,} images: top-1 {100 * right / done:.2f} %"
        console.print(text, highlight=False, markup=False)


def of_files(event: Event) -> str | None:
    """Say what happened to the files of a sweep, if that is what an event tells of."""
    if isinstance(event, Started) and event.moved:
        why = f": {event.reason}" if event.reason else ""
        return "\n".join(f"kept an earlier run as {path}{why}" for path in event.moved)
    return f"note: {event.text}" if isinstance(event, Noted) else None


class Watcher:
    """Keeps the rows of a finished sweep, and says of each event what `describe` makes of it, if that is anything."""

    def __init__(self, echo: Callable[[str], None], describe: Callable[[Event], str | None]) -> None:
        self.rows: tuple[Row, ...] = ()
        self._echo, self._describe = echo, describe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Finished):
            self.rows = event.rows
        if text := self._describe(event):
            self._echo(text)


class Progress:
    """Turns the events of a sweep into lines, given to `echo`, and into a bar if that is a terminal."""

    def __init__(self, sweep: Sweep, echo: Callable[[str], None], bar: bool | None = None) -> None:
        self.rows: tuple[Row, ...] = ()
        self._echo = echo
        self._label = labels(sweep)
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        if sys.stdout.isatty() if bar is None else bar:
            columns = (
                TextColumn("{task.description:<44}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            # twice a second: redrawing costs time that a CPU measurement would notice
            self._bar = RichProgress(*columns, console=Console(), refresh_per_second=2)
        self._rounds = 0
        self._failed: set[str] = set()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if text := of_files(event):
            self._line(text)
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, Counted):
            self._say_counted(event)
        elif isinstance(event, Fitted):
            self._line(f"{self._label(event.point)}: the largest batch is {event.point.batch_size:,}")
        elif isinstance(event, Measured):
            self._say_measured(event)
        elif isinstance(event, Finished):
            self.rows = event.rows
            if self._bar is not None and self._task is not None:  # rounds of failed points were left out
                self._bar.update(self._task, completed=self._rounds, left="")
            if event.timed_s:
                share = 100 * event.timed_s / event.seconds
                self._line(f"{share:.0f} % of {event.seconds:.0f} s were warm-up and timed passes")

    def _begin(self, event: Started) -> None:
        self._rounds = event.rounds
        done, points = event.points_done, event.points
        self._line(
            f"{plural(points, 'point')}, {event.invalid} invalid; {done:,} of {points:,} done, "
            f"{points - done:,} to go in {plural(event.rounds, 'round')}"
        )
        if self._bar is not None:
            self._task = self._bar.add_task("counting", total=event.rounds or None, left="")

    def _say_counted(self, event: Counted) -> None:
        self._note_failure(event.sample)
        if event.sample.status != "ok":
            self._line(f"{self._label(event.point)}: {event.sample.status}: {event.sample.error}")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"counting {self._label(event.point)}")

    def _say_measured(self, event: Measured) -> None:
        self._note_failure(event.sample)
        done = self._rounds - event.rounds_left
        label = self._label(event.point)
        again = f" (attempt {event.sample.attempt}: the GPU was throttled)" if event.sample.attempt > 1 else ""
        text = f"[{done}/{self._rounds}] {label}: {_finding(event.sample)}{again}"
        still = [f"{len(self._failed)} failed"] if self._failed else []
        if event.rounds_left:
            still.append(f"{_clock(event.seconds_left)} left")
        if self._bar is None or self._task is None:
            self._line("; ".join([text, *still]))
            return
        if event.sample.status != "ok":
            self._line(text)
        self._bar.update(self._task, completed=done, description=label, left=", ".join(still))

    def _note_failure(self, sample: Sample) -> None:
        if sample.status not in ("ok", "invalid"):
            self._failed.add(sample.point_id)

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            self._echo(text)


def labels(sweep: Sweep) -> Callable[[Point], str]:
    """Return what names a point by its model, its place on its axis and what else varies in the sweep."""
    varying = [key for key in SWEEPABLE if len({getattr(point, key) for point in sweep.points}) > 1]

    def label(point: Point) -> str:
        values = point.config.fields() | point.columns()
        axis = [point.axis] if point.axis else []
        return " ".join([point.model, *(f"{key}={yaml_text(values[key])}" for key in dict.fromkeys(axis + varying))])

    return label


def _clock(seconds: float) -> str:
    """Return `0:05`, `12:40` or `3:05:00`."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{left:02d}" if minutes >= 60 else f"{minutes}:{left:02d}"


def _finding(sample: Sample) -> str:
    if sample.status != "ok":
        return f"{sample.status}: {sample.error}"
    if "accuracy" in sample.values:
        found = sample.values["accuracy"]
        return f"{found['top1']:.2f} % right after {plural(found['epochs_done'], 'epoch')}, {found['train_s']:.0f} s"
    if "latency" in sample.values:
        passes = sorted(sample.values["latency"]["pass_ms"])
        return f"{passes[len(passes) // 2]:.3g} ms"
    if "memory" in sample.values:
        mib = sample.values["memory"]["peak_memory_mib"]
        return "a peak below the weights" if mib is None else f"{mib:.0f} MiB"
    parts, macs_per_s = (sample.values.get(name, {}).get(key) for name, key in _BESIDE)
    found = [f"parts of {sum(parts):.3g} ms"] if parts else []
    found += [f"peak of {macs_per_s / 1e9:.3g} GMACs/s"] if macs_per_s else []
    return ", ".join(found) or "nothing found"


_BESIDE = (("parts", "parts_ms"), ("peak", "peak_macs_per_s"))
"""What a round may measure beside time and memory, or, where those are known, alone."""
