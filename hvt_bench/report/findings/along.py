"""What changes along the swept axes, and how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from hvt_bench.analysis.fit import Fit, Fits
from hvt_bench.analysis.series import describe, having, varying_network, varying_protocol
from hvt_bench.errors import plural
from hvt_bench.point import SWEEPABLE
from hvt_bench.report.findings.pairs import Pair
from hvt_bench.report.findings.words import INTERVAL, MATTERS_PCT, MOST, Finding, judged, more, plain
from hvt_bench.row import COLUMNS, Row, csv_text

MOST_LINES = 2  # along one axis, each with a sentence of its own
ALIKE_PCT = 1.0  # params this far apart are called the same


def for_free(rows: Sequence[Row]) -> Iterator[Finding]:
    """Say along which axes params stay and MACs do not: what pooling, images and patches change."""
    told = (*varying_network(rows), *varying_protocol(rows))
    for axis in dict.fromkeys(str(row["axis"]) for row in having(rows, "axis") if row["axis"] in COLUMNS):
        if COLUMNS[axis].kind not in (int, float) or COLUMNS[axis].many or axis in SWEEPABLE:
            continue
        lines = _ends(rows, axis, [name for name in told if name != axis])
        free = {line: ends for line, ends in lines.items() if _is_free(*ends)}
        if len(free) <= MOST_LINES:
            yield from (_free_line(axis, line, *ends) for line, ends in free.items())
        else:
            ratios = sorted(float(str(last["macs"])) / float(str(first["macs"])) for first, last in free.values())
            yield Finding(
                f"Along {axis}, params stay the same within {ALIKE_PCT:g} % on {len(free):,} of "
                f"{plural(len(lines), 'line')}, and MACs change, from the lowest value to the highest, to between "
                f"{plain(ratios[0])} and {plain(ratios[-1])} x."
            )


def _is_free(first: Row, last: Row) -> bool:
    ends = Pair(last, first, "")
    macs, params = ends.ratio("macs"), ends.ratio("params")
    if macs is None or params is None:
        return False
    return abs(params - 1) <= ALIKE_PCT / 100 and abs(macs - 1) > MATTERS_PCT / 100


def _free_line(axis: str, line: str, first: Row, last: Row) -> Finding:
    macs = float(str(last["macs"])) / float(str(first["macs"]))
    time, sure = _time_between(first, last)
    return Finding(
        f"From {axis} {csv_text(first[axis])} to {csv_text(last[axis])}, {line} keeps its params ({_millions(first)} "
        f"and {_millions(last)}); its MACs {'fall' if macs < 1 else 'grow'} to {macs:.2f} x{time}.",
        sure,
    )


def _ends(rows: Sequence[Row], axis: str, told: Sequence[str]) -> dict[str, tuple[Row, Row]]:
    """Return the points of each line with the lowest and the highest value of an axis, where they differ."""
    lines: dict[str, list[Row]] = {}
    for row in having(rows, axis, "macs"):
        if row["axis"] in (axis, None) and row["status"] != "invalid":
            lines.setdefault(", ".join([str(row["model"]), *describe(row, told)]), []).append(row)
    swept = {line: of_line for line, of_line in lines.items() if any(row["axis"] == axis for row in of_line)}
    places = {line: sorted(of_line, key=lambda row: float(str(row[axis]))) for line, of_line in swept.items()}
    return {line: (found[0], found[-1]) for line, found in places.items() if found[0][axis] != found[-1][axis]}


def _time_between(first: Row, last: Row) -> tuple[str, bool]:
    found = judged(first, last)
    if found is None:
        return "", True
    assert found.low is not None
    assert found.high is not None
    interval = f"({INTERVAL} {found.low:.2f} to {found.high:.2f})"
    if found.verdict == "UNSURE":
        return f"; its time was {found.ratio:.2f} x, which these rounds do not tell from no change {interval}", False
    return f", its time to {found.ratio:.2f} x {interval}", True


def _millions(row: Row) -> str:
    return f"{float(str(row['params'])) / 1e6:.2f} M"


def growth(fits: Fits) -> Iterator[Finding]:
    """Say how MACs grow along each axis, and on which lines time grows otherwise."""
    by_axis: dict[str, list[Fit]] = {}
    for fit in fits.fits:
        if fit.metric == "macs":
            by_axis.setdefault(fit.axis, []).append(fit)
    if by_axis:
        yield Finding(f"MACs go {'; '.join(_exponents(axis, found) for axis, found in by_axis.items())}.")
    yield from _slower_or_faster(fits)


def _exponents(axis: str, found: Sequence[Fit]) -> str:
    """Spell how MACs grow along an axis: `as depth^0.89 (hvt_s_1) to depth^0.99 (deit_small)`."""
    low, high = (choose(found, key=lambda fit: fit.exponent) for choose in (min, max))
    said = f"as {axis}^{low.exponent:.2f} ({low.line})"
    if low.line != high.line:
        said += f" to {axis}^{high.exponent:.2f} ({high.line})"
    apart = ", ".join(dict.fromkeys(why for fit in found if fit.left_out for why in fit.left_out.split("; ")))
    return f"{said}, left out: {apart}" if apart else said


def _slower_or_faster(fits: Fits) -> Iterator[Finding]:
    """Say where the exponent of the time differs from that of the MACs, beyond its interval."""
    timed = [fit for fit in fits.fits if fit.metric == "latency_ms"]
    with_interval = [fit for fit in timed if fit.low is not None]
    apart = [
        (fit, macs)
        for fit, macs in _macs_of(fits.fits)
        if fit.metric == "latency_ms" and fit.low is not None and not _agree(fit, macs)
    ]
    for fit, macs in apart[:MOST]:
        less = abs(fit.exponent) < abs(macs.exponent)
        yield Finding(
            f"Along {fit.axis}, the time of {fit.line} changes {'less' if less else 'more'} than its MACs: as "
            f"{fit.axis}^{fit.exponent:.2f} ({INTERVAL} {fit.low:.2f} to {fit.high:.2f}), not ^{macs.exponent:.2f}."
        )
    if len(apart) > MOST:
        yield Finding(f"Exponents: these are the first {MOST} of {len(apart):,} lines, {more(len(apart))} in the fits.")
    if with_interval:
        rest = len(with_interval) - len(apart)
        if rest:
            yield Finding(
                f"On {rest:,} of {plural(len(with_interval), 'line')} the exponent of the time is not told from that "
                "of the MACs: its interval holds both.",
                sure=False,
            )
    elif timed:
        reasons = Counter(fit.no_interval for fit in timed)
        why, _ = reasons.most_common(1)[0]
        yield Finding(f"Whether time grows as MACs do is open: exponents of time have no interval ({why}).", sure=False)


def _macs_of(fits: Sequence[Fit]) -> Iterator[tuple[Fit, Fit]]:
    """Yield each fit with that of the MACs on its line; MACs do not depend on how a network is measured."""
    counted: dict[tuple[str, str, tuple[float, ...]], list[Fit]] = {}
    for fit in fits:
        if fit.metric == "macs":
            counted.setdefault((fit.model, fit.axis, fit.x), []).append(fit)
    for fit in fits:
        for macs in counted.get((fit.model, fit.axis, fit.x), ()):
            if fit.line == macs.line or fit.line.startswith(f"{macs.line}, "):
                yield fit, macs
                break


def _agree(fit: Fit, macs: Fit) -> bool:
    assert fit.low is not None
    assert fit.high is not None
    return fit.low <= macs.exponent <= fit.high
