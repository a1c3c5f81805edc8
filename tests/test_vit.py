import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from hvt_bench.errors import FieldError
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.models import create_model, make_config, override, parse_model
from hvt_bench.models.vit import DEIT_VARIANTS, SCALING_VARIANTS, VIT_VARIANTS
from hvt_bench.row import csv_text
from tests.golden.fill import images
from tests.networks import configs, expected_logits, fill, filled, pictures, shapes_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "timm.json").read_text())
NAMES = {
    "deit_tiny_patch16_224": "deit_tiny",
    "deit_tiny_distilled_patch16_224": "deit_tiny_distilled",
    "vit_base_patch32_224": "vit_base_patch32",
}


def test_every_golden_network_is_tested():
    assert NAMES.keys() == GOLDEN.keys()


@pytest.fixture(scope="module", params=sorted(NAMES))
def golden(request):
    """A golden entry and our network of that name with the golden weights."""
    entry = GOLDEN[request.param]
    assert entry["overrides"] == {}
    return entry, filled(parse_model(NAMES[request.param]))


def test_keys_and_shapes_are_those_of_timm(golden):
    entry, network = golden
    found = {f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(network).items()}
    assert found == set(entry["keys"])
    assert sum(p.numel() for p in network.parameters()) == entry["params"]


@pytest.mark.parametrize("path", ["sdpa", "eager"])
def test_logits_are_those_of_timm_through_both_attention_paths(golden, path):
    entry, network = golden
    for block in network.blocks:
        block.attn.path = path
    with torch.no_grad():
        logits = network(images(entry["img_size"]))
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits[:, :10], torch.tensor(entry["logits"], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.norm(dim=1), torch.tensor(entry["norm"], dtype=torch.float64), rtol=1e-6, atol=0)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(configs(families=("vit",)))
def test_both_attention_paths_compute_what_the_papers_say(config):
    inputs = pictures(config)
    with torch.no_grad():
        expected = expected_logits(config, filled(config).state_dict(), inputs)
        for path in ("sdpa", "eager"):
            torch.testing.assert_close(filled(config, path)(inputs), expected, rtol=1e-9, atol=1e-9)


SMALL = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 2, "num_classes": 5}


def test_a_distilled_network_gives_two_outputs_in_training_and_their_mean_in_evaluation():
    network = filled(make_config("vit", SMALL | {"distilled": True}))
    inputs = pictures(make_config("vit", SMALL))
    with torch.no_grad():
        one, other = network.train()(inputs)
        mean = network.eval()(inputs)
    assert one.shape == other.shape == mean.shape == (2, 5)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(mean, (one + other) / 2, rtol=1e-12, atol=0)


def test_the_heads_of_a_distilled_network_read_the_class_and_the_distillation_token():
    network = filled(make_config("vit", SMALL | {"distilled": True})).train()
    tokens = {}
    network.norm.register_forward_hook(lambda module, inputs, output: tokens.update(all=output))
    with torch.no_grad():
        one, other = network(pictures(make_config("vit", SMALL)))
        torch.testing.assert_close(one, network.head(tokens["all"][:, 0]))
        torch.testing.assert_close(other, network.head_dist(tokens["all"][:, 1]))


@pytest.mark.parametrize("fields", [{}, {"global_pool": "avg"}])
def test_training_and_evaluation_agree_without_distillation(fields):
    network = filled(make_config("vit", SMALL | fields))
    inputs = pictures(make_config("vit", SMALL))
    with torch.no_grad():
        assert torch.equal(network.train()(inputs), network.eval()(inputs))


def test_the_mean_needs_no_class_token():
    network = create_model("vit", **SMALL, global_pool="avg")
    assert network.cls_token is None
    assert network.pos_embed.shape == (1, 4, 8)
    assert "cls_token" not in network.state_dict()


@pytest.mark.parametrize(
    ("fields", "tokens"), [({}, 5), ({"distilled": True}, 6), ({"global_pool": "avg"}, 4), ({"patch_size": 2}, 17)]
)
def test_seq_lens_are_the_tokens_that_enter_each_block(fields, tokens):
    config = make_config("vit", SMALL | fields)
    entered = []
    network = filled(config)
    for block in network.blocks:
        block.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].shape[1]))
    with torch.no_grad():
        network(pictures(config))
    assert tuple(entered) == config.seq_lens == (tokens, tokens)


def test_distilled_without_class_token_does_not_exist():
    with pytest.raises(ValueError, match="its two heads read the two special tokens"):
        type(parse_model("vit"))(distilled=True, global_pool="avg")


def test_a_new_network_starts_as_deit_does():
    torch.manual_seed(0)
    network = create_model("vit", embed_dim=128, num_heads=2, depth=1, distilled=True)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert 0.015 < float(module.weight.detach().std()) < 0.025, name
            assert torch.count_nonzero(module.bias) == 0, name
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert torch.all(module.weight == 1), name
            assert torch.all(module.bias == 0), name
    for table in (network.pos_embed, network.cls_token, network.dist_token):
        assert 0.01 < float(table.detach().std()) < 0.03
    assert network.training
    assert all(p.requires_grad for p in network.parameters())


def test_deit_is_vit():
    assert VIT_VARIANTS["vit_tiny"] == DEIT_VARIANTS["deit_tiny"]
    assert parse_model("vit_base") == parse_model("deit_base")


def test_gradients_reach_every_weight():
    network = fill(create_model("vit", **SMALL, distilled=True)).train()
    one, other = network(pictures(make_config("vit", SMALL)))
    (one.square().sum() + other.square().sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- Scaling ViT: pooling by attention ------------------------------------------------------------------------------

MAP_GOLDEN = json.loads((Path(__file__).parent / "golden" / "timm_map.json").read_text())["entries"]


@pytest.mark.parametrize("path", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(MAP_GOLDEN))
def test_attention_pooling_is_that_of_timm_under_its_keys(name, path):
    entry = MAP_GOLDEN[name]
    network = filled(make_config("vit", entry["arguments"] | {"global_pool": "map"}), path)
    found = {f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(network).items()}
    assert found == set(entry["keys"])
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    with torch.no_grad():
        logits = network(images(entry["arguments"]["img_size"]))
    torch.testing.assert_close(logits[:, :10], torch.tensor(entry["logits"], dtype=torch.float64), rtol=1e-9, atol=0)
    torch.testing.assert_close(logits.norm(dim=1), torch.tensor(entry["norm"], dtype=torch.float64), rtol=1e-9, atol=0)


def test_attention_pooling_needs_no_class_token_and_trains():
    network = fill(create_model("vit", **SMALL, global_pool="map")).train()
    assert network.pos_embed.shape == (1, 4, 8)
    logits = network(pictures(make_config("vit", SMALL)))
    logits.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_families_without_attention_pooling_say_why():
    with pytest.raises(FieldError) as caught:
        make_config("hvt", {"global_pool": "map"})
    assert str(caught.value) == (
        "family hvt: global_pool 'map' is the head of Scaling ViT, which only family vit has: no hvt was published "
        "with one; take avg or token"
    )


TABLE_2 = {  # Zhai et al.: (params M, GFLOPs at 224 px, GFLOPs at 384 px) of the encoder, more digits than are printed
    "scaling_s_28": (5.358, 0.706, 1.974),
    "scaling_s_16": (4.986, 2.163, 7.701),
    "scaling_big_s_32": (22.493, 2.241, 6.837),
    "scaling_ti_16": (5.524, 2.493, 9.343),
    "scaling_b_32": (87.454, 8.643, 25.905),
    "scaling_big_s_16": (21.665, 9.147, 30.916),
    "scaling_b_28": (86.912, 11.254, 30.371),
    "scaling_b_16": (85.797, 34.942, 110.755),
    "scaling_l_16": (303.300, 122.465, 381.413),
    "scaling_g_14": (1011.200, 531.926, 1592.423),
    "scaling_big_g_14": (1842.772, 963.647, 2854.301),
}
PRINTED = {  # the same cells as printed; at 384 px without the pixels that patches of 14 and 28 leave over
    "scaling_s_28": (5.4, 0.7, 2.0),
    "scaling_s_16": (5.0, 2.2, 7.8),
    "scaling_big_s_32": (22, 2.3, 6.9),
    "scaling_ti_16": (5.5, 2.5, 9.5),
    "scaling_b_32": (87, 8.7, 26.0),
    "scaling_big_s_16": (22, 9.2, 31.2),
    "scaling_b_28": (87, 11.3, 30.5),
    "scaling_b_16": (86, 35.1, 111.3),
    "scaling_l_16": (303, 122.9, 382.8),
    "scaling_g_14": (1011, 533.1, 1596.4),
    "scaling_big_g_14": (1843, 965.3, 2859.9),
}


@pytest.mark.parametrize("name", TABLE_2)
def test_the_encoder_has_the_parameters_and_flops_of_table_2(name):
    config = parse_model(name)
    large = 384 // config.patch_size * config.patch_size  # 378 px with patches of 14, 364 with 28
    small, big = (breakdown(override(config, img_size=size)).without("attn_pool", "head") for size in (224, large))
    found = (round(small.params / 1e6, 3), round(2 * small.macs / 1e9, 3), round(2 * big.macs / 1e9, 3))
    assert found == TABLE_2[name]
    params, *flops = PRINTED[name]
    assert found[0] == pytest.approx(params, abs=0.05 if params < 10 else 0.5)
    for ours, printed in zip(found[1:], flops, strict=True):
        assert ours == pytest.approx(printed, rel=0.03, abs=0.05)


def test_every_network_of_table_2_is_a_variant():
    assert list(TABLE_2) == [*PRINTED] == [*SCALING_VARIANTS][:11]


@pytest.mark.parametrize(
    ("name", "hidden", "depth"),
    [
        ("scaling_s_16", 1024, 6),
        ("scaling_so400m_14", 4304, 27),
        ("scaling_h_14", 5120, 32),
        ("scaling_g_14", 6144, 40),
        ("scaling_big_g_14", 8192, 48),
        ("scaling_e_14", 15360, 56),
    ],
)
def test_the_hidden_width_is_that_of_the_paper(name, hidden, depth):
    config = parse_model(name)
    assert (config.mlp_hidden, config.depth) == (hidden, depth)


@pytest.mark.parametrize("name", SCALING_VARIANTS)
def test_a_csv_gives_the_network_back(name):
    config = parse_model(name)
    assert override(config, mlp_ratio=float(csv_text(config.mlp_ratio))) == config
