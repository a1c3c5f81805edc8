"""What a figure of these rows shows, in a sentence below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvt_bench.analysis.fit import plain
from hvt_bench.analysis.series import having
from hvt_bench.plots.scatter import name_of
from hvt_bench.row import Row


def caption(figure: str, rows: Sequence[Row]) -> str:
    """Return the caption of a figure that was drawn of `rows`; empty where what it is says enough."""
    return CAPTIONS[figure](rows) if figure in CAPTIONS else ""


def _memory(rows: Sequence[Row]) -> str:
    found = sorted(having(rows, "macs", "peak_memory_mib"), key=lambda row: _number(row, "peak_memory_mib"))
    least, most = found[0], found[-1]
    if least is most:
        return f"{name_of(least)} peaked at {_mib(least)}."
    return f"Peaks go from {_mib(least)} ({name_of(least)}) to {_mib(most)} ({name_of(most)})."


def _roofline(rows: Sequence[Row]) -> str:
    found = [row for row in having(rows, "arithmetic_intensity", "macs_per_s") if row["mode"] != "train"]
    best = max(found, key=lambda row: _number(row, "macs_per_s"))
    low, high = (choose(_number(row, "arithmetic_intensity") for row in found) for choose in (min, max))
    share = _number(best, "mfu_pct") if best["mfu_pct"] is not None else None
    of_peak = f", {plain(share)} % of the peak that was measured beside it" if share is not None else ""
    between = f"{plain(low)} to {plain(high)}" if plain(low) != plain(high) else plain(low)
    return (
        f"{name_of(best)} computes fastest, {plain(_number(best, 'macs_per_s') / 1e9)} GMACs per second{of_peak}; "
        f"intensities are {between} MACs per byte."
    )


def _number(row: Row, column: str) -> float:
    return float(str(row[column]))


def _mib(row: Row) -> str:
    return f"{plain(_number(row, 'peak_memory_mib'))} MiB"


CAPTIONS: dict[str, Callable[[Sequence[Row]], str]] = {"memory": _memory, "roofline": _roofline}
