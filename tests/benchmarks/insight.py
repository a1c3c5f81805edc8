"""What `table`, `fit`, `report` and `match` take: 10,000 rows of a CSV, and 900,000 designs.

In processor time, since a shared machine has no other that can be compared, beyond that of importing torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hvt_bench.row import Row
from hvt_bench.table import read_table, write_table

EXAMPLE = Path(__file__).parents[2] / "reports/examples/scaling_cpu/run.csv"
ROWS = 10_000
TARGET_S = 3.5  # with torch, which takes one to three seconds more, some five
REPORT_TARGET_S = 17.0  # with torch, some 20
SEARCH = ("match", "--to", "deit_tiny", "--limit", "1")
SEARCH_TARGET_S = 7.0  # for 5,016,830 combinations, 909,090 networks; most of it counts what is shown


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
        torch_s = seconds("-c", "import torch")
        commands = (picked, ("fit", str(path)), ("report", str(path)), SEARCH)
        table_s, fit_s, report_s, search_s = (seconds("-m", "hvt_bench", *command) - torch_s for command in commands)
    print(
        f"insight: beyond importing torch ({torch_s:.1f} s), {ROWS:,} rows: table {table_s:.1f} s, fit {fit_s:.1f} s "
        f"(target: at most {TARGET_S:.1f}), report {report_s:.1f} s (target: at most {REPORT_TARGET_S:.0f}); "
        f"match among 909,090 designs {search_s:.1f} s (target: at most {SEARCH_TARGET_S:.0f})"
    )
    return max(table_s, fit_s) <= TARGET_S and report_s <= REPORT_TARGET_S and search_s <= SEARCH_TARGET_S


def seconds(*arguments: str) -> float:
    """Return the processor time of Python with these arguments; the second of two runs."""
    taken = 0.0
    for _ in range(2):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        taken = after.children_user + after.children_system - before.children_user - before.children_system
    return taken
