import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.errors import ConfigError, UnsupportedError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import create_model, make_config, parse_model
from hvt_bench.models.vitgan import DistanceAttention
from hvt_bench.point import Point
from tests.networks import fill, filled, pictures, strong

FAMILIES = ["vitgan_generator", "vitgan_discriminator"]
SMALL = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "depth": 2}


@st.composite
def gans(draw, family):
    """Any valid config of a family, small in size."""
    heads, patch = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    fields = {
        "patch_size": patch,
        "img_size": patch * draw(st.integers(1, 4)),
        "in_chans": draw(st.integers(1, 4)),
        "num_heads": heads,
        "embed_dim": heads * draw(st.integers(1, 5)),
        "depth": draw(st.integers(1, 3)),
        "mlp_ratio": draw(st.sampled_from([1.0, 1.5, 8 / 3, 4.0])),
        "qkv_bias": draw(st.booleans()),
    }
    if family == "vitgan_generator":
        fields |= {"latent_dim": draw(st.integers(1, 9)), "mapping_layers": draw(st.integers(1, 3))}
    return make_config(family, fields)


# --- the networks, written out from the text without any layer of the project ---------------------------------------


def linear(weights, at, x):
    return x @ weights[f"{at}.weight"].T + weights.get(f"{at}.bias", 0)


def norm(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()


def mlp(weights, at, x):
    hidden = linear(weights, f"{at}.fc1", x)
    return linear(weights, f"{at}.fc2", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def coordinates(side):
    ticks = [-1 + 2 * step / max(side - 1, 1) for step in range(side)]
    return torch.tensor([[down, right] for down in ticks for right in ticks], dtype=torch.float64)


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def heads_of(config, x):
    return x.split(config.embed_dim // config.num_heads, dim=-1)


def expected_images(config, weights, latents):
    return torch.stack([expected_image(config, weights, latent) for latent in latents])


def expected_image(config, weights, latent):
    w = latent / (latent.square().mean() + 1e-8).sqrt()
    for layer in range(config.mapping_layers):
        w = leaky(linear(weights, f"mapping.layers.{layer}", w))

    def modulated(at, x):
        return linear(weights, f"{at}.gamma", w) * norm(x) + linear(weights, f"{at}.beta", w)

    side, patch = config.img_size // config.patch_size, config.patch_size
    x = linear(weights, "positions.proj", coordinates(side)).sin()
    for block in range(config.depth):
        at = f"blocks.{block}"
        parts = linear(weights, f"{at}.attn.qkv", modulated(f"{at}.norm1", x)).chunk(3, dim=-1)
        found = []
        for q, k, v in zip(*(heads_of(config, part) for part in parts), strict=True):
            found.append((q @ k.T / math.sqrt(q.shape[-1])).softmax(-1) @ v)
        x = x + linear(weights, f"{at}.attn.proj", torch.cat(found, dim=-1))
        x = x + mlp(weights, f"{at}.mlp", modulated(f"{at}.norm2", x))
    tokens = modulated("norm", x)
    waves = linear(weights, "head.encoding.proj", coordinates(patch)).sin()
    image = torch.empty(config.in_chans, config.img_size, config.img_size, dtype=torch.float64)
    for place, token in enumerate(tokens):
        own = weights["head.hidden.fc.weight"] * linear(weights, "head.hidden.style", token)  # weights of this patch
        own = own / (own.square().sum(1, keepdim=True) + 1e-8).sqrt()
        hidden = leaky(waves @ own.T + weights["head.hidden.fc.bias"])
        own = weights["head.pixels.fc.weight"] * linear(weights, "head.pixels.style", token)
        pixels = hidden @ own.T + weights["head.pixels.fc.bias"]  # (P², C)
        down, right = (patch * index for index in divmod(place, side))
        image[:, down : down + patch, right : right + patch] = pixels.T.reshape(-1, patch, patch)
    return image


def expected_scores(config, weights, images):
    return torch.stack([expected_score(config, weights, image) for image in images])


def expected_score(config, weights, image):
    patch, over, side = config.patch_size, config.patch_size // 2, config.img_size // config.patch_size
    kernel = weights["patch_embed.proj.weight"]
    larger = torch.zeros(config.in_chans, config.img_size + 2 * over, config.img_size + 2 * over, dtype=torch.float64)
    larger[:, over : over + config.img_size, over : over + config.img_size] = image
    x = torch.stack(
        [
            (kernel * larger[:, down : down + patch + 2 * over, right : right + patch + 2 * over]).sum((1, 2, 3))
            for down in range(0, config.img_size, patch)
            for right in range(0, config.img_size, patch)
        ]
    )
    x = x + weights["patch_embed.proj.bias"] + linear(weights, "positions.proj", coordinates(side)).sin()
    x = torch.cat([weights["cls_token"][0], x])
    for block in range(config.depth):
        at = f"blocks.{block}"
        normed = norm(x) * weights[f"{at}.norm1.weight"] + weights[f"{at}.norm1.bias"]
        found = []
        parts = (heads_of(config, linear(weights, f"{at}.attn.{part}", normed)) for part in ("qk", "v"))
        for q, v in zip(*parts, strict=True):
            squares = (q[:, None] - q[None]).square().sum(-1)
            found.append((-squares / math.sqrt(q.shape[-1])).softmax(-1) @ v)
        x = x + linear(weights, f"{at}.attn.proj", torch.cat(found, dim=-1))
        x = x + mlp(weights, f"{at}.mlp", norm(x) * weights[f"{at}.norm2.weight"] + weights[f"{at}.norm2.bias"])
    first = norm(x[0]) * weights["norm.weight"] + weights["norm.bias"]
    return linear(weights, "head", first)[0]


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(gans("vitgan_generator"))
def test_a_generator_computes_what_the_text_says_through_both_attention_paths(config):
    latents = pictures(config)
    for path in ("sdpa", "eager"):
        network = strong(config, path)
        with torch.no_grad():
            expected = expected_images(config, network.state_dict(), latents)
            torch.testing.assert_close(network(latents), expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(gans("vitgan_discriminator"))
def test_a_discriminator_computes_what_the_text_says(config):
    network, images = strong(config), pictures(config)
    with torch.no_grad():
        expected = expected_scores(config, network.state_dict(), images)
        torch.testing.assert_close(network(images), expected, rtol=1e-8, atol=1e-8)


# --- cost -------------------------------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(FAMILIES).flatmap(gans))
def test_closed_form_and_both_counters_agree(config):
    found = count(config)
    assert found.macs == config.closed_form_macs()
    assert found.params == config.closed_form_params()
    assert found.seq_lens == config.seq_lens
    assert found.train_macs == 3 * found.macs - without_gradient(config)


def without_gradient(config):
    """Multiply-adds whose input is an image, a latent or a coordinate, for which training asks no gradient."""
    coordinates_macs = config.encoding_macs(config.num_patches)
    if config.family == "vitgan_generator":
        return coordinates_macs + config.encoding_macs(config.patch_size**2) + config.latent_dim * config.embed_dim
    side = config.patch_size + 2 * config.overlap
    return coordinates_macs + config.num_patches * config.in_chans * side**2 * config.embed_dim


def block_by_hand(tokens, projections):
    """A block of width 384 and MLP 1536: products with weights, and the two products of attention."""
    return tokens * 384 * 384 * projections + 2 * tokens * 384 * 1536 + 2 * tokens * tokens * 384


@pytest.mark.parametrize(("size", "patch", "depth"), [(32, 4, 4), (64, 8, 6)])
def test_the_cost_of_one_image_by_hand(size, patch, depth):
    d, tokens, pixels = 384, 64, patch**2
    mapping, modulation = 8 * d * d, 2 * d * d
    head = pixels * 2 * d + tokens * (3 * d * d + pixels * (d * d + 3 * d))
    generated = mapping + tokens * 2 * d + depth * (block_by_hand(tokens, 4) + 2 * modulation) + modulation + head
    assert count(f"vitgan_generator_{size}").macs == generated
    cut = tokens * 3 * (2 * patch) ** 2 * d
    judged = cut + tokens * 2 * d + depth * block_by_hand(tokens + 1, 3) + d
    assert count(f"vitgan_discriminator_{size}").macs == judged


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("vitgan_generator_32", 649_949_184, 11_377_923),
        ("vitgan_generator_64", 1_340_473_344, 16_104_195),
        ("vitgan_discriminator_32", 439_471_488, 6_580_225),
        ("vitgan_discriminator_64", 670_978_944, 10_053_121),
    ],
)
def test_a_variant_has_the_shape_of_the_text(name, macs, params):
    config = parse_model(name)
    assert (config.embed_dim, config.num_heads, config.mlp_hidden, config.num_patches) == (384, 6, 1536, 64)
    found = count(name)
    assert (found.macs, found.params) == (macs, params)


def test_a_module_costs_what_its_config_does():
    for family in FAMILIES:
        config = make_config(family, SMALL)
        by_module = breakdown(create_model(family, **SMALL), *map(torch.empty, config.input_shapes(1)))
        by_config = breakdown(config)
        assert by_module.modules == by_config.modules
        assert by_module.total.train_macs == by_config.total.train_macs
        assert by_module.checkpointed_train_macs is None
        again = by_config.checkpointed_train_macs - by_config.total.train_macs
        cost = {name: module.macs for name, module in by_config.modules.items()}
        # the last layer of a block is not computed again: nothing in the backward pass needs what it gives
        assert again == sum(cost[f"blocks.{block}"] - cost[f"blocks.{block}.mlp.fc2"] for block in range(2))


# --- wiring -----------------------------------------------------------------------------------------------------------


def test_shapes_of_what_goes_in_and_comes_out():
    generator, discriminator = (make_config(family, SMALL) for family in FAMILIES)
    assert generator.input_shapes(5) == ((5, 384),)
    assert discriminator.input_shapes(5) == ((5, 3, 8, 8),)
    with torch.no_grad():
        images = filled(generator)(pictures(generator))
        assert images.shape == (2, 3, 8, 8)
        assert filled(discriminator)(images).shape == (2,)


def test_an_image_depends_on_the_direction_of_its_latent_alone():
    config = make_config("vitgan_generator", SMALL)
    network, latents = strong(config), pictures(config)
    with torch.no_grad():
        one = network(latents)
        torch.testing.assert_close(network(3 * latents), one, rtol=1e-5, atol=1e-9)
        assert (network(-latents) - one).abs().max() > 1e-3
        torch.testing.assert_close(network(latents[1:]), one[1:])


def test_tokens_attend_to_what_is_near():
    shape = make_config("vitgan_discriminator", SMALL | {"embed_dim": 2, "num_heads": 1}).block_shape("eager")
    attention = fill(DistanceAttention(shape))
    with torch.no_grad():
        for layer in (attention.qk, attention.v, attention.proj):
            layer.weight.copy_(torch.eye(2))
        attention.proj.bias.zero_()
        far = torch.tensor([[[0.0, 0], [100, 0], [100, 100]]], dtype=torch.float64)
        torch.testing.assert_close(attention(far), far)  # each is nearest to itself, however long the others are
        same = far[:, :1].expand(-1, 3, -1)
        torch.testing.assert_close(attention(same), same)


@pytest.mark.parametrize(("patch", "overlap"), [(1, 0), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_patches_of_a_discriminator_overlap_by_half_their_side(patch, overlap):
    config = make_config("vitgan_discriminator", SMALL | {"patch_size": patch, "img_size": 24})
    assert config.overlap == overlap
    network = filled(config)
    assert network.patch_embed.proj.weight.shape == (8, 3, patch + 2 * overlap, patch + 2 * overlap)
    with torch.no_grad():
        assert network.patch_embed(pictures(config)).shape == (2, config.num_patches, 8)


def test_a_new_network_modulates_nothing_yet():
    torch.manual_seed(0)
    network = create_model("vitgan_generator", **SMALL)
    for name, p in network.named_parameters():
        if name.endswith(("gamma.bias", "style.bias")):
            assert torch.equal(p, torch.ones_like(p)), name
    images = network(torch.randn(4, 384)).detach()
    assert 1e-3 < float(images.std()) < 10


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_weight(family):
    network = fill(create_model(family, **SMALL, qkv_bias=True)).train()
    network(pictures(make_config(family, SMALL))).square().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


# --- refusals and training --------------------------------------------------------------------------------------------


def test_a_discriminator_has_no_fused_attention_and_a_generator_has():
    discriminator, generator = make_config("vitgan_discriminator", SMALL), make_config("vitgan_generator", SMALL)
    assert discriminator.usual_attention(training=True) == "eager"
    assert generator.usual_attention(training=True) == "sdpa"
    with pytest.raises(UnsupportedError) as caught:
        discriminator.check_attention("sdpa", training=False)
    assert str(caught.value) == (
        "attention sdpa compares queries and keys by their product, and a discriminator of ViTGAN by their distance; "
        "take eager"
    )


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("vitgan_generator", {"img_size": 33}, "img_size 33 is not divisible by patch_size 4"),
        ("vitgan_generator", {"embed_dim": 100}, "embed_dim 100 is no multiple of the head width 64"),
        ("vitgan_generator", {"latent_dim": 0}, "latent_dim: 0 does not fit"),
        ("vitgan_generator", {"mapping_layers": 0}, "mapping_layers: 0 does not fit"),
        ("vitgan_generator", {"num_classes": 10}, "unknown key 'num_classes'"),
        ("vitgan_discriminator", {"latent_dim": 64}, "unknown key 'latent_dim'"),
    ],
)
def test_what_is_no_network_says_why(family, changes, sentence):
    with pytest.raises(ConfigError) as caught:
        make_config(family, changes)
    assert sentence in str(caught.value)


def test_the_width_of_a_head_stays():
    assert make_config("vitgan_generator_32", {"embed_dim": 192}).num_heads == 3


@pytest.mark.parametrize("fields", [{}, {"checkpointing": True}, {"dtype": "amp_bfloat16"}])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_moves_every_weight(family, fields):
    config = make_config(family, SMALL | {"qkv_bias": True})
    times = {"warmup_s": 0.0, "warmup_passes": 1, "num_threads": 1}
    path = config.usual_attention(training=True)
    passes = Passes(
        Point(model="x", config=config, device="cpu", batch_size=3, mode="train", attention=path, **times, **fields)
    )
    before = {name: p.detach().clone() for name, p in passes.model.named_parameters()}
    passes()
    assert [name for name, p in passes.model.named_parameters() if torch.equal(p, before[name])] == []
