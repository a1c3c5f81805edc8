"""Writing a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hvt_bench.errors import FileError


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
