import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from hvt_bench.models import create_model, make_config, parse_model
from hvt_bench.models.vit import DEIT_VARIANTS, VIT_VARIANTS
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
    inputs, network = pictures(config), filled(config)
    with torch.no_grad():
        expected = expected_logits(config, network.state_dict(), inputs)
        for path in ("sdpa", "eager"):
            for block in network.blocks:
                block.attn.path = path
            torch.testing.assert_close(network(inputs), expected, rtol=1e-9, atol=1e-9)


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
