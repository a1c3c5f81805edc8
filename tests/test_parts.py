import pytest

from hvt_bench.metrics.complexity import breakdown
from hvt_bench.metrics.timeline import OWN, Timeline
from hvt_bench.models import parse_model
from hvt_bench.parts import BREAKDOWNS, NOTHING, cut, module_names
from hvt_bench.point import Point
from hvt_bench.timed import Timed
from tests.conftest import ENVIRONMENT

SMALL = parse_model("hvt:depth=3,pool_stages=1,img_size=32,embed_dim=64,num_classes=10")
COUNTED = breakdown(SMALL)
POINT = Point(model="x", config=SMALL, device="cpu", batch_size=4, warmup_s=0.0)
BLOCKS = {"": 21.0, OWN: 1.0, "patch_embed": 2.0, "blocks.0": 8.0, "blocks.1": 4.0, "blocks.2": 4.0, "norm": 0.5}


def timed(times, config=SMALL):
    point = POINT.model_copy(update={"config": config})
    return Timed(point, Timeline(times, pass_ms=12.0, passes=5), ENVIRONMENT)


def cut_by(by, times, counted=COUNTED, config=SMALL):
    """The parts by their names, and the whole."""
    parts, whole = cut(counted, timed(times, config), by)
    label = "operator" if by == "operator" else "stage" if by == "stage" else "module"
    return {part[label]: part for part in parts}, whole


def test_blocks_and_stages_need_the_time_of_each_block_and_modules_that_of_all():
    blocks = [OWN, "patch_embed", "blocks.0", "blocks.1", "blocks.2", "norm", "head"]
    assert module_names(COUNTED, "block") == module_names(COUNTED, "stage") == blocks
    assert set(module_names(COUNTED, "module")) == {"(all)", *COUNTED.modules} - {""}
    assert module_names(COUNTED, "operator") is None


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_without_time_there_are_no_columns_of_time(by):
    parts, whole = cut(COUNTED, None, by)
    assert not {"time_ms", "time_pct", "macs_per_s"} & {*parts[0], *whole}
    assert whole["macs"] == COUNTED.total.macs


def test_speed_is_of_the_whole_batch_and_shares_are_of_the_sum():
    parts, whole = cut_by("block", BLOCKS)
    assert parts["blocks.0"]["time_ms"] == 8.0
    assert parts["blocks.0"]["time_pct"] == pytest.approx(100 * 8 / 19.5, rel=1e-5)
    assert parts["blocks.0"]["macs_per_s"] == pytest.approx(4 * COUNTED.modules["blocks.0"].macs / 8e-3, rel=1e-5)
    assert (parts["norm"]["time_ms"], parts["norm"]["macs_per_s"]) == (0.5, 0.0)
    assert (whole["time_ms"], whole["time_pct"]) == (19.5, 100.0)
    assert whole["macs_per_s"] == pytest.approx(4 * COUNTED.total.macs / 19.5e-3, rel=1e-5)


def test_a_part_that_did_not_run_has_no_time():
    parts, _ = cut_by("block", BLOCKS)
    assert [parts["head"][key] for key in ("time_ms", "time_pct", "macs_per_s")] == [None] * 3
    assert parts["head"]["macs"] == 640


def test_what_lies_in_no_child_is_a_part_where_it_was_timed_though_it_costs_nothing(module):
    config = parse_model(f"{module}:Net:input_shapes=[[3,8,8]]")
    counted = breakdown(config)
    assert OWN not in [part["module"] for part in cut(counted, None, "block")[0]]
    assert cut_by("block", {"": 2.0, OWN: 0.5}, counted, config)[0][OWN]["time_ms"] == 0.5


def test_stages_add_up_the_times_of_their_blocks():
    parts, whole = cut_by("stage", BLOCKS)
    assert {name: part["time_ms"] for name, part in parts.items()} == {
        OWN: 1.0,
        "patch_embed": 2.0,
        "blocks.0": 8.0,
        "blocks.1 to blocks.2": 8.0,
        "norm": 0.5,
        "head": None,
    }
    assert whole["time_ms"] == 19.5


def test_modules_hold_others_so_the_whole_is_the_network():
    parts, whole = cut_by("module", {"": 20.0, "blocks": 16.0, "blocks.1.mlp": 5.0})
    assert (whole["time_ms"], parts["(all)"]["time_pct"], parts["blocks.1.mlp"]["time_pct"]) == (20.0, 100.0, 25.0)
    assert parts["blocks.1.mlp.fc1"]["time_ms"] is None


def test_operators_that_cost_no_macs_are_there_too_the_slowest_first():
    parts, whole = cut_by("operator", {"gelu": 3.0, "convolution": 1.0, "linear": 5.0, "alias": 0.0})
    assert list(parts) == ["linear", "gelu", "convolution", "alias", "scaled_dot_product_attention"]
    assert [part["macs"] for part in parts.values()].count(0) == 2
    assert parts["gelu"] == {
        "operator": "gelu", "macs": 0, "activations": 0, "time_ms": 3.0, "time_pct": 33.3333, "macs_per_s": 0.0
    }  # fmt: skip
    assert parts["alias"]["macs_per_s"] is None  # no time was seen
    assert whole["time_ms"] == 9.0


def test_convolutions_are_one_operator_however_they_were_counted():
    config = parse_model(
        "torch.nn:Conv2d:in_channels=1,out_channels=1,kernel_size=3,padding=same,input_shapes=[[1,5,5]]"
    )
    parts, _ = cut_by("operator", {"convolution": 1.0}, breakdown(config), config)
    assert list(parts) == ["convolution"]
    assert parts["convolution"]["macs"] == 25 * 9


def test_the_speed_of_an_operator_is_unknown_where_its_macs_may_be_those_of_another():
    parts, whole = cut_by("operator", {"transformer_encoder_layer_fwd": 3.0, "linear": 1.0, "gelu": 1.0})
    assert parts["transformer_encoder_layer_fwd"]["macs"] is None
    assert parts["linear"]["time_pct"] == 20.0
    assert [part["macs_per_s"] for part in parts.values()] == [None, 0.0, None, None, None]
    assert whole["macs_per_s"] == pytest.approx(4 * COUNTED.total.macs / 5e-3, rel=1e-5)


def test_an_operator_that_the_network_declares_is_no_unknown_one():
    config = parse_model("mylab.nets:make:input_shapes=[[3,4,4]]")
    config = config.model_copy(update={"operators": (("lib::op", "free"),)})
    parts, _ = cut_by("operator", {"lib::op": 1.0, "lib::other": 1.0}, config=config)
    assert (parts["lib::op"]["macs"], parts["lib::other"]["macs"]) == (0, None)


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_a_network_in_which_nothing_runs_has_parts_too(by):
    config = parse_model("torch.nn:Identity")
    parts, whole = cut_by(by, {"": 0.0, OWN: 0.0} if by != "operator" else {}, breakdown(config), config)
    assert len(parts) == 1
    assert (whole["macs"], whole["time_ms"], whole["time_pct"], whole["macs_per_s"]) == (0, 0.0, None, None)
    assert by != "operator" or list(parts) == [NOTHING]
