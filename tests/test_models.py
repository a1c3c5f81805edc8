import pytest
import torch
import yaml

import hvt_bench
from hvt_bench.errors import ConfigError, FieldError
from hvt_bench.metrics.complexity import count
from hvt_bench.models import (
    FAMILIES,
    VARIANTS,
    create_model,
    make_config,
    model_name,
    override,
    parse_fields,
    parse_model,
    yaml_text,
)
from hvt_bench.models.layers import ResidualBlock, use_drop_path
from tests.networks import filled, pictures, shapes_of, strong

HVT_WORDS = {
    "embed_dim": 192,
    "num_heads": 3,
    "depth": 10,
    "blocks_per_stage": 4,
    "pool_kernel_size": 2,
    "img_size": 224,
    "patch_size": 16,
    "num_classes": 100,
}


def budgets(repository):
    return yaml.safe_load((repository / "sweeps" / "budgets.yaml").read_text())["budgets"]


def test_every_variant_is_in_the_budgets(repository):
    assert set(budgets(repository)) == set(VARIANTS)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_variant_has_the_parameters_and_macs_of_its_paper(name, repository):
    config = parse_model(name)
    with torch.device("meta"):
        network = config.build()
    budget = budgets(repository)[name]
    assert sum(p.numel() for p in network.parameters()) == budget["params"]
    assert config.closed_form_macs() == budget["macs"]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("hvt_ti_1", 5_561_956),
        ("hvt_s_0", 21_703_396),
        ("hvt_s_1", 21_740_644),
        ("hvt_s_2", 21_759_076),
        ("hvt_s_3", 21_767_908),
        ("hvt_s_4", 21_772_132),
    ],
)
def test_an_hvt_for_a_hundred_classes_has_the_published_parameters(name, params):
    with torch.device("meta"):
        network = create_model(name, num_classes=100)
    assert sum(p.numel() for p in network.parameters()) == params


def test_scaled_hvt_ti_4_is_hvt_s_4():
    assert parse_model("scale_hvt_ti_4") == parse_model("hvt_s_4")


def test_variants_and_families_have_different_names():
    assert not VARIANTS.keys() & FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert family.family == name
    for family, _ in VARIANTS.values():
        assert family in FAMILIES


@pytest.mark.parametrize(
    "model",
    [
        "hvt:" + ",".join(f"{key}={value}" for key, value in HVT_WORDS.items()),
        "hvt: " + ", ".join(f"{key} = {value}" for key, value in reversed(HVT_WORDS.items())),
        "hvt_ti_1:depth=10,blocks_per_stage=4,pool_kernel_size=2,num_classes=100",
        "hvt_ti_0:depth=10,blocks_per_stage=4,pool_kernel_size=2,num_classes=100",
        "hvt_s_4:embed_dim=192,depth=10,blocks_per_stage=4,pool_kernel_size=2,num_classes=100",
        {"family": "hvt", **HVT_WORDS},
        {"variant": "hvt_ti_1", "depth": 10, "blocks_per_stage": 4, "pool_kernel_size": 2, "num_classes": 100},
        {"name": "mine", "family": "hvt", **HVT_WORDS, "pool_stages": None},
    ],
)
def test_a_network_has_many_spellings(model):
    assert parse_model(model) == make_config("hvt", HVT_WORDS)


def test_a_network_can_be_made_from_words():
    torch.manual_seed(0)
    network = create_model("hvt", **HVT_WORDS)
    assert network.training
    assert len(network.blocks) == 10
    assert [i for i, block in enumerate(network.blocks) if hasattr(block, "pos_embed")] == [0, 4, 8]
    assert network.blocks[8].pos_embed.shape == (1, 24, 192)  # 196 -> 98 -> 49 -> 24
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 100)
    with torch.device("meta"):
        again = create_model("hvt_ti_1", depth=10, blocks_per_stage=4, pool_kernel_size=2, num_classes=100)
    assert shapes_of(again) == shapes_of(network)


def test_random_weights_follow_the_seed():
    fields = {"embed_dim": 64, "depth": 1, "img_size": 32, "pool_stages": 0}
    torch.manual_seed(1)
    one = create_model("hvt", **fields)
    torch.manual_seed(1)
    assert all(map(torch.equal, one.parameters(), create_model("hvt", **fields).parameters()))


def test_attention_paths_have_the_same_weights_and_logits():
    config = make_config("vit", {"embed_dim": 64, "depth": 2, "img_size": 32})
    one, other = filled(config, "sdpa"), filled(config, "eager")
    assert {block.attn.path for block in one.blocks} == {"sdpa"}
    assert {block.attn.path for block in other.blocks} == {"eager"}
    assert shapes_of(one) == shapes_of(other)
    with torch.no_grad():
        torch.testing.assert_close(one(pictures(config)), other(pictures(config)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attention", ["flash", "SDPA", ""])
def test_an_attention_path_that_does_not_exist_is_refused(attention):
    with pytest.raises(ConfigError, match="attention"), torch.device("meta"):
        create_model("vit_tiny", attention=attention)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_built(monkeypatch):
    for family in FAMILIES.values():
        monkeypatch.setattr(family, "build", lambda *_, **__: pytest.fail("a network was built"))
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *_, **__: pytest.fail("a network was built"))


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("vit", {"img_size": 230}, "img_size 230 is not divisible by patch_size 16"),
        ("hvt_s_1", {"patch_size": 15}, "img_size 224 is not divisible by patch_size 15"),
        ("vit_tiny", {"embed_dim": 100}, "embed_dim 100 is no multiple of the head width 64"),
        ("vit_tiny", {"embed_dim": 100, "num_heads": 3}, "embed_dim 100 is not divisible by num_heads 3"),
        ("vit_tiny", {"num_heads": 5}, "embed_dim 192 is not divisible by num_heads 5"),
        ("vit_tiny", {"mlp_ratio": 0.001}, "leaves an MLP without a hidden unit"),
        ("deit_tiny_distilled", {"global_pool": "avg"}, "distilled needs global_pool 'token'"),
        ("hvt_s_2", {"pool_stages": 2, "blocks_per_stage": 6}, "both say where to pool"),
        ("hvt_s_2", {"pool_stages": None}, "neither pool_stages nor blocks_per_stage is given"),
        ("hvt_s_4", {"depth": 3}, "pool_stages 4 is more than depth 3"),
        ("hvt_s_4", {"img_size": 64}, "below one token"),
        ("hvt_s_1", {"pool_kernel_size": 500}, "below one token"),
        ("hvt_s_1", {"distilled": True}, "unknown key 'distilled'"),
        ("vit_tiny", {"pool_stages": 1}, "unknown key 'pool_stages'"),
        ("vit_tiny", {"dept": 3}, "did you mean 'depth'?"),
        ("vit_tiny", {"depth": 0}, "depth: 0 does not fit: should be greater than or equal to 1"),
        ("vit_tiny", {"depth": "12"}, "depth: '12' does not fit: should be a whole number"),
        ("hvt_s_1", {"pool": "mean"}, "pool: 'mean' does not fit: should be 'max', 'avg' or 'conv_dw'"),
        ("hvt_s_1", {"pool_stages": -1}, "pool_stages: -1 does not fit"),
        ("hvt_s_1", {"blocks_per_stage": 0}, "blocks_per_stage: 0 does not fit"),
        ("hvt_s_1", {"pool_stride": 0}, "pool_stride: 0 does not fit"),
        ("hvt_s_1", {"pool_kernel_size": 0}, "pool_kernel_size: 0 does not fit"),
        ("hvt_s_9", {}, "unknown model 'hvt_s_9'; did you mean 'hvt_s_"),
        ("resnet50", {}, "unknown model 'resnet50'; known: deit_base"),
    ],
)
def test_an_impossible_network_is_refused_before_anything_is_built(name, changes, sentence, nothing_is_built):
    with pytest.raises(ConfigError) as caught:
        create_model(name, **changes)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({}, "needs one of 'family', 'variant' and 'target'"),
        ({"depth": 3}, "needs one of 'family', 'variant' and 'target'"),
        ({"family": "hvt", "variant": "hvt_s_1"}, "needs one of 'family', 'variant' and 'target', and only one"),
        ({"family": "hvt_s_1"}, "unknown family 'hvt_s_1'"),
        ({"variant": "hvt"}, "unknown variant 'hvt'"),
        ({"family": None}, "unknown family 'None'"),
        ({"family": ["hvt"]}, "unknown family"),
        ({"variant": {"a": 1}}, "unknown variant"),
        ({"family": "hvt", "dept": 3}, "unknown key 'dept'; did you mean 'depth'?"),
        ({"family": "hvt", "depth": None}, "depth: None does not fit"),
        ({"family": "hvt", 1: 2}, "should be strings"),
        ("", "unknown model ''"),
        (":", "unknown model ''"),
        ("HVT_S_1", "unknown model 'HVT_S_1'"),
        ("hvt:depth", "'depth' is not of the form key=value"),
        ("hvt:depth=", "depth: None does not fit"),
        ("hvt:=3", "'=3' is not of the form key=value"),
        ("hvt:depth=3,", "'' is not of the form key=value"),
        ("hvt:depth=3,depth=3", "'depth' is given twice"),
        ("hvt:depth=[3", "the value cannot be read"),
        ("hvt:depth=*x", "the value cannot be read"),
        ("hvt:depth=2024-13-45", "the value cannot be read"),
        ("hvt:depth=!!bool maybe", "the value cannot be read"),
        ('hvt:pool="\\UFFFFFFFF"', "the value cannot be read"),
        ("hvt:depth=!!python/name:os.system", "the value cannot be read"),
        ("hvt:depth=three", "depth: 'three' does not fit"),
        ("hvt:mlp_ratio=1e3", "mlp_ratio: '1e3' does not fit"),
        ("hvt:name=mine", "unknown key 'name'"),
    ],
)
def test_what_means_no_network_is_a_config_error(model, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_model(model)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("model", [5, None, ["hvt"], True])
def test_what_is_neither_text_nor_mapping_is_refused(model):
    with pytest.raises((ConfigError, TypeError)):
        parse_model(model)


def test_a_value_out_of_the_question_is_told_from_a_combination():
    with pytest.raises(FieldError):
        parse_model("hvt:depth=0")
    with pytest.raises(FieldError):
        override(parse_model("hvt"), pool="mean")
    with pytest.raises(ConfigError) as caught:
        parse_model("hvt:pool_stages=13")
    assert not isinstance(caught.value, FieldError)


def test_several_mistakes_are_all_named():
    with pytest.raises(ConfigError) as caught:
        parse_model("hvt:depth=0,num_classes=0")
    assert "depth: 0 does not fit" in str(caught.value)
    assert "; " in str(caught.value)
    assert "num_classes: 0 does not fit" in str(caught.value)


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        (["depth=18"], {"depth": 18}),
        ([" depth = 18 "], {"depth": 18}),
        (["qkv_bias=false"], {"qkv_bias": False}),
        (["pool=avg"], {"pool": "avg"}),
        (["mlp_ratio=2.5", "depth=3"], {"mlp_ratio": 2.5, "depth": 3}),
        (["pool_stages=~"], {"pool_stages": None}),
        ([], {}),
    ],
)
def test_fields_are_read_as_in_yaml(texts, fields):
    assert parse_fields(texts) == fields


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("hvt_s_1", "hvt_s_1"),
        ("hvt:depth=10", "hvt:depth=10"),
        ({"variant": "hvt_s_1"}, "hvt_s_1"),
        ({"family": "hvt", "depth": 10, "qkv_bias": False, "pool": "avg"}, "hvt:depth=10,qkv_bias=false,pool=avg"),
        ({"family": "hvt", "name": "mine", "depth": 10}, "mine"),
        ({"depth": 10, "variant": "hvt_s_1"}, "hvt_s_1:depth=10"),
    ],
)
def test_a_model_is_named_as_it_was_written(model, name):
    assert model_name(model) == name
    if model_name(model) != "mine":
        assert parse_model(model_name(model)) == parse_model(model)


def test_the_name_of_a_mapping_with_nothing_in_a_field_can_be_read_back():
    model = {"family": "hvt", "blocks_per_stage": 4, "pool_stages": None}
    assert parse_model(model_name(model)) == parse_model(model)


def test_booleans_are_spelt_as_in_yaml():
    assert [yaml_text(value) for value in (True, False, 3, 2.5, "avg")] == ["true", "false", "3", "2.5", "avg"]


def test_the_package_gives_its_public_names():
    assert hvt_bench.create_model is create_model
    assert hvt_bench.parse_model is parse_model
    assert set(hvt_bench.__all__) <= set(dir(hvt_bench))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hvt_bench.no_such_name


# --- no dead knob ---------------------------------------------------------------------------------------------------

BASE = {
    "img_size": 12,
    "patch_size": 2,
    "embed_dim": 8,
    "num_heads": 2,
    "depth": 4,
    "num_classes": 5,
    "stage_depths": [1, 1],
}
KNOBS = {
    "img_size": [10, 14],
    "patch_size": [1, 3],
    "in_chans": [1, 4],
    "num_classes": [4, 6],
    "embed_dim": [4, 12],
    "depth": [3, 5],
    "num_heads": [1, 4],
    "mlp_ratio": [2.0, 4.5],
    "qkv_bias": [True, False],
    "global_pool": ["token", "avg", "map"],
    "distilled": [True],
    "pool_stages": [0, 2],
    "blocks_per_stage": [1],
    "pool_kernel_size": [1, 2, 4],
    "pool_stride": [1, 3],
    "pool": ["avg", "conv_dw"],
    "stage_depths": [[1], [2], [1, 2], [1, 1, 1]],
    "kv_stride": [1, 2, 8],
    "keep_rate": [None, 0.6, 1.0],
    "backbone": ["lv_vit"],
    "teacher": [True],
    "talking_heads": [False],
    "patch_cosine": [False],
    "patch_contrastive": [False],
    "patch_mixing": [False],
    "latent_dim": [128],
    "mapping_layers": [1, 9],
}
OF_FAMILY = {("mvit", "pool"): ["max"]}


def base_of(family):
    fields = FAMILIES[family].model_fields
    return make_config(family, {key: value for key, value in BASE.items() if key in fields})


def knobs_of(family):
    return KNOBS | {field: values for (name, field), values in OF_FAMILY.items() if name == family}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_field_has_a_knob_here(family):
    assert FAMILIES[family].model_fields.keys() <= KNOBS.keys() | {"checkpoint"}  # tests/test_checkpoint.py


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        (family, field, value)
        for family, config in FAMILIES.items()
        for field in config.model_fields
        for value in knobs_of(family).get(field, [])
        if value != config.model_fields[field].default and not (field == "global_pool" and value not in config.poolings)
    ],
)
def test_no_knob_is_dead(family, field, value):
    base = base_of(family)
    changed = override(base, **{field: value})
    one, other = strong(base), strong(changed)
    if shapes_of(one) != shapes_of(other) or base.closed_form_macs() != changed.closed_form_macs():
        return
    if count(base).train_macs != count(changed).train_macs:
        return
    with torch.no_grad():
        assert not torch.allclose(one(pictures(base)), other(pictures(changed)))


@pytest.mark.parametrize(("text", "value"), [("010", 8), ("1:30", 90)])
def test_a_number_that_yaml_reads_otherwise_is_refused_on_the_command_line_too(text, value):
    with pytest.raises(ConfigError, match=f"YAML reads '{text}' as {value}; write {value}, or quotes"):
        parse_model(f"hvt_s_1:depth={text}")


# --- stochastic depth ------------------------------------------------------------------------------------------------

SKIPPING = [
    "hvt:img_size=32,patch_size=4,embed_dim=64,depth=4",
    "vit:img_size=32,patch_size=4,embed_dim=64,depth=4",
    "patchdiv:img_size=32,patch_size=4,embed_dim=64,depth=4",
    "dynamicvit:img_size=32,patch_size=4,embed_dim=64,depth=4",
    "mvit_b_16_conv:img_size=32,patch_size=2,stage_depths=[1,1,1,1]",
]


@pytest.mark.parametrize("name", SKIPPING)
def test_the_share_that_is_skipped_rises_from_the_first_block_to_the_last(name):
    network = create_model(name)
    keys, macs = list(network.state_dict()), count(network, torch.randn(1, 3, 32, 32)).macs
    assert use_drop_path(network, 0.3) == 4
    blocks = [block for block in network.modules() if isinstance(block, ResidualBlock)]
    assert [block.drop_path for block in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert list(network.state_dict()) == keys
    assert count(network, torch.randn(1, 3, 32, 32)).macs == macs


@pytest.mark.parametrize("name", SKIPPING[:2] + SKIPPING[-1:])
def test_training_skips_changes_and_evaluation_none(name):
    network = create_model(name)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = network(images)
    use_drop_path(network, 0.9)
    torch.manual_seed(0)
    assert not torch.allclose(network(images), plain)
    assert torch.equal(network.eval()(images), plain)


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    block = ResidualBlock()
    block.drop_path = 0.25
    torch.manual_seed(0)
    kept = block.kept(torch.ones(4000, 3, 2))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(kept[:, 0, 0], kept[:, 2, 1])  # an image as a whole
