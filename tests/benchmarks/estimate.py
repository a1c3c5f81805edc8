"""What `estimate` says of a pass, against what PyTorch's profiler sees allocated and the peak of a real process."""

from __future__ import annotations

import gc

from torch.profiler import ProfilerActivity, profile, record_function

from hvt_bench.executors.process import ProcessExecutor
from hvt_bench.measure import Visit, measure_round
from hvt_bench.metrics.estimate import estimate
from hvt_bench.metrics.memory import MIB
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import parse_model
from hvt_bench.point import Point

MODELS, BATCH_SIZE = ("deit_small", "hvt_s_1"), 16
TARGET_PCT = 2.0


def run() -> bool:
    """Print the three side by side; True if the estimate is within the target of the profiler."""
    points = [
        Point(model=model, config=parse_model(model), device="cpu", batch_size=BATCH_SIZE, mode=mode, warmup_s=0.0)
        for model in MODELS
        for mode in ("infer", "train")
    ]
    worst = 0.0
    for outcome in ProcessExecutor().map(
        measure_round, [Visit(p, 0, ("memory",)) for p in points], str, lambda _: 600.0
    ):
        if outcome.value is None or outcome.value.status != "ok":
            print(f"estimate: {outcome.item.point.model} was not measured: {outcome.value or outcome.error}")
            return False
        point, process = outcome.item.point, outcome.value.values["memory"]["peak_memory_mib"]
        estimated, profiled = estimate(point).total_mib, profiled_peak_mib(point)
        off = 100 * abs(estimated / profiled - 1)
        worst = max(worst, off)
        print(
            f"estimate: {point.model} {point.mode}, batch {BATCH_SIZE}: {estimated:,.1f} MiB, {off:.2f} % off the "
            f"profiler's {profiled:,.1f}; the process's peak: {process:,.1f}, {100 * (process / estimated - 1):+.0f} %"
        )
    print(f"estimate: at most {worst:.2f} % off the profiler (target: {TARGET_PCT:.0f})")
    return worst <= TARGET_PCT


def profiled_peak_mib(point: Point) -> float:
    """Return the peak of what the CPU allocator gave out during one pass, network and all else included."""
    gc.disable()  # or tensors of before were given back, and not taken, under the eyes of the profiler
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            passes = Passes(point, "cpu")
            passes()
            with record_function(_COUNTS):
                passes()
    finally:
        gc.enable()
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    live = peak = 0
    counts = False
    for event in sorted(results.events(), key=lambda event: event.start_ns()):
        counts = counts or event.name() == _COUNTS
        live += event.nbytes() if event.name() == "[memory]" else 0
        peak = max(peak, live) if counts else 0
    return peak / MIB


_COUNTS = "the pass that counts"
