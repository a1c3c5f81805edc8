"""Which networks a search looks at."""

import pytest
from hypothesis import given, settings

from hvt_bench.analysis.designs import base_for, design_name, parse_values
from hvt_bench.analysis.product import Designs
from hvt_bench.errors import RequestError
from hvt_bench.models import make_config, override, parse_model
from tests.networks import configs

TINY = base_for(parse_model("deit_tiny"), "hvt")


def test_the_base_has_the_fields_of_the_target_and_the_choices_of_its_family():
    assert make_config("hvt_ti_1", {}) == TINY
    assert TINY.global_pool == "avg"
    assert base_for(parse_model("deit_tiny:num_classes=10,img_size=64"), "hvt").num_classes == 10
    assert base_for(parse_model("hvt_s_4:pool=avg,checkpoint=w.pth"), "hvt") == parse_model("hvt_s_4:pool=avg")
    assert base_for(parse_model("timm:vit_tiny_patch16_224"), "hvt") == make_config("hvt", {})


def test_usual_values_begin_at_the_base_and_make_it_larger():
    values = parse_values(TINY, ["embed_dim", "depth", "img_size", "patch_size", "pool_stages"], [])
    assert values["embed_dim"] == tuple(range(192, 769, 64))
    assert values["depth"] == tuple(range(12, 49))
    assert values["pool_stages"] == (0, 1, 2, 3, 4, 5, 6)
    assert parse_values(TINY, ["img_size"], [])["img_size"] == tuple(range(224, 449, 16))
    assert parse_values(TINY, ["patch_size"], [])["patch_size"] == (16, 14, 8, 7, 4)


def test_an_image_and_its_patch_that_are_both_varied_make_all_pairs_that_fit():
    values = parse_values(TINY, ["img_size", "patch_size"], [])
    assert values["patch_size"] == tuple(range(16, 3, -1))
    fits = {(size, side) for size in range(224, 449) for side in range(4, 17) if size % side == 0}
    assert {(config.img_size, config.patch_size) for _, config in Designs(TINY, values)} == fits
    assert (252, 14) in fits
    assert parse_values(TINY, ["patch_size"], ["img_size=252,256"])["patch_size"] == (16, 14, 12, 9, 8, 7, 6, 4)
    assert parse_values(TINY, ["img_size"], ["patch_size=56,64"])["img_size"] == (
        224,
        256,
        280,
        320,
        336,
        384,
        392,
        448,
    )


def test_a_number_that_each_takes_a_look_of_its_own_is_bounded_too():
    with pytest.raises(
        RequestError, match=r"^300,000 combinations \(300 depth x 1000 pool_stages\) are more than 200,000"
    ):
        parse_values(TINY, [], ["depth=1..300", "embed_dim=192,256", "pool_stages=0..999"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("depth=6..8", (6, 7, 8)),
        ("depth=6..13:3", (6, 9, 12)),
        ("mlp_ratio=2..3:0.5", (2.0, 2.5, 3.0)),
        ("pool=max,avg", ("max", "avg")),
        ("depth=12, 6,12", (12, 6)),
    ],
)
def test_values_that_are_given(text, values):
    assert tuple(parse_values(TINY, [], [text]).values()) == (values,)


@pytest.mark.parametrize(
    ("vary", "given", "sentence"),
    [
        (["dept"], [], "family hvt: unknown dimension 'dept'; did you mean 'depth'?"),
        (
            ["mlp_ratio"],
            [],
            "mlp_ratio has no usual values: give some, such as --values mlp_ratio=A,B or mlp_ratio=A..B:STEP",
        ),
        (
            [],
            ["depth"],
            "--values 'depth' is not of the form KEY=A..B:STEP or KEY=A,B,C, such as depth=12..24:4",
        ),
        (
            [],
            ["depth=24..12"],
            "--values depth=24..12: give numbers that ascend, and a step above 0, such as 12..24:4",
        ),
        (
            [],
            ["depth=1..2:0"],
            "--values depth=1..2:0: give numbers that ascend, and a step above 0, such as 12..24:4",
        ),
        (
            [],
            ["depth=1..1000", "num_classes=1..20001"],
            "20,001,000 combinations (1000 depth x 20001 num_classes) are more than 20,000,000; "
            "narrow them with --values or --vary",
        ),
        (
            [],
            ["depth=0"],
            "--values depth: family hvt: depth: 0 does not fit: should be greater than or equal to 1",
        ),
        (
            [],
            ["pool=min"],
            "--values pool: family hvt: pool: 'min' does not fit: should be 'max', 'avg' or 'conv_dw'",
        ),
    ],
)
def test_a_dimension_that_cannot_be_varied_is_a_sentence(vary, given, sentence):
    with pytest.raises(RequestError) as caught:
        parse_values(TINY, vary, given)
    assert str(caught.value) == sentence


def test_designs_are_the_networks_that_override_makes():
    designs = Designs(TINY, {"embed_dim": (192, 200, 256), "img_size": (224, 230), "pool_stages": (1, 4)})
    found = list(designs)
    assert (len(designs), len(found), designs.invalid) == (12, 4, 8)
    assert all(config == override(TINY, **changes) for changes, config in found)
    assert {config.num_heads for _, config in found} == {3, 4}


def test_designs_that_differ_only_in_a_field_without_effect_are_one():
    """How an HVT pools that never does; a field that is not varied counts for nothing."""
    designs = Designs(TINY, {"pool_stages": (0, 1), "pool": ("max", "avg"), "pool_stride": (2, 3)})
    found = [tuple(changes.values()) for changes, _ in designs]
    assert found == [(0, "max", 2), *((1, pool, stride) for pool in ("max", "avg") for stride in (2, 3))]
    assert (len(designs), designs.repeated, designs.invalid) == (8, 3, 0)
    assert len(list(Designs(TINY, {"pool_stages": (0, 1, 2)}))) == 3


@pytest.mark.parametrize("pool", ["max", "avg", "conv_dw"])
def test_what_is_without_effect_builds_the_same(pool):
    def modules(**changes):
        return repr(override(TINY, depth=2, pool=pool, **changes).build_on_meta())

    for name, value in {"pool_kernel_size": 4, "pool_stride": 3}.items():
        assert modules(pool_stages=0) == modules(pool_stages=0, **{name: value})
        assert modules(pool_stages=1) != modules(pool_stages=1, **{name: value})
    assert modules(pool_stages=0) == repr(override(TINY, depth=2, pool_stages=0).build_on_meta())


def test_names_are_short():
    assert design_name(TINY) == "hvt:embed_dim=192"
    assert design_name(parse_model("hvt_s_4")) == "hvt:pool_stages=4"
    assert design_name(make_config("hvt", {})) == "hvt"
    assert design_name(make_config("hvt", {"blocks_per_stage": 3})) == "hvt:blocks_per_stage=3"


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(configs())
def test_a_name_is_read_as_its_network(config):
    assert parse_model(design_name(config)) == config
