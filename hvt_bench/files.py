"""Writing a file whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from hvt_bench.errors import FileError


def try_writing(path: Path, otherwise: str = "give --out another path", if_full: str | None = None) -> None:
    """Open `path`, or a file beside it, for writing, and leave nothing behind.

    Raises FileError where that cannot be done, with `otherwise` as the next move, or `if_full` where the disk is full.
    """
    if path.is_dir():
        raise FileError(f"{path}: is a directory; give --out a file name in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise FileError(f"{path}: cannot be written: {above} is a file; {otherwise}")
    try:
        if path.exists():
            path.open("ab").close()
        with tempfile.TemporaryFile(dir=above) as trial:
            trial.write(bytes(4096))  # a full disk takes an empty file
            trial.flush()
    except OSError as error:
        where = f" in {above}" if error.errno in (errno.EACCES, errno.EPERM) else ""
        if if_full is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            otherwise = if_full
        raise FileError(f"{path}: cannot be written: {(error.strerror or '').lower()}{where}; {otherwise}") from None


def write_whole(path: Path, content: bytes, otherwise: str = "give --out another path") -> None:
    """Write into a file beside `path`, which then takes its place and its permissions; makes the folder if missing.

    Raises FileError where that cannot be done, with `otherwise` as the next move; what stood at `path` is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except FileExistsError:
        raise FileError(f"{path}: cannot be written: {path.parent} is a file; {otherwise}") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}; {otherwise}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
