import json
import mmap
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from hvt_bench.metrics import memory
from hvt_bench.metrics.memory import MIB, Memory, MemoryMeter


class Holds(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(1024, 1024, bias=False)
        self.other = nn.Linear(1024, 1024, bias=False)
        self.other.weight = self.one.weight
        self.short = nn.Parameter(torch.zeros(2**19, dtype=torch.float16))
        self.register_buffer("table", torch.zeros(2**17, dtype=torch.int64))
        self.register_buffer("passing", torch.zeros(2**20, dtype=torch.bool), persistent=False)

    def forward(self, x):
        return self.other(self.one(x))


def test_weights_are_parameters_and_buffers_each_once():
    network = Holds()
    found = MemoryMeter("cpu").measure(network, lambda: network(torch.zeros(1, 1024)))
    assert found["weights_mib"] == 4 + 1 + 1 + 1
    assert found.keys() == {"weights_mib", "peak_memory_mib", "process_memory_mib"}


def test_weights_that_are_no_whole_mib_are_exact():
    network = nn.Linear(3, 1)
    found = MemoryMeter("cpu").measure(network, lambda: network(torch.zeros(1, 3)))
    assert found["weights_mib"] == 16 / MIB


def test_on_a_cpu_the_peak_is_that_of_the_second_pass_over_what_there_was_before(monkeypatch):
    log = []
    files = iter([20 * MIB, 45 * MIB])
    monkeypatch.setattr(memory, "_from_files", lambda: next(files))
    monkeypatch.setattr(memory, "_resident", lambda: log.append("resident") or 100 * MIB)
    monkeypatch.setattr(memory, "_process_peak", lambda: log.append("peak") or 350 * MIB)
    monkeypatch.setattr(memory, "_reset_process_peak", lambda: log.append("reset"))
    meter = MemoryMeter("cpu")
    log.append("build")
    found = meter.measure(nn.Identity(), lambda: log.append("run"))
    assert log == ["resident", "build", "run", "reset", "run", "peak"]
    assert found == {"weights_mib": 0.0, "peak_memory_mib": 225.0, "process_memory_mib": 350.0}


def test_a_gpu_is_measured_by_its_allocator_and_driver_after_a_first_pass(monkeypatch, nvml):
    log = []
    retries = iter([3, 5])
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: log.append((name, device)))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("empty_cache"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: log.append(("peak", device)) or 7 * MIB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 8 * MIB)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"num_alloc_retries": next(retries)})
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = lambda handle: [
        nvml.struct(pid=os.getpid(), usedGpuMemory={"GPU-uuid-of-cuda:1": 500 * MIB}[handle])
    ]
    found = MemoryMeter("cuda:1").measure(nn.Identity(), lambda: log.append("run"))
    assert found == {
        "weights_mib": 0.0,
        "peak_memory_mib": 7.0,
        "reserved_memory_mib": 8.0,
        "process_memory_mib": 500.0,
        "alloc_retries": 2,
    }
    assert log == [
        "run",
        ("synchronize", "cuda:1"),
        "empty_cache",
        ("reset_peak_memory_stats", "cuda:1"),
        "run",
        ("synchronize", "cuda:1"),
        ("peak", "cuda:1"),
    ]


@pytest.fixture
def proc(monkeypatch, tmp_path):
    """Put a folder in the place of /proc/self."""
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / path.removeprefix("/proc/self/"))
    return tmp_path


def test_linux_is_asked_for_its_peak_and_told_to_forget_it(proc):
    sizes = {"VmPeak": 999, "VmHWM": 2048, "VmRSS": 1024, "RssAnon": 0, "RssFile": 512}
    (proc / "status").write_text("Name:\tpython\n" + "".join(f"{k}:\t  {v} kB\n" for k, v in sizes.items()))
    (proc / "clear_refs").write_text("")
    memory._reset_process_peak()
    assert (proc / "clear_refs").read_text() == "5"
    assert memory._process_peak() == 2 * MIB
    assert memory._resident() == 1 * MIB
    assert memory._from_files() == MIB // 2


def test_elsewhere_the_peak_is_that_of_the_process(proc):
    memory._reset_process_peak()
    assert memory._resident() == memory._process_peak() > MIB
    assert memory._from_files() == 0


def test_a_peak_that_may_not_be_reset_is_no_crash(proc):
    (proc / "clear_refs").mkdir()  # writing to it fails, as it does in some sandboxes
    memory._reset_process_peak()


def test_a_kernel_that_does_not_keep_the_peak_is_no_crash(proc):
    """Linux of some sandboxes has /proc/self/status without VmHWM: a peak that was there before is no pass's."""
    (proc / "status").write_text("Name:\tpython\nVmRSS:\t 100 kB\n")
    assert memory._resident() == memory._process_peak() > MIB


@pytest.mark.skipif(memory._status("VmHWM") is None, reason="Linux keeps a peak that can be reset")
def test_after_a_reset_the_peak_is_what_is_resident_now():
    with mmap.mmap(-1, 64 * MIB) as memory_that_goes:  # a tensor could take the place of one that went
        memory_that_goes.write(bytes([1]) * len(memory_that_goes))
    before = memory._process_peak()
    memory._reset_process_peak()
    after = memory._process_peak()
    assert after == pytest.approx(memory._resident(), abs=8 * MIB)  # of a process whose threads go on
    assert after < before - 32 * MIB


def test_the_largest_of_the_rounds_counts():
    rounds = [
        {"weights_mib": 5.0, "peak_memory_mib": peak, "process_memory_mib": 90.0 + peak, "alloc_retries": retries}
        for peak, retries in ((9.0, 0), (12.5, 0), (11.0, 2))
    ]
    assert Memory.summarise(rounds) == Memory(
        weights_mib=5.0, peak_memory_mib=12.5, process_memory_mib=102.5, alloc_retries=2
    )
    assert Memory.summarise(rounds[:1]).peak_memory_mib == 9.0


def test_what_no_round_knows_is_unknown_and_a_journal_of_before_is_read():
    rounds = [
        {"weights_mib": 5.0, "peak_memory_mib": 9.0},
        {"weights_mib": 5.0, "peak_memory_mib": 9.0, "process_memory_mib": None, "reserved_memory_mib": 10.0},
    ]
    assert Memory.summarise(rounds) == Memory(weights_mib=5.0, peak_memory_mib=9.0, reserved_memory_mib=10.0)


MEASURE = """
import json, torch
from torch import nn
from hvt_bench.metrics.memory import MemoryMeter
torch.set_num_threads(1)
torch.ones(64 * 2**18).sum()  # 64 MiB that came and went before do not count
meter = MemoryMeter("cpu")
with torch.inference_mode():
    network = nn.Sequential(nn.Linear(4096, 4096), nn.Linear(4096, 16))
    small = meter.measure(network, lambda: network(torch.zeros(1, 4096)))
    large = meter.measure(network, lambda: network(torch.zeros(1024, 4096)))
    del network
    built = MemoryMeter("cpu")
    wide = nn.Linear(8192, 8192, bias=False).to(torch.bfloat16)  # 256 MiB while it is built, then 128
    cast = built.measure(wide, lambda: wide(torch.zeros(1, 8192, dtype=torch.bfloat16)))
print(json.dumps([small, large, cast]))
"""


def test_on_a_cpu_the_peak_holds_the_weights_and_what_a_pass_needs():
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    small, large, cast = json.loads(answer)
    weights = (4096 * 4096 + 4096 + 16 * 4096 + 16) * 4 / MIB
    assert small["weights_mib"] == large["weights_mib"] == weights
    assert weights - 1 < small["peak_memory_mib"] < weights + 30
    assert large["peak_memory_mib"] >= weights + 2 * 16  # input and hidden layer, 16 MiB each
    assert cast["weights_mib"] == 128
    assert 127 < cast["peak_memory_mib"] < 128 + 30  # and not the 384 of building it
    for found in (small, large, cast):
        assert found["process_memory_mib"] > found["peak_memory_mib"]


@pytest.mark.gpu
def test_on_a_gpu_the_peak_holds_the_weights_and_what_a_pass_needs():
    meter = MemoryMeter("cuda:0")
    with torch.inference_mode():
        network = nn.Linear(4096, 4096, bias=False, device="cuda:0")
        found = meter.measure(network, lambda: network(torch.zeros(8192, 4096, device="cuda:0")))
    assert found["weights_mib"] == 64
    assert found["peak_memory_mib"] >= 64 + 2 * 128
    assert found["reserved_memory_mib"] >= found["peak_memory_mib"]
    assert found["process_memory_mib"] is None or found["process_memory_mib"] > found["reserved_memory_mib"]
    assert found["alloc_retries"] == 0


@pytest.mark.gpu
def test_on_a_gpu_the_peak_of_a_training_step_holds_what_the_first_one_made():
    def step():
        network(torch.zeros(64, 1024, device="cuda:0")).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    meter = MemoryMeter("cuda:0")
    network = nn.Linear(1024, 1024, bias=False, device="cuda:0")
    optimizer = torch.optim.AdamW(network.parameters())
    found = meter.measure(network, step)
    assert found["peak_memory_mib"] >= 4 * 4  # weights, gradients and both moments of AdamW, 4 MiB each


@pytest.mark.gpu
def test_a_gpu_that_is_full_is_tried_again_and_that_is_said():
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info("cuda:0")

    def fill():
        for share in (0.5, 0.7):  # the second fits only once the cache has given the first back
            torch.empty(int(share * free), dtype=torch.uint8, device="cuda:0")

    found = MemoryMeter("cuda:0").measure(nn.Identity(), fill)
    torch.cuda.empty_cache()
    assert found["alloc_retries"] == 1
