"""The other half: what the MACs that a network saves cost in accuracy, and what the trainings took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hvt_bench.analysis.series import having
from hvt_bench.analysis.trained import MIN_SEEDS, Difference, difference, seeds_of, trained_alike
from hvt_bench.errors import plural
from hvt_bench.report.findings.pairs import Pair
from hvt_bench.report.findings.words import INTERVAL, MOST, Finding, more, plain
from hvt_bench.row import Row


def accuracies(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Say of each pair that was trained alike which is more accurate, and for what MACs."""
    found = [(pair, apart) for pair in pairs if (apart := difference(pair.base, pair.row))]
    yield from (_accuracy(pair, apart) for pair, apart in found[:MOST])
    if len(found) > MOST:
        yield Finding(f"Accuracy: these are the first {MOST} of {len(found):,} pairs, {more(len(found))} in the table.")
    yield from _not_alike([pair for pair in pairs if seeds_of(pair.row) and seeds_of(pair.base)])


def _accuracy(pair: Pair, apart: Difference) -> Finding:
    ours, theirs = f"{pair.row['model']}", f"{pair.base['model']}{pair.way}"
    takes = f"{ours} takes {pair.takes} of {theirs}" if pair.takes else f"{ours} beside {theirs}"
    tops = f"{float(str(pair.row['top1'])):.2f} against {float(str(pair.base['top1'])):.2f} % top-1"
    trained = f"{pair.row['data']}, recipe {pair.row['recipe']}"
    ours_n, theirs_n = len(seeds_of(pair.row)), len(seeds_of(pair.base))
    seeds = f"{plural(ours_n, 'seed')} each" if ours_n == theirs_n else f"{ours_n} against {plural(theirs_n, 'seed')}"
    lost = _lost_trainings(pair)
    size = f"{abs(apart.points):.2f} points"
    if apart.low is None or apart.high is None:
        return Finding(
            f"{takes}; it came out {size} {'more' if apart.points > 0 else 'less'} accurate, {tops} ({trained}), but "
            f"{seeds} give no interval, which takes {MIN_SEEDS}, so this may be chance{lost}.",
            sure=False,
        )
    less = apart.points < 0
    low, high = (-apart.high, -apart.low) if less else (apart.low, apart.high)
    how = f"{INTERVAL} {low:.2f} to {high:.2f}, Welch's t over {seeds}, {trained}"
    word = "less" if less else "more"
    if not apart.decided:
        return Finding(
            f"{takes}; it came out {size} {word} accurate, {tops}, which these seeds do not tell from no difference "
            f"({how}){lost}.",
            sure=False,
        )
    return Finding(f"{takes} and is {size} {word} accurate, {tops} ({how}){lost}.", sure=not lost)


def _lost_trainings(pair: Pair) -> str:
    """Say where a mean is only of the trainings that ended well: those that diverge are not the best."""
    failed = [str(row["model"]) for row in (pair.row, pair.base) if row["status"] != "ok"]
    return f"; of {' and '.join(failed)} not every training ended well, and these are left out" if failed else ""


def _not_alike(pairs: Sequence[Pair]) -> Iterator[Finding]:
    other = [str(pair.row["model"]) for pair in pairs if not trained_alike(pair.row, pair.base)]
    if other:
        named = ", ".join(other[:MOST]) + (f" {more(len(other))}" if len(other) > MOST else "")
        yield Finding(
            f"The accuracy of {named} is held against nothing: {pairs[0].base['model']} was trained on other data or "
            "by another recipe."
        )


def trainings(rows: Sequence[Row]) -> Iterator[Finding]:
    """Say what one training of each network cost, and all together."""
    trained = having(rows, "total_train_macs", "top1")
    if not trained:
        return
    macs = [(float(str(row["total_train_macs"])) / 1e12, row) for row in trained]
    (least, cheap), (most, dear) = (choose(macs, key=lambda each: each[0]) for choose in (min, max))
    said = f"{plain(least)} TMACs"
    if least != most:
        said = f"from {said} ({cheap['model']}) to {plain(most)} ({dear['model']})"
    seconds = [float(str(row["train_s"])) for row in having(trained, "train_s")]
    if seconds:
        ends = dict.fromkeys((plain(min(seconds)), plain(max(seconds))))
        said += f" and {' to '.join(ends)} s, the median of its seeds"
    number = sum(len(seeds_of(row)) for row in trained)
    whole = sum(one * len(seeds_of(row)) for one, row in macs)
    together = f"; all {number:,} trainings together {plain(whole)} TMACs" if number > 1 else ""
    yield Finding(f"One training took {said}{together}.")
