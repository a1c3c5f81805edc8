"""How long `hvt-bench --help` takes, against importing Typer, which it cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 15
TARGET = 3.5


def run() -> bool:
    """Print the ratio; True if it keeps the target."""
    typer = [sys.executable, "-c", "import typer"]
    help_ = [sys.executable, "-m", "hvt_bench", "--help"]
    _seconds(typer), _seconds(help_)  # fill the file cache
    pairs = [(_seconds(typer), _seconds(help_)) for _ in range(REPEATS)]
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"startup: hvt-bench --help takes {ratio:.2f} x `import typer` (target: at most {TARGET})")
    return ratio <= TARGET


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
