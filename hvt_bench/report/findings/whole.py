"""What holds of the run as a whole: between what the networks lie, how noisy it was, what failed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from hvt_bench.analysis.series import having
from hvt_bench.errors import plural
from hvt_bench.report.findings.words import Finding, plain
from hvt_bench.row import Row
from hvt_bench.verdicts import NOISY_PCT

_SMALL_MACS = 1e8  # networks for small images: in 10^9 they are zeros behind the point


def between(rows: Sequence[Row]) -> Iterator[Finding]:
    """Say between what the networks lie."""
    networks = {(row["macs"], row["params"]) for row in having(rows, "macs", "params")}
    if len(networks) < 2:
        return
    small = max(float(str(row["macs"])) for row in having(rows, "macs")) < _SMALL_MACS
    macs = f"{_span(rows, 'macs', 1e6)} MMACs" if small else f"{_span(rows, 'macs', 1e9)} GMACs"
    said = [f"cost {macs}", f"have {_span(rows, 'params', 1e6)} M params"]
    if len(having(rows, "latency_ms")) > 1:
        said.append(f"took {_span(rows, 'latency_ms', 1)} ms a batch")
    yield Finding(f"The networks {', '.join(said[:-1])} and {said[-1]}.")


def _span(rows: Sequence[Row], column: str, unit: float) -> str:
    values = [float(str(row[column])) / unit for row in having(rows, column)]
    return f"{plain(min(values))} to {plain(max(values))}"


def noise(rows: Sequence[Row]) -> Iterator[Finding]:
    """Say how far the rounds of a point are apart."""
    spreads = [float(str(row["latency_spread_pct"])) for row in having(rows, "latency_spread_pct")]
    if not spreads:
        return
    noisy = sum(spread > NOISY_PCT for spread in spreads)
    text = (
        f"The rounds of one point are up to {max(spreads):.0f} % apart, half of the {plural(len(spreads), 'point')} at "
        f"most {statistics.median(spreads):.0f} %"
    )
    if noisy:
        text += f"; {noisy:,} are noisy (more than {NOISY_PCT:g} %), so mind the intervals"
    yield Finding(f"{text}.", sure=not noisy)


def lost(rows: Sequence[Row]) -> Iterator[Finding]:
    """Count what failed, and what is no network."""
    failed = Counter(str(row["status"]) for row in rows if row["status"] not in ("ok", "invalid"))
    if failed:
        reasons = ", ".join(f"{number:,} {status}" for status, number in failed.most_common())
        yield Finding(f"{failed.total():,} of {plural(len(rows), 'point')} failed ({reasons}): see below.")
    if invalid := sum(row["status"] == "invalid" for row in rows):
        verbs = ("was", "is") if invalid == 1 else ("were", "are")
        yield Finding(f"{plural(invalid, 'combination')} that {verbs[0]} asked for {verbs[1]} no network: see below.")
