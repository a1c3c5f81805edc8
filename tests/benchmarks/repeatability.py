"""Whether measured rounds can be trusted: against themselves, against 5 % of added time, against torch's own timer.

`python -m tests.benchmarks.repeatability 200` records so many rounds.
"""

from __future__ import annotations

import logging
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

from scipy.stats import binomtest

from hvt_bench.analysis.judge import judge
from hvt_bench.environment import resolve_device
from hvt_bench.executors import make_executor
from hvt_bench.measure import Visit, measure_round
from hvt_bench.metrics.passes import Passes
from hvt_bench.metrics.stopwatch import make_stopwatch
from hvt_bench.models import parse_model
from hvt_bench.point import Point

if TYPE_CHECKING:
    from torch.utils.benchmark import Measurement, Timer

MODEL = "hvt_ti_1"
RECORDED = 60  # rounds of 1.1 to 1.7 s and half a second of warm-up: two to three minutes with the rest
PAIRS = 100
ROUNDS = 5  # of each side of a pair
ADDED = 1.05
TURNS = 30  # of a round and of torch's timer: short ones, so that both see the same machine
TURN_S = 0.25
NUM_THREADS = 1  # two wait for each other, which on a shared machine is noise of the machine, not of the method
SEED = 0

FALSE_TARGET = 0.05
FOUND_TARGET = 0.95
AGREE_TARGET = 0.03


def run(recorded: int = RECORDED) -> bool:
    """Print what was found; True if every target was kept."""
    point = _point()
    text, kept = report(point, record(point, recorded), in_turn_with_torch(point))
    print(text)
    return kept


def _point() -> Point:
    device = resolve_device("auto")
    on_gpu = device != "cpu"
    return Point(
        model=MODEL,
        config=parse_model(MODEL),
        device=device,
        batch_size=64 if on_gpu else 1,
        num_threads=NUM_THREADS,
        warmup_s=1.0 if on_gpu else 0.5,
        warmup_passes=10 if on_gpu else 3,
        min_time_s=1.0,
        max_time_s=1.5,
    )


# --- with a clock ---------------------------------------------------------------------------------------------------


def record(point: Point, rounds: int) -> list[float]:
    """Return the medians of so many rounds, in ms, each measured as a sweep does, in a fresh process."""
    visits = [Visit(point, number, ("latency",)) for number in range(rounds)]
    workers = make_executor("process", preload=["hvt_bench.measure"])
    samples = [
        outcome.value for outcome in workers.map(measure_round, visits, timeout_s=lambda visit: visit.point.timeout_s)
    ]
    return [_median_ms(sample) for sample in samples]


def in_turn_with_torch(point: Point) -> list[tuple[float, float]]:
    """Return medians of a round and of `torch.utils.benchmark`, in ms, measured in turn in this process."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says that a CPU machine has no CUDA
    from torch.utils.benchmark import Measurement, Timer

    short = point.model_copy(update={"warmup_s": TURN_S, "min_time_s": TURN_S, "max_time_s": TURN_S})

    def ours() -> float:
        return _median_ms(measure_round(Visit(short, 0, ("latency",))))

    def theirs() -> float:
        wait = make_stopwatch(short.device).synchronize
        timer = Timer("one_pass(); wait()", globals={"one_pass": Passes(short), "wait": wait}, num_threads=NUM_THREADS)
        return 1e3 * Measurement.merge(_passes_by_torch(timer, short.min_time_s))[0].median

    pairs = []
    for number in range(TURNS):
        first, second = (ours, theirs) if number % 2 else (theirs, ours)  # so that a drift cancels
        one, other = first(), second()
        pairs.append((one, other) if first is ours else (other, one))
    return pairs


def _passes_by_torch(timer: Timer, total_s: float) -> list[Measurement]:
    """Time passes one by one, each after the two of warm-up that `timeit` makes.

    `blocked_autorange` may take ten to a block: a mean, which other load on the machine lifts off the median.
    """
    found: list[Measurement] = []
    while sum(one.median for one in found) < total_s:
        found.append(timer.timeit(1))
    return found


def _median_ms(sample) -> float:
    if sample is None or sample.status != "ok":
        raise RuntimeError(f"a round failed: {sample and sample.error}")
    return statistics.median(sample.values["latency"]["pass_ms"])


# --- without one ----------------------------------------------------------------------------------------------------


def report(point: Point, recorded: Sequence[float], beside_torch: Sequence[tuple[float, float]]) -> tuple[str, bool]:
    """Return what recorded rounds, and rounds beside torch's timer, say; and whether every target was kept."""
    itself = verdicts(recorded)
    false = binomtest(itself["FASTER"] + itself["SLOWER"], PAIRS)
    interval = false.proportion_ci(0.95, method="wilson")
    neighbours = [
        judge(recorded[at : at + ROUNDS], recorded[at + ROUNDS : at + 2 * ROUNDS]).verdict
        for at in range(len(recorded) - 2 * ROUNDS + 1)
    ]
    drifted = sum(verdict in ("FASTER", "SLOWER") for verdict in neighbours) / len(neighbours)
    found = verdicts(recorded, factor=ADDED)["SLOWER"] / PAIRS
    enough = rounds_needed(recorded)
    ratios = [ours / theirs for ours, theirs in beside_torch]
    quarter, ratio, three_quarters = statistics.quantiles(ratios, n=4, method="inclusive")
    kept = interval.low <= FALSE_TARGET, found >= FOUND_TARGET, abs(ratio - 1) <= AGREE_TARGET
    noise_pct = 100 * statistics.stdev(map(log, recorded))
    middle = statistics.median(recorded)
    lines = [
        f"repeatability: {len(recorded)} rounds of {point.model} on {point.device}, batch {point.batch_size}: "
        f"{middle:.3g} ms, {noise_pct:.2g} % of noise between rounds (standard deviation)",
        f"(a) against itself, {PAIRS} pairs of {ROUNDS} rounds drawn from these, which share their drift: "
        f"{false.statistic:.0%} called FASTER or SLOWER, {interval.low:.0%} to {interval.high:.0%} "
        f"(target: at most {FALSE_TARGET:.0%}); {itself['UNSURE'] / PAIRS:.0%} UNSURE; "
        f"of neighbouring fives, drift between them kept, {drifted:.0%} called so",
        f"(b) with {ADDED - 1:.0%} of time added: {found:.0%} found SLOWER (target: at least {FOUND_TARGET:.0%}); "
        f"with this noise, {enough}",
        f"(c) median of a round / of torch.utils.benchmark, {len(ratios)} of each in turn: {ratio:.3f}, half of them "
        f"{quarter:.2f} to {three_quarters:.2f} (target: within {AGREE_TARGET:.0%})",
    ]
    missed = [name for name, ok in zip("abc", kept, strict=True) if not ok]
    lines += [f"missed: {', '.join(missed)}"] if missed else []
    return "\n".join(lines), all(kept)


def verdicts(recorded: Sequence[float], factor: float = 1.0, rounds: int = ROUNDS, pairs: int = PAIRS) -> Counter[str]:
    """Count the verdicts on pairs of rounds, no round twice in a pair, where the new ones take `factor` the time."""
    chance = random.Random(SEED)
    drawn = [chance.sample(recorded, 2 * rounds) for _ in range(pairs)]
    return Counter(judge(rest[:rounds], [factor * ms for ms in rest[rounds:]]).verdict for rest in drawn)


def rounds_needed(recorded: Sequence[float]) -> str:
    """Say from how many rounds on the added time is found often enough."""
    pairs = 2 * PAIRS
    for rounds in range(2, len(recorded) // 2 + 1):
        if verdicts(recorded, ADDED, rounds, pairs)["SLOWER"] >= FOUND_TARGET * pairs:
            return f"{FOUND_TARGET:.0%} are found from {rounds} rounds on"
    return f"{FOUND_TARGET:.0%} need more than {len(recorded) // 2} rounds"


if __name__ == "__main__":
    sys.exit(not run(*map(int, sys.argv[1:])))
