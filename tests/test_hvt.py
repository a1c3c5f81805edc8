import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from hvt_bench.errors import ConfigError
from hvt_bench.models import create_model, make_config, override, parse_model
from hvt_bench.sweep import load_sweep
from tests.golden.fill import images
from tests.networks import configs, expected_logits, fill, filled, pictures, shapes_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "hvt.json").read_text())

SMALL = {"img_size": 12, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 2, "num_classes": 5}


def golden_config(entry):
    fields = {
        key: entry[key] for key in "img_size patch_size depth num_heads embed_dim blocks_per_stage num_classes".split()
    }
    return make_config("hvt", fields | {"pool_kernel_size": entry["pool_kernel"]})


@pytest.fixture(scope="module", params=sorted(GOLDEN))
def golden(request):
    """A golden entry and our network of those fields with the golden weights."""
    entry = GOLDEN[request.param]
    return entry, filled(golden_config(entry))


def test_keys_and_shapes_are_those_of_the_released_code(golden):
    entry, network = golden
    found = {f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(network).items()}
    assert found == set(entry["keys"])
    assert sum(p.numel() for p in network.parameters()) == entry["params"]


@pytest.mark.parametrize("path", ["sdpa", "eager"])
def test_logits_are_those_of_the_released_code_through_both_attention_paths(golden, path):
    entry, network = golden
    for block in network.blocks:
        block.attn.path = path
    with torch.no_grad():
        logits = network(images(entry["img_size"]))
    torch.testing.assert_close(logits[:, :10], torch.tensor(entry["logits"], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.norm(dim=1), torch.tensor(entry["norm"], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["hvt_ti_1", "hvt_s_2"])
def test_a_variant_is_the_released_network_of_its_name(name):
    with torch.device("meta"):
        found = {f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(create_model(name)).items()}
    assert found == set(GOLDEN[name]["keys"])
    by_blocks = golden_config(GOLDEN[name])
    config = parse_model(name)
    assert by_blocks.pooling_blocks == config.pooling_blocks
    assert override(by_blocks, pool_stages=config.pool_stages) == config


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(configs(families=("hvt",)))
def test_both_attention_paths_compute_what_the_paper_says(config):
    inputs, network = pictures(config), filled(config)
    with torch.no_grad():
        expected = expected_logits(config, network.state_dict(), inputs)
        for path in ("sdpa", "eager"):
            for block in network.blocks:
                block.attn.path = path
            torch.testing.assert_close(network(inputs), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(configs(families=("hvt",)))
def test_seq_lens_are_the_tokens_that_enter_each_block(config):
    with torch.device("meta"):
        network = config.build()
        entered = []
        for block in network.blocks:
            block.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].shape[1]))
        network.norm.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].shape[1]))
        network(torch.empty(config.input_shapes(1)[0]))
    assert tuple(entered[:-1]) == config.seq_lens
    assert entered[-1] == config.patch_lens[-1] + config.special_tokens


@pytest.mark.parametrize(
    ("name", "blocks", "lens"),
    [
        ("hvt_s_0", set(), (196,) * 12),
        ("hvt_ti_1", {0}, (196, *(97,) * 11)),
        ("hvt_s_1", {0}, (196, *(97,) * 11)),
        ("hvt_s_2", {0, 6}, (196, *(97,) * 6, *(48,) * 5)),
        ("hvt_s_3", {0, 4, 8}, (196, *(97,) * 4, *(48,) * 4, *(23,) * 3)),
        ("hvt_s_4", {0, 3, 6, 9}, (196, *(97,) * 3, *(48,) * 3, *(23,) * 3, *(11,) * 2)),
    ],
)
def test_variants_pool_where_the_released_code_does(name, blocks, lens):
    config = parse_model(name)
    assert config.pooling_blocks == blocks
    assert config.seq_lens == lens


@pytest.mark.parametrize(
    ("depth", "stages", "blocks"),
    [
        (12, 5, {0, 2, 4, 7, 9}),
        (10, 3, {0, 3, 6}),
        (7, 2, {0, 3}),
        (3, 3, {0, 1, 2}),
        (5, 1, {0}),
        (1, 1, {0}),
        (9, 0, set()),
    ],
)
def test_stage_i_starts_at_block_floor_of_i_depth_over_stages(depth, stages, blocks):
    config = make_config("hvt", {"depth": depth, "pool_stages": stages, "pool_kernel_size": 1})
    assert config.pooling_blocks == blocks
    assert len(config.pooling_blocks) == stages


@pytest.mark.parametrize(
    ("depth", "width", "blocks"),
    [(12, 12, {0}), (12, 13, {0}), (12, 5, {0, 5, 10}), (10, 4, {0, 4, 8}), (3, 1, {0, 1, 2})],
)
def test_blocks_per_stage_pools_after_each_block_whose_index_it_divides(depth, width, blocks):
    config = make_config("hvt", {"depth": depth, "blocks_per_stage": width, "pool_kernel_size": 1})
    assert config.pooling_blocks == blocks


@pytest.mark.parametrize(
    ("kernel", "stride", "tokens", "left"),
    [
        (3, 2, 196, 97),
        (3, 2, 97, 48),
        (3, 2, 48, 23),
        (3, 2, 23, 11),
        (2, 2, 5, 2),
        (1, 1, 9, 9),
        (3, 1, 9, 7),
        (4, 3, 10, 3),
    ],
)
def test_pooling_shortens_as_torch_does(kernel, stride, tokens, left):
    config = make_config("hvt", {"pool_kernel_size": kernel, "pool_stride": stride})
    assert config.pooled_length(tokens) == left
    assert torch.nn.MaxPool1d(kernel, stride)(torch.zeros(1, 1, tokens)).shape[-1] == left


# --- wiring, by hand: blocks that change nothing, so that what enters the first pooling is known --------------------


def transparent(**fields):
    """A 1-block HVT on 3x3 one-pixel patches, whose block leaves its tokens as they are."""
    config = make_config(
        "hvt", {"img_size": 3, "patch_size": 1, "in_chans": 2, "embed_dim": 2, "num_heads": 1, "depth": 1} | fields
    )
    network = filled(config)
    with torch.no_grad():
        network.patch_embed.proj.weight.copy_(torch.eye(2)[:, :, None, None])
        network.patch_embed.proj.bias.zero_()
        network.pos_embed.zero_()
        for layer in (network.blocks[0].attn.proj, network.blocks[0].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    left = []
    network.blocks[0].register_forward_hook(lambda module, inputs, output: left.append(output.detach()))
    return network, left


PIXELS = torch.tensor([[1.0, 9, 2, 8, 3, 7, 4, 6, 5], [-1, -2, -3, -4, -5, -6, -7, -8, -9]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("fields", "first", "second"),
    [
        ({}, [9, 8, 7, 6], [-1, -3, -5, -7]),
        ({"pool": "avg"}, [4, 13 / 3, 14 / 3, 5], [-2, -4, -6, -8]),
        ({"pool_stride": 1}, [9, 9, 8, 8, 7, 7, 6], [-1, -2, -3, -4, -5, -6, -7]),
        ({"pool_stride": 3}, [9, 8, 6], [-1, -4, -7]),
        ({"pool_kernel_size": 2}, [9, 8, 7, 6], [-1, -3, -5, -7]),
        ({"pool_kernel_size": 2, "pool_stride": 4, "pool": "avg"}, [5, 5], [-1.5, -5.5]),
        ({"pool_kernel_size": 9}, [9], [-1]),
        ({"pool_kernel_size": 1}, [1, 2, 3, 4, 5], [-1, -3, -5, -7, -9]),
    ],
)
def test_pooling_goes_along_the_raster_and_positions_of_the_new_length_are_added(fields, first, second):
    network, left = transparent(**fields)
    with torch.no_grad():
        network(PIXELS.reshape(1, 2, 3, 3))
    expected = torch.tensor([first, second], dtype=torch.float64).T[None] + network.blocks[0].pos_embed
    torch.testing.assert_close(left[0], expected.detach(), rtol=0, atol=1e-12)


def test_a_depthwise_pooling_weighs_each_channel_with_its_own_taps():
    network, left = transparent(pool="conv_dw")
    with torch.no_grad():
        network.blocks[0].pool.weight.copy_(torch.tensor([[[1.0, 10, 100]], [[0, 1, 0]]]))
        network.blocks[0].pool.bias.copy_(torch.tensor([0.5, 0.25]))
        network.blocks[0].pos_embed.zero_()
        network(PIXELS.reshape(1, 2, 3, 3))
    expected = [[291.5, 382.5, 473.5, 564.5], [-1.75, -3.75, -5.75, -7.75]]
    torch.testing.assert_close(left[0], torch.tensor(expected, dtype=torch.float64).T[None], rtol=0, atol=1e-12)


def test_the_class_token_stands_in_front_and_skips_the_pooling_and_its_positions():
    network, left = transparent(global_pool="token")
    with torch.no_grad():
        network.cls_token.copy_(torch.tensor([[[50.0, 60.0]]]))
        network(PIXELS.reshape(1, 2, 3, 3))
    pooled = torch.tensor([[9.0, 8, 7, 6], [-1, -3, -5, -7]], dtype=torch.float64).T + network.blocks[0].pos_embed[0]
    assert network.blocks[0].pos_embed.shape == (1, 4, 2)
    assert network.pos_embed.shape == (1, 10, 2)
    expected = torch.cat([torch.tensor([[50.0, 60.0]], dtype=torch.float64), pooled])[None]
    torch.testing.assert_close(left[0], expected.detach(), rtol=0, atol=1e-12)


def test_the_class_token_takes_part_in_attention():
    config = make_config("hvt", SMALL | {"global_pool": "token"})
    network, inputs = filled(config), pictures(config)
    left = []
    network.blocks[0].attn.register_forward_hook(lambda module, inputs, output: left.append(output.detach()))
    with torch.no_grad():
        before = network(inputs)
        network.cls_token += torch.linspace(0, 1, config.embed_dim)
        network(inputs)
        assert (left[0][:, 1:] - left[1][:, 1:]).abs().min() > 0  # every patch looked at the class token
        inputs[:, :, 0, 0] += 1
        network.cls_token -= torch.linspace(0, 1, config.embed_dim)
        assert not torch.allclose(network(inputs), before)  # and it at the patches


def test_the_head_reads_the_class_token_or_the_mean():
    for pool, read in {"token": lambda x: x[:, 0], "avg": lambda x: x.mean(1)}.items():
        config = make_config("hvt", SMALL | {"global_pool": pool})
        network, tokens = filled(config), []
        network.norm.register_forward_hook(lambda module, inputs, output, tokens=tokens: tokens.append(output))
        with torch.no_grad():
            logits = network(pictures(config))
            torch.testing.assert_close(logits, network.head(read(tokens[0])))


# --- keys and shapes ------------------------------------------------------------------------------------------------


def test_depthwise_pooling_has_weights_and_bias_in_pooling_blocks_only():
    fields = SMALL | {"img_size": 24, "depth": 4, "pool_stages": 2}
    with torch.device("meta"):
        plain = shapes_of(create_model("hvt", **fields))
        depthwise = shapes_of(create_model("hvt", **fields, pool="conv_dw"))
        avg = shapes_of(create_model("hvt", **fields, pool="avg"))
    assert avg == plain
    assert dict(depthwise.items() - plain.items()) == {
        "blocks.0.pool.weight": (8, 1, 3),
        "blocks.0.pool.bias": (8,),
        "blocks.2.pool.weight": (8, 1, 3),
        "blocks.2.pool.bias": (8,),
    }


def test_an_hvt_without_pooling_is_a_vit_that_reads_the_mean():
    hvt = make_config("hvt", SMALL | {"pool_stages": 0})
    vit = make_config("vit", SMALL | {"global_pool": "avg"})
    assert hvt.closed_form_macs() == vit.closed_form_macs()
    one, other = filled(hvt), filled(vit)
    assert shapes_of(one) == shapes_of(other)
    with torch.no_grad():
        assert torch.equal(one(pictures(hvt)), other(pictures(vit)))


def test_a_new_network_starts_as_the_released_code_does():
    torch.manual_seed(0)
    network = create_model("hvt", embed_dim=128, num_heads=2, depth=2, global_pool="token")
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert 0.015 < float(module.weight.detach().std()) < 0.025, name
            assert torch.count_nonzero(module.bias) == 0, name
    for table in (network.pos_embed, network.cls_token, network.blocks[0].pos_embed):
        assert 0.01 < float(table.detach().std()) < 0.03
    assert network.training


def test_gradients_reach_every_weight():
    network = fill(create_model("hvt", **SMALL, global_pool="token", pool="conv_dw")).train()
    network(pictures(make_config("hvt", SMALL))).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- the two ways to say where to pool ------------------------------------------------------------------------------


def test_pool_stages_and_blocks_per_stage_replace_each_other():
    by_blocks = make_config("hvt_s_2", {"blocks_per_stage": 4})
    assert (by_blocks.pool_stages, by_blocks.blocks_per_stage) == (None, 4)
    by_stages = override(by_blocks, pool_stages=3)
    assert (by_stages.pool_stages, by_stages.blocks_per_stage) == (3, None)
    assert by_stages == parse_model("hvt_s_3")
    assert override(by_blocks, depth=8).blocks_per_stage == 4
    assert override(by_stages, pool_stages=0).pooling_blocks == frozenset()


@pytest.mark.parametrize("changes", [{"blocks_per_stage": 4, "pool_stages": None}, {"blocks_per_stage": 4}])
def test_saying_none_for_the_other_is_saying_nothing(changes):
    assert make_config("hvt_s_2", changes) == make_config("hvt", {"blocks_per_stage": 4})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"pool_stages": 2, "blocks_per_stage": 6},
            "pool_stages 2 and blocks_per_stage 6 both say where to pool; give one of them",
        ),
        ({"pool_stages": None}, "neither pool_stages nor blocks_per_stage is given; pool_stages 0 never pools"),
        ({"pool_stages": 13}, "pool_stages 13 is more than depth 12; each stage needs a block"),
        ({"depth": 2, "pool_stages": 3}, "pool_stages 3 is more than depth 2; each stage needs a block"),
        (
            {"pool_stages": 7},
            "block 10 would pool 2 tokens with pool_kernel_size 3 below one token; "
            "use fewer stages, a smaller kernel, a larger image or smaller patches",
        ),
        (
            {"pool_kernel_size": 197},
            "block 0 would pool 196 tokens with pool_kernel_size 197 below one token; "
            "use fewer stages, a smaller kernel, a larger image or smaller patches",
        ),
        (
            {"img_size": 16},
            "block 0 would pool 1 tokens with pool_kernel_size 3 below one token; "
            "use fewer stages, a smaller kernel, a larger image or smaller patches",
        ),
    ],
)
def test_an_impossible_pooling_says_why(changes, sentence):
    with pytest.raises(ConfigError) as caught:
        make_config("hvt", changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("changes", [{"pool_kernel_size": 196}, {"img_size": 16, "pool_stages": 0}, {"pool_stages": 6}])
def test_the_last_possible_pooling_is_possible(changes):
    config = make_config("hvt", changes | {"embed_dim": 64})
    assert config.patch_lens[-1] >= 1
    with torch.device("meta"):
        assert config.build()(torch.empty(config.input_shapes(1)[0])).shape == (1, 1000)


def test_the_ablations_are_swept_and_cost_what_the_file_says(repository):
    sweep = load_sweep(repository / "sweeps" / "ablations.yaml", device="cpu")
    assert not sweep.invalid
    found = {
        (point.axis, str(getattr(point.config, point.axis or "family"))): f"{point.config.closed_form_macs() / 1e9:.2f}"
        for point in sweep.points
    }
    assert found == {
        (None, "hvt"): "2.40",
        **{("pool_stages", key): macs for key, macs in {"0": "4.57", "2": "1.94", "3": "1.62", "4": "1.39"}.items()},
        **{("pool", key): "2.40" for key in ("avg", "conv_dw")},
        **{("pool_kernel_size", key): macs for key, macs in {"2": "2.42", "4": "2.40", "5": "2.38"}.items()},
        **{("pool_stride", key): macs for key, macs in {"1": "4.53", "3": "1.74", "4": "1.41"}.items()},
        ("global_pool", "token"): "2.43",
    }
