import subprocess
import sys

import pytest
import torch

from hvt_bench.measure import Visit, available_memory_mib, count_point, is_out_of_memory, measure_round
from hvt_bench.metrics.latency import MIN_PASSES
from hvt_bench.models import parse_model
from hvt_bench.point import Point

TINY = "hvt:img_size=32,embed_dim=64,depth=2,num_classes=10"


def point(model=TINY, **changes):
    fields = {"device": "cpu", "batch_size": 2, "warmup_s": 0.0, "min_time_s": 0.001, "rounds": 1}
    return Point(model="m", config=parse_model(model), **(fields | changes))


def test_counting_a_point_is_a_sample_without_a_round():
    sample = count_point(point())
    assert (sample.round, sample.status) == (None, "ok")
    assert sample.values["complexity"]["macs"] == parse_model(TINY).closed_form_macs()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_round_measures_what_is_asked_for(dtype, attention):
    sample = measure_round(Visit(point(dtype=dtype, attention=attention), 1, ("memory", "latency")))
    assert (sample.round, sample.status, sample.error) == (1, "ok", None)
    assert set(sample.values) == {"memory", "latency"}
    assert len(sample.values["latency"]["pass_ms"]) >= MIN_PASSES
    bytes_each = {"float32": 4, "bfloat16": 2}[dtype]
    assert (
        sample.values["memory"]["weights_mib"]
        == count_point(point()).values["complexity"]["params"] * bytes_each / 2**20
    )


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
