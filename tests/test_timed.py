import pytest
import torch

from hvt_bench.errors import ConfigError, HvtBenchError, RequestError
from hvt_bench.metrics.timeline import OWN
from hvt_bench.models import parse_model
from hvt_bench.point import Point, Protocol
from hvt_bench.timed import READS, check_timeable, time_point
from tests.conftest import describe

TINY = parse_model("hvt:depth=2,pool_stages=1,img_size=32,embed_dim=64,num_classes=10")
POINT = Point(
    model="tiny", config=TINY, device="cpu", batch_size=2, warmup_s=0.0, warmup_passes=1, min_time_s=1e-9, num_threads=1
)


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("hvt_bench.timed.Environment.measure", describe)


def test_modules_are_timed_by_name_and_operators_without():
    found = time_point(POINT, ["norm"])
    assert set(found.line.parts) == {"", OWN, "norm"}
    assert found.environment.device_name == "Test CPU"
    assert "linear" in time_point(POINT, None).line.parts


def test_threads_are_those_of_the_point(monkeypatch):
    before, seen = torch.get_num_threads(), []

    def built(point):
        seen.append(torch.get_num_threads())
        raise ConfigError("enough")

    monkeypatch.setattr("hvt_bench.timed.Passes", built)
    try:
        with pytest.raises(ConfigError):
            time_point(POINT.model_copy(update={"num_threads": before + 1}), [])
    finally:
        torch.set_num_threads(before)
    assert seen == [before + 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "train"}, "--time: mode=train: a forward pass can be taken apart and no training step; leave it out"),
        ({"compile": True}, "--time: compile=true: the hooks on modules would change what is compiled; leave it out"),
        ({"device": "mps"}, "--time: device=mps: there is no clock for the parts of a pass on mps; take cpu"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(change, sentence):
    for refuse in (check_timeable, lambda point: time_point(point, None)):
        with pytest.raises(RequestError) as caught:
            refuse(POINT.model_copy(update=change))
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory at batch_size 2; take a smaller one"),
        (RuntimeError("no\n such  kernel"), "tiny: RuntimeError: no such kernel"),
        (ConfigError("as it was"), "as it was"),
    ],
)
def test_a_pass_that_fails_is_a_sentence(monkeypatch, failure, sentence):
    def fails(point):
        raise failure

    monkeypatch.setattr("hvt_bench.timed.Passes", fails)
    with pytest.raises(HvtBenchError) as caught:
        time_point(POINT, None)
    assert str(caught.value) == sentence


def test_what_it_reads_are_fields_of_the_protocol():
    assert set(READS) < set(Protocol.model_fields)
