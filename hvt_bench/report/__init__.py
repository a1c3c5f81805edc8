"""report: one HTML page about a run, which needs nothing beside itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hvt_bench.files import write_whole
from hvt_bench.report.page import make_page
from hvt_bench.table import read_table


def write_report(csv: Path, out: Path | None = None, baseline: str = "") -> Path:
    """Write the page about `csv` to `out`, or as `run.report.html` beside `run.csv`; return where it is.

    `baseline` is the model that the others are held against (usual: analysis.savings.usual_baseline). The same CSV
    gives the same page. Raises FileError where a file cannot be read or written, RequestError where no such baseline is
    in the rows.
    """
    rows = read_table(csv)
    page = make_page(rows, csv.name, hashlib.sha256(csv.read_bytes()).hexdigest(), baseline)
    path = out or csv.with_name(f"{csv.stem}.report.html")
    write_whole(path, page.encode())
    return path
