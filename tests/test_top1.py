import pytest

from hvt_bench.analysis.top1 import Top1, not_found, printed, top1_of
from hvt_bench.models import parse_model
from hvt_bench.published import published
from tests.test_rebuild import row_of


def test_a_network_has_the_top1_that_is_printed_of_it():
    (found,) = top1_of(row_of("hvt_s_1"), {})
    assert found == Top1(78.00, "printed", "ImageNet-1k", network="hvt_s_1", system="HVT", others=(78.06, 78.3))
    (narrow,) = top1_of(row_of("hvt_s_1", axis="embed_dim", embed_dim=192, num_heads=3), {})
    assert narrow.network == "hvt_ti_1"
    assert top1_of(row_of("hvt_s_1", num_classes=7), {}) == ()


def test_every_system_that_printed_a_network_is_there_and_quotes_are_not():
    found = {top1.system: top1.percent for top1 in top1_of(row_of("deit_small"), {})}
    assert found == {"DeiT": 79.8, "DeiT-III": 81.4, "timm accuracy": 79.856, "DynamicViT": 79.8}
    assert {line.system for line in published("mvit") if line.network == "deit_small"} == {"MViT"}  # a comparison row


def test_printed_of_other_data_is_not_taken():
    assert parse_model("hvt_s_1:num_classes=100") not in printed()


def test_ones_own_goes_before_what_is_printed_and_the_measured_before_both():
    own = {"hvt_s_1": 50.0}
    assert top1_of(row_of("hvt_s_1"), own) == (Top1(50.0, "own", "ImageNet-1k"),)
    assert [top1.percent for top1 in top1_of(row_of("hvt_s_1", model="mine"), {"mine": 1.5})] == [1.5]
    swept = row_of("hvt_s_0", axis="pool_stages", pool_stages=1)
    assert top1_of(swept, own) == (Top1(50.0, "own", "ImageNet-1k", network="hvt_s_1"),)
    measured = {"top1": 61.0, "top1_rounds": (60.0, 62.0), "top1_spread": 1.5, "data": "digits", "recipe": "small"}
    assert top1_of({**row_of("hvt_s_1"), **measured}, own) == (Top1(61.0, "measured", "digits", "small", 1.5),)


def test_one_seed_has_no_spread_and_other_classes_no_data():
    measured = {"top1": 61.0, "top1_rounds": (61.0,), "top1_spread": None}
    (found,) = top1_of({**row_of("hvt_s_1"), **measured}, {})
    assert found.spread is None
    (found,) = top1_of(row_of("hvt_s_1", num_classes=7), {"hvt_s_1": 50.0})
    assert found.data == ""


def test_names_that_no_row_is_of_are_found():
    rows = [row_of("hvt_s_1"), row_of("deit_small", axis="depth", depth=6)]
    assert not_found(rows, {"hvt_s_1": 1.0, "deit_small:depth=6": 1.0, "deit_small": 1.0, "x": 1.0}) == [
        "deit_small",
        "x",
    ]


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_outside_networks_can_have_ones_own(percent):
    outside = row_of("hvt_s_1", model="timm:x", family="external")
    (found,) = top1_of(outside, {"timm:x": percent})
    assert (found.percent, found.source) == (percent, "own")
    assert top1_of(outside, {}) == ()
