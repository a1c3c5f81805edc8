"""HVT (Pan et al., "Scalable Vision Transformers with Hierarchical Pooling", ICCV 2021).

A stage ends its first block by pooling the token sequence, in raster order, and adding a position table of the new
length. There is no class token: the head reads the mean of the remaining tokens. state_dict keys are those of the
released code. Two wirings are this project's and not the paper's: `pool: conv_dw` (a depthwise 1-D convolution) and
`global_pool: token` (a class token in front, which takes part in attention and skips the pooling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from hvt_bench.models.config import NORM_EPS, POOL, Attention, BlockShape, GlobalPool, TransformerConfig
from hvt_bench.models.layers import Block, PatchEmbed, Recipe, init_linear, stack, token_table
from hvt_bench.records import Column

Pool = Literal["max", "avg", "conv_dw"]


class HVTConfig(TransformerConfig):
    """Fields of an HVT."""

    family: ClassVar[str] = "hvt"
    arrays: ClassVar[tuple[str, ...]] = (*TransformerConfig.arrays, "pool_kernel_size", "pool_stride")

    global_pool: Annotated[GlobalPool, TransformerConfig.model_fields["global_pool"].metadata[0]] = "avg"
    pool_stages: Annotated[
        int | None,
        Field(ge=0),
        Column("how often an HVT pools; stage i starts, and pools, at block floor(i * depth / pool_stages)"),
    ] = 1
    blocks_per_stage: Annotated[
        int | None,
        Field(ge=1),
        Column("instead of pool_stages: pool after each block whose index it divides (`pool_block_width`)"),
    ] = None
    pool_kernel_size: Annotated[int, Field(ge=1), Column("tokens that one pooling window covers")] = 3
    pool_stride: Annotated[int, Field(ge=1), Column("tokens from one pooling window to the next")] = 2
    pool: Annotated[Pool, POOL] = "max"

    @model_validator(mode="after")
    def _check_pooling(self) -> HVTConfig:
        if self.pool_stages is not None and self.blocks_per_stage is not None:
            raise ValueError(
                f"pool_stages {self.pool_stages} and blocks_per_stage {self.blocks_per_stage} both say "
                "where to pool; give one of them"
            )
        if self.pool_stages is None and self.blocks_per_stage is None:
            raise ValueError("neither pool_stages nor blocks_per_stage is given; pool_stages 0 never pools")
        if self.pool_stages is not None and self.pool_stages > self.depth:
            raise ValueError(
                f"pool_stages {self.pool_stages} is more than depth {self.depth}; each stage needs a block"
            )
        tokens = self.num_patches
        for block in sorted(self.pooling_blocks):
            pooled = self.pooled_length(tokens)
            if pooled < 1:
                raise ValueError(
                    f"block {block} would pool {tokens} tokens with pool_kernel_size {self.pool_kernel_size} "
                    "below one token; use fewer stages, a smaller kernel, a larger image or smaller patches"
                )
            tokens = pooled
        return self

    def exists(self) -> bool:
        """One rule says where to pool, each stage has a block, and pooling leaves a token."""
        if (self.pool_stages is None) == (self.blocks_per_stage is None) or (self.pool_stages or 0) > self.depth:
            return False
        left, _ = self.stretches[-1]
        return super().exists() & (left >= 1)

    @classmethod
    def merge(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Let pool_stages and blocks_per_stage replace each other."""
        fields = super().merge(base, changes)
        if changes.get("blocks_per_stage") is not None and changes.get("pool_stages") is None:
            fields["pool_stages"] = None
        elif changes.get("pool_stages") is not None and changes.get("blocks_per_stage") is None:
            fields["blocks_per_stage"] = None
        return fields

    def without_effect(self) -> tuple[str, ...]:
        """How an HVT pools that never does."""
        return () if self.pooling_blocks else ("pool", "pool_kernel_size", "pool_stride")

    @property
    def pooling_blocks(self) -> frozenset[int]:
        """Indices of the blocks that pool after their MLP."""
        if self.pool_stages is not None:
            return frozenset(stage * self.depth // self.pool_stages for stage in range(self.pool_stages))
        assert self.blocks_per_stage is not None
        return frozenset(range(0, self.depth, self.blocks_per_stage))

    def pooled_length(self, tokens: int) -> int:
        """Tokens left of `tokens` after pooling, floor((n - k) / s) + 1: no padding, as in the released code."""
        return (tokens - self.pool_kernel_size) // self.pool_stride + 1

    @property
    def special_tokens(self) -> int:
        """The class token, if there is one."""
        return int(self.global_pool == "token")

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """Patch tokens from one pooling to the next, and how many blocks they enter; at the end maybe none."""
        found: list[tuple[int, int]] = []
        tokens, first = self.num_patches, 0
        for block in sorted(self.pooling_blocks):
            found.append((tokens, block + 1 - first))
            tokens, first = self.pooled_length(tokens), block + 1
        return (*found, (tokens, self.depth - first))

    @property
    def patch_lens(self) -> tuple[int, ...]:
        """Patch tokens that enter each block, and, last, that leave the network."""
        entering = [tokens for tokens, blocks in self.stretches for _ in range(blocks)]
        return (*entering, self.stretches[-1][0])

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """Tokens that enter each block."""
        special = self.special_tokens
        return tuple([tokens + special for tokens in self.patch_lens[:-1]])

    def closed_form_macs(self) -> int:
        """Patch embedding, blocks, depthwise pooling, head."""
        stretches = self.stretches
        blocks = sum(number * self.block_macs(tokens + self.special_tokens) for tokens, number in stretches)
        macs = self.stem_macs() + blocks + self.embed_dim * self.num_classes
        if self.pool == "conv_dw":
            pooled = sum(tokens for tokens, _ in stretches[1:])
            macs = macs + pooled * self.pool_kernel_size * self.embed_dim
        return macs

    def closed_form_params(self) -> int:
        """Patch embedding, class token, positions at the start and after each pooling, pooling, blocks, norm, head."""
        tokens = 2 * self.special_tokens + sum(tokens for tokens, _ in self.stretches)
        pooling = len(self.pooling_blocks) * (self.pool_kernel_size + 1) if self.pool == "conv_dw" else 0
        blocks = self.depth * self.block_params()
        return self.stem_params() + (tokens + pooling) * self.embed_dim + blocks + self.head_params()

    def build(self, attention: Attention = "sdpa") -> HVT:
        """Build the network, randomly initialised, in training mode."""
        return HVT(self, attention)


class PoolingBlock(Block):
    """A block that shortens the sequence after its MLP."""

    def __init__(
        self,
        shape: BlockShape,
        pooling: tuple[Pool, int, int, int],
        pooled_len: int,
    ) -> None:
        """Take the shape of a Block; how it pools, by which kernel and stride, past how many special tokens."""
        super().__init__(shape)
        pool, kernel_size, stride, self.special_tokens = pooling
        self.pool = _make_pool(pool, shape.embed_dim, kernel_size, stride)
        self.pos_embed = token_table(1, pooled_len, shape.embed_dim)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:  # (B, N, D)
        x = super().forward(x, kept)
        special, patches = x[:, : self.special_tokens], x[:, self.special_tokens :]
        patches = self.pool(patches.transpose(1, 2)).transpose(1, 2) + self.pos_embed  # (B, n', D)
        return torch.cat([special, patches], dim=1) if self.special_tokens else patches  # (B, N', D)


def _make_pool(pool: Pool, embed_dim: int, kernel_size: int, stride: int) -> nn.Module:
    """Return a layer from (B, D, n) to (B, D, n')."""
    if pool == "max":
        return nn.MaxPool1d(kernel_size, stride)
    if pool == "avg":
        return nn.AvgPool1d(kernel_size, stride)
    return nn.Conv1d(embed_dim, embed_dim, kernel_size, stride, groups=embed_dim)


class HVT(nn.Module):
    """Patch embedding, positions, blocks of which some pool, norm, mean (or class token), linear head."""

    def __init__(self, config: HVTConfig, attention: Attention) -> None:
        super().__init__()
        width = config.embed_dim
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, width)
        self.cls_token = token_table(1, 1, width) if config.special_tokens else None
        self.pos_embed = token_table(1, config.seq_lens[0], width)
        shape = config.block_shape(attention)
        pooling = (config.pool, config.pool_kernel_size, config.pool_stride, config.special_tokens)
        pooling_blocks, patch_lens = config.pooling_blocks, config.patch_lens
        self.blocks = stack(
            Recipe(tokens, PoolingBlock, (shape, pooling, patch_lens[block + 1]))
            if block in pooling_blocks
            else Recipe(tokens, Block, (shape,))
            for block, tokens in enumerate(config.seq_lens)
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, config.num_classes)
        self.apply(init_linear)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        """Class logits, (B, num_classes)."""
        x = self.patch_embed(images)  # (B, n, D)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, N, D)
        x = x + self.pos_embed
        x = self.norm(self.blocks(x))  # (B, N', D)
        x = x.mean(dim=1) if self.cls_token is None else x[:, 0]
        return self.head(x)  # (B, num_classes)


_TI = {"embed_dim": 192, "num_heads": 3}
_S = {"embed_dim": 384, "num_heads": 6}

HVT_VARIANTS: dict[str, dict[str, Any]] = {  # Pan et al., table 1, and "More Pooling Stages" of the released README
    "hvt_ti_0": _TI | {"pool_stages": 0},  # not published: the unpooled base of hvt_ti_1
    "hvt_ti_1": _TI | {"pool_stages": 1},
    "hvt_s_0": _S | {"pool_stages": 0},
    "hvt_s_1": _S | {"pool_stages": 1},
    "hvt_s_2": _S | {"pool_stages": 2},
    "hvt_s_3": _S | {"pool_stages": 3},
    "hvt_s_4": _S | {"pool_stages": 4},
    "scale_hvt_ti_4": _S | {"pool_stages": 4},  # HVT-Ti with 4 stages, widened: the configuration of hvt_s_4
}
