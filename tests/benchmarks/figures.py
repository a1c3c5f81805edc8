"""What all figures of 10,000 rows take, in one process.

In processor time, since a shared machine has no other that can be compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hvt_bench.table import write_table
from tests.benchmarks.insight import ROWS, many_rows, seconds, told

TARGETS_S = {"plot": 20.0}


def run() -> bool:
    """Print the time; True if it keeps its target."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.csv"
        write_table(path, many_rows())
        taken = seconds("-m", "hvt_bench", "plot", str(path))
        drawn = sorted(file.suffix for file in Path(folder).iterdir())
    figures = drawn.count(".svg")
    text, kept = told(f"figures: {figures} of {ROWS:,} rows, PNG and SVG", {"plot": taken}, TARGETS_S)
    print(text)
    return kept
