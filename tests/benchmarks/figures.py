"""What all figures of 10,000 rows take, in one process: of axes, and of a grid, of which the page is timed too.

In processor time, since a shared machine has no other that can be compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

from hvt_bench.models import override, parse_model
from hvt_bench.row import Row
from hvt_bench.table import read_table, write_table
from tests.benchmarks.insight import EXAMPLE, ROWS, many_rows, seconds, told

TARGETS_S = {"plot": 20.0}
GRID_TARGETS_S = {"plot": 20.0, "report": 20.0}
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""More than the panels of a page."""
NOISE = (0.97, 1.0, 1.02, 0.99, 1.05, 1.01, 0.96)


def grid_rows() -> Iterator[Row]:
    """Yield networks of one model at many batch sizes, with counted MACs and times that follow from them."""
    centre = next(row for row in read_table(EXAMPLE) if row["model"] == "hvt_s_1" and row["axis"] is None)
    sizes = product(range(2, 26), range(1, 26))
    configs = [
        override(parse_model("hvt_s_1"), depth=depth, embed_dim=64 * heads, num_heads=heads) for depth, heads in sizes
    ]
    macs = [config.closed_form_macs() for config in configs]
    for place, (batch, (config, of_one)) in enumerate(product(BATCHES, zip(configs, macs, strict=True))):
        rounds = tuple((2 + of_one * batch / 5e7) * NOISE[(place * step) % len(NOISE)] for step in (1, 3, 11))
        middle = sorted(rounds)[1]
        yield Row(
            {
                **centre,
                **{name: getattr(config, name) for name in ("depth", "embed_dim", "num_heads", "seq_lens")},
                "point_id": f"point{place}",
                "batch_size": batch,
                "macs": of_one,
                "latency_ms": middle,
                "latency_ms_rounds": rounds,
                "latency_spread_pct": 100 * (max(rounds) - min(rounds)) / middle,
                "throughput_img_s": 1000 * batch / middle,
                "macs_per_s": 1000 * batch * of_one / middle,
                "peak_memory_mib": 100 + 3.0 * batch,
            }
        )


def run() -> bool:
    """Print the times; True if they keep their targets."""
    with tempfile.TemporaryDirectory() as folder:
        axes, grid = (Path(folder) / name / "run.csv" for name in ("axes", "grid"))
        for path, rows in ((axes, many_rows()), (grid, list(islice(grid_rows(), ROWS)))):
            path.parent.mkdir()
            write_table(path, rows)
        of_axes = {"plot": seconds("-m", "hvt_bench", "plot", str(axes))}
        of_grid = {name: seconds("-m", "hvt_bench", name, str(grid)) for name in GRID_TARGETS_S}
        drawn = {path: len(list(path.parent.glob("*.svg"))) for path in (axes, grid)}
    said, kept = told(f"figures: {drawn[axes]} of {ROWS:,} rows, PNG and SVG", of_axes, TARGETS_S)
    of_many = f"figures: {drawn[grid]} of a grid of {ROWS:,} rows at {len(BATCHES)} batch sizes"
    said_of_grid, grid_kept = told(of_many, of_grid, GRID_TARGETS_S)
    print(said, said_of_grid, sep="\n")
    return kept and grid_kept
