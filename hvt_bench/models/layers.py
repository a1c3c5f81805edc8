"""The layers that the families share, under timm's state_dict keys.

Shapes:  B images  C channels  H W pixels  P patch side  N tokens  D embed_dim  h heads  d = D/h head width
         M hidden units of the MLP
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvt_bench.models.config import Attention as AttentionPath

NORM_EPS = 1e-6  # timm, DeiT and the released HVT alike


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token, in raster order."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, N, D)


class Attention(nn.Module):
    """Multi-head self-attention; `path` says whether the products are fused (`sdpa`) or written out (`eager`)."""

    def __init__(self, embed_dim: int, num_heads: int, qkv_bias: bool, path: AttentionPath) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.path = path
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, N, d)
        if self.path == "sdpa":
            x = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        else:
            weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, h, N, N)
            x = weights.softmax(dim=-1) @ v  # (B, h, N, d)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))  # (B, N, D)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, embed_dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        return self.fc2(F.gelu(self.fc1(x)))  # (B, N, M) inside, (B, N, D) out


class Block(nn.Module):
    """Pre-norm transformer block: attention, then MLP, each added to its input."""

    def __init__(
        self, embed_dim: int, num_heads: int, mlp_hidden: int, qkv_bias: bool, attention: AttentionPath
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.attn = Attention(embed_dim, num_heads, qkv_bias, attention)
        self.norm2 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.mlp = Mlp(embed_dim, mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # (B, N, D)


class Recipe(NamedTuple):
    """How to make one block. Blocks of equal recipes cost the same, whatever network they stand in."""

    tokens: int
    """Tokens that enter the block, special tokens included."""
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


def token_table(*shape: int) -> nn.Parameter:
    """Return a learned table of tokens or positions, truncated normal with deviation 0.02 (DeiT, HVT)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as DeiT and HVT do: truncated normal with deviation 0.02, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
