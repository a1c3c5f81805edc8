"""Where a sweep writes: a CSV, its journal beside it, and what stands in their way."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from hvt_bench.environment import Environment
from hvt_bench.errors import FileError
from hvt_bench.measure import utc_now
from hvt_bench.point import ANY_GPU
from hvt_bench.table import Run, read_journal, read_table

JOURNAL = ".journal.jsonl"


def journal_of(path: Path) -> Path:
    """Return where the journal of a CSV stands: `run.csv` has `run.journal.jsonl`."""
    return path.with_suffix(JOURNAL)


def check_writable(path: Path) -> None:
    """Raise FileError if it is plain that no file can be made at `path`; makes nothing itself."""
    if path.is_dir():
        raise FileError(f"{path}: is a directory; give --out a file name in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise FileError(f"{path}: cannot be written: {above} is a file; give --out another path")
    if not os.access(above, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written: permission denied in {above}; give --out another path")


def make_way(
    path: Path, sweep: str, environments: dict[str, Environment], fresh: bool
) -> tuple[Run | None, tuple[Path, ...]]:
    """Return what an earlier start of the sweep of this name found; move any other file of ours aside."""
    journal_path = journal_of(path)
    earlier = read_journal(journal_path)
    if earlier is not None and path.exists():
        read_table(path)  # refuses a file that is not ours, whatever stands beside it
    if earlier is None:
        if not path.exists():
            return None, ()
        rows = read_table(path)
        name = str(rows[0]["sweep"]) if rows else "empty"
        return None, _move_aside([path], name, utc_now())
    here = {_one_gpu(device): found for device, found in environments.items()}
    comparable = all(
        here[_one_gpu(device)].comparable(found)
        for device, found in earlier.environments.items()
        if _one_gpu(device) in here
    )
    if earlier.sweep == sweep and comparable and not fresh:
        return earlier, ()
    return None, _move_aside([path, journal_path], earlier.sweep, earlier.started_at)


def _one_gpu(device: str) -> str:
    """Return the device as which a point of any GPU is known where there is one."""
    return f"{ANY_GPU}:0" if device == ANY_GPU else device


def _move_aside(paths: list[Path], name: str, moment: str) -> tuple[Path, ...]:
    """Rename files, all of them alike, to `run.NAME.MOMENT.csv` and so on; older files of that name are kept too."""
    moment = moment.replace("-", "").replace(":", "")
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
