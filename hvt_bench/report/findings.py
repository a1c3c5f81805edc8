"""What the rows say, in sentences; where the rounds do not decide something, the sentence says that.

A ratio of times has the interval of analysis/judge.py (Welch, from the medians of rounds), an exponent that of
analysis/fit.py. What is counted is exact and has none.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hvt_bench.analysis.fit import Fit, Fits
from hvt_bench.analysis.judge import CONFIDENCE, MARGIN_PCT, MIN_ROUNDS, Judgement, judge, rounds_of
from hvt_bench.analysis.pick import Baseline
from hvt_bench.analysis.series import describe, having, varying_network, varying_protocol
from hvt_bench.errors import plural
from hvt_bench.point import SWEEPABLE
from hvt_bench.row import COLUMNS, Row, csv_text
from hvt_bench.verdicts import NOISY_PCT

MOST_LINES = 2  # along one axis, each with a sentence of its own
MOST = 6  # sentences of one kind: a headline is not a table
ALIKE_PCT = 1.0  # params this far apart are called the same
VAGUE_PCT = 50.0  # an interval of a share that is wider than this has no middle worth a headline
MATTERS_PCT = 10.0  # MACs further apart than this are a change worth a sentence

_INTERVAL = f"{100 * CONFIDENCE:g} % interval"


@dataclass(frozen=True)
class Finding:
    """One sentence, or a few."""

    text: str
    sure: bool = True
    """Whether the data decide it; where they do not, the text says so."""


def find(rows: Sequence[Row], fits: Fits | None, baseline: str) -> list[Finding]:
    """Return what `rows` say, the most important first; `baseline` is the model to hold the others against, if any."""
    pairs = _pairs(rows, Baseline(rows, baseline)) if baseline else []
    return [
        *_savings(pairs),
        *_memory(pairs),
        *_not_held(rows, pairs),
        *_range(rows),
        *_for_free(rows),
        *(_growth(fits) if fits else ()),
        *_noise(rows),
        *_lost(rows),
    ]


# --- pairs of networks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    row: Row
    base: Row
    way: str
    """What tells it from other pairs of these models: ` (bfloat16, batch 64)`."""

    def ratio(self, column: str) -> float | None:
        ours, theirs = self.row[column], self.base[column]
        known = isinstance(ours, int | float) and isinstance(theirs, int | float) and ours > 0 and theirs > 0
        return float(str(ours)) / float(str(theirs)) if known else None


def _pairs(rows: Sequence[Row], baseline: Baseline) -> list[_Pair]:
    """Return each centre with the baseline that was measured alike, of the same batch."""
    centres = [row for row in having(rows, "macs") if row["axis"] is None or row["axis"] in SWEEPABLE]
    told = (*varying_network(rows), *varying_protocol(rows))
    found = []
    for row in centres:
        base = baseline.of(row)
        if base is not None and base is not row and base["model"] != row["model"]:
            way = ", ".join(describe(row, told))
            if row["batch_size"] == base["batch_size"]:
                found.append(_Pair(row, base, f" ({way})" if way else ""))
    return found


def _savings(pairs: Sequence[_Pair]) -> Iterator[Finding]:
    told = [finding for pair in pairs if (finding := _saving(pair))]
    yield from told[:MOST]
    if len(told) > MOST:
        sure = sum(finding.sure for finding in told)
        decided = f"; the data decide {sure:,} of all" if any(not finding.sure for finding in told) else ""
        yield Finding(
            f"These are the first {MOST} of {plural(len(told), 'such pair')}, {_more(len(told))} in the table{decided}."
        )
    if told and not having([row for pair in pairs for row in (pair.row, pair.base)], "latency_ms"):
        yield Finding("No time of these networks was measured, so nothing here says how long such MACs take.")


def _saving(pair: _Pair) -> Finding | None:
    """Say whether fewer MACs are less time."""
    column = "train_macs" if pair.row["mode"] == "train" else "macs"
    macs = pair.ratio(column)
    if macs is None:
        return None
    ours, theirs = f"{pair.row['model']}", f"{pair.base['model']}{pair.way}"
    takes = f"{ours} takes {macs:.2f} x the {'training ' * (column == 'train_macs')}MACs"
    found = _judged(pair.base, pair.row)
    if found is None:
        time = pair.ratio("latency_ms")
        if time is None:
            return Finding(f"{takes} of {theirs}.")
        few = f"fewer than {MIN_ROUNDS} rounds on a side give no interval, so this may be noise"
        return Finding(f"{takes} of {theirs} and took {time:.2f} x its time; {few}.", sure=False)
    assert found.low is not None
    assert found.high is not None
    rounds = f"{len(rounds_of(pair.row))} against {len(rounds_of(pair.base))} rounds"
    interval = f"{_INTERVAL} {found.low:.2f} to {found.high:.2f}, {rounds}"
    if found.verdict == "UNSURE":
        return Finding(
            f"{takes} of {theirs}. Its time was {found.ratio:.2f} x, but the rounds are too far apart to say whether "
            f"it is {'less' if found.ratio < 1 else 'more'} ({interval}).",
            sure=False,
        )
    if found.verdict == "SAME":
        return Finding(f"{takes} and, within {MARGIN_PCT:g} %, the same time as {theirs} ({interval}).")
    realised, sure = _realised(macs, found)
    return Finding(f"{takes} and {found.ratio:.2f} x the time of {theirs} ({interval}){realised}.", sure)


def _realised(macs: float, found: Judgement) -> tuple[str, bool]:
    """Say how much of a saving of MACs is one of time, and whether the rounds say so closely."""
    saved = 1 - macs
    if saved < MATTERS_PCT / 100:
        return "", True
    if found.ratio >= 1:
        return ": none of the saving is realised", True
    assert found.low is not None
    assert found.high is not None
    share, least, most = (100 * (1 - ratio) / saved for ratio in (found.ratio, found.high, found.low))
    if most - least > VAGUE_PCT:
        return f": {least:.0f} to {most:.0f} % of the saving is realised, the rounds do not say it more closely", False
    return f": {share:.0f} % of the saving is realised ({least:.0f} to {most:.0f} %)", True


def _memory(pairs: Sequence[_Pair]) -> Iterator[Finding]:
    known = [(pair, ratio) for pair in pairs if (ratio := pair.ratio("peak_memory_mib"))]
    for pair, ratio in known[:MOST]:
        ours, theirs = (f"{float(str(row['peak_memory_mib'])):,.0f}" for row in (pair.row, pair.base))
        yield Finding(
            f"{pair.row['model']} peaked at {ratio:.2f} x the memory of {pair.base['model']}{pair.way}: {ours} against "
            f"{theirs} MiB, the largest of the rounds; no interval, since the rounds of memory are not in the CSV."
        )
    if len(known) > MOST:
        yield Finding(f"Peak memory: these are the first {MOST} of {len(known):,}, {_more(len(known))} in the table.")


def _more(number: int) -> str:
    return f"and {number - MOST:,} more"


def _not_held(rows: Sequence[Row], pairs: Sequence[_Pair]) -> Iterator[Finding]:
    """Name the models that are held against nothing."""
    counted = dict.fromkeys(str(row["model"]) for row in having(rows, "macs") if row["status"] != "invalid")
    held = {pair.row["model"] for pair in pairs} | {pair.base["model"] for pair in pairs}
    alone = [model for model in counted if model not in held]
    if alone and pairs:
        named = ", ".join(alone[:MOST]) + (f" {_more(len(alone))}" if len(alone) > MOST else "")
        yield Finding(
            f"Not held against {pairs[0].base['model']}: {named}; of {'it' if len(alone) == 1 else 'these'} no centre "
            "was measured alike. The table has the rows."
        )


def _range(rows: Sequence[Row]) -> Iterator[Finding]:
    """Say between what the networks lie."""
    networks = {(row["macs"], row["params"]) for row in having(rows, "macs", "params")}
    if len(networks) < 2:
        return
    said = [f"cost {_between(rows, 'macs', 1e9)} GMACs", f"have {_between(rows, 'params', 1e6)} M params"]
    if len(having(rows, "latency_ms")) > 1:
        said.append(f"took {_between(rows, 'latency_ms', 1)} ms a batch")
    yield Finding(f"The networks {', '.join(said[:-1])} and {said[-1]}.")


def _between(rows: Sequence[Row], column: str, unit: float) -> str:
    values = [float(str(row[column])) / unit for row in having(rows, column)]
    return f"{_plain(min(values))} to {_plain(max(values))}"


def _plain(value: float) -> str:
    """Spell three digits that count, without an exponent: `1,590`."""
    return f"{Decimal(f'{value:.3g}'):,f}"


def _judged(old: Row, new: Row) -> Judgement | None:
    """Judge the rounds of two rows; None where there are too few."""
    sides = rounds_of(old), rounds_of(new)
    return judge(*sides) if min(map(len, sides)) >= MIN_ROUNDS else None


# --- along the axes -------------------------------------------------------------------------------------------------


def _for_free(rows: Sequence[Row]) -> Iterator[Finding]:
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
                f"{_plain(ratios[0])} and {_plain(ratios[-1])} x."
            )


def _is_free(first: Row, last: Row) -> bool:
    ends = _Pair(last, first, "")
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
    found = _judged(first, last)
    if found is None:
        return "", True
    assert found.low is not None
    assert found.high is not None
    interval = f"({_INTERVAL} {found.low:.2f} to {found.high:.2f})"
    if found.verdict == "UNSURE":
        return f"; its time was {found.ratio:.2f} x, which these rounds do not tell from no change {interval}", False
    return f", its time to {found.ratio:.2f} x {interval}", True


def _millions(row: Row) -> str:
    return f"{float(str(row['params'])) / 1e6:.2f} M"


def _growth(fits: Fits) -> Iterator[Finding]:
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
            f"{fit.axis}^{fit.exponent:.2f} ({_INTERVAL} {fit.low:.2f} to {fit.high:.2f}), not ^{macs.exponent:.2f}."
        )
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


# --- how good the data are ------------------------------------------------------------------------------------------


def _noise(rows: Sequence[Row]) -> Iterator[Finding]:
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


def _lost(rows: Sequence[Row]) -> Iterator[Finding]:
    failed = Counter(str(row["status"]) for row in rows if row["status"] not in ("ok", "invalid"))
    if failed:
        reasons = ", ".join(f"{number:,} {status}" for status, number in failed.most_common())
        yield Finding(f"{failed.total():,} of {plural(len(rows), 'point')} failed ({reasons}): see below.")
    if invalid := sum(row["status"] == "invalid" for row in rows):
        verbs = ("was", "is") if invalid == 1 else ("were", "are")
        yield Finding(f"{plural(invalid, 'combination')} that {verbs[0]} asked for {verbs[1]} no network: see below.")
