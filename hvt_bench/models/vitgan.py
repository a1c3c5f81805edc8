"""ViTGAN: a vision transformer that generates images, and one that tells whether an image is real.

Lee et al., "ViTGAN: Training GANs with Vision Transformers", ICLR 2022. After the paper's text: the released code has
another generator (the residual is added to the normalised tokens, attention has a sign of its own) and no discriminator
of this kind, and neither params nor FLOPs are printed. What the text does not say is read in the plainest way:

- the latent is as wide as a token, and is mapped by 8 layers of leaky ReLU, as in the released code;
- no bias in queries, keys and values; GELU in the blocks; gamma(w) and beta(w) are linear layers;
- in the patch head, modulated as in StyleGAN2, the hidden layer is as wide as a token, has leaky ReLU and is
  demodulated; the pixels that leave it are neither demodulated nor squashed;
- the distance of attention is the squared Euclidean one, whose softmax is over its negative, as in Kim et al., "The
  Lipschitz Constant of Self-Attention", 2021; the border of an image is extended by zeros; the class token is learned
  and has no coordinates; the score is linear.

Improved spectral normalisation sets each weight of a discriminator to sigma(W at the start) * W / sigma(W). That is
constant in evaluation, and in training two products of a weight with a vector in a step, however many images there
are: it is left out, like equalised learning rates. A step trains one network alone, by the mean of squares of what it
puts out. Positions are computed once in a pass, and counted as those of one image.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hvt_bench.errors import UnsupportedError
from hvt_bench.models.config import (
    NORM_EPS,
    Attention,
    BlocksConfig,
    BlockShape,
    Depth,
    ImgSize,
    PatchConfig,
    PatchSize,
    QkvBias,
)
from hvt_bench.models.layers import Attention as DotAttention
from hvt_bench.models.layers import Block, Mlp, PatchEmbed, Recipe, stack, token_table
from hvt_bench.records import Column

SLOPE = 0.2  # of the leaky ReLU of StyleGAN2
COORDINATES = 2
EPS = 1e-8  # StyleGAN2's, under the root of PixelNorm and of demodulation


class ViTGANConfig(BlocksConfig, PatchConfig):
    """Fields of both networks."""

    arrays: ClassVar[tuple[str, ...]] = (*BlocksConfig.arrays, *PatchConfig.arrays)

    img_size: ImgSize = 32
    patch_size: PatchSize = 4
    depth: Depth = 4
    qkv_bias: QkvBias = False

    def encoding_macs(self, positions: int) -> int:
        """Multiply-adds of projecting the coordinates of so many positions."""
        return positions * COORDINATES * self.embed_dim

    def encoding_params(self) -> int:
        """Learned numbers of projecting coordinates."""
        return (COORDINATES + 1) * self.embed_dim


class GeneratorConfig(ViTGANConfig):
    """Fields of a generator."""

    family: ClassVar[str] = "vitgan_generator"

    latent_dim: Annotated[int, Field(ge=1, le=1_000_000), Column("numbers of the latent that makes an image")] = 384
    mapping_layers: Annotated[
        int, Field(ge=1, le=1000), Column("layers of the MLP from the latent to what modulates the blocks")
    ] = 8

    def input_shapes(self, batch_size: int) -> tuple[tuple[int, ...], ...]:
        """One tensor of latents, (B, latent_dim)."""
        return ((batch_size, self.latent_dim),)

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """A token for each patch."""
        return (self.num_patches,) * self.depth

    def closed_form_macs(self) -> int:
        """Latent mapping, positions, blocks with two modulated norms each, last norm, patch head."""
        square, pixels = self.embed_dim**2, self.patch_size**2
        mapping = self.latent_dim * self.embed_dim + (self.mapping_layers - 1) * square
        blocks = self.depth * (self.block_macs(self.num_patches) + 4 * square) + 2 * square
        styles_and_demodulation = 3 * self.num_patches * square
        layers = self.num_patches * pixels * (square + self.embed_dim * self.in_chans)
        encodings = self.encoding_macs(self.num_patches) + self.encoding_macs(pixels)
        return mapping + encodings + blocks + styles_and_demodulation + layers

    def closed_form_params(self) -> int:
        """Latent mapping, positions, blocks with two modulated norms each, last norm, patch head."""
        width = self.embed_dim
        layer = (width + 1) * width
        mapping = (self.latent_dim + 1) * width + (self.mapping_layers - 1) * layer
        blocks = self.depth * (self.block_params() - 4 * width + 4 * layer) + 2 * layer
        head = 3 * layer + (width + 1) * self.in_chans
        return mapping + 2 * self.encoding_params() + blocks + head

    def build(self, attention: Attention = "sdpa") -> Generator:
        """Build the network, randomly initialised, in training mode."""
        return Generator(self, attention)


class DiscriminatorConfig(ViTGANConfig):
    """Fields of a discriminator."""

    family: ClassVar[str] = "vitgan_discriminator"

    def check_attention(self, attention: Attention, training: bool) -> None:
        """Refuse fused attention."""
        if attention != "eager":
            raise UnsupportedError(
                f"attention {attention} compares queries and keys by their product, and a discriminator of ViTGAN by "
                "their distance; take eager"
            )

    @property
    def overlap(self) -> int:
        """Pixels by which a patch is extended on each side: half of its own side."""
        return self.patch_size // 2

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """A token for each patch and the class token."""
        return (self.num_patches + 1,) * self.depth

    def block_macs(self, tokens: int) -> int:
        """As in any block, but for the keys, which are the queries."""
        return super().block_macs(tokens) - tokens * self.embed_dim**2

    def closed_form_macs(self) -> int:
        """Patches with their overlap, positions, blocks, score."""
        numbers = self.in_chans * (self.patch_size + 2 * self.overlap) ** 2
        patches = self.num_patches * numbers * self.embed_dim + self.encoding_macs(self.num_patches)
        return patches + self.depth * self.block_macs(self.seq_lens[0]) + self.embed_dim

    def block_params(self) -> int:
        """As in any block, but for the keys, which are the queries."""
        return super().block_params() - self.embed_dim * (self.embed_dim + self.qkv_bias)

    def closed_form_params(self) -> int:
        """Patches with their overlap, positions, class token, blocks, norm, score."""
        width = self.embed_dim
        patches = (self.in_chans * (self.patch_size + 2 * self.overlap) ** 2 + 1) * width + self.encoding_params()
        return patches + width + self.depth * self.block_params() + 2 * width + width + 1

    def build(self, attention: Attention = "sdpa") -> Discriminator:
        """Build the network, randomly initialised, in training mode; its attention is always written out."""
        return Discriminator(self, attention)


class FourierEncoding(nn.Module):
    """The sine of a linear layer of coordinates, which go from -1 to 1."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(COORDINATES, embed_dim)

    def forward(self, side: int) -> Tensor:
        weight = self.proj.weight
        ticks = torch.linspace(-1, 1, side, device=weight.device, dtype=weight.dtype)
        grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=-1)  # (side, side, 2)
        return self.proj(grid.flatten(0, 1)).sin()  # (side², D)


class Mapping(nn.Module):
    """An MLP from the latent, of which only the direction matters (PixelNorm), to w."""

    def __init__(self, latent_dim: int, embed_dim: int, layers: int) -> None:
        super().__init__()
        widths = [latent_dim] + [embed_dim] * layers
        self.layers = nn.ModuleList(map(nn.Linear, widths, widths[1:]))

    def forward(self, latents: Tensor) -> Tensor:  # (B, latent_dim)
        w = latents * (latents.square().mean(dim=1, keepdim=True) + EPS).rsqrt()
        for layer in self.layers:
            w = F.leaky_relu(layer(w), SLOPE)
        return w  # (B, D)


class ModulatedNorm(nn.Module):
    """Layer norm whose gain and shift are linear in w."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(embed_dim, embed_dim)
        self.beta = nn.Linear(embed_dim, embed_dim)
        nn.init.ones_(self.gamma.bias)  # the gain of a layer norm that nothing modulates yet

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # (B, n, D), (B, D)
        x = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
        return self.gamma(w).unsqueeze(1) * x + self.beta(w).unsqueeze(1)  # (B, n, D)


class ModulatedBlock(nn.Module):
    """Pre-norm transformer block whose norms are modulated by w."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.norm1 = ModulatedNorm(shape.embed_dim)
        self.attn = DotAttention(shape)
        self.norm2 = ModulatedNorm(shape.embed_dim)
        self.mlp = Mlp(shape.embed_dim, shape.mlp_hidden)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # (B, n, D), (B, D)
        x = x + self.attn(self.norm1(x, w))
        return x + self.mlp(self.norm2(x, w))  # (B, n, D)


class ModulatedLinear(nn.Module):
    """A linear layer for the pixels of each token, whose inputs are weighed by the token (StyleGAN2).

    Demodulated, its outputs are divided by the norm of their weights as the token weighs them.
    """

    def __init__(self, embed_dim: int, out_dim: int, demodulate: bool) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.style = nn.Linear(embed_dim, embed_dim)
        self.fc = nn.Linear(embed_dim, out_dim)
        nn.init.ones_(self.style.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:  # (P², D) or (B, n, P², D); (B, n, D)
        style = self.style(tokens)
        x = F.linear(x * style.unsqueeze(2), self.fc.weight)  # (B, n, P², out_dim)
        if self.demodulate:
            squares = F.linear(style.square(), self.fc.weight.square())  # (B, n, out_dim)
            x = x * (squares + EPS).rsqrt().unsqueeze(2)
        return x + self.fc.bias


class PatchHead(nn.Module):
    """Paints the patch of each token: an MLP of two modulated layers on the coordinates of its pixels."""

    def __init__(self, embed_dim: int, patch_size: int, in_chans: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.encoding = FourierEncoding(embed_dim)
        self.hidden = ModulatedLinear(embed_dim, embed_dim, demodulate=True)
        self.pixels = ModulatedLinear(embed_dim, in_chans, demodulate=False)

    def forward(self, tokens: Tensor) -> Tensor:  # (B, n, D)
        x = F.leaky_relu(self.hidden(self.encoding(self.patch_size), tokens), SLOPE)  # (B, n, P², D)
        return self.pixels(x, tokens)  # (B, n, P², C)


class Generator(nn.Module):
    """Mapping of the latent; positions through modulated blocks and norm; patch head."""

    def __init__(self, config: GeneratorConfig, attention: Attention) -> None:
        super().__init__()
        width = config.embed_dim
        self.patch_size = config.patch_size
        self.grid = config.img_size // config.patch_size
        self.mapping = Mapping(config.latent_dim, width, config.mapping_layers)
        self.positions = FourierEncoding(width)
        self.blocks = stack(Recipe(None, ModulatedBlock, (config.block_shape(attention),)) for _ in range(config.depth))
        self.norm = ModulatedNorm(width)
        self.head = PatchHead(width, config.patch_size, config.in_chans)

    def forward(self, latents: Tensor) -> Tensor:  # (B, latent_dim)
        """Images, (B, C, H, W)."""
        w = self.mapping(latents)  # (B, D)
        x = self.positions(self.grid).expand(len(latents), -1, -1)  # (B, n, D)
        for block in self.blocks:
            x = block(x, w)
        x = self.head(self.norm(x, w))  # (B, n, P², C)
        x = x.unflatten(2, (self.patch_size, self.patch_size)).unflatten(1, (self.grid, self.grid))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (B, C, H, W)


class DistanceAttention(nn.Module):
    """Multi-head self-attention to what is near: the softmax of -|q_i - q_j|² / sqrt(d), for queries that are keys."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qk = nn.Linear(shape.embed_dim, shape.embed_dim, bias=shape.qkv_bias)
        self.v = nn.Linear(shape.embed_dim, shape.embed_dim, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.embed_dim, shape.embed_dim)

    def forward(self, x: Tensor, kept: None = None) -> Tensor:  # (B, N, D); nothing masks these tokens
        q, v = (layer(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for layer in (self.qk, self.v))
        squares = q.square().sum(dim=-1, keepdim=True)  # (B, h, N, 1)
        distances = squares + squares.transpose(-2, -1) - 2 * (q @ q.transpose(-2, -1))  # (B, h, N, N)
        x = (distances * -(q.shape[-1] ** -0.5)).softmax(dim=-1) @ v  # (B, h, N, d)
        return self.proj(x.transpose(1, 2).flatten(2))  # (B, N, D)


class DistanceBlock(Block):
    """A block that attends by distance."""

    attends = DistanceAttention


class Discriminator(nn.Module):
    """Overlapping patches, positions, class token, blocks, norm, score."""

    def __init__(self, config: DiscriminatorConfig, attention: Attention) -> None:
        super().__init__()
        width, patch = config.embed_dim, config.patch_size
        self.grid = config.img_size // patch
        self.patch_embed = PatchEmbed(patch, config.in_chans, width, patch + 2 * config.overlap, config.overlap)
        self.positions = FourierEncoding(width)
        self.cls_token = token_table(1, 1, width)
        shape = config.block_shape(attention)
        self.blocks = stack(Recipe(tokens, DistanceBlock, (shape,)) for tokens in config.seq_lens)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        """Scores, (B,): high for images held to be real."""
        x = self.patch_embed(images) + self.positions(self.grid)  # (B, n, D)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, N, D)
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0]).squeeze(1)  # (B,)


_AT_32 = {"img_size": 32, "patch_size": 4, "depth": 4}
_AT_64 = {"img_size": 64, "patch_size": 8, "depth": 6}

GENERATOR_VARIANTS: dict[str, dict[str, Any]] = {  # "Implementation details": 64 tokens at either size
    "vitgan_generator_32": _AT_32,
    "vitgan_generator_64": _AT_64,
}
DISCRIMINATOR_VARIANTS: dict[str, dict[str, Any]] = {
    "vitgan_discriminator_32": _AT_32,
    "vitgan_discriminator_64": _AT_64,
}
