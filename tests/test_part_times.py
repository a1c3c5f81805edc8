import pytest
from torch import nn

from hvt_bench.metrics.complexity import breakdown
from hvt_bench.metrics.kinds import KINDS, kinds_of
from hvt_bench.metrics.part_times import PartTimes, hooked, measure_parts, own_times, why_not_timed
from hvt_bench.metrics.passes import Passes
from hvt_bench.metrics.stopwatch import make_stopwatch
from hvt_bench.metrics.timeline import OWN
from hvt_bench.models import create_model, parse_model
from hvt_bench.point import Point
from tests.test_timeline import Clock, Takes, passes_of

TINY = "hvt:depth=3,pool_stages=1,img_size=32,patch_size=4,embed_dim=64,num_classes=10"
POINT = Point(
    model="tiny", config=parse_model(TINY), device="cpu", batch_size=2, warmup_s=0.0, warmup_passes=1, min_time_s=1e-9
)


def test_blocks_and_what_differs_from_what_holds_it_are_hooked():
    names = [name for name, _ in create_model("hvt:depth=1,pool_stages=1,img_size=32,embed_dim=64").named_modules()]
    assert hooked(names) == [
        "patch_embed", "blocks.0", "blocks.0.attn", "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp",
        "blocks.0.pool", "head",
    ]  # fmt: skip


def test_a_module_has_the_time_that_the_modules_in_it_have_not():
    inclusive = {"": 10.0, OWN: 1.0, "blocks.0": 8.0, "blocks.0.attn": 5.0, "blocks.0.attn.qkv": 2.0, "head": 1.0}
    own = {"": 1.0, "blocks.0": 3.0, "blocks.0.attn": 3.0, "blocks.0.attn.qkv": 2.0, "head": 1.0}
    assert own_times(inclusive) == own


def network(clock):
    """A block of 1 s of norms, 2 s of attention products, 4 s of projections, 8 s of MLP, and one thrice as slow."""

    def block(times):
        attn = Takes(clock, 2.0 * times, qkv=Takes(clock, 3.0 * times), proj=Takes(clock, 1.0 * times))
        return Takes(clock, 1.0 * times, attn=attn, mlp=Takes(clock, 8.0 * times))

    blocks = nn.Sequential(block(1), block(3))
    blocks.clock = clock
    return Takes(clock, 0.5, patch_embed=Takes(clock, 0.25), blocks=blocks, head=Takes(clock, 0.125))


def parts(embedding=0.0, attention=0.0, projections=0.0, mlp=0.0, pooling=0.0, head=0.0, other=0.0):
    return [1e3 * seconds for seconds in (embedding, attention, projections, mlp, pooling, head, other)]


def test_times_are_sorted_by_kind_whole_and_by_stage():
    clock = Clock()
    config = parse_model("hvt:depth=2,pool_stages=1,img_size=32,patch_size=4,embed_dim=64")
    point = POINT.model_copy(update={"config": config.model_copy(update={"pool_stages": 2})})
    found = measure_parts(passes_of(network(clock)), clock, point)
    assert found["parts_ms"] == parts(0.25, 8.0, 16.0, 32.0, 0.0, 0.125, 4.5)
    assert found["stage_parts_ms"] == [
        *parts(attention=2.0, projections=4.0, mlp=8.0, other=1.0),
        *parts(attention=6.0, projections=12.0, mlp=24.0, other=3.0),
    ]


def test_a_network_that_does_not_tell_its_tokens_has_no_stages():
    clock = Clock()
    outside = POINT.model_copy(update={"config": parse_model("torch.nn:Identity:input_shapes=[[1]]")})
    assert measure_parts(passes_of(Takes(clock, 0.5)), clock, outside) == {"parts_ms": parts(other=0.5)}


@pytest.mark.parametrize("changes", [{"mode": "train"}, {"compile": True}, {"device": "mps"}])
def test_what_cannot_be_taken_apart_is_not_measured_and_no_failure(changes):
    point = POINT.model_copy(update=changes)
    assert why_not_timed(point)
    assert measure_parts(None, None, point) == {}


def test_a_row_has_the_medians_of_its_rounds():
    rounds = [{"parts_ms": [1.0, 5.0], "stage_parts_ms": [1.0]}, {"parts_ms": [2.0, 4.0], "stage_parts_ms": [3.0]}]
    assert PartTimes.summarise([*rounds, {"parts_ms": [9.0, 9.0], "stage_parts_ms": [9.0]}, {}]) == PartTimes(
        parts_ms=(2.0, 5.0), stage_parts_ms=(3.0,)
    )
    assert PartTimes.summarise([{}]) == PartTimes()


@pytest.mark.parametrize("model", [TINY, "mvit:img_size=64,embed_dim=16,num_heads=1", "dynamicvit:img_size=64"])
def test_what_has_macs_takes_time(model):
    point = POINT.model_copy(update={"config": parse_model(model), "num_threads": 1})
    found = measure_parts(Passes(point), make_stopwatch("cpu"), point)
    counted = kinds_of(breakdown(point.config))
    took = dict(zip(KINDS, found["parts_ms"], strict=True))
    assert all(took[kind] > 0 for kind in counted.macs)
    assert len(found["stage_parts_ms"]) == len(KINDS) * len(counted.stages)
