"""Writing a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hvt_bench.errors import FileError


def write_whole(path: Path, content: bytes) -> None:
    """Write into a file beside `path`, which then takes its place; makes the folder if it is missing.

    Raises FileError where that cannot be done; what stood at `path` is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except FileExistsError:
        raise FileError(f"{path}: cannot be written: {path.parent} is a file; give --out another path") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}; give --out another path") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
