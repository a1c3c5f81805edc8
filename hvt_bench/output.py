"""Where a sweep writes: a CSV, its journal beside it, and what stands in their way."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hvt_bench.environment import Environment, method_of
from hvt_bench.errors import FileError, WriteError
from hvt_bench.files import try_writing, write_whole
from hvt_bench.journal import journal_line, past_rows, read_journal
from hvt_bench.known import Run
from hvt_bench.measure import utc_now
from hvt_bench.point import ANY_GPU
from hvt_bench.row import COLUMNS, Row
from hvt_bench.table import read_table, table_text, write_table

JOURNAL = ".journal.jsonl"
CHECKPOINTS = ".checkpoints"
WRITE_EVERY_S = 5.0
GOES_ON = "all that was finished before is in its journal, so make room, and the same command goes on from there"


def journal_of(path: Path) -> Path:
    """Return where the journal of a CSV stands: `run.csv` has `run.journal.jsonl`."""
    return path.with_suffix(JOURNAL)


def log_of(path: Path) -> Path:
    """Return where the log of a CSV stands: `run.csv` has `run.log`."""
    return path.with_suffix(".log")


def slurm_of(path: Path) -> Path:
    """Return the folder of the Slurm jobs of a CSV: `run.csv` has `run.slurm`."""
    return path.with_suffix(".slurm")


def checkpoints_of(path: Path) -> Path:
    """Return where trainings keep their state: `run.csv` has the folder `run.checkpoints`."""
    return path.with_suffix(CHECKPOINTS)


def check_writable(path: Path) -> None:
    """Raise FileError if no file can be written at `path` or beside it; leaves nothing behind."""
    known = journal_of(path).exists()  # another path would begin anew
    for file in (path, journal_of(path), log_of(path)):
        try_writing(file, if_full=GOES_ON if known else None)


def make_way(
    path: Path, sweep: str, environments: dict[str, Environment], fresh: bool
) -> tuple[Run | None, tuple[Path, ...], str]:
    """Return what an earlier start of the sweep of this name found; or move any other file of ours aside, and say why.

    What a killed start had half written of a CSV is removed.
    """
    for torn in path.parent.glob(f".{path.name}.*.tmp"):
        torn.unlink(missing_ok=True)
    journal_path, jobs, states = journal_of(path), slurm_of(path), checkpoints_of(path)
    earlier = read_journal(journal_path)
    if earlier is not None and path.exists() and not _as_given(path, earlier):
        read_table(path)  # refuses a file that is not ours, whatever stands beside it
    if earlier is None:
        if not path.exists() and not jobs.exists():
            return None, _move_aside([states], "orphaned", utc_now()), ""
        rows = read_table(path) if path.exists() else ()
        name = str(rows[0]["sweep"]) if rows else "empty"
        return (
            None,
            _move_aside([path, jobs, states], name, utc_now()),
            _lost(path),
        )
    reason = _reason_to_part(earlier, sweep, environments, fresh)
    if not reason:
        return earlier, (), ""
    files = [path, journal_path, log_of(path), jobs, states]
    return None, _move_aside(files, earlier.sweep, earlier.started_at), reason


def look(path: Path, sweep: str, describe: Callable[[], dict[str, Environment]], fresh: bool) -> tuple[Run | None, str]:
    """Return what `make_way` would, and move nothing; environments are described only where that decides."""
    earlier = read_journal(journal_of(path))
    if earlier is None:
        return None, _lost(path) if path.exists() or slurm_of(path).exists() else ""
    reason = _reason_to_part(earlier, sweep, {}, fresh) or _reason_to_part(earlier, sweep, describe(), fresh)
    return (None, reason) if reason else (earlier, "")


def _lost(path: Path) -> str:
    return f"{journal_of(path).name}, which would be gone on with, is missing"


def _reason_to_part(earlier: Run, sweep: str, environments: dict[str, Environment], fresh: bool) -> str:
    """Say why rounds measured now may not stand beside those of `earlier`; empty where they may."""
    if fresh:
        return "--fresh"
    if earlier.sweep != sweep:
        return f"it is of the sweep '{earlier.sweep}', this one is '{sweep}'"
    here = {_one_gpu(device): found for device, found in environments.items()}
    for device, there in earlier.environments.items():
        for name, (before, now) in there.differences(here.get(_one_gpu(device), there)).items():
            return f"its {name} is {before}, now it is {now}{_next_move(name, before)}"
    return ""


def _next_move(name: str, before: str) -> str:
    if name != "hvt_bench_version":
        return ""
    return f", and measures otherwise; every command reads it, and hvt-bench {method_of(before)} goes on with it"


def _one_gpu(device: str) -> str:
    """Return the device as which a point of any GPU is known where there is one."""
    return f"{ANY_GPU}:0" if device == ANY_GPU else device


def keep_changed(path: Path, run: Run) -> Path | None:
    """Keep aside a CSV with a row that its journal, which holds `run`, never gave; return its new name.

    A row that is older than the journal's last lines, as a kill leaves it, or that is missing, is no change.
    """
    if not path.exists() or _as_given(path, run):
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *lines = (line for line in csv.reader(file) if line)
    strange = {tuple(line) for line in lines} - _texts(run.rows(), header)
    place = header.index("point_id")
    if strange <= _texts(past_rows(journal_of(path), {line[place] for line in strange}) if strange else (), header):
        return None
    return keep_aside(path)


def _as_given(path: Path, run: Run) -> bool:
    """Say whether a CSV is, to the last byte, what its journal gives: then nobody need read what its lines say."""
    with contextlib.suppress(OSError):  # of which reading it tells
        return path.read_bytes() == table_text(run.rows()).encode()
    return False


def _texts(rows: Iterable[Row], header: Sequence[str]) -> set[tuple[str, ...]]:
    """Spell rows under a header, of another version perhaps, from their lines: those are written next."""
    places = {name: place for place, name in enumerate(COLUMNS)}
    taken = [places.get(name, len(places)) for name in header]
    texts = csv.reader(row.line for row in rows)
    if taken == [*range(len(places))]:
        return set(map(tuple, texts))
    return {tuple([*line, ""][place] for place in taken) for line in texts}


def keep_aside(path: Path) -> Path:
    """Rename a CSV that someone changed; return its new name."""
    return _move_aside([path], "changed", utc_now())[0]


class Writer:
    """Rewrites the CSV from the journal's content, now and then."""

    def __init__(self, path: Path, run: Run, clock: Callable[[], float], note: Callable[[str], None]) -> None:
        self._path, self._run, self._clock, self._note = path, run, clock, note
        self._last = clock()
        self._left: tuple[int, int] | None = None
        self._behind = False

    def write(self) -> None:
        """Write the table; one that was changed since the last time is kept. Raises WriteError."""
        try:
            if self._left is not None and self._state() not in (self._left, None):
                kept = keep_aside(self._path)
                self._note(f"{self._path} was changed while the sweep ran; what it was changed to is kept as {kept}")
            write_table(self._path, self._run.rows(), "what was found is in its journal, so the same command goes on")
        except (FileError, OSError) as error:
            raise WriteError(str(error)) from None
        self._left = self._state()

    def write_if_due(self) -> None:
        """Write, after a sample has come, if the last time was a while ago."""
        self._behind = True
        self.catch_up()

    def catch_up(self) -> None:
        """Write what has come since, if the last time was a while ago."""
        if self._behind and self._clock() - self._last >= WRITE_EVERY_S:
            self.write()
            self._last, self._behind = self._clock(), False

    def _state(self) -> tuple[int, int] | None:
        with contextlib.suppress(FileNotFoundError):
            found = self._path.stat()
            return found.st_ino, found.st_mtime_ns
        return None


def rescue(path: Path, run: Run) -> Path:
    """Write what a run has found into a journal of another name, and return that. Raises WriteError."""
    journal_path = _labelled(journal_of(path), f"rescued.{_in_a_name(utc_now())}")
    text = "".join(journal_line(kind, content) for kind, content in run.lines())
    try:
        write_whole(journal_path, text.encode())
    except FileError as error:
        raise WriteError(str(error)) from None
    return journal_path


def _in_a_name(moment: str) -> str:
    return moment.replace("-", "").replace(":", "")


def _move_aside(paths: list[Path], name: str, moment: str) -> tuple[Path, ...]:
    """Rename files, all of them alike, to `run.NAME.MOMENT.csv` and so on; older files of that name are kept too."""
    moment = _in_a_name(moment)
    for again in itertools.count(1):
        label = f"{name}.{moment}" if again == 1 else f"{name}.{moment}-{again}"
        targets = [_labelled(path, label) for path in paths]
        if not any(target.exists() for target in targets):
            break
    moves = [(path, target) for path, target in zip(paths, targets, strict=True) if path.exists()]
    for path, target in moves:
        path.rename(target)
    return tuple(target for _, target in moves)


def _labelled(path: Path, label: str) -> Path:
    """Put a label before what a name ends with, which may have dots of its own: `torch_2.15.csv`."""
    end = JOURNAL if path.name.endswith(JOURNAL) else path.suffix
    return path.with_name(f"{path.name.removesuffix(end)}.{label}{end}")
