"""The layers that the families share, under timm's state_dict keys.

Shapes:  B images  C channels  H W pixels  P patch side  N tokens  D embed_dim  h heads  d = D/h head width
         M hidden units of the MLP
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvt_bench.models.config import BlockShape

MASKED_EPS = 1e-6  # DynamicViT's softmax_with_policy


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token, in raster order.

    A larger `kernel_size` than the patches makes them overlap; `padding` is that of the image.
    """

    def __init__(
        self, patch_size: int, in_chans: int, embed_dim: int, kernel_size: int | None = None, padding: int = 0
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size or patch_size, stride=patch_size, padding=padding)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, N, D)


class Attention(nn.Module):
    """Multi-head self-attention; `path` says whether the products are fused (`sdpa`) or written out (`eager`).

    Talking heads (bias-free, as in the released code of patch diversification) and a mask of kept tokens need the
    weights themselves, so they are written out.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.path = shape.attention
        self.qkv = nn.Linear(shape.embed_dim, 3 * shape.embed_dim, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.embed_dim, shape.embed_dim)
        self.talking_heads = shape.talking_heads
        if shape.talking_heads:
            self.proj_pre = nn.Linear(shape.num_heads, shape.num_heads, bias=False)
            self.proj_post = nn.Linear(shape.num_heads, shape.num_heads, bias=False)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:  # (B, N, D), (B, N) of 0 and 1
        q, k, v = self.queries_keys_values(x)
        return self.attend(q, k, v, kept)  # (B, N, D)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, ...]:  # (B, N, D)
        """Project the tokens for each head, to three times (B, h, N, d)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None = None) -> Tensor:  # (B, h, N, d)
        """Mix the values, join the heads, project; there may be fewer keys and values than queries."""
        if self.path == "sdpa" and kept is None and not self.talking_heads:
            x = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        else:
            x = self._weights((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), kept) @ v  # (B, h, N, d)
        return self.proj(x.transpose(1, 2).flatten(2))  # (B, N, D)

    def _weights(self, scores: Tensor, kept: Tensor | None) -> Tensor:  # (B, h, N, N)
        if self.talking_heads:
            scores = self.proj_pre(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        weights = scores.softmax(dim=-1) if kept is None else masked_softmax(scores, kept)
        if self.talking_heads:
            weights = self.proj_post(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return weights  # (B, h, N, N)


def masked_softmax(scores: Tensor, kept: Tensor) -> Tensor:  # (B, h, N, N), (B, N) of 0 and 1
    """Softmax over the kept tokens and the token itself, as DynamicViT trains (its `softmax_with_policy`)."""
    tokens = scores.shape[-1]
    itself = torch.eye(tokens, dtype=kept.dtype, device=kept.device)
    columns = kept[:, None, None, :]
    mask = columns + (1 - columns) * itself  # (B, 1, N, N)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).float().exp() * mask
    weights = (weights + MASKED_EPS / tokens) / (weights.sum(dim=-1, keepdim=True) + MASKED_EPS)
    return weights.to(scores.dtype)  # (B, h, N, N)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them; what comes out may be wider than what goes in."""

    def __init__(self, embed_dim: int, hidden: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, out_dim or embed_dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        return self.fc2(F.gelu(self.fc1(x)))  # (B, N, M) inside, (B, N, D) or (B, N, out_dim) out


class ResidualBlock(nn.Module):
    """A block whose changes training can skip: stochastic depth (Huang et al. 2016), which costs and weighs nothing."""

    drop_path: float = 0.0
    """Share of the images for which a training step skips each change."""
    places: tuple[int, list[int]] | None = None
    """Images of the whole batch, and which of them are here, where several processes share it."""

    def kept(self, change: Tensor) -> Tensor:  # (B, N, D)
        """Set the change of some images to 0 and scale the others, so that its mean stays."""
        if not self.training or not self.drop_path:
            return change
        keep = 1 - self.drop_path
        images, own = self.places or (len(change), slice(None))
        return change * (change.new_empty(images, 1, 1).bernoulli_(keep)[own] / keep)


class Block(ResidualBlock):
    """Pre-norm transformer block: attention, then MLP, each added to its input."""

    attends: ClassVar[type[nn.Module]] = Attention

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.residual_scale = shape.residual_scale
        self.norm1 = nn.LayerNorm(shape.embed_dim, eps=shape.norm_eps)
        self.attn = self.attends(shape)
        self.norm2 = nn.LayerNorm(shape.embed_dim, eps=shape.norm_eps)
        self.mlp = Mlp(shape.embed_dim, shape.mlp_hidden)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:  # (B, N, D), (B, N) of 0 and 1
        x = self._added(x, self.attn(self.norm1(x), kept))
        return self._added(x, self.mlp(self.norm2(x)))  # (B, N, D)

    def _added(self, x: Tensor, change: Tensor) -> Tensor:
        return x + self.kept(change if self.residual_scale == 1 else change * self.residual_scale)


def use_drop_path(network: nn.Module, share: float, places: tuple[int, list[int]] | None = None) -> int:
    """Let training skip blocks: rising linearly from 0 in the first to `share` in the last, as DeiT, HVT and MViT do.

    With `places`, for the images of a whole batch is drawn, and those at these places of it are taken.
    Returns how many blocks there are that can be skipped.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for index, block in enumerate(blocks):
        block.drop_path = share * index / max(1, len(blocks) - 1)
        block.places = places
    return len(blocks)


class Recipe(NamedTuple):
    """How to make one block. Blocks of equal recipes cost the same, whatever network they stand in."""

    tokens: int | None
    """Tokens that enter the block, special tokens included; None where its cost depends on more than one input."""
    kind: Callable[..., nn.Module]
    arguments: tuple[Hashable, ...]

    def make(self) -> nn.Module:
        """Make the block."""
        return self.kind(*self.arguments)


_maker: ContextVar[Callable[[Recipe], nn.Module]] = ContextVar("_maker", default=Recipe.make)


def stack(recipes: Iterable[Recipe]) -> nn.Sequential:
    """Make the blocks of a network, in order."""
    return nn.Sequential(*map(_maker.get(), recipes))


@contextmanager
def blocks_made_by(maker: Callable[[Recipe], nn.Module]) -> Iterator[None]:
    """Let `maker` make the blocks of the networks that are built here: counting has no need of equal ones."""
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


@runtime_checkable
class HasLoss(Protocol):
    """A network that is trained by more than the usual loss of what it puts out."""

    def training_loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return the loss of what `forward` gave in training; `labels`, (B,), are classes."""


def token_table(*shape: int) -> nn.Parameter:
    """Return a learned table of tokens or positions, truncated normal with deviation 0.02 (DeiT, HVT)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as DeiT and HVT do: truncated normal with deviation 0.02, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
