import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hvt_bench.measure import (
    Apparatus,
    Visit,
    available_memory_mib,
    count_point,
    estimate_point,
    is_out_of_memory,
    measure_round,
)
from hvt_bench.metrics import peak
from hvt_bench.metrics.estimate import estimate
from hvt_bench.metrics.kinds import KINDS
from hvt_bench.metrics.latency import MIN_PASSES
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from tests.outside_networks import PICKS
from tests.scripted import Script

TINY = "hvt:img_size=32,embed_dim=64,depth=2,num_classes=10"


def point(model=TINY, **changes):
    times = {"warmup_s": 0.0, "min_time_s": 0.001, "max_time_s": 0.002}
    fields = {"device": "cpu", "batch_size": 2, "rounds": 1, "num_threads": 1, **times}
    return Point(model="m", config=parse_model(model), **(fields | changes))


def test_counting_a_point_is_a_sample_without_a_round():
    sample = count_point(point())
    assert (sample.round, sample.status) == (None, "ok")
    assert sample.values["complexity"]["macs"] == parse_model(TINY).closed_form_macs()


def test_counting_estimates_memory_where_that_is_asked_for():
    both, alone = count_point(point(), ("memory", "complexity", "latency")), count_point(point(), ("memory",))
    assert set(both.values) == {"complexity", "estimate"}
    assert alone.values == {"estimate": {"estimated_memory_mib": estimate(point()).total_mib}}


def test_the_memory_of_a_batch_that_is_still_sought_is_unknown():
    sought = point(max_batch=True)
    assert count_point(sought, ("memory",)).values == {"estimate": {"estimated_memory_mib": None}}
    assert estimate_point(sought).values == {"estimate": {"estimated_memory_mib": estimate(point()).total_mib}}


@pytest.mark.parametrize(
    ("name", "changes"), [("picks_of_measure:Picks:input_shapes=[[4]]", {}), ("Net", {"checkpointing": True})]
)
def test_what_cannot_be_estimated_is_unknown_and_no_failure(module, name, changes):
    Path("picks_of_measure.py").write_text(PICKS)
    model = name if ":" in name else f"{module}:{name}"
    sample = count_point(point(model, mode="train", **changes), ("memory",))
    assert (sample.status, sample.values) == ("ok", {"estimate": {"estimated_memory_mib": None}})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_round_measures_what_is_asked_for(dtype, attention):
    sample = measure_round(Visit(point(dtype=dtype, attention=attention), 1, ("memory", "latency")))
    assert (sample.round, sample.status, sample.error) == (1, "ok", None)
    assert set(sample.values) == {"memory", "latency", "conditions"}
    assert len(sample.values["latency"]["pass_ms"]) >= MIN_PASSES
    bytes_each = {"float32": 4, "bfloat16": 2}[dtype]
    assert (
        sample.values["memory"]["weights_mib"]
        == count_point(point()).values["complexity"]["params"] * bytes_each / 2**20
    )


def test_parts_and_peak_are_measured_beside_each_other(monkeypatch):
    monkeypatch.setattr(peak, "SIDES", (64,))
    monkeypatch.setattr(peak, "COPIED_BYTES", 2**20)
    sample = measure_round(Visit(point(), 0, ("parts", "peak")))
    assert sample.status == "ok"
    assert len(sample.values["parts"]["parts_ms"]) == len(KINDS)
    assert sample.values["peak"]["peak_macs_per_s"] > 0


def test_a_peak_without_memory_for_it_fails_no_point(monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:113] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("hvt_bench.measure.measure_peak", full)
    sample = measure_round(Visit(point(), 0, ("peak",)))
    assert (sample.status, sample.values) == ("ok", {"peak": {}})


def test_only_the_metrics_asked_for_are_measured():
    assert set(measure_round(Visit(point(), 0, ("memory",))).values) == {"memory"}


def test_what_was_measured_before_a_failure_stays(monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("hvt_bench.measure.measure_latency", fail)
    sample = measure_round(Visit(point(), 0, ("memory", "latency")))
    assert sample.status == "oom"
    assert sample.error == (
        "out of memory, tried to allocate 2.00 GiB; take a smaller batch_size, "
        "or give --memory-limit more MiB if the machine has them"
    )
    assert set(sample.values) == {"memory"}


class Scale:
    """In the place of a memory meter: nothing weighs anything."""

    def __init__(self, device):
        pass

    def measure(self, model, run):
        run()
        return {"weights_mib": 0.0, "peak_memory_mib": 0.0}


class Watcher:
    """In the place of a witness: the GPU was hot."""

    def __init__(self, device, num_threads):
        self.began = False

    def start(self):
        self.began = True

    def stop(self, images):
        assert self.began
        return {"images": images, "throttle_reasons": ["hw_thermal_slowdown"]}


def scripted(script):
    return Apparatus(passes=lambda point: script, stopwatch=lambda device: script, meter=Scale, witness=Watcher)


def test_a_round_on_a_scripted_device():
    script = Script(9.0, 9.0, 9.0, 9.0, 0.5)  # one pass for the memory, three to warm up
    sample = measure_round(Visit(point(batch_size=4), 2, ("memory", "latency")), scripted(script))
    assert (sample.status, sample.round, sample.attempt) == ("ok", 2, 1)
    assert sample.values["memory"] == {"weights_mib": 0.0, "peak_memory_mib": 0.0}
    assert sample.values["latency"]["warmup_ms"] == [9000.0] * 3
    assert sample.values["latency"]["pass_ms"] == [500.0] * 5
    assert sample.values["latency"]["block_img_s"] == [8.0] * 3
    assert sample.values["latency"]["compile_s"] is None
    assert sample.values["conditions"] == {"images": 4 * (5 + 3), "throttle_reasons": ["hw_thermal_slowdown"]}


@pytest.mark.parametrize(
    ("passes", "metrics", "kept"),
    [
        (0, ("memory", "latency"), set()),
        (1, ("memory", "latency"), {"memory"}),
        (5, ("memory", "latency"), {"memory"}),
        (10, ("memory", "latency"), {"memory"}),
        (3, ("latency",), set()),
    ],
)
def test_running_out_of_memory_at_any_pass_is_a_status_and_what_was_found_before_stays(passes, metrics, kept):
    script = Script(0.5, fails_at={passes: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")})
    sample = measure_round(Visit(point(), 0, metrics), scripted(script))
    assert sample.status == "oom"
    assert sample.error.startswith("out of memory, tried to allocate 2.00 GiB; take a smaller batch_size")
    assert sample.values.keys() == kept


def test_the_first_pass_of_a_compiled_network_is_timed_apart():
    script = Script(60.0, 9.0, 9.0, 9.0, 0.5)
    sample = measure_round(Visit(point(compile=True), 0, ("latency",)), scripted(script))
    assert sample.values["latency"]["compile_s"] == 60.0
    assert sample.values["latency"]["pass_ms"] == [500.0] * 5


def test_a_visit_knows_how_often_its_round_was_tried():
    assert measure_round(Visit(point(), 0, ("memory",), attempt=2)).attempt == 2


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "amp_bfloat16", "amp_float16"])
def test_a_round_of_training_times_its_phases(dtype, checkpointing):
    asked = point(mode="train", dtype=dtype, checkpointing=checkpointing)
    sample = measure_round(Visit(asked, 0, ("memory", "latency")))
    assert (sample.status, sample.error) == ("ok", None)
    phases = sample.values["latency"]["phase_ms"]
    assert phases.keys() == {"forward", "backward", "step"}
    assert all(min(times) > 0 for times in phases.values())
    for whole, *parts in zip(sample.values["latency"]["pass_ms"], *phases.values(), strict=True):
        assert sum(parts) <= whole


def test_a_kernel_that_the_device_lacks_is_invalid():
    sample = measure_round(Visit(point(attention="sdpa_efficient"), 0, ("latency",)))
    assert sample.status == "invalid"
    assert sample.error == (
        "sdpa_efficient cannot run m in float32 on cpu: PyTorch finds no such kernel for its heads; take sdpa"
    )


TRAINED = """
from hvt_bench.measure import Visit, measure_round
from tests.test_measure import point
sample = measure_round(Visit(point(mode="train"), 0, ("memory",)))
print(sample.values["memory"]["peak_memory_mib"])
"""


def test_what_the_first_step_of_a_process_imports_is_no_memory_of_the_network():
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20  # 0.5 MiB of weights; torch._dynamo takes 75


COMPILED = """
from hvt_bench.measure import Visit, measure_round
from tests.test_measure import point
asked = point("vit:img_size=32,embed_dim=64,depth=1,num_classes=10", compile=True)
sample = measure_round(Visit(asked, 0, ("latency",)))
latency = sample.values["latency"]
print(sample.status, sample.error, latency["compile_s"] * 1e3 > 10 * max(latency["pass_ms"]))
"""


@pytest.mark.slow
def test_a_compiled_network_is_measured_after_it_was_compiled():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ok None True\n", "")


def test_any_other_failure_is_an_error_in_its_own_words(monkeypatch):
    def fail(*_):
        raise TypeError("bad\n  argument")

    monkeypatch.setattr("hvt_bench.measure.measure_latency", fail)
    sample = measure_round(Visit(point(), 0, ("latency",)))
    assert (sample.status, sample.error) == ("error", "TypeError: bad argument")


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:123] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("no"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_failures(failure, verdict):
    assert is_out_of_memory(failure) is verdict


LIMITED = """
from hvt_bench.measure import Visit, measure_round
from tests.test_measure import point
big = point("hvt:img_size=32,embed_dim=4096,num_heads=64,depth=8,num_classes=10")
sample = measure_round(Visit(big, 0, ("memory",), memory_limit_mib=300))
print(sample.status, sample.error)
"""


@pytest.mark.skipif(available_memory_mib() is None, reason="Linux enforces the limit")
def test_a_network_beyond_the_memory_limit_is_an_oom_and_not_a_dead_machine():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("oom out of memory, tried to allocate ")
    assert "or give --memory-limit more MiB" in done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gpu_round_measures_what_is_asked_for(dtype):
    sample = measure_round(Visit(point(device="cuda:0", dtype=dtype), 0, ("memory", "latency")))
    assert (sample.status, sample.error) == ("ok", None)
    assert sample.values["memory"]["peak_memory_mib"] > sample.values["memory"]["weights_mib"] > 0


@pytest.mark.gpu
def test_a_gpu_batch_that_cannot_fit_is_an_oom():
    sample = measure_round(Visit(point("vit_huge", device="cuda:0", batch_size=1_000_000), 0, ("memory",)))
    assert sample.status == "oom"
