"""Each network beside the baseline that was measured alike: the MACs saved, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hvt_bench.analysis.judge import MARGIN_PCT, MIN_ROUNDS, Judgement, rounds_of
from hvt_bench.analysis.pick import Baseline
from hvt_bench.analysis.series import describe, having, varying_network, varying_protocol
from hvt_bench.analysis.trained import difference
from hvt_bench.errors import plural
from hvt_bench.point import SWEEPABLE
from hvt_bench.report.findings.words import INTERVAL, MATTERS_PCT, MOST, Finding, judged, more
from hvt_bench.row import Row

VAGUE_PCT = 50.0  # an interval of a share that is wider than this has no middle worth a headline


@dataclass(frozen=True)
class Pair:
    """A centre, and the baseline that it is held against."""

    row: Row
    base: Row
    way: str
    """What tells it from other pairs of these models: ` (bfloat16, batch 64)`."""

    @property
    def takes(self) -> str:
        """Say what it takes of the baseline: `0.54 x the MACs`; empty where that is not known."""
        train = self.row["mode"] == "train"
        macs = self.ratio("train_macs" if train else "macs")
        return "" if macs is None else f"{macs:.2f} x the {'training ' * train}MACs"

    def ratio(self, column: str) -> float | None:
        """Return the value of a column over that of the baseline; None where one is missing or 0."""
        ours, theirs = self.row[column], self.base[column]
        known = isinstance(ours, int | float) and isinstance(theirs, int | float) and ours > 0 and theirs > 0
        return float(str(ours)) / float(str(theirs)) if known else None


def pairs(rows: Sequence[Row], baseline: Baseline) -> list[Pair]:
    """Return each centre with the baseline that was measured alike, of the same batch."""
    centres = [row for row in having(rows, "macs") if row["axis"] is None or row["axis"] in SWEEPABLE]
    told = (*varying_network(rows), *varying_protocol(rows))
    found = []
    for row in centres:
        base = baseline.of(row)
        if base is not None and base is not row and base["model"] != row["model"]:
            way = ", ".join(describe(row, told))
            if row["batch_size"] == base["batch_size"]:
                found.append(Pair(row, base, f" ({way})" if way else ""))
    return found


def savings(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Say of each pair whether fewer MACs are less time."""
    told = [finding for pair in pairs if not _is_of_accuracy(pair) and (finding := _saving(pair))]
    yield from told[:MOST]
    if len(told) > MOST:
        sure = sum(finding.sure for finding in told)
        decided = f"; the data decide {sure:,} of all" if any(not finding.sure for finding in told) else ""
        yield Finding(
            f"These are the first {MOST} of {plural(len(told), 'such pair')}, {more(len(told))} in the table{decided}."
        )


def untimed(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Say so where no time was measured."""
    if pairs and not having([row for pair in pairs for row in (pair.row, pair.base)], "latency_ms"):
        yield Finding("No time of these networks was measured, so nothing here says how long such MACs take.")


def _is_of_accuracy(pair: Pair) -> bool:
    """Whether a pair has an accuracy and no time, so that what is said of its accuracy says its MACs too."""
    return pair.ratio("latency_ms") is None and difference(pair.base, pair.row) is not None


def _saving(pair: Pair) -> Finding | None:
    """Say whether fewer MACs are less time."""
    column = "train_macs" if pair.row["mode"] == "train" else "macs"
    macs = pair.ratio(column)
    if macs is None:
        return None
    ours, theirs = f"{pair.row['model']}", f"{pair.base['model']}{pair.way}"
    takes = f"{ours} takes {pair.takes}"
    found = judged(pair.base, pair.row)
    if found is None:
        time = pair.ratio("latency_ms")
        if time is None:
            return Finding(f"{takes} of {theirs}.")
        few = f"fewer than {MIN_ROUNDS} rounds on a side give no interval, so this may be noise"
        return Finding(f"{takes} of {theirs} and took {time:.2f} x its time; {few}.", sure=False)
    assert found.low is not None
    assert found.high is not None
    rounds = f"{len(rounds_of(pair.row))} against {len(rounds_of(pair.base))} rounds"
    interval = f"{INTERVAL} {found.low:.2f} to {found.high:.2f}, {rounds}"
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


def memory(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Say what memory each of a pair took."""
    known = [(pair, ratio) for pair in pairs if (ratio := pair.ratio("peak_memory_mib"))]
    for pair, ratio in known[:MOST]:
        ours, theirs = (f"{float(str(row['peak_memory_mib'])):,.0f}" for row in (pair.row, pair.base))
        yield Finding(
            f"{pair.row['model']} peaked at {ratio:.2f} x the memory of {pair.base['model']}{pair.way}: {ours} against "
            f"{theirs} MiB, the largest of the rounds; no interval, since the rounds of memory are not in the CSV."
        )
    if len(known) > MOST:
        yield Finding(f"Peak memory: these are the first {MOST} of {len(known):,}, {more(len(known))} in the table.")


def not_held(rows: Sequence[Row], pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Name the models that are held against nothing."""
    counted = dict.fromkeys(str(row["model"]) for row in having(rows, "macs") if row["status"] != "invalid")
    held = {pair.row["model"] for pair in pairs} | {pair.base["model"] for pair in pairs}
    alone = [model for model in counted if model not in held]
    if alone and pairs:
        named = ", ".join(alone[:MOST]) + (f" {more(len(alone))}" if len(alone) > MOST else "")
        yield Finding(
            f"Not held against {pairs[0].base['model']}: {named}; of {'it' if len(alone) == 1 else 'these'} no centre "
            "was measured alike. The table has the rows."
        )
