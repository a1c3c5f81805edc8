import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hvt_bench.errors import ConfigError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import create_model, make_config, override, parse_model
from hvt_bench.models.dynamicvit import Backbone, Lesson, Predictor
from hvt_bench.point import Point
from tests.golden.fill import images
from tests.networks import fill, filled, pictures, shapes_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "dynamicvit.json").read_text())["dynamicvit_s_0.7"]

SMALL = {"img_size": 24, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 4, "num_classes": 5}
LV = {"backbone": "lv_vit", "mlp_ratio": 3.0, "qkv_bias": False}
BACKBONES = pytest.mark.parametrize("backbone", [{}, LV], ids=["deit", "lv_vit"])


def small(**changes):
    return make_config("dynamicvit", SMALL | changes)


RATES = st.floats(0.7, 1.0)


@st.composite
def dynamicvits(draw, keep_rates=RATES):
    """Any valid config of the family, small in size and wide in kind."""
    heads, width = draw(st.integers(1, 2)), 2 * draw(st.integers(2, 5))
    patch = 2 * draw(st.integers(1, 2))
    backbone = draw(st.sampled_from(["deit", "lv_vit"]))
    rate = draw(keep_rates)
    fields = {
        "patch_size": patch if backbone == "lv_vit" else patch - draw(st.integers(0, 1)),
        "in_chans": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 7)),
        "num_heads": heads,
        "embed_dim": heads * width,
        "depth": draw(st.integers(3, 6)),
        "mlp_ratio": draw(st.sampled_from([1.0, 8 / 3, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "backbone": backbone,
        "keep_rate": rate,
        "teacher": rate is not None and draw(st.booleans()),
    }
    return make_config("dynamicvit", fields | {"img_size": fields["patch_size"] * draw(st.integers(2, 6))})


# --- the released code and the printed numbers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    """Our network with the golden weights."""
    return filled(parse_model("dynamicvit_s"))


def test_keys_shapes_and_counts_are_those_of_the_released_code(golden):
    found = {f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes_of(golden).items()}
    assert found == set(GOLDEN["keys"])
    counted = count("dynamicvit_s")
    assert (counted.params, counted.macs) == (GOLDEN["params"], GOLDEN["gemm_macs"]) == (22_774_414, 2_980_897_728)
    assert counted.fvcore_flops == GOLDEN["fvcore_total"]


@pytest.mark.parametrize("path", ["sdpa", "eager"])
def test_logits_are_those_of_the_released_code_through_both_attention_paths(golden, path):
    for block in golden.blocks:
        block.attn.path = path
    with torch.no_grad():
        logits = golden(images(GOLDEN["img_size"]))
    torch.testing.assert_close(logits[:, :10], torch.tensor(GOLDEN["logits"], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.norm(dim=1), torch.tensor(GOLDEN["norm"], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("model", "backbone", "predictors", "total", "printed"),  # GMACs; printed in tables 1, 2 and 5 and in the README
    [
        ("dynamicvit_s:keep_rate=0.9", 3.9136, 0.1271, 4.0407, [4.0]),
        ("dynamicvit_s:keep_rate=0.8", 3.3487, 0.1144, 3.4631, [3.4]),
        ("dynamicvit_s", 2.8780, 0.1029, 2.9809, [2.9]),
        ("dynamicvit_s:keep_rate=0.6", 2.4729, 0.0918, 2.5647, [2.5]),
        ("dynamicvit_s:keep_rate=0.5", 2.1468, 0.0823, 2.2291, [2.2]),
        ("dynamicvit_b", 11.0645, 0.4113, 11.4758, [11.4, 11.2]),
        ("dynamicvit_256", 1.3289, 0.0457, 1.3746, [1.3]),
        ("dynamicvit_s:img_size=384", 9.3491, 0.3024, 9.6515, [9.5]),
        ("dynamicvit_s:img_size=384,keep_rate=0.5", 6.9448, 0.2417, 7.1865, [7.0]),
        ("dynamicvit_lv_s:keep_rate=0.9", 5.7492, 0.1271, 5.8763, [5.8]),
        ("dynamicvit_lv_s:keep_rate=0.8", 5.0919, 0.1144, 5.2062, [5.1]),
        ("dynamicvit_lv_s", 4.5472, 0.1029, 4.6501, [4.6]),
        ("dynamicvit_lv_s:keep_rate=0.5", 3.7079, 0.0823, 3.7902, [3.7]),
        ("dynamicvit_lv_m:keep_rate=0.9", 10.9808, 0.2259, 11.2067, [11.1]),
        ("dynamicvit_lv_m:keep_rate=0.8", 9.5793, 0.2033, 9.7826, [9.6]),
        ("dynamicvit_lv_m", 8.4104, 0.1829, 8.5932, [8.5]),
    ],
)
def test_printed_flops_lie_between_those_without_and_with_predictors(model, backbone, predictors, total, printed):
    config = parse_model(model)
    macs, scored = config.closed_form_macs(), config.predictor_macs()
    assert [f"{part / 1e9:.4f}" for part in (macs - scored, scored, macs)] == [
        f"{part:.4f}" for part in (backbone, predictors, total)
    ]
    for cell in printed:
        assert (macs - scored) / 1e9 <= cell + 0.05
        assert cell <= macs / 1e9 + 0.05


@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    [
        ("dynamicvit_lv_s", 26_875_574, 4.6501),
        ("dynamicvit_lv_m", 57_115_030, 8.5932),
        ("lvvit_s", 26_151_824, 6.5515),
        ("lvvit_m", 55_830_544, 12.6780),
    ],
)
def test_lv_vits_have_the_published_parameters_and_macs(name, params, gmacs):
    config = parse_model(name)
    with torch.device("meta"):
        assert sum(p.numel() for p in config.build().parameters()) == params
    assert f"{config.closed_form_macs() / 1e9:.4f}" == f"{gmacs:.4f}"


@pytest.mark.parametrize(
    ("model", "blocks", "kept"),
    [
        ("dynamicvit_s:keep_rate=0.9", (3, 6, 9), (176, 158, 142)),
        ("dynamicvit_s:keep_rate=0.8", (3, 6, 9), (156, 125, 100)),
        ("dynamicvit_s", (3, 6, 9), (137, 96, 67)),
        ("dynamicvit_s:keep_rate=0.6", (3, 6, 9), (117, 70, 42)),
        ("dynamicvit_s:keep_rate=0.5", (3, 6, 9), (98, 49, 24)),
        ("dynamicvit_s:img_size=384", (3, 6, 9), (403, 282, 197)),
        ("dynamicvit_s:img_size=384,keep_rate=0.5", (3, 6, 9), (288, 144, 72)),
        ("dynamicvit_lv_s", (4, 8, 12), (137, 96, 67)),
        ("dynamicvit_lv_m", (5, 10, 15), (137, 96, 67)),
        ("dynamicvit_s:depth=3", (0, 1, 2), (137, 96, 67)),
        ("dynamicvit_s:depth=10", (2, 5, 7), (137, 96, 67)),
        ("dynamicvit_s:keep_rate=1.0", (3, 6, 9), (196, 196, 196)),
    ],
)
def test_it_prunes_where_and_to_what_the_released_code_does(model, blocks, kept):
    config = parse_model(model)
    assert (config.pruning_blocks, config.keep_counts) == (blocks, kept)
    first = [next(i for i, n in enumerate(config.seq_lens) if i >= block) for block in blocks]
    assert tuple(config.seq_lens[i] - 1 for i in first) == kept


# --- evaluation -------------------------------------------------------------------------------------------------------


class Oracle:
    """The network written out from papers and facts, without any of its layers."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        lv = config.backbone == "lv_vit"
        self.eps, self.scale = (1e-5, 0.5) if lv else (1e-6, 1.0)

    def linear(self, x, at):
        return F.linear(x, self.weights[f"{at}.weight"], self.weights.get(f"{at}.bias"))

    def norm(self, x, at, eps):
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{at}.weight"], self.weights[f"{at}.bias"], eps)

    def embedded(self, x):
        config, weights, at = self.config, self.weights, "patch_embed."
        patch = config.patch_size
        if config.backbone == "lv_vit":
            patch //= 2
            for i, (stride, padding) in enumerate([(2, 3), (1, 1), (1, 1)], start=1):
                x = F.conv2d(x, weights[f"{at}conv{i}.weight"], stride=stride, padding=padding)
                mean, variance, gain, bias = (
                    weights[f"{at}bn{i}.{name}"][:, None, None]
                    for name in ("running_mean", "running_var", "weight", "bias")
                )
                x = ((x - mean) / (variance + 1e-5).sqrt() * gain + bias).clamp(min=0)
        x = F.conv2d(x, weights[f"{at}proj.weight"], weights[f"{at}proj.bias"], stride=patch).flatten(2).mT
        return torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1) + weights["pos_embed"]

    def block(self, x, i):
        heads, at = self.config.num_heads, f"blocks.{i}."
        qkv = self.linear(self.norm(x, f"{at}norm1", self.eps), f"{at}attn.qkv")
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in qkv.chunk(3, dim=-1))
        mixed = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v
        x = x + self.scale * self.linear(mixed.transpose(-2, -3).flatten(-2), f"{at}attn.proj")
        hidden = F.gelu(self.linear(self.norm(x, f"{at}norm2", self.eps), f"{at}mlp.fc1"))
        return x + self.scale * self.linear(hidden, f"{at}mlp.fc2")

    def scores(self, patches, stage):
        """How likely one image's tokens, (n, D), are kept, as a logarithm."""
        at, half = f"score_predictor.{stage}.", patches.shape[-1] // 2
        x = F.gelu(self.linear(self.norm(patches, f"{at}in_conv.0", 1e-5), f"{at}in_conv.1"))
        x = torch.cat([x[:, :half], x[:, half:].mean(0).expand(len(x), -1)], dim=1)
        for layer in (0, 2):
            x = F.gelu(self.linear(x, f"{at}out_conv.{layer}"))
        return torch.log_softmax(self.linear(x, f"{at}out_conv.4"), dim=-1)[:, 0]

    def read(self, x):
        """The class token's logits, and what the patch tokens of one image say."""
        x = self.norm(x, "norm", self.eps)
        said = self.linear(x[1:], "aux_head") if self.config.backbone == "lv_vit" else x[1:]
        return self.linear(x[0], "head"), said

    def logits(self, x):
        logits, said = self.read(x)
        return logits + said.amax(0) / 2 if self.config.backbone == "lv_vit" else logits

    def evaluated(self, inputs):
        """Logits of images, one after the other."""
        config, found = self.config, []
        tokens = config.num_patches
        for x in self.embedded(inputs):
            for i in range(config.depth):
                if i in config.pruning_blocks:
                    stage = config.pruning_blocks.index(i)
                    scores = self.scores(x[1:], stage).tolist()
                    best = sorted(range(len(scores)), key=lambda token, s=scores: -s[token])
                    keep = int(tokens * config.keep_rate ** (stage + 1))
                    x = x[[0, *(1 + token for token in best[:keep])]]
                x = self.block(x, i)
            found.append(self.logits(x))
        return torch.stack(found)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(dynamicvits(RATES | st.none()))
def test_both_attention_paths_compute_what_the_paper_says(config):
    config = config.model_copy(update={"teacher": False})
    inputs, network = pictures(config), filled(config)
    with torch.no_grad():
        expected = Oracle(config, network.state_dict()).evaluated(inputs)
        for path in ("sdpa", "eager"):
            for block in network.blocks:
                block.attn.path = path
            torch.testing.assert_close(network(inputs), expected, rtol=1e-8, atol=1e-9)


@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(dynamicvits())
def test_seq_lens_are_the_tokens_that_enter_each_block_and_in_training_all_do(config):
    with torch.device("meta"):
        network, entered = config.build("eager"), []
        for block in network.blocks:
            block.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].shape[1]))
        network.eval()(torch.empty(config.input_shapes(2)[0]))
        assert tuple(entered) == config.seq_lens
        entered.clear()
        network.train()(torch.empty(config.input_shapes(2)[0]))
    assert entered == [config.num_patches + 1] * config.depth


def test_tokens_go_on_in_the_order_of_their_scores_behind_the_class_token():
    network = filled(small(keep_rate=0.5))
    with torch.no_grad():
        x = torch.randn(3, 37, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        scores = network.score_predictor(0, x[:, 1:])[..., 0]
        pruned = network._prune(x, 0)
    assert pruned.shape == (3, 19, 8)
    for image in range(3):
        rows = sorted(range(36), key=lambda row: -float(scores[image, row]))[:18]
        assert rows != sorted(rows)
        assert torch.equal(pruned[image], x[image, [0, *(row + 1 for row in rows)]])


@BACKBONES
def test_a_keep_rate_of_one_scores_and_keeps_all(backbone):
    config = small(keep_rate=1.0, **backbone)
    network, unpruned = filled(config), filled(config.unpruned)
    assert config.predictor_macs() > 0
    assert config.unpruned.closed_form_macs() == config.closed_form_macs() - config.predictor_macs()
    with torch.no_grad():
        torch.testing.assert_close(network(pictures(config)), unpruned(pictures(config)), rtol=1e-9, atol=1e-9)


def test_without_pruning_a_deit_is_left():
    mine, vit = small(keep_rate=None), make_config("vit", SMALL)
    assert shapes_of(filled(mine)) == shapes_of(filled(vit))
    assert mine.closed_form_macs() == vit.closed_form_macs()
    assert count(mine) == count(vit)
    with torch.no_grad():
        assert torch.equal(filled(mine)(pictures(mine)), filled(vit)(pictures(vit)))
    assert mine.usual_attention(training=True) == "sdpa"


# --- what is counted --------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(dynamicvits(RATES | st.none()))
def test_fvcore_pytorch_and_the_closed_forms_agree_for_any_valid_config(config):
    found = breakdown(config)
    assert found.total.macs == config.closed_form_macs()
    assert found.total.params == config.closed_form_params()
    assert found.total.seq_lens == config.seq_lens
    with torch.device("meta"):
        assert found.total.params == sum(p.numel() for p in config.build().parameters())
    predictors = 0
    if config.keep_rate is not None:
        assert found.modules["score_predictor"].macs == config.predictor_macs()
        predictors = override(config, keep_rate=1.0).predictor_macs()
    unpruned = config.unpruned.closed_form_macs()  # training takes every token
    first = config.stem_macs()  # there is no gradient of the image
    if config.backbone == "lv_vit":
        first = (config.img_size // 2) ** 2 * 64 * config.in_chans * 49
    assert found.total.train_macs == 3 * (unpruned + predictors) - first + config.teacher * unpruned


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("teacher", [False, True])
@BACKBONES
def test_training_costs_what_a_real_step_executes(backbone, teacher, checkpointing):
    config = small(teacher=teacher, **backbone)
    network = config.build("eager")
    if checkpointing:
        for block in network.blocks:
            block.forward = lambda *x, forward=block.forward: checkpoint(forward, *x, use_reentrant=False)
    with FlopCounterMode(display=False) as counter:
        outputs = network(torch.randn(config.input_shapes(1)[0]))
        network.training_loss(outputs, torch.zeros(1, dtype=torch.long)).backward()
    assert count(config, checkpointing=checkpointing).train_macs == counter.get_total_flops() // 2


def test_what_readme_says_of_its_cost_is_so(repository):
    pruned, unpruned = count("dynamicvit_s"), count("deit_small")
    assert (
        f"`dynamicvit_s` costs {pruned.macs / 1e9:.2f} GMACs where DeiT-S costs {unpruned.macs / 1e9:.2f}; to train, "
        f"{pruned.train_macs / 1e9:.2f} against {unpruned.train_macs / 1e9:.2f}, "
        f"and {(pruned.train_macs + unpruned.macs) / 1e9:.2f} with the unpruned teacher"
    ) in " ".join((repository / "README.md").read_text().split())


# --- training ---------------------------------------------------------------------------------------------------------


def learned(network, inputs, seed=0):
    torch.manual_seed(seed)
    return network.train()(inputs)


@pytest.mark.parametrize("changes", [{}, LV | {"teacher": True}], ids=["deit", "lv_vit"])
def test_a_token_that_training_masks_is_as_good_as_gone(changes):
    config = small(**changes)
    network = create_model("dynamicvit", **SMALL | changes).double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # the oracle knows no statistics of a batch
    inputs = pictures(config)
    torch.manual_seed(0)
    with torch.no_grad():
        lesson = network(inputs)
        oracle = Oracle(config, network.state_dict())
        expected = []
        for image, x in enumerate(oracle.embedded(inputs)):
            left = torch.arange(config.num_patches)
            for i in range(config.depth):
                if i in config.pruning_blocks:
                    kept = lesson.decisions[image, config.pruning_blocks.index(i), left] == 1
                    assert 0 < kept.sum() < len(kept)
                    left, x = left[kept], torch.cat([x[:1], x[1:][kept]])
                x = oracle.block(x, i)
            expected.append(oracle.read(x)[0])
    torch.testing.assert_close(lesson.logits, torch.stack(expected), rtol=1e-4, atol=1e-5)  # eps of the softmax


def test_what_is_dropped_stays_dropped_and_decisions_are_zeros_and_ones():
    config = small()
    decisions = learned(filled(config), pictures(config, 8)).decisions
    assert decisions.shape == (8, 3, 36)
    assert set(decisions.unique().tolist()) == {0.0, 1.0}
    assert (decisions[:, 1:] <= decisions[:, :-1]).all()
    assert 0 < decisions[:, 2].sum() < decisions[:, 0].sum()


def test_a_predictor_sees_of_other_tokens_only_those_that_are_kept():
    torch.manual_seed(0)
    predictor, x = Predictor(8).double(), torch.randn(2, 10, 8, dtype=torch.float64)
    kept = torch.zeros(2, 10)
    kept[:, [1, 4, 7]] = 1
    torch.testing.assert_close(predictor(x, kept)[:, [1, 4, 7]], predictor(x[:, [1, 4, 7]]), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(predictor(x)[:, [1, 4, 7]], predictor(x[:, [1, 4, 7]]))


@BACKBONES
@pytest.mark.parametrize(("bias", "kept"), [((90.0, -90.0), 1.0), ((-90.0, 90.0), 0.0)])
def test_the_first_score_is_to_keep_and_none_may_be_left(backbone, bias, kept):
    network = create_model("dynamicvit", **SMALL, **backbone, teacher=True)
    with torch.no_grad():
        for predictor in network.score_predictor:
            predictor.out_conv[4].bias.copy_(torch.tensor(bias))
    lesson = learned(network, pictures(small()).float())
    assert (lesson.decisions == kept).all()
    loss = network.training_loss(lesson, torch.tensor([1, 2]))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@BACKBONES
@pytest.mark.parametrize("teacher", [False, True])
def test_the_loss_is_that_of_the_released_code(backbone, teacher):
    network = create_model("dynamicvit", **SMALL, **backbone, keep_rate=0.6, teacher=teacher)
    generator = torch.Generator().manual_seed(3)
    logits, taught = torch.randn(2, 4, 5, generator=generator)
    said, taught_said = torch.randn(2, 4, 36, 5 if backbone else 8, generator=generator)
    decisions = (torch.rand(4, 3, 36, generator=generator) < 0.5).float()
    labels = torch.tensor([0, 1, 2, 4])
    lesson = Lesson(logits, decisions, ((logits, said), (taught, taught_said)) if teacher else None)
    expected = F.cross_entropy(logits, labels)
    for stage, share in enumerate((0.6, 0.36, 0.216)):
        for image in range(4):
            expected += 2 / 3 / 4 * (decisions[image, stage].mean() - share) ** 2
    if teacher:
        expected += 0.5 * F.kl_div(
            F.log_softmax(logits, -1), F.log_softmax(taught, -1), reduction="batchmean", log_target=True
        )
        mask = decisions[:, 2] > 0.5
        one, other = said[mask], taught_said[mask]
        expected += 0.5 * (
            F.kl_div(F.log_softmax(one, -1), F.log_softmax(other, -1), reduction="batchmean", log_target=True)
            if backbone
            else F.mse_loss(one, other)
        )
    torch.testing.assert_close(network.training_loss(lesson, labels), expected, rtol=1e-5, atol=0)


@BACKBONES
@pytest.mark.parametrize("teacher", [False, True])
def test_gradients_reach_every_weight(backbone, teacher):
    config = small(**backbone, teacher=teacher)
    network = create_model("dynamicvit", **SMALL, **backbone, teacher=teacher)
    network.training_loss(learned(network, pictures(config, 4).float()), torch.tensor([0, 1, 2, 3])).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_best_token_counts_beside_the_class_token_unless_a_teacher_compares_it():
    inputs = pictures(small())
    for teacher in (False, True):
        network = fill(create_model("dynamicvit", **SMALL, **LV, teacher=teacher)).double()
        before = learned(network, inputs).logits
        with torch.no_grad():
            network.aux_head.bias += 1
        after = learned(network, inputs).logits
        torch.testing.assert_close(after, before + (0 if teacher else 0.5), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "amp_bfloat16", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_of_training_changes_the_network_and_not_its_teacher(dtype, checkpointing):
    config = small(**LV, teacher=True)
    point = Point(
        model="m",
        config=config,
        device="cpu",
        batch_size=3,
        mode="train",
        dtype=dtype,
        attention="eager",
        checkpointing=checkpointing,
        warmup_s=0.0,
    )
    run = Passes(point)
    before = {name: tensor.detach().clone() for name, tensor in run.model.named_parameters()}
    taught = {name: tensor.clone() for name, tensor in run.model.teacher.named_buffers()}
    run()
    for name, tensor in run.model.named_parameters():
        assert tensor.isfinite().all(), name
        if not name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "in_conv.0.weight")) and ".bn" not in name:
            assert not torch.equal(tensor, before[name]), name  # a weight of 1 takes no small step in bfloat16
    assert taught.keys() == dict(run.model.teacher.named_buffers()).keys() != set()
    for name, tensor in run.model.teacher.named_buffers():
        assert torch.equal(tensor, taught[name]), name


# --- the teacher ------------------------------------------------------------------------------------------------------


@BACKBONES
def test_a_teacher_is_moved_with_the_network_and_neither_saved_nor_learned(backbone):
    alone, taught = (create_model("dynamicvit", **SMALL, **backbone, teacher=teacher) for teacher in (False, True))
    assert shapes_of(taught) == shapes_of(alone)
    assert dict(taught.named_parameters()).keys() == dict(alone.named_parameters()).keys()
    buffers = dict(taught.teacher.named_buffers())
    assert {name.removeprefix("network.") for name in buffers} == shapes_of(small(**backbone).unpruned.build()).keys()
    assert not any(buffer.requires_grad for buffer in buffers.values())
    taught.load_state_dict(alone.state_dict(), strict=True)
    moved = taught.to(torch.float64)
    assert {buffer.dtype for buffer in moved.teacher.buffers() if buffer.is_floating_point()} == {torch.float64}
    moved.train()
    assert moved.training
    assert not any(module.training for module in moved.teacher.modules())


@BACKBONES
def test_a_teacher_says_what_an_unpruned_network_of_its_weights_does(backbone):
    config = small(**backbone, teacher=True)
    network, inputs = config.build("eager"), pictures(config).float()
    own = config.unpruned.build().eval()
    own.load_state_dict({name.removeprefix("network."): b for name, b in network.teacher.named_buffers()})
    (logits, said), (taught, taught_said) = learned(network, inputs).compared
    assert logits.requires_grad
    assert not taught.requires_grad
    assert taught_said.shape == said.shape
    with torch.no_grad():
        expected, expected_said = own.read(own.blocks(own.embed(inputs)))
    torch.testing.assert_close(taught, expected)
    torch.testing.assert_close(taught_said, expected_said)


def test_a_teacher_costs_in_training_only():
    alone, taught = count(small()), count(small(teacher=True))
    assert taught.train_macs - alone.train_macs == small().unpruned.closed_form_macs()
    assert taught.model_copy(update={"train_macs": alone.train_macs}) == alone


# --- keys, start, refusals --------------------------------------------------------------------------------------------


def test_keys_of_an_lv_vit_are_those_of_its_released_code():
    lv, deit = (shapes_of(filled(small(**fields))) for fields in (LV | {"qkv_bias": True}, {"mlp_ratio": 3.0}))
    own = {key: shape for key, shape in lv.items() if key not in deit}
    bn = {
        f"patch_embed.bn{i}.{name}": (64,) for i in (1, 2, 3) for name in "weight bias running_mean running_var".split()
    }
    assert own == bn | {
        **{f"patch_embed.bn{i}.num_batches_tracked": () for i in (1, 2, 3)},
        "patch_embed.conv1.weight": (64, 3, 7, 7),
        "patch_embed.conv2.weight": (64, 64, 3, 3),
        "patch_embed.conv3.weight": (64, 64, 3, 3),
        "aux_head.weight": (5, 8),
        "aux_head.bias": (5,),
    }
    assert lv["patch_embed.proj.weight"] == (8, 64, 2, 2)
    assert {key for key in deit if lv.get(key) != deit[key]} == {"patch_embed.proj.weight"}
    assert not parse_model("dynamicvit_lv_s").qkv_bias


def test_a_new_network_starts_as_the_released_code_does():
    torch.manual_seed(0)
    network = create_model("dynamicvit", **SMALL | {"embed_dim": 128, "num_classes": 100}, **LV)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and module.weight.numel() > 1000:
            assert 0.015 < float(module.weight.detach().std()) < 0.025, name
        if isinstance(module, nn.Linear) and module.bias is not None:
            assert torch.count_nonzero(module.bias) == 0, name
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-5, name
    assert isinstance(network, Backbone)
    assert network.training


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"global_pool": "avg"}, "family dynamicvit: unknown key 'global_pool'"),
        (
            {"depth": 2},
            "depth 2 has no 3 blocks to prune before; take 3 or more, or keep_rate null, which does not prune",
        ),
        (
            {"embed_dim": 9, "num_heads": 3},
            "embed_dim 9 cannot be cut as a predictor cuts it, to a half and then to a quarter; "
            "take an even number from 4",
        ),
        (
            {"keep_rate": 0.1},
            "keep_rate 0.1 leaves none of 196 tokens before block 9; "
            "take a higher rate, a larger image or smaller patches",
        ),
        (
            {"keep_rate": 0.004},
            "keep_rate 0.004 leaves none of 196 tokens before block 3; "
            "take a higher rate, a larger image or smaller patches",
        ),
        (
            {"backbone": "lv_vit", "patch_size": 7},
            "patch_size 7 is odd, and the stem of backbone 'lv_vit' halves it; take 6 or 8",
        ),
        (
            {"keep_rate": None, "teacher": True},
            "teacher true has nobody to teach where keep_rate is null; give a keep_rate",
        ),
        ({"keep_rate": 0}, "family dynamicvit: keep_rate: 0 does not fit: should be greater than 0"),
        ({"keep_rate": 1.01}, "family dynamicvit: keep_rate: 1.01 does not fit: should be less than or equal to 1"),
        ({"backbone": "swin"}, "family dynamicvit: backbone: 'swin' does not fit: should be 'deit' or 'lv_vit'"),
    ],
)
def test_an_impossible_network_says_why(changes, sentence):
    with pytest.raises(ConfigError) as caught:
        make_config("dynamicvit", changes)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "changes", [{"depth": 1, "keep_rate": None}, {"keep_rate": 0.173}, {"depth": 3}, {"embed_dim": 6, "num_heads": 1}]
)
def test_the_last_possible_network_is_possible(changes):
    config = make_config("dynamicvit", changes)
    with torch.device("meta"):
        assert config.build().eval()(torch.empty(config.input_shapes(1)[0])).shape == (1, 1000)


def test_fused_attention_cannot_train_it():
    config = small()
    config.check_attention("sdpa", training=False)
    config.check_attention("eager", training=True)
    assert (config.usual_attention(False), config.usual_attention(True)) == ("sdpa", "eager")
    with pytest.raises(ConfigError) as caught:
        config.check_attention("sdpa", training=True)
    assert str(caught.value) == (
        "attention sdpa cannot train a DynamicViT: the tokens that it drops are masked inside the softmax; "
        "take eager, or auto"
    )
