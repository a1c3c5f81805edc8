import pickle

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from hvt_bench.errors import ConfigError, FieldError
from hvt_bench.models import FAMILIES, make_config, override
from hvt_bench.models.config import ModelConfig, TransformerConfig
from tests.networks import configs

FAMILY_NAMES = sorted(FAMILIES)
TRANSFORMERS = sorted(name for name, family in FAMILIES.items() if issubclass(family, TransformerConfig))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(configs())
def test_a_config_is_a_value(config):
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert copy is not config
    assert type(copy) is type(config)
    assert hash(copy) == hash(config)
    assert {config: 1}[copy] == 1
    again = type(config).model_validate_json(config.model_dump_json())
    assert again == config
    assert override(config, num_classes=config.num_classes + 1) != config
    assert override(config) == config


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_config_cannot_be_changed(family):
    config = make_config(family, {})
    for field in type(config).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, field, getattr(config, field))


def test_networks_of_two_families_are_never_equal():
    fields = {"img_size": 32, "patch_size": 4, "depth": 4, "qkv_bias": False, "global_pool": "avg"}
    seen = {
        make_config(name, {key: value for key, value in fields.items() if key in family.model_fields})
        for name, family in FAMILIES.items()
    }
    assert len(seen) == len(FAMILY_NAMES)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_config_knows_its_input(family):
    config = make_config(family, {"img_size": 96, "patch_size": 8, "in_chans": 5})
    assert config.input_shapes(7) == ((7, 5, 96, 96),)
    assert config.num_patches == 144


@pytest.mark.parametrize(
    ("embed_dim", "mlp_ratio", "hidden"),
    [(384, 4.0, 1536), (384, 3, 1152), (64, 2.7, 172), (6, 0.2, 1), (192, 2.5, 480)],
)
def test_the_hidden_width_is_rounded_down(embed_dim, mlp_ratio, hidden):
    config = TransformerConfig(embed_dim=embed_dim, num_heads=1, mlp_ratio=mlp_ratio)
    assert config.mlp_hidden == hidden


def test_the_formula_of_a_block_by_hand():
    config = TransformerConfig(embed_dim=4, num_heads=2, mlp_ratio=3.0)
    qkv, products, proj, mlp = 5 * 4 * 12, 2 * 5 * 5 * 4, 5 * 4 * 4, 2 * 5 * 4 * 12
    assert config.block_macs(5) == qkv + products + proj + mlp


@pytest.mark.parametrize("family", TRANSFORMERS)
@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({"embed_dim": 192}, 3),
        ({"embed_dim": 64}, 1),
        ({"embed_dim": 1024}, 16),
        ({"embed_dim": 384}, 6),
        ({"embed_dim": 192, "num_heads": 6}, 6),
        ({"num_heads": 12}, 12),
        ({"depth": 3}, 6),
    ],
)
def test_the_width_of_a_head_stays_unless_the_heads_are_given(family, changes, heads):
    assert make_config(family, changes).num_heads == heads
    assert override(make_config(family, {}), **changes).num_heads == heads


def test_the_width_of_a_head_is_that_of_the_base():
    wide = make_config("vit", {"embed_dim": 320, "num_heads": 4})
    assert override(wide, embed_dim=160).num_heads == 2
    assert make_config("vit_huge", {"embed_dim": 640}).num_heads == 8
    assert override(override(wide, embed_dim=160), embed_dim=320) == wide


@pytest.mark.parametrize(
    ("embed_dim", "sizes"), [(100, "64 or 128"), (200, "192 or 256"), (10, "64"), (65, "64 or 128"), (127, "64 or 128")]
)
def test_a_width_between_heads_names_the_nearest_that_work(embed_dim, sizes):
    with pytest.raises(ConfigError) as caught:
        make_config("vit", {"embed_dim": embed_dim})
    assert str(caught.value) == (
        f"embed_dim {embed_dim} is no multiple of the head width 64; give num_heads too, or take {sizes}"
    )
    for size in sizes.split(" or "):
        make_config("vit", {"embed_dim": int(size)})


@pytest.mark.parametrize(
    ("img_size", "patch_size", "sizes"),
    [
        (230, 16, "224 and 240"),
        (225, 16, "224 and 240"),
        (10, 16, "16"),
        (100, 14, "98 and 112"),
        (17, 16, "16 and 32"),
    ],
)
def test_an_image_that_the_patch_does_not_divide_names_the_nearest_that_it_does(img_size, patch_size, sizes):
    with pytest.raises(ConfigError) as caught:
        make_config("vit", {"img_size": img_size, "patch_size": patch_size})
    assert str(caught.value) == (
        f"img_size {img_size} is not divisible by patch_size {patch_size}; the nearest sizes that work: {sizes}"
    )
    for size in sizes.split(" and "):
        make_config("vit", {"img_size": int(size), "patch_size": patch_size})


@pytest.mark.parametrize("family", TRANSFORMERS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (field, 0)
            for field in "img_size patch_size in_chans num_classes embed_dim depth num_heads mlp_ratio".split()
        ),
        *((field, -1) for field in "img_size patch_size in_chans num_classes embed_dim depth num_heads".split()),
        *((field, True) for field in "img_size embed_dim depth num_heads mlp_ratio".split()),
        *((field, "12") for field in "img_size embed_dim depth num_heads mlp_ratio qkv_bias".split()),
        *((field, 12.0) for field in "img_size embed_dim depth num_heads".split()),
        *((field, None) for field in TransformerConfig.model_fields if field != "checkpoint"),
        *((field, [1]) for field in TransformerConfig.model_fields),
        ("mlp_ratio", float("nan")),
        ("mlp_ratio", float("inf")),
        ("mlp_ratio", -4.0),
        ("qkv_bias", 1),
        ("global_pool", "max"),
        ("global_pool", "AVG"),
        ("dept", 12),
        ("family", "vit"),
    ],
)
def test_a_value_that_no_network_can_take_is_a_field_error_that_names_it(family, field, value):
    with pytest.raises(FieldError) as caught:
        make_config(family, {field: value})
    assert str(caught.value).startswith(f"family {family}: ")
    assert field in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"img_size": 225}, {"embed_dim": 100}, {"embed_dim": 100, "num_heads": 3}, {"mlp_ratio": 0.001}, {"num_heads": 7}],
)
def test_a_combination_that_no_network_has_is_no_field_error(changes):
    with pytest.raises(ConfigError) as caught:
        make_config("vit", changes)
    assert not isinstance(caught.value, FieldError)


def test_the_base_promises_nothing():
    class Other(ModelConfig):
        family = "other"

    assert Other().seq_lens is None
    assert Other().closed_form_macs() is None
    with pytest.raises(NotImplementedError):
        Other().build()
    with pytest.raises(NotImplementedError):
        Other().input_shapes(1)
