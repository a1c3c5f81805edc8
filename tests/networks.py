"""Small networks for the tests: how to draw one, how to fill it, and what it must compute."""

import math

import torch
from hypothesis import strategies as st
from torch import nn

from hvt_bench.errors import ConfigError
from hvt_bench.metrics.complexity import count
from hvt_bench.models import FAMILIES, make_config
from tests.golden.fill import weights_for


def filled(config, attention="sdpa"):
    """Build a network in float64 and eval mode whose weights depend on its keys and shapes only."""
    with torch.device("meta"):
        network = config.build(attention)
    return fill(network)


def fill(network):
    network.load_state_dict(weights_for(network.state_dict()), strict=True, assign=True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.abs_()
    return network.eval()


def strong(config, attention="sdpa"):
    """A network whose weights are large enough for every part of it to be seen in what it puts out."""
    network = filled(config, attention)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "norm" not in name:
                p.mul_(10)
    return network


def shapes_of(network):
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def pictures(config, batch_size=2):
    generator = torch.Generator().manual_seed(5)
    (shape,) = config.input_shapes(batch_size)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@st.composite
def configs(draw, families=("vit", "hvt", "mvit")):
    """Any valid config, small in size and wide in kind."""
    family = draw(st.sampled_from(families))
    if family == "mvit":
        return draw(_mvits())
    depth = draw(st.integers(1, 4))
    heads = draw(st.integers(1, 3))
    patch = draw(st.integers(1, 4))
    fields = {
        "patch_size": patch,
        "img_size": patch * draw(st.integers(1, 6)),
        "in_chans": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 7)),
        "num_heads": heads,
        "embed_dim": heads * draw(st.integers(1, 5)),
        "depth": depth,
        "mlp_ratio": draw(st.sampled_from([1.0, 1.5, 8 / 3, 4.0, 5])),
        "qkv_bias": draw(st.booleans()),
        "global_pool": draw(st.sampled_from(FAMILIES[family].poolings)),
    }
    if family == "vit":
        fields["distilled"] = fields["global_pool"] == "token" and draw(st.booleans())
        return make_config("vit", fields)
    fields |= {
        "pool_kernel_size": draw(st.integers(1, 4)),
        "pool_stride": draw(st.integers(1, 3)),
        "pool": draw(st.sampled_from(["max", "avg", "conv_dw"])),
    }
    where = st.tuples(st.just("pool_stages"), st.integers(0, depth)) | st.tuples(
        st.just("blocks_per_stage"), st.integers(1, depth + 1)
    )
    key, value = draw(where)
    try:
        return make_config("hvt", fields | {key: value})
    except ConfigError:  # too few tokens for so much pooling
        return make_config("hvt", fields | {"pool_kernel_size": 1, "pool_stride": 1, key: value})


@st.composite
def _mvits(draw):
    patch, heads = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    fields = {
        "patch_size": patch,
        "img_size": patch * draw(st.integers(1, 9)),
        "in_chans": draw(st.integers(1, 3)),
        "num_classes": draw(st.integers(1, 7)),
        "num_heads": heads,
        "embed_dim": heads * draw(st.integers(1, 4)),
        "mlp_ratio": draw(st.sampled_from([1.0, 8 / 3, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "pool": draw(st.sampled_from(["conv", "max"])),
        "stage_depths": draw(st.lists(st.integers(1, 2), min_size=1, max_size=3)),
        "kv_stride": draw(st.sampled_from([1, 2, 4, 8])),
    }
    return make_config("mvit", fields)


def expected_logits(config, weights, images):
    """Compute what a network must give, written out from the papers without any of its layers."""
    batch, patch = len(images), config.patch_size
    cut = images.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, C, h, w, P, P)
    cut = cut.permute(0, 2, 3, 1, 4, 5).reshape(batch, config.num_patches, -1)
    tokens = cut @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    special = [weights[key] for key in ("cls_token", "dist_token") if key in weights]
    tokens = torch.cat([*(token.expand(batch, -1, -1) for token in special), tokens], dim=1) + weights["pos_embed"]
    for index in range(config.depth):
        tokens = _expected_block(config, weights, f"blocks.{index}.", tokens, len(special))
    tokens = _norm(tokens, weights, "norm")
    if config.global_pool == "map":
        return _linear(_expected_pool(config, weights, tokens), weights, "head")
    if not special:
        return _linear(tokens.mean(1), weights, "head")
    logits = _linear(tokens[:, 0], weights, "head")
    return (logits + _linear(tokens[:, 1], weights, "head_dist")) / 2 if "head_dist.weight" in weights else logits


def _expected_block(config, weights, at, x, special):
    qkv = _norm(x, weights, at + "norm1") @ weights[at + "attn.qkv.weight"].T
    if config.qkv_bias:
        qkv = qkv + weights[at + "attn.qkv.bias"]
    width = config.embed_dim // config.num_heads
    heads = []
    for head in range(config.num_heads):
        q, k, v = (
            qkv[..., part * config.embed_dim + head * width : part * config.embed_dim + (head + 1) * width]
            for part in range(3)
        )
        heads.append(torch.softmax(q @ k.transpose(1, 2) / math.sqrt(width), dim=-1) @ v)
    x = x + _linear(torch.cat(heads, dim=-1), weights, at + "attn.proj")
    hidden = _linear(_norm(x, weights, at + "norm2"), weights, at + "mlp.fc1")
    x = x + _linear(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, weights, at + "mlp.fc2")
    if at + "pos_embed" not in weights:
        return x
    patches, kernel, stride = x[:, special:], config.pool_kernel_size, config.pool_stride
    starts = range(0, patches.shape[1] - kernel + 1, stride)
    windows = [patches[:, start : start + kernel] for start in starts]  # each (B, k, D)
    if config.pool == "max":
        pooled = [window.amax(1) for window in windows]
    elif config.pool == "avg":
        pooled = [window.mean(1) for window in windows]
    else:
        taps = weights[at + "pool.weight"][:, 0].T  # (k, D)
        pooled = [(window * taps).sum(1) + weights[at + "pool.bias"] for window in windows]
    return torch.cat([x[:, :special], torch.stack(pooled, 1) + weights[at + "pos_embed"]], dim=1)


def _expected_pool(config, weights, x):
    """Zhai et al., "Scaling Vision Transformers": one probe attends to all tokens, then an MLP."""
    width, at = config.embed_dim // config.num_heads, "attn_pool."
    query = _linear(weights[at + "latent"][0, 0], weights, at + "q")  # (D,)
    keys, values = _linear(x, weights, at + "kv").split(config.embed_dim, dim=-1)  # each (B, N, D)
    heads = []
    for start in range(0, config.embed_dim, width):
        own = slice(start, start + width)
        shares = torch.softmax((keys[..., own] * query[own]).sum(-1) / math.sqrt(width), dim=-1)  # (B, N)
        heads.append((shares[..., None] * values[..., own]).sum(1))
    gathered = _linear(torch.cat(heads, dim=-1), weights, at + "proj")
    hidden = _linear(_norm(gathered, weights, at + "norm"), weights, at + "mlp.fc1")
    return gathered + _linear(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, weights, at + "mlp.fc2")


def _norm(x, weights, at):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * weights[at + ".weight"] + weights[at + ".bias"]


def _linear(x, weights, at):
    return x @ weights[at + ".weight"].T + weights[at + ".bias"]


class Calls(nn.Module):
    """A network that is one function of itself and its inputs."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def macs(function, *sizes, **modules):
    network = function if isinstance(function, nn.Module) else Calls(lambda _, *x: function(*x))
    return count(network, *(torch.empty(size) for size in sizes)).macs


class Transposed(nn.Module):
    """A linear layer on tokens as they come from a convolution: three dimensions, not contiguous."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.head = nn.Conv2d(3, 128, 16, 16), nn.Linear(128, 512), nn.Linear(512, 10)

    def tokens(self, images):
        return self.stem(images).flatten(2).transpose(1, 2)

    def forward(self, images):
        return self.head(self.wide(self.tokens(images)).flatten(1, -2).mean(1))


class Channels(Transposed):
    """A linear layer on the channels of an image: four dimensions."""

    def tokens(self, images):
        return self.stem(images).permute(0, 2, 3, 1).contiguous()


class Encoder(nn.Module):
    """PyTorch's own encoder layer, whose forward pass in evaluation is one fused operator."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 128, 16, 16), nn.Linear(128, 10)
        self.layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)

    def forward(self, images):
        return self.head(self.layer(self.stem(images).flatten(2).transpose(1, 2)).mean(1))
