import pytest
import torch

from hvt_bench.metrics import peak
from hvt_bench.metrics.peak import COPIED_BYTES, TRIES, Peak, measure_peak
from hvt_bench.metrics.stopwatch import Stopwatch, make_stopwatch


class Machine(Stopwatch):
    """Takes times by a script, and does what it is given to do."""

    def __init__(self, *seconds):
        super().__init__("cpu")
        self.seconds = list(seconds)

    def block_s(self, run, passes):
        assert passes == 1
        run()
        return self.seconds.pop(0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(peak, "SIDES", (4, 8, 16))
    monkeypatch.setattr(peak, "COPIED_BYTES", 64)


def test_the_quickest_of_some_runs_counts_and_the_first_does_not():
    product, copy = [1e-9, 0.5, 0.25, 0.5, 0.5, 0.5], [1e-9, 8.0, 8.0, 4.0, 8.0, 8.0]
    found = measure_peak("cpu", torch.float32, Machine(*product, *copy))
    assert found == {"peak_macs_per_s": 4**3 / 0.25, "peak_bytes_per_s": 2 * 64 / 4.0}


def test_larger_products_are_tried_while_they_are_quick_and_the_best_counts():
    quick, long, copy = [0.001] * (1 + TRIES), [0.5] * (1 + TRIES), [1.0] * (1 + TRIES)
    machine = Machine(*quick, *long, *copy)
    assert measure_peak("cpu", torch.float32, machine)["peak_macs_per_s"] == 4**3 / 0.001
    assert machine.seconds == []
    always_quick = Machine(*quick * 3, *copy)
    assert measure_peak("cpu", torch.float32, always_quick)["peak_macs_per_s"] == 16**3 / 0.001


def test_products_are_of_the_format_asked_for(monkeypatch):
    seen = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, out: seen.append((a.dtype, out.dtype)) or product(a, b, out=out))
    measure_peak("cpu", torch.bfloat16, Machine(*[1.0] * 12))
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}


def test_the_best_round_is_the_peak():
    rounds = [{"peak_macs_per_s": 2e9, "peak_bytes_per_s": 3e9}, {}, {"peak_macs_per_s": 4e9, "peak_bytes_per_s": 1e9}]
    assert Peak.summarise(rounds) == Peak(peak_macs_per_s=4e9, peak_bytes_per_s=3e9)
    assert Peak.summarise([{}]) == Peak()


def test_the_document_of_the_column_says_how_much_is_copied():
    assert f"{COPIED_BYTES // 2**20} MiB" in Peak.model_fields["peak_bytes_per_s"].metadata[0].doc


@pytest.mark.gpu
def test_a_gpu_computes_faster_in_a_shorter_format():
    whole, half = (measure_peak("cuda:0", dtype, make_stopwatch("cuda:0")) for dtype in (torch.float32, torch.float16))
    assert half["peak_macs_per_s"] > whole["peak_macs_per_s"] > 0
    assert whole["peak_bytes_per_s"] > 0
