"""What `table`, `fit`, `report` and `match` take: 10,000 rows of a CSV, and 900,000 designs.

In processor time, since a shared machine has no other that can be compared; whole commands, all imports included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hvt_bench.row import Row
from hvt_bench.table import read_table, write_table

EXAMPLE = Path(__file__).parents[2] / "reports/examples/scaling_cpu/run.csv"
ROWS = 10_000
TARGETS_S = {"table": 5.0, "fit": 5.0, "report": 20.0, "match": 10.0}
"""The last for 5,016,830 combinations, of which 909,090 are networks; most of it counts what is shown."""
SEARCH = ("match", "--to", "deit_tiny", "--limit", "1")


def many_rows() -> list[Row]:
    """Return the example run again and again, under other names."""
    rows = read_table(EXAMPLE)
    names = ("model", "point_id")
    copies = -(-ROWS // len(rows))
    return [Row({**row, **{name: f"{row[name]}_{copy}" for name in names}}) for copy in range(copies) for row in rows][
        :ROWS
    ]


def run() -> bool:
    """Print the times; True if they keep their targets."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.csv"
        write_table(path, many_rows())
        picked = ("table", str(path), "--sort", "throughput_img_s", "--baseline", "deit_small_0")
        commands = (picked, ("fit", str(path)), ("report", str(path)), SEARCH)
        taken = {command[0]: seconds("-m", "hvt_bench", *command) for command in commands}
    text, kept = told(f"insight: {ROWS:,} rows, match among 909,090 designs", taken, TARGETS_S)
    print(text)
    return kept


def told(what: str, taken: Mapping[str, float], targets: Mapping[str, float]) -> tuple[str, bool]:
    """Say what each command took, against its target, and which missed it; and whether none did."""
    said = ", ".join(f"{name} {taken[name]:.1f} s (target: at most {target:g})" for name, target in targets.items())
    missed = [name for name, target in targets.items() if taken[name] > target]
    return f"{what}: {said}" + (f"; missed: {', '.join(missed)}" if missed else ""), not missed


def seconds(*arguments: str) -> float:
    """Return the processor time of Python with these arguments; the second of two runs."""
    taken = 0.0
    for _ in range(2):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        taken = after.children_user + after.children_system - before.children_user - before.children_system
    return taken
