import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.cards import describe
from hvt_bench.errors import ConfigError, UnsupportedError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import create_model, make_config, override, parse_model
from hvt_bench.models.patchdiv import Diversified, contrastive_loss, cosine_loss
from hvt_bench.point import Point
from tests.networks import fill, filled, pictures, shapes_of

SMALL = {"img_size": 12, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 3, "num_classes": 5}
LOSSES = ("patch_cosine", "patch_contrastive", "patch_mixing")


@st.composite
def patchdivs(draw):
    """Any valid config, small in size."""
    heads, patch = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    fields = {
        "patch_size": patch,
        "img_size": patch * draw(st.integers(1, 5)),
        "in_chans": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 7)),
        "num_heads": heads,
        "embed_dim": heads * draw(st.integers(1, 5)),
        "depth": draw(st.integers(1, 3)),
        "mlp_ratio": draw(st.sampled_from([1.0, 1.5, 8 / 3, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "global_pool": draw(st.sampled_from(["avg", "token"])),
        "talking_heads": draw(st.booleans()),
        "patch_mixing": draw(st.booleans()),
    }
    several = fields["img_size"] > patch
    fields |= {name: several and draw(st.booleans()) for name in ("patch_cosine", "patch_contrastive")}
    return make_config("patchdiv", fields)


def expected(config, weights, images):
    """Tokens after the last norm, and both heads together, head by head and without any layer of the project."""

    def linear(x, at):
        return x @ weights[f"{at}.weight"].T + weights.get(f"{at}.bias", torch.zeros(1, dtype=x.dtype))

    def norm(x, at):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
        return x * weights[f"{at}.weight"] + weights[f"{at}.bias"]

    side, width = config.patch_size, config.embed_dim // config.num_heads
    cut = images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
    x = cut.reshape(len(images), config.num_patches, -1) @ weights["patch_embed.proj.weight"].flatten(1).T
    x = x + weights["patch_embed.proj.bias"]
    if "cls_token" in weights:
        x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + weights["pos_embed"]
    for block in range(config.depth):
        at = f"blocks.{block}"
        parts = linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").split(width, dim=-1)
        heads = range(config.num_heads)
        q, k, v = (parts[part * len(heads) : (part + 1) * len(heads)] for part in range(3))
        scores = [q[h] @ k[h].transpose(1, 2) / math.sqrt(width) for h in heads]
        for key in ("proj_pre", "proj_post"):
            if config.talking_heads:
                mix = weights[f"{at}.attn.{key}.weight"]
                scores = [sum(mix[h, other] * scores[other] for other in heads) for h in heads]
            if key == "proj_pre":
                scores = [score.softmax(-1) for score in scores]
        x = x + linear(torch.cat([scores[h] @ v[h] for h in heads], dim=-1), f"{at}.attn.proj")
        hidden = linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")
        x = x + linear(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, f"{at}.mlp.fc2")
    x = norm(x, "norm")
    patches = x[:, config.special_tokens :]
    read = x[:, 0] if config.special_tokens else patches.mean(1)
    p, of_patches = linear(read, "head").softmax(-1), linear(patches.mean(1), "patch_head").softmax(-1)
    return x, ((p + of_patches) / 2).log()


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(patchdivs())
def test_the_network_computes_what_the_released_code_says(config):
    network, images = filled(config), pictures(config)
    with torch.no_grad():
        tokens, logits = expected(config, network.state_dict(), images)
        torch.testing.assert_close(network(images), logits, rtol=1e-9, atol=1e-9)
        given_in_training = network.train()(images)
    torch.testing.assert_close(given_in_training.last, tokens[:, config.special_tokens :], rtol=1e-9, atol=1e-9)


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(patchdivs())
def test_closed_form_and_both_counters_agree(config):
    found = count(config)
    assert found.macs == config.closed_form_macs()
    assert found.params == config.closed_form_params()
    assert found.seq_lens == config.seq_lens
    assert found.train_macs == training_macs(config)


def training_macs(config):
    """Three times a forward pass, but for the gradient of the image; what each loss adds."""
    patches, width = config.num_patches, config.embed_dim
    only_in_evaluation = width * config.num_classes
    macs = 3 * (config.closed_form_macs() - only_in_evaluation) - config.stem_macs()
    macs += config.patch_cosine * 3 * patches**2 * width
    macs += config.patch_contrastive * 2 * 2 * patches * width  # the first layer gets no gradient
    return macs + config.patch_mixing * 3 * patches * width * config.num_classes


def test_what_each_loss_costs_is_a_number():
    whole = count("patchdiv_b12").train_macs
    without = {name: count(make_config("patchdiv_b12", {name: False})).train_macs for name in LOSSES}
    assert {name: whole - macs for name, macs in without.items()} == {
        "patch_cosine": 88_510_464,  # 3 x 196² x 768
        "patch_contrastive": 602_112,  # 4 x 196 x 768
        "patch_mixing": 451_584_000,  # 3 x 196 x 768 x 1000
    }
    assert len({count(make_config("patchdiv_b12", {name: False})).macs for name in LOSSES}) == 1


@pytest.mark.parametrize(
    ("name", "base", "printed"),
    [
        ("patchdiv_b12", "deit_base", 86),
        ("patchdiv_b12_384", "deit_base_384", 86),
        ("patchdiv_b24", "vit_base:depth=24", 172),
        ("patchdiv_l24", "vit_large", 305),
        ("patchdiv_l24_384", "vit_large:img_size=384", 305),
        ("patchdiv_small24", "deit_small:depth=24", None),
    ],
)
def test_a_variant_is_a_deit_with_talking_heads_and_a_patch_head(name, base, printed):
    config, deit = parse_model(name), parse_model(base)
    ours, theirs = count(config), count(deit)
    width, heads, depth = config.embed_dim, config.num_heads, config.depth
    assert (width, depth, config.img_size) == (deit.embed_dim, deit.depth, deit.img_size)
    assert ours.params == theirs.params + depth * 2 * heads**2 + (width + 1) * 1000
    assert ours.macs == theirs.macs + 2 * heads**2 * sum(config.seq_lens) * config.seq_lens[0] + width * 1000
    if printed is not None:
        assert ours.params / 1e6 == pytest.approx(printed, rel=0.02)


def test_keys_are_those_of_the_released_code():
    found = shapes_of(filled(make_config("patchdiv", SMALL)))
    plain = shapes_of(filled(make_config("vit", SMALL)))
    talking = {f"blocks.{i}.attn.{key}.weight": (2, 2) for i in range(3) for key in ("proj_pre", "proj_post")}
    assert found == plain | talking | {"patch_head.weight": (5, 8), "patch_head.bias": (5,)}


# --- attention --------------------------------------------------------------------------------------------------------


def test_fused_attention_is_refused_where_heads_talk_and_eager_is_usual():
    config = make_config("patchdiv", SMALL)
    assert config.usual_attention(training=False) == config.usual_attention(training=True) == "eager"
    with pytest.raises(UnsupportedError) as caught:
        create_model("patchdiv", attention="sdpa", **SMALL)
    assert str(caught.value) == (
        "attention sdpa never holds the weights that talking heads mix from head to head; "
        "take eager, or talking_heads false"
    )


def test_memory_is_estimated_with_the_attention_there_is():
    asked = [f"{key}={value}" for key, value in SMALL.items()]
    assert "attention=eager" in describe("patchdiv", [*asked, "batch_size=2"]).splitlines()[1]
    with pytest.raises(ConfigError, match="take eager, or talking_heads false"):
        describe("patchdiv", [*asked, "attention=sdpa"])


def test_heads_that_do_not_talk_may_be_fused():
    config = make_config("patchdiv", SMALL | {"talking_heads": False})
    assert config.usual_attention(training=True) == "sdpa"
    with torch.no_grad():
        fused, eager = (filled(config, path)(pictures(config)) for path in ("sdpa", "eager"))
    torch.testing.assert_close(fused, eager, rtol=1e-10, atol=1e-12)


# --- losses -----------------------------------------------------------------------------------------------------------


def random_patches(seed, batch=2, patches=4, width=3):
    return torch.randn(batch, patches, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_cosine_loss_is_the_mean_over_pairs():
    last = random_patches(0)
    pairs = [
        abs(float(torch.dot(image[i], image[j]) / (image[i].norm() * image[j].norm())))
        for image in last
        for i, j in itertools.permutations(range(4), 2)
    ]
    assert float(cosine_loss(last)) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)
    assert float(cosine_loss(torch.eye(4)[None])) == pytest.approx(0, abs=1e-7)
    assert float(cosine_loss(torch.ones(2, 4, 3))) == pytest.approx(1)


def test_the_contrastive_loss_is_that_of_the_paper_and_leaves_the_first_layer_alone():
    first, last = random_patches(1).requires_grad_(), random_patches(2).requires_grad_()
    terms = []
    for f, m in zip(first.detach(), last.detach(), strict=True):
        for i in range(4):
            others = torch.stack([m[j] for j in range(4) if j != i]).mean(0)
            same, other = math.exp(torch.dot(f[i], m[i])), math.exp(torch.dot(f[i], others))
            terms.append(-math.log(same / (same + other)))
    loss = contrastive_loss(first, last)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    loss.backward()
    assert first.grad is None
    assert last.grad.abs().min() > 0


def test_the_mixing_loss_is_over_patches_whose_last_half_is_another_image():
    config = make_config("patchdiv", SMALL | {"patch_cosine": False, "patch_contrastive": False})
    network = filled(config).train()
    labels = torch.tensor([3, 0])
    with torch.no_grad():
        outputs = network(pictures(config))
        of_image, of_patches = outputs.logits.log_softmax(-1), network.patch_head(outputs.last).log_softmax(-1)
        loss = 0.0
        for image, (own, other) in enumerate([(3, 0), (0, 3)]):  # 9 patches: 5 of their own, 4 of the other's
            loss -= (5 * of_image[image, own] + 4 * of_image[image, other]) / 9
            loss -= (of_patches[image, :5, own].sum() + of_patches[image, 5:, other].sum()) / 9
        torch.testing.assert_close(network.training_loss(outputs, labels), loss / 2, rtol=1e-12, atol=0)


def test_the_loss_is_the_sum_of_what_is_switched_on():
    config = make_config("patchdiv", SMALL)
    network, labels = filled(config).train(), torch.tensor([1, 4])
    with torch.no_grad():
        outputs = network(pictures(config))
        losses = {}
        for chosen in itertools.product([False, True], repeat=3):
            switched = filled(override(config, **dict(zip(LOSSES, chosen, strict=True)))).train()
            losses[chosen] = float(switched.training_loss(outputs, labels))
    none = losses[False, False, False]
    assert none == pytest.approx(float(torch.nn.functional.cross_entropy(outputs.logits, labels)))
    single = [losses[tuple(i == on for i in range(3))] - none for on in range(3)]
    assert min(map(abs, single)) > 1e-6
    for chosen, loss in losses.items():
        assert loss == pytest.approx(none + sum(part for part, on in zip(single, chosen, strict=True) if on))


def test_the_first_layer_is_the_output_of_the_first_block_and_patches_only():
    network, images = filled(make_config("patchdiv", SMALL)).train(), pictures(make_config("patchdiv", SMALL))
    left = []
    network.blocks[0].register_forward_hook(lambda module, inputs, output: left.append(output))
    with torch.no_grad():
        outputs = network(images)
    assert isinstance(outputs, Diversified)
    assert torch.equal(outputs.first, left[0][:, 1:])
    assert outputs.last.shape == (2, 9, 8)


def test_gradients_reach_every_weight():
    network = fill(create_model("patchdiv", **SMALL)).train()
    network.training_loss(network(pictures(make_config("patchdiv", SMALL))), torch.tensor([1, 2])).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("field", ["patch_cosine", "patch_contrastive"])
def test_one_patch_has_no_pairs(field):
    other = {"patch_cosine": "patch_contrastive", "patch_contrastive": "patch_cosine"}[field]
    with pytest.raises(ConfigError) as caught:
        make_config("patchdiv", {"img_size": 16, other: False})
    assert str(caught.value) == (
        f"img_size 16 makes one patch of patch_size 16, and {field} compares patches; "
        f"take a larger image, or {field} false"
    )
    assert make_config("patchdiv", {"img_size": 16, "patch_cosine": False, "patch_contrastive": False}).num_patches == 1


# --- training ---------------------------------------------------------------------------------------------------------


def point(config, **fields):
    times = {"warmup_s": 0.0, "warmup_passes": 1, "num_threads": 1}
    return Point(
        model="x", config=config, device="cpu", batch_size=3, mode="train", attention="eager", **times, **fields
    )


@pytest.mark.parametrize("fields", [{}, {"checkpointing": True}, {"dtype": "amp_bfloat16"}])
@pytest.mark.parametrize("losses", [{}, dict.fromkeys(LOSSES, False)])
def test_a_step_moves_the_weights_by_the_losses_that_are_on(losses, fields):
    passes = Passes(point(make_config("patchdiv", SMALL | losses), **fields))
    before = {name: p.detach().clone() for name, p in passes.model.named_parameters()}
    passes()
    still = {name for name, p in passes.model.named_parameters() if torch.equal(p, before[name])}
    assert still == ({"patch_head.weight", "patch_head.bias"} if losses else set())


def test_a_module_costs_in_training_what_its_config_does():
    config = make_config("patchdiv", SMALL)
    by_module = breakdown(create_model("patchdiv", **SMALL), torch.empty(1, 3, 12, 12))
    by_config = breakdown(config)
    assert by_module.total.train_macs == by_config.total.train_macs == training_macs(config)
    assert by_module.total.macs == by_config.total.macs
