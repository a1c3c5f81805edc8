import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from hvt_bench.errors import ConfigError, FieldError, FileError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import CONFIG_COLUMNS, create_model, make_config, override, parse_model
from hvt_bench.models.mvit import MVIT_VARIANTS, pooled_side
from hvt_bench.point import Point
from hvt_bench.request import read_request
from hvt_bench.row import Row
from hvt_bench.sweep import load_sweep
from hvt_bench.table import read_table, write_table
from tests.golden.fill import images
from tests.networks import _linear, _norm, configs, filled, pictures, shapes_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mvit.json").read_text())
SMALL = {"img_size": 20, "embed_dim": 6, "num_heads": 1, "stage_depths": (1, 2), "num_classes": 5}

# --- the released network -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    """The golden entry and our network of its name with the golden weights."""
    (name,) = GOLDEN
    return GOLDEN[name], filled(parse_model(name))


def test_keys_and_shapes_are_those_of_slowfast_in_its_order(golden):
    entry, network = golden
    assert [f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(network).items()] == entry["keys"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]


@pytest.mark.parametrize("path", ["sdpa", "eager"])
def test_the_softmax_of_the_logits_is_what_slowfast_puts_out(golden, path):
    entry, network = golden
    for block in network.blocks:
        block.attn.path = path
    with torch.no_grad():
        found = network(images(entry["img_size"])).softmax(dim=-1)
    torch.testing.assert_close(found[:, :10], torch.tensor(entry["probs"], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.tensor(entry["norm"], dtype=torch.float64), rtol=1e-6, atol=0)


def test_fvcore_finds_what_it_finds_in_slowfast(golden):
    entry, _ = golden
    found = breakdown("mvit_b_16_conv")
    assert found.total.fvcore_flops == entry["fvcore_total"]
    theirs = entry["by_operator"]
    assert {name: cost.macs for name, cost in found.operators.items()} == {
        "linear": theirs["linear"],
        "convolution": theirs["conv"],
        "scaled_dot_product_attention": theirs["matmul"],
    }


# --- the published numbers ------------------------------------------------------------------------------------------

TABLE = {  # params; GMACs; what table 17 and A.3 of the paper print of them: M, G
    "mvit_b_16_conv": (36_982_600, 7.8093, "37.0", 7.8),
    "mvit_b_16_max": (36_945_640, 7.7809, "36.9", 7.8),  # printed 37.0, as those of conv
    "mvit_b_24_max": (53_462_536, 10.9028, "53.5", 10.9),
    "mvit_b_24_wide_320_conv": (72_961_832, 32.7181, "73.0", 32.7),  # printed 72.9, as those of max
    "mvit_b_24_wide_320_max": (72_899_000, 32.6302, "72.9", 32.6),  # printed 32.7, as those of conv
    "mvit_b_16_max:kv_stride=8": (36_945_640, 7.1594, "36.9", 7.2),
    "mvit_b_16_max:kv_stride=4": (36_945_640, 7.7809, "36.9", 7.8),
    "mvit_b_16_max:kv_stride=2": (36_945_640, 9.0213, "36.9", 9.0),
    "mvit_b_16_max:kv_stride=1": (36_945_640, 10.4379, "36.9", 10.4),
}


def test_every_variant_is_in_the_table():
    assert MVIT_VARIANTS.keys() <= TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_params_and_macs_are_those_of_the_paper(name):
    found, (params, gmacs, printed_m, printed_g) = count(name), TABLE[name]
    assert found.params == params
    assert round(found.macs / 1e9, 4) == gmacs
    assert f"{found.params / 1e6:.1f}" == printed_m
    assert round(found.macs / 1e9, 1) == printed_g


def test_blocks_are_those_of_the_released_code():
    #        width, out, heads, grid, queries, keys, stride of keys
    table = [
        (96, 192, 1, 56, 56, 14, 4),
        (192, 192, 2, 56, 28, 28, 2),
        (192, 384, 2, 28, 28, 14, 2),
        (384, 384, 4, 28, 14, 28, 1),
        *[(384, 384, 4, 14, 14, 14, 1)] * 9,
        (384, 768, 4, 14, 14, 14, 1),
        (768, 768, 8, 14, 7, 14, 1),
        (768, 768, 8, 7, 7, 7, 1),
    ]
    plans = parse_model("mvit_b_16_conv").plans
    assert [(p.width, p.out_width, p.num_heads, p.grid, p.query_grid, p.kv_grid, p.kv_stride) for p in plans] == table


def test_the_deeper_network_has_24_blocks_and_the_wide_one_wider_heads():
    config = parse_model("mvit_b_24_wide_320_conv")
    assert config.depth == 24
    assert {plan.width // plan.num_heads for plan in config.plans} == {112}
    assert config.seq_lens == (6401,) * 3 + (1601,) * 3 + (401,) * 16 + (101,) * 2


# --- the arithmetic, written out without any layer ------------------------------------------------------------------


def expected_logits(config, weights, inputs):
    patch, heads, grid = config.patch_size, config.num_heads, config.img_size // config.patch_size
    kernel = 2 * patch - 1
    padded = F.pad(inputs, (patch - 1,) * 4)
    cut = padded.unfold(2, kernel, patch).unfold(3, kernel, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = cut @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1) + weights["pos_embed"]
    index, kv_stride = 0, config.kv_stride
    for stage, depth in enumerate(config.stage_depths):
        for block in range(depth):
            at, pools = f"blocks.{index}.", stage > 0 and block == 0
            if pools:
                heads, kv_stride = heads * 2, max(kv_stride // 2, 1)
            strides = {"q": 2 if pools else 1, "k": kv_stride, "v": kv_stride}
            mixed = _expected_attention(config, weights, at + "attn.", _norm(x, weights, at + "norm1"), heads, strides)
            x = mixed + (_max(x, 3, 2, grid) if pools else x)
            grid = -(-grid // strides["q"])
            normed = _norm(x, weights, at + "norm2")
            hidden = _linear(normed, weights, at + "mlp.fc1")
            out = _linear(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, weights, at + "mlp.fc2")
            widens = block == depth - 1 and stage < len(config.stage_depths) - 1
            x = out + (_linear(normed, weights, at + "proj") if widens else x)
            index += 1
    return _linear(_norm(x, weights, "norm")[:, 0], weights, "head.projection")


def _expected_attention(config, weights, at, x, heads, strides):
    width, grid = x.shape[-1] // heads, math.isqrt(x.shape[1] - 1)
    qkv = x @ weights[at + "qkv.weight"].T
    if config.qkv_bias:
        qkv = qkv + weights[at + "qkv.bias"]
    mixed = []
    for head in range(heads):
        parts = {}
        for index, (name, stride) in enumerate(strides.items()):
            start = (index * heads + head) * width
            part = qkv[..., start : start + width]
            if config.pool == "max":
                parts[name] = _max(part, stride + 1, stride, grid) if stride > 1 else part
            elif name == "q" and stride == 1:
                parts[name] = part
            else:
                taps = weights[f"{at}pool_{name}.weight"][:, 0, 0].permute(1, 2, 0)  # (3, 3, d)
                pooled = _pooled(part, 3, stride, grid, 0.0, lambda window, taps=taps: (window * taps).sum((1, 2)))
                parts[name] = _norm(pooled, weights, f"{at}norm_{name}")
        scores = parts["q"] @ parts["k"].transpose(1, 2) / math.sqrt(width)
        mixed.append(torch.softmax(scores, dim=-1) @ parts["v"])
    return _linear(torch.cat(mixed, dim=-1), weights, at + "proj")


def _max(x, kernel, stride, grid):
    return _pooled(x, kernel, stride, grid, -math.inf, lambda window: window.amax((1, 2)))


def _pooled(x, kernel, stride, grid, around, reduced):
    half = kernel // 2
    square = F.pad(x[:, 1:].unflatten(1, (grid, grid)), (0, 0, half, half, half, half), value=around)
    starts = range(0, grid, stride)
    found = [reduced(square[:, i : i + kernel, j : j + kernel]) for i in starts for j in starts]
    return torch.stack([x[:, 0], *found], dim=1)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(configs(families=("mvit",)))
def test_both_attention_paths_compute_what_the_paper_says(config):
    inputs, network = pictures(config), filled(config)
    with torch.no_grad():
        expected = expected_logits(config, network.state_dict(), inputs)
        for path in ("sdpa", "eager"):
            for block in network.blocks:
                block.attn.path = path
            torch.testing.assert_close(network(inputs), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(configs(families=("mvit",)))
def test_seq_lens_are_the_tokens_that_enter_each_block(config):
    with torch.device("meta"):
        network, entered = config.build(), []
        for block in network.blocks:
            block.register_forward_pre_hook(lambda module, inputs: entered.append(tuple(inputs[0].shape[1:])))
        network(torch.empty(config.input_shapes(1)[0]))
    assert entered == [(plan.tokens, plan.width) for plan in config.plans]
    assert tuple(tokens for tokens, _ in entered) == config.seq_lens


@pytest.mark.parametrize(
    ("side", "stride", "left"), [(56, 4, 14), (56, 2, 28), (7, 2, 4), (5, 4, 2), (1, 8, 1), (9, 8, 2), (8, 8, 1)]
)
def test_pooling_shortens_a_side_as_torch_does(side, stride, left):
    assert pooled_side(side, stride) == left
    grid = torch.zeros(1, 1, side, side)
    assert F.conv2d(grid, torch.zeros(1, 1, 3, 3), stride=stride, padding=1).shape[-1] == left
    assert F.max_pool2d(grid, stride + 1, stride, padding=(stride + 1) // 2).shape[-1] == left


# --- training -------------------------------------------------------------------------------------------------------


def test_a_new_network_starts_as_slowfast_does():
    torch.manual_seed(0)
    network = create_model("mvit", img_size=32, stage_depths=[1, 1])
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm):
            assert torch.all(module.bias == 0.02), name
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert torch.all(module.weight == 1), name
        elif getattr(module, "weight", None) is not None:
            assert 0.015 < float(module.weight.detach().std()) < 0.025, name
    for table in (network.pos_embed, network.cls_token):
        assert 0.01 < float(table.detach().std()) < 0.03
    assert network.training


@pytest.mark.parametrize("pool", ["conv", "max"])
def test_gradients_reach_every_weight(pool):
    config = make_config("mvit", SMALL | {"pool": pool})
    network = filled(config).train().requires_grad_()
    network(pictures(config)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_changes_every_weight(checkpointing):
    point = Point(
        model="m",
        config=make_config("mvit", SMALL),
        device="cpu",
        batch_size=2,
        mode="train",
        warmup_s=0.0,
        checkpointing=checkpointing,
    )
    passes = Passes(point)
    before = {name: p.detach().clone() for name, p in passes.model.named_parameters()}
    passes()
    assert [name for name, p in passes.model.named_parameters() if torch.equal(p, before[name])] == []


def test_checkpointing_costs_about_a_forward_pass():
    found = breakdown("mvit_b_16_conv")
    assert found.checkpointed_train_macs - found.total.train_macs < found.total.macs
    assert found.checkpointed_train_macs - found.total.train_macs > 0.6 * found.total.macs


# --- fields ---------------------------------------------------------------------------------------------------------

NO_DEPTH = "family mvit has no depth: give stage_depths, the blocks of each stage, such as [1, 2, 11, 2]"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": 12}, NO_DEPTH),
        ({"stage_depths": 12}, "family mvit: stage_depths: 12 does not fit: should be a list, such as [a, b]"),
        ({"stage_depths": [1, "x"]}, "family mvit: stage_depths: 'x' does not fit: should be a whole number"),
        (
            {"stage_depths": [1, 0]},
            "family mvit: stage_depths: 0 does not fit: should be greater than or equal to 1",
        ),
        ({"stage_depths": []}, "family mvit: stage_depths: [] does not fit: should not be empty"),
        (
            {"stage_depths": [1] * 7},
            "family mvit: stage_depths: [1, 1, 1, 1, 1, 1, 1] does not fit: should have 6 entries at most",
        ),
        ({"kv_stride": 3}, "family mvit: kv_stride 3 cannot be halved to 1; take 2 or 4"),
        ({"kv_stride": 0}, "family mvit: kv_stride: 0 does not fit: should be greater than or equal to 1"),
        ({"kv_stride": True}, "family mvit: kv_stride: True does not fit: should be a whole number"),
        ({"pool": "avg"}, "family mvit: pool: 'avg' does not fit: should be 'conv' or 'max'"),
    ],
)
def test_a_value_that_no_mvit_has_is_refused(changes, sentence):
    with pytest.raises(FieldError) as caught:
        create_model("mvit_b_16_conv", **changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"img_size": 230},
            "img_size 230 is not divisible by patch_size 4; the nearest sizes that work: 228 and 232",
        ),
        (
            {"embed_dim": 100},
            "embed_dim 100 is no multiple of the head width 96; give num_heads too, or take 96 or 192",
        ),
        (
            {"embed_dim": 100, "num_heads": 3},
            "embed_dim 100 is not divisible by num_heads 3; heads are 96 wide in MViT-B",
        ),
        ({"mlp_ratio": 0.001}, "mlp_ratio 0.001 leaves an MLP without a hidden unit"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes, sentence):
    with pytest.raises(ConfigError) as caught:
        create_model("mvit_b_16_conv", **changes)
    assert str(caught.value) == sentence


def test_heads_stay_as_wide_as_they_were():
    assert override(parse_model("mvit_b_16_conv"), embed_dim=192).num_heads == 2
    assert override(parse_model("mvit_b_24_wide_320_max"), embed_dim=224).num_heads == 2


def test_stage_depths_are_read_from_text_and_from_yaml():
    written = parse_model("mvit:stage_depths=[2, 3, 16, 3],pool=max")
    assert written == parse_model("mvit_b_24_max")
    assert parse_model({"family": "mvit", "pool": "max", "stage_depths": [2, 3, 16, 3]}) == written
    assert hash(written) == hash(parse_model("mvit_b_24_max"))


def test_one_stage_is_a_transformer_that_pools_keys_and_values():
    config = make_config("mvit", SMALL | {"stage_depths": [3]})
    assert [(p.width, p.out_width, p.grid, p.query_grid, p.kv_grid) for p in config.plans] == [(6, 6, 5, 5, 2)] * 3


# --- in a sweep -----------------------------------------------------------------------------------------------------

MODEL = "- {family: mvit, name: m, img_size: 16, embed_dim: 4, num_heads: 1, stage_depths: [1, 2]}\n"
SWEEP = (
    f"name: x\nmodels:\n{MODEL}- {{family: vit, name: v, depth: 2}}\n"
    "axes:\n  depth: [1, 3]\n  stage_depths: [[1, 1], [1, 2, 1]]\n  pool: [max]\nprotocol: {device: cpu}\n"
)


@pytest.fixture
def swept(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(SWEEP)
    return load_sweep(path)


def test_on_an_axis_of_depths_an_mvit_is_invalid_and_says_what_to_give(swept):
    assert [(cell.model, cell.axis, cell.asked["depth"], cell.reason) for cell in swept.invalid] == [
        ("m", "depth", 1, NO_DEPTH),
        ("m", "depth", 3, NO_DEPTH),
    ]
    assert [(point.model, point.axis, point.config.depth) for point in swept.points] == [
        ("m", None, 3),
        ("m", "stage_depths", 2),
        ("m", "stage_depths", 4),
        ("m", "pool", 3),
        ("v", None, 2),
        ("v", "depth", 1),
        ("v", "depth", 3),
    ]


@pytest.mark.parametrize("section", ["axes", "grid"])
def test_an_axis_of_depths_for_mvits_alone_is_an_error(section, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nmodels:\n{MODEL}{section}:\n  depth: [6]\nprotocol: {{device: cpu}}\n")
    with pytest.raises(FileError) as caught:
        load_sweep(path)
    assert str(caught.value) == f"{path}:5: {NO_DEPTH}"


def test_a_row_has_its_stage_depths_and_their_sum(swept, tmp_path):
    rows = [Row(cell.columns()) for cell in swept.cells]
    write_table(tmp_path / "x.csv", rows)
    found = [(row["depth"], row["stage_depths"]) for row in read_table(tmp_path / "x.csv") if row["model"] == "m"]
    assert found == [(3, (1, 2)), (1, (1, 2)), (3, (1, 2)), (2, (1, 1)), (4, (1, 2, 1)), (3, (1, 2))]


def test_show_is_told_to_take_stage_depths_too():
    with pytest.raises(ConfigError) as caught:
        read_request("mvit_b_16_max", ["depth=12"], (), "leave it out")
    assert str(caught.value) == NO_DEPTH


def test_columns_say_what_they_are_of_every_family():
    assert CONFIG_COLUMNS["stage_depths"].kind is int
    assert CONFIG_COLUMNS["stage_depths"].many
    assert "HVT" in CONFIG_COLUMNS["pool"].doc
    assert "MViT" in CONFIG_COLUMNS["pool"].doc
