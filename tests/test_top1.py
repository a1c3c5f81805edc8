import pytest

from hvt_bench.analysis.top1 import Top1, not_found, printed, top1_of
from hvt_bench.models import parse_model
from tests.test_rebuild import row_of


def test_a_network_has_the_top1_that_is_printed_of_it():
    assert top1_of(row_of("hvt_s_1"), {}) == Top1(78.00, "printed", "hvt_s_1", "HVT")
    assert top1_of(row_of("hvt_s_1", axis="embed_dim", embed_dim=192, num_heads=3), {}).network == "hvt_ti_1"
    assert top1_of(row_of("hvt_s_1", num_classes=7), {}) is None


def test_printed_of_other_data_is_not_taken():
    assert parse_model("hvt_s_1:num_classes=100") not in printed()


def test_ones_own_goes_before_what_is_printed_and_the_measured_before_both():
    own = {"hvt_s_1": 50.0}
    assert top1_of(row_of("hvt_s_1"), own) == Top1(50.0, "own")
    assert top1_of(row_of("hvt_s_1", model="mine"), {"mine": 1.5}).percent == 1.5
    assert top1_of(row_of("hvt_s_0", axis="pool_stages", pool_stages=1), own) == Top1(50.0, "own", "hvt_s_1")
    assert top1_of({**row_of("hvt_s_1"), "top1": 61.0}, own) == Top1(61.0, "measured")


def test_names_that_no_row_is_of_are_found():
    rows = [row_of("hvt_s_1"), row_of("deit_small", axis="depth", depth=6)]
    assert not_found(rows, {"hvt_s_1": 1.0, "deit_small:depth=6": 1.0, "deit_small": 1.0, "x": 1.0}) == [
        "deit_small",
        "x",
    ]


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_outside_networks_can_have_ones_own(percent):
    outside = row_of("hvt_s_1", model="timm:x", family="external")
    assert top1_of(outside, {"timm:x": percent}) == Top1(percent, "own")
    assert top1_of(outside, {}) is None
