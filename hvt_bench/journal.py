"""The journal: what every visit found, on disk before the next begins. It is the truth; the CSV is derived from it.

`run.journal.jsonl` is append-only; each line is flushed to disk before the next is begun:
    {"run": {...}}      a start of the program: name of the sweep, metrics, seed of the order, environments, and which
                        failed rounds it was asked to measure again
    {"cell": {...}}     a cell, before its first sample: the part of its row that is known beforehand
    {"sample": {...}}   what one visit to a point found
A later line about the same cell, or the same round of a point, replaces an earlier one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from hvt_bench.collect import metrics_of
from hvt_bench.environment import Environment
from hvt_bench.errors import FileError, WriteError
from hvt_bench.files import write_whole
from hvt_bench.known import Run
from hvt_bench.row import COLUMNS, Row, Sample

_STRANGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a line that is none of ours raises."""


def journal_line(kind: str, content: Mapping[str, Any]) -> str:
    """Spell a line of a journal."""
    return json.dumps({kind: content}, separators=(",", ":"), allow_nan=False) + "\n"


class Journal:
    """Appends lines to a journal file; what it wrote is on disk when a call returns."""

    def __init__(self, path: Path, note: Callable[[str], None] = lambda _: None) -> None:
        """Open or make the file; `note` is told what happens to it. Raises FileError where that cannot be done."""
        self._path, self._note = path, note
        self._size = 0
        self.intact = True
        """Whether it holds what was appended: nothing else wrote into it or took its place."""
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, kind: str, contents: Iterable[Mapping[str, Any]]) -> None:
        """Write one line for each of `contents`, all of them of one kind: `run`, `cell` or `sample`.

        A file that was removed is put back. Raises WriteError where it was changed by someone else, and where it can
        no longer be written; then it holds none of the lines.
        """
        text = "".join(journal_line(kind, content) for content in contents)
        self._look()
        try:
            left = memoryview(text.encode())
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise WriteError(
                f"{self._path}: cannot be written: {error.strerror}; all that was finished before is in it, so make "
                "room, and the same command goes on from there"
            ) from None
        self._size = os.fstat(self._file.fileno()).st_size

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab+", buffering=0)
        except OSError as error:
            raise FileError(f"{self._path}: cannot be written: {error.strerror}; give --out another path") from None
        try:
            _lock(self._path, self._file)
        except FileError:
            self._file.close()
            raise
        _drop_torn_line(self._path)
        self._size = os.fstat(self._file.fileno()).st_size

    def _look(self) -> None:
        """See that the file is the one that was opened, as long as it was left."""
        own = os.fstat(self._file.fileno())
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._put_back()
            return
        if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            self.intact = False
            raise WriteError(f"{self._path}: another file was put in its place while the sweep ran")
        if own.st_size != self._size:
            self.intact = False
            raise WriteError(f"{self._path}: something else wrote into it while the sweep ran")

    def _put_back(self) -> None:
        """Write the removed file, which is readable as long as it is open, once more."""
        with self._file:
            self._file.seek(0)
            content = self._file.readall()
        try:
            write_whole(self._path, content)
        except FileError as error:
            raise WriteError(str(error)) from None
        self._open()
        self._note(f"{self._path} was removed while the sweep ran; it is there again, with all that was found")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other sweeps off a journal that may be about to move. Raises FileError where one is writing it."""
    if not path.is_file():
        yield
        return
    with path.open("rb") as file:
        _lock(path, file)
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Let one process at a time move the files beside `path` aside; the others wait for the moment that it takes."""
    if not path.parent.is_dir():
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _lock(path: Path, file: IO[Any]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(
            f"{path}: another sweep is writing this file{_holder(path)}; wait for it, or give --out another path"
        ) from None


def _holder(path: Path) -> str:
    """Say which process began the latest run of a journal: `: process 4711 on gpu3, since ...`; empty if unknown."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = path.read_bytes()
        begins = content.rfind(b'{"run":')
        start = json.loads(content[begins:].partition(b"\n")[0])["run"]
        return f": process {start['pid']} on {start['hostname']}, since {start['started_at']}"
    return ""


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished, so that the next one starts on a line of its own."""
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            file.truncate(whole)


def read_journal(path: Path) -> Run | None:
    """Read a journal; None where there is none or its first line was never finished.

    A last line without its end is passed over. Raises FileError where the file is no journal of ours.
    """
    run: Run | None = None

    def take(entry: Mapping[str, Any]) -> None:
        nonlocal run
        run = _taken(run, entry)

    _each_line(path, take)
    if run is not None:
        try:
            run.rows()  # which are wanted next, and refuse values that are none
        except _STRANGE:
            _each_line(path, _check_values)
            raise
    return run


def _check_values(entry: Mapping[str, Any]) -> None:
    if "sample" in entry:
        metrics_of([_sample(entry["sample"])])


def past_rows(path: Path, point_ids: Collection[str]) -> list[Row]:
    """Return the rows that these points had after each line of a journal. Raises FileError."""
    start: Run | None = None
    alone: dict[str, Run] = {}
    found: list[Row] = []

    def take(entry: Mapping[str, Any]) -> None:
        nonlocal start
        if "run" in entry or start is None:
            start = _taken(start, entry)
            return
        point_id = (entry["cell"] if "cell" in entry else entry["sample"])["point_id"]
        if point_id in point_ids:
            known = alone.setdefault(point_id, Run(start.sweep, start.started_at, start.environments))
            found.extend(_taken(known, entry).rows())

    _each_line(path, take)
    return found


def _each_line(path: Path, take: Callable[[Mapping[str, Any]], None]) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            take(json.loads(line))
        except _STRANGE:
            raise FileError(
                f"{path}:{number}: this is no line of an hvt-bench journal; "
                "move the file away, or give --out another path"
            ) from None


def _taken(run: Run | None, entry: Mapping[str, Any]) -> Run:
    if "run" in entry:
        return _merge_start(run, entry["run"])
    if run is None:
        raise ValueError("the first line does not open a run")
    if "cell" in entry:
        known = {name: value for name, value in entry["cell"].items() if name in COLUMNS}
        run.enter(known)  # a newer version may know more columns
    else:
        run.add(_sample(entry["sample"]))
    return run


def _merge_start(run: Run | None, start: Mapping[str, Any]) -> Run:
    environments = {device: _environment(found) for device, found in start["environments"].items()}
    run = run or Run(str(start["sweep"]), str(start["started_at"]), {})
    run.environments |= environments
    run.again |= {(str(point_id), number) for point_id, number in start.get("again", ())}
    asked = {(int(number), int(of)) for number, of in start.get("shares", ())}
    run.shares = run.shares | asked if asked else set()  # a start that was for all points
    return run


def _sample(found: Mapping[str, Any]) -> Sample:
    there = found.get("environment")
    return Sample.model_validate({**found, "environment": _environment(there)} if there else found)


def _environment(found: Mapping[str, Any]) -> Environment:
    """Read an environment; another version of hvt-bench may have known more of it."""
    return Environment.model_validate(
        {name: value for name, value in found.items() if name in Environment.model_fields}
    )
