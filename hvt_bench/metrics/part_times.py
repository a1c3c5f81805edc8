"""How long the parts of a forward pass take: those that `kinds` sorts MACs by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.blocks import paths_above
from hvt_bench.metrics.kinds import KINDS, block_of, kind_of, runs_of
from hvt_bench.metrics.latency import DIGITS
from hvt_bench.metrics.passes import Passes
from hvt_bench.metrics.stopwatch import Stopwatch
from hvt_bench.metrics.timeline import MIN_PASSES, OWN, Hooks, Times, repeated
from hvt_bench.point import Point
from hvt_bench.records import Column

SHARE = 1 / 4  # of `min_time_s` goes by in passes with hooks
_NAMES = f"{', '.join(KINDS[:-1])} and all else"


class PartTimes(Metric):
    """Time of the parts of a pass; what lies between the hooks of modules is theirs."""

    parts_ms: Annotated[
        tuple[float, ...] | None,
        Column(
            f"time of one pass in {_NAMES}, by hooks on modules, which take time themselves. Softmax is of the "
            "attention products; norms and sums are all else. Median over rounds; empty in training, compiled and "
            "on mps",
            "ms",
        ),
    ] = None
    stage_parts_ms: Annotated[
        tuple[float, ...] | None,
        Column(
            f"of these, what the blocks take: {len(KINDS)} numbers for each run of blocks that see the same number of "
            "tokens, one run after the other",
            "ms",
        ),
    ] = None

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Take the median over rounds of each number of `measure_parts`."""
        values: dict[str, tuple[float, ...]] = {}
        for name in cls.model_fields:
            found = [of_round[name] for of_round in rounds if of_round.get(name) is not None]
            if found:
                values[name] = tuple(statistics.median(numbers) for numbers in zip(*found, strict=True))
        return cls(**values)


def why_not_timed(point: Point) -> str:
    """Say why the passes of a point cannot be taken apart; empty where they can."""
    if point.mode != "infer":
        return f"mode={point.mode}: a forward pass can be taken apart and no training step; leave it out"
    if point.compile:
        return "compile=true: the hooks on modules would change what is compiled; leave it out"
    if point.device == "mps":
        return "device=mps: there is no clock for the parts of a pass on mps; take cpu"
    return ""


def measure_parts(passes: Passes, stopwatch: Stopwatch, point: Point) -> dict[str, list[float]]:
    """Return the fields of PartTimes as this round has them; nothing where `why_not_timed` says why."""
    if why_not_timed(point):
        return {}
    hooks = Hooks(passes, hooked([name for name, _ in passes.model.named_modules()]))
    repeated(lambda: hooks.times_of_a_pass(stopwatch), stopwatch, max(1, point.warmup_passes), 0.0)
    runs = [set(blocks) for _, blocks in runs_of(point.config.seq_lens or ())]
    whole: list[list[float]] = []
    stages: list[list[float]] = []
    passed = repeated(lambda: hooks.times_of_a_pass(stopwatch), stopwatch, MIN_PASSES, SHARE * point.min_time_s)
    for own in map(own_times, passed):
        whole.append(_by_kind(own))
        of_runs = ({name: ms for name, ms in own.items() if block_of(name) in run} for run in runs)
        stages.append([ms for of_run in of_runs for ms in _by_kind(of_run)])
    return {"parts_ms": _medians(whole)} | ({"stage_parts_ms": _medians(stages)} if runs else {})


def hooked(names: Sequence[str]) -> list[str]:
    """Return the modules to time, of paths parents first: blocks, and those of another kind than what holds them."""
    found: list[str] = []
    for name in names:
        above = next((path for path in reversed(paths_above(name)) if path in found), "")
        is_block = block_of(name) is not None and name.count(".") == 1
        if name and (is_block or kind_of(name) != kind_of(above)):
            found.append(name)
    return found


def own_times(inclusive: Times) -> Times:
    """Return the milliseconds of each module without those of the modules in it that were timed; "" is the network."""
    own = {name: ms for name, ms in inclusive.items() if name not in ("", OWN)}
    for name in own:
        above = next((path for path in reversed(paths_above(name)) if path in own), None)
        if above is not None:
            own[above] -= inclusive[name]
    return {"": inclusive.get(OWN, 0.0)} | own


def _by_kind(times: Times) -> list[float]:
    together = dict.fromkeys(KINDS, 0.0)
    for name, ms in times.items():
        together[kind_of(name)] += ms
    return [*together.values()]


def _medians(passes: Sequence[Sequence[float]]) -> list[float]:
    return [round(statistics.median(numbers), DIGITS) for numbers in zip(*passes, strict=True)]
