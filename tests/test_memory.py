import json
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
    assert found.keys() == {"weights_mib", "peak_memory_mib"}


def test_weights_that_are_no_whole_mib_are_exact():
    network = nn.Linear(3, 1)
    found = MemoryMeter("cpu").measure(network, lambda: network(torch.zeros(1, 3)))
    assert found["weights_mib"] == 16 / MIB


def test_passes_are_run_before_the_peak_is_read(monkeypatch):
    script = iter([100 * MIB, 350 * MIB])
    log = []

    def peak():
        log.append("peak")
        return next(script)

    monkeypatch.setattr(memory, "_process_peak", peak)
    monkeypatch.setattr(memory, "_reset_process_peak", lambda: log.append("reset"))
    found = MemoryMeter("cpu").measure(nn.Identity(), lambda: log.append("run"))
    assert log == ["reset", "peak", "run", "run", "peak"]
    assert found == {"weights_mib": 0.0, "peak_memory_mib": 250.0}


def test_a_gpu_is_measured_by_its_allocator_after_a_first_pass(monkeypatch):
    log = []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: log.append((name, device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: log.append(("peak", device)) or 7 * MIB)
    found = MemoryMeter("cuda:1").measure(nn.Identity(), lambda: log.append("run"))
    assert found["peak_memory_mib"] == 7.0
    assert log == [
        "run",
        ("synchronize", "cuda:1"),
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
    (proc / "status").write_text("Name:\tpython\nVmPeak:\t 999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 100 kB\n")
    (proc / "clear_refs").write_text("")
    memory._reset_process_peak()
    assert (proc / "clear_refs").read_text() == "5"
    assert memory._process_peak() == 2 * MIB


def test_elsewhere_the_peak_is_that_of_the_process(proc):
    memory._reset_process_peak()
    assert memory._process_peak() > MIB


def test_a_kernel_that_does_not_keep_the_peak_is_no_crash(proc):
    """Linux of some sandboxes has /proc/self/status without VmHWM."""
    (proc / "status").write_text("Name:\tpython\nVmRSS:\t 100 kB\n")
    assert memory._process_peak() > MIB


def test_the_largest_peak_of_the_rounds_counts():
    rounds = [{"weights_mib": 5.0, "peak_memory_mib": peak} for peak in (9.0, 12.5, 11.0)]
    assert Memory.summarise(rounds) == Memory(weights_mib=5.0, peak_memory_mib=12.5)
    assert Memory.summarise(rounds[:1]) == Memory(weights_mib=5.0, peak_memory_mib=9.0)


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
print(json.dumps([small, large]))
"""


def test_on_a_cpu_the_peak_holds_the_weights_and_what_a_pass_needs():
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    small, large = json.loads(answer)
    weights = (4096 * 4096 + 4096 + 16 * 4096 + 16) * 4 / MIB
    assert small["weights_mib"] == large["weights_mib"] == weights
    assert weights <= small["peak_memory_mib"] < weights + 100
    assert large["peak_memory_mib"] >= weights + 2 * 16  # input and hidden layer, 16 MiB each


@pytest.mark.gpu
def test_on_a_gpu_the_peak_holds_the_weights_and_what_a_pass_needs():
    meter = MemoryMeter("cuda:0")
    with torch.inference_mode():
        network = nn.Linear(4096, 4096, bias=False, device="cuda:0")
        found = meter.measure(network, lambda: network(torch.zeros(8192, 4096, device="cuda:0")))
    assert found["weights_mib"] == 64
    assert found["peak_memory_mib"] >= 64 + 2 * 128
