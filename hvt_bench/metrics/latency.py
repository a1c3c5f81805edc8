"""How long a pass takes, and how many images a second pass through.

A round: build, warm up, time single passes until they are stable, time blocks of passes, and, on a GPU, passes that
the host does not hold up. Stable means that the medians of the first and the second half of the passes agree, at two
looks in a row; this is a rule for stopping and no confidence interval, which only whole rounds can give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np

from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.passes import PHASES
from hvt_bench.metrics.stopwatch import Pass, Stopwatch
from hvt_bench.point import Protocol
from hvt_bench.records import Column

MIN_PASSES = 5
MIN_BLOCKS = 3
BLOCK_S = 0.010  # an unsynchronised block is at least this long, so that its two ends do not matter
FILL = 1.25  # of BLOCK_S is aimed at, since passes differ
BLOCKS_SHARE = 1 / 8  # of min_time_s goes to the blocks of `throughput_img_s`, and as much to `device_latency_ms`
LOOK_AGAIN = 1 / 4  # of min_time_s goes by between two looks at whether passes are stable
STABLE_LOOKS = 2  # in a row, so that chance does not end a round
DIGITS = 6  # of a time in milliseconds: nanoseconds

DeviceLatencySource = Literal["graph", "queue"]


class Latency(Metric):
    """Time of passes, summed up over rounds."""

    latency_ms: Annotated[
        float,
        Column(
            "median over rounds of the median host time of one pass of the batch, synchronised",
            "ms",
            "latency",
            best="low",
        ),
    ]
    latency_ms_p05: Annotated[float, Column("5th percentile of single passes, all rounds together", "ms", best="low")]
    latency_ms_p95: Annotated[float, Column("95th percentile of single passes, all rounds together", "ms", best="low")]
    latency_samples: Annotated[int, Column("single passes timed, all rounds together")]
    latency_ms_rounds: Annotated[
        tuple[float, ...], Column("the median of each round, in order: what `hvt-bench compare` reads", "ms")
    ]
    latency_spread_pct: Annotated[
        float | None,
        Column("(largest - smallest) / median of the rounds' medians; needs two rounds", "%", "spread of rounds"),
    ]
    converged: Annotated[
        bool | None, Column("whether the passes of every round became stable (`stable_pct`) before `max_time_s`")
    ]
    device_latency_ms: Annotated[
        float | None,
        Column("time the device works on one pass, gaps between launches removed; empty on a CPU", "ms", best="low"),
    ]
    device_latency_source: Annotated[
        DeviceLatencySource | None,
        Column("`graph`: replay of a CUDA graph; `queue`: passes queued while the device was kept busy"),
    ]
    throughput_img_s: Annotated[
        float,
        Column(
            f"images a second in unsynchronised blocks of passes of at least {BLOCK_S * 1e3:.0f} ms; "
            "median over rounds of the median of blocks",
            "images/s",
            "throughput",
            best="high",
        ),
    ]
    forward_ms: Annotated[
        float | None, Column("forward pass and loss of a training step; median as latency_ms", "ms", best="low")
    ]
    backward_ms: Annotated[
        float | None, Column("backward pass of a training step; median as latency_ms", "ms", best="low")
    ]
    step_ms: Annotated[
        float | None,
        Column("AdamW and the clearing of gradients of a training step; median as latency_ms", "ms", best="low"),
    ]
    resolution_ms: Annotated[float | None, Column("smallest step of the clock", "ms")]
    compile_s: Annotated[
        float | None,
        Column("first pass of a compiled network, which compiles it; nothing cached; median over rounds", "s"),
    ]

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `measure_latency` gave in each round."""
        medians = [_median(found["pass_ms"]) for found in rounds]
        passes = np.concatenate([found["pass_ms"] for found in rounds])
        p05, p95 = np.percentile(passes, [5, 95])
        middle = _median(medians)
        sources = [found["device_source"] for found in rounds if found.get("device_source")]
        phases = {
            f"{phase}_ms": _middle([found.get("phase_ms", {}).get(phase) for found in rounds]) for phase in PHASES
        }
        return cls(
            latency_ms=middle,
            latency_ms_p05=float(p05),
            latency_ms_p95=float(p95),
            latency_samples=len(passes),
            latency_ms_rounds=tuple(medians),
            latency_spread_pct=100 * (max(medians) - min(medians)) / middle if len(medians) > 1 else None,
            converged=all(found["converged"] for found in rounds) if "converged" in rounds[0] else None,
            device_latency_ms=_middle([found.get("device_ms") for found in rounds]),
            device_latency_source=sources[-1] if sources else None,
            throughput_img_s=_median([_median(found["block_img_s"]) for found in rounds]),
            **phases,
            resolution_ms=max((found["resolution_ms"] for found in rounds if "resolution_ms" in found), default=None),
            compile_s=_middle([found.get("compile_s") for found in rounds]),
        )


def _middle(rounds: Sequence[Sequence[float] | float | None]) -> float | None:
    """Return the median over rounds of the median of each; None where none was measured."""
    medians = [_median(found) for found in rounds if found is not None and found not in ([], ())]
    return _median(medians) if medians else None


def _median(found: Sequence[float] | float) -> float:
    """Return the median of the numbers of a journal, as NumPy's, which takes ten times as long for so few.

    Raises ValueError or TypeError where they are none.
    """
    ordered = [found] if isinstance(found, int | float) else sorted(found)
    if not ordered:
        raise ValueError("there is no median of no numbers")
    middle = len(ordered) // 2
    return float((ordered[~middle] + ordered[middle]) / 2)


def is_stable(passes: Sequence[float], stable_pct: float) -> bool:
    """Say whether the medians of the first and second half of `passes` are at most `stable_pct` % apart."""
    half = len(passes) // 2
    first, second = float(np.median(passes[:half])), float(np.median(passes[half:]))
    return abs(second - first) <= stable_pct / 100 * float(np.median(passes))


def measure_latency(
    run: Pass,
    stopwatch: Stopwatch,
    protocol: Protocol,
    begin: Callable[[], object] = lambda: None,
    end: Callable[[int], object] = lambda images: None,
) -> dict[str, Any]:
    """Time one round of `run`, which makes a pass of a batch and need not wait for the device.

    `begin` is called between the warm-up and the first timed pass, `end` after the last, with the images that went
    through in between. Everything that was timed is returned, so that any statistic can be computed from a journal.
    """
    warmup = _warm_up(run, stopwatch, protocol)
    start = stopwatch.now()
    begin()
    passes, phases, stable = _single_passes(run, stopwatch, protocol)
    in_block, blocks, made = _blocks(lambda n: stopwatch.block_s(run, n), float(np.median(passes)), protocol)
    end((len(passes) + made) * protocol.batch_size)
    found: dict[str, Any] = {
        "warmup_ms": _ms(warmup),
        "pass_ms": _ms(passes),
        "converged": stable,
        "block_img_s": [in_block * protocol.batch_size / seconds for seconds in blocks],
        "resolution_ms": 1e3 * stopwatch.resolution_s,
    }
    if phases:
        found["phase_ms"] = {name: _ms(times) for name, times in zip(PHASES, zip(*phases, strict=True), strict=True)}
    scaled = protocol.mode == "train" and protocol.dtype == "amp_float16"  # GradScaler waits for the device
    if recorded := None if scaled else stopwatch.recorded(run, graph=protocol.mode == "infer"):
        found["device_source"], device_s = recorded
        in_block, blocks, _ = _blocks(device_s, float(np.median(passes)), protocol)
        found["device_ms"] = _ms([seconds / in_block for seconds in blocks])
    found["timed_s"] = round(sum(warmup) + stopwatch.now() - start, DIGITS)
    return found


def _warm_up(run: Pass, stopwatch: Stopwatch, protocol: Protocol) -> list[float]:
    """Return the seconds of each pass: `warmup_passes` so many, and `warmup_s` seconds in all, at least."""
    found: list[float] = []
    while len(found) < protocol.warmup_passes or sum(found) < protocol.warmup_s:
        found.append(_one_pass(run, stopwatch)[0])
    return found


def _single_passes(
    run: Pass, stopwatch: Stopwatch, protocol: Protocol
) -> tuple[list[float], list[tuple[float, ...]], bool]:
    """Return the seconds of each pass and of its phases, and whether they were stable when it was time to stop."""
    found: list[float] = []
    phases: list[tuple[float, ...]] = []
    look_at = (1 - LOOK_AGAIN) * protocol.min_time_s
    total, stable_looks = 0.0, 0
    while True:
        seconds, parts = _one_pass(run, stopwatch, phased=protocol.mode == "train")
        found.append(seconds)
        phases += [parts] if parts else []
        total += seconds
        if len(found) < MIN_PASSES or total < look_at:
            continue
        stable_looks = stable_looks + 1 if is_stable(found, protocol.stable_pct) else 0
        if total >= protocol.min_time_s and (stable_looks >= STABLE_LOOKS or total >= protocol.max_time_s):
            return found, phases, stable_looks >= STABLE_LOOKS
        look_at = min(total + LOOK_AGAIN * protocol.min_time_s, protocol.max_time_s)


def _one_pass(run: Pass, stopwatch: Stopwatch, phased: bool = False) -> tuple[float, tuple[float, ...]]:
    """Return the seconds of a pass that is waited for, and, of a `phased` one, of each phase on the device."""
    marks = []
    stopwatch.synchronize()
    start = stopwatch.now()
    if phased:
        marks.append(stopwatch.mark())
        run(lambda: marks.append(stopwatch.mark()))
    else:
        run()
    stopwatch.synchronize()
    seconds = stopwatch.now() - start
    return seconds, tuple(stopwatch.between(a, b) for a, b in itertools.pairwise(marks))


def _blocks(block_s: Callable[[int], float], pass_s: float, protocol: Protocol) -> tuple[int, list[float], int]:
    """Return how many passes fill a block of BLOCK_S, the seconds of each block, and the passes made in all."""
    in_block = max(1, int(np.ceil(FILL * BLOCK_S / pass_s)))
    found: list[float] = []
    made = 0
    while len(found) < MIN_BLOCKS or sum(found) < BLOCKS_SHARE * protocol.min_time_s:
        found.append(block_s(in_block))
        made += in_block
        if found[-1] < BLOCK_S:  # without waiting, passes go faster: begin again with longer blocks
            in_block = max(in_block + 1, int(np.ceil(FILL * in_block * BLOCK_S / found[-1])))
            found = []
    return in_block, found, made


def _ms(seconds: Sequence[float]) -> list[float]:
    return [round(1e3 * value, DIGITS) for value in seconds]
