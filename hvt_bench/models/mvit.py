"""MViT (Fan et al., "Multiscale Vision Transformers", ICCV 2021), image classification.

Attention pools queries, keys and values, which lie on the grid of patches, before it compares them. The first block of
every stage but the first pools its queries 2 x 2: half the resolution leaves it. The last block of every stage but the
last doubles the width in its MLP. So MViT-B-16, `stage_depths` 1, 2, 11, 2 at 224 px and `kv_stride` 4, goes

    stage   block   width in, out   heads   grid in   queries   keys, values   stride of keys and values
    0           0        96,  192       1        56        56             14                           4
    1           1       192,  192       2        56        28             28                           2
                2       192,  384       2        28        28             14                           2
    2           3       384,  384       4        28        14             28                           1
             4-12       384,  384       4        14        14             14                           1
               13       384,  768       4        14        14             14                           1
    3          14       768,  768       8        14         7             14                           1
               15       768,  768       8         7         7              7                           1

and a class token goes with every grid: it takes part in attention, and skips the pooling but not the norm after it. The
paper says that keys and values stay on one grid; the table is what the released code does, and it costs the FLOPs that
the paper prints. At stride 1 `pool: conv` still convolves keys and values, `pool: max` leaves them as they are.
Keys and shapes of the state_dict are SlowFast's. There is no drop path.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor, nn

from hvt_bench.models.config import (
    NORM_EPS,
    POOL,
    Attention,
    BlockShape,
    EmbedDim,
    ImageConfig,
    MlpRatio,
    NumHeads,
    PatchSize,
    QkvBias,
    heads_that_follow,
    whole,
)
from hvt_bench.models.layers import Attention as AttentionLayer
from hvt_bench.models.layers import Mlp, PatchEmbed, Recipe, ResidualBlock, stack, token_table
from hvt_bench.records import Column

Pool = Literal["conv", "max"]

QUERY_STRIDE = 2  # from stage to stage: the grid halves and the width doubles
KERNEL_SIZE = 3  # of the depthwise convolution, and of the max-pooling of what goes around a pooling attention
INITIAL_BIAS = 0.02  # of linear layers and of norms in SlowFast


class BlockPlan(NamedTuple):
    """What differs from block to block: a line of the table above."""

    width: int
    out_width: int
    num_heads: int
    grid: int
    """Side of the grid of patch tokens that enters."""
    query_stride: int
    kv_stride: int

    @property
    def tokens(self) -> int:
        """Tokens that enter, the class token included."""
        return 1 + self.grid**2

    @property
    def query_grid(self) -> int:
        """Side of the grid of queries, and of what leaves the block."""
        return pooled_side(self.grid, self.query_stride)

    @property
    def kv_grid(self) -> int:
        """Side of the grid of keys and values."""
        return pooled_side(self.grid, self.kv_stride)


def pooled_side(side: int, stride: int) -> int:
    """Return the side of a grid after pooling: kernels are centred on every `stride`-th place, beginning with 0."""
    return (side - 1) // stride + 1


def _can_be_halved(stride: int) -> int:
    if stride & (stride - 1):
        below = 1 << (stride.bit_length() - 1)
        raise ValueError(f"kv_stride {stride} cannot be halved to 1; take {below} or {2 * below}")
    return stride


class MViTConfig(ImageConfig):
    """Fields of an MViT. Only `patch_size` 4 is published: kernel 7, stride 4, padding 3; here 2p-1, p and p-1."""

    family: ClassVar[str] = "mvit"
    arrays: ClassVar[tuple[str, ...]] = (*ImageConfig.arrays, "embed_dim", "num_heads", "mlp_ratio")
    instead: ClassVar[Mapping[str, str]] = {"depth": "stage_depths, the blocks of each stage, such as [1, 2, 11, 2]"}

    patch_size: PatchSize = 4
    embed_dim: EmbedDim = 96
    num_heads: NumHeads = 1
    mlp_ratio: MlpRatio = 4.0
    qkv_bias: QkvBias = True
    pool: Annotated[Pool, POOL] = "conv"
    stage_depths: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...],
        BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given),  # as YAML and JSON give it
        Field(min_length=1, max_length=6),
        Column("blocks of each stage of an MViT; from stage to stage the grid halves, width and heads double"),
    ] = (1, 2, 11, 2)
    kv_stride: Annotated[
        int,
        Field(ge=1, le=100_000),
        AfterValidator(_can_be_halved),
        Column("stride at which the first stage of an MViT pools keys and values; each further stage halves it, to 1"),
    ] = 4

    @model_validator(mode="after")
    def _check_shape(self) -> MViTConfig:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}; "
                "heads are 96 wide in MViT-B"
            )
        if self.mlp_hidden(self.embed_dim) < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} leaves an MLP without a hidden unit")
        return self

    def exists(self) -> bool:
        """Heads share the width, and the MLP has a hidden unit."""
        return super().exists() & (self.embed_dim % self.num_heads == 0) & (self.mlp_hidden(self.embed_dim) >= 1)

    @classmethod
    def merge(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the width of a head where `changes` give the embedding width and not the number of heads."""
        return super().merge(base, changes) | heads_that_follow(base, changes)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(self.stage_depths)

    @property
    def plans(self) -> tuple[BlockPlan, ...]:
        """What each block is to be."""
        plans: list[BlockPlan] = []
        grid = self.img_size // self.patch_size
        for stage, depth in enumerate(self.stage_depths):
            width, heads = self.embed_dim * 2**stage, self.num_heads * 2**stage
            kv_stride = max(self.kv_stride // QUERY_STRIDE**stage, 1)
            for block in range(depth):
                widens = block == depth - 1 and stage < len(self.stage_depths) - 1
                query_stride = QUERY_STRIDE if stage and not block else 1
                plan = BlockPlan(width, width * (1 + widens), heads, grid, query_stride, kv_stride)
                plans.append(plan)
                grid = plan.query_grid
        return tuple(plans)

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """Tokens that enter each block."""
        return tuple(plan.tokens for plan in self.plans)

    def mlp_hidden(self, width: int) -> int:
        """Hidden units of the MLP of a block of this width."""
        return whole(width * self.mlp_ratio)

    def columns(self, model: str, known: Mapping[str, Column]) -> dict[str, Any]:
        """Return the fields, and the depth, which is no field."""
        return super().columns(model, known) | {"depth": self.depth}

    def closed_form_macs(self) -> int:
        """Patch embedding, blocks, head."""
        plans = self.plans
        return self.stem_macs() + sum(map(self._block_macs, plans)) + plans[-1].out_width * self.num_classes

    def stem_macs(self) -> int:
        """Multiply-adds of the patch embedding."""
        return self.num_patches * self.in_chans * (2 * self.patch_size - 1) ** 2 * self.embed_dim

    def _block_macs(self, plan: BlockPlan) -> int:
        """Multiply-adds of one block: of n tokens, q that leave and k keys, 3nd² + 2qkd + qd² + qm(d + d'), and more.

        Where the width grows to d', the way around the MLP is qdd'; convolutions that pool have 9 taps a channel.
        """
        width, out_width, hidden = plan.width, plan.out_width, self.mlp_hidden(plan.width)
        queries, keys = 1 + plan.query_grid**2, 1 + plan.kv_grid**2
        macs = 3 * plan.tokens * width**2 + 2 * queries * keys * width + queries * width**2
        macs = macs + queries * hidden * (width + out_width) + queries * width * out_width * (out_width != width)
        if self.pool == "conv":
            queries_pooled = plan.query_grid**2 if plan.query_stride > 1 else 0
            macs = macs + KERNEL_SIZE**2 * width * (queries_pooled + 2 * plan.kv_grid**2)
        return macs

    def closed_form_params(self) -> int:
        """Patch embedding, class token, positions, blocks, norm, head."""
        plans = self.plans
        last = plans[-1].out_width
        stem = (self.in_chans * (2 * self.patch_size - 1) ** 2 + 1) * self.embed_dim
        tokens = (1 + plans[0].tokens) * self.embed_dim
        return stem + tokens + sum(map(self._block_params, plans)) + 2 * last + (last + 1) * self.num_classes

    def _block_params(self, plan: BlockPlan) -> int:
        """Learned numbers of one block; heads share the 9 taps a channel and the norm of what pools them."""
        width, out_width, hidden = plan.width, plan.out_width, self.mlp_hidden(plan.width)
        attention = 4 * width**2 + width + 3 * width * self.qkv_bias
        pools = (2 + (plan.query_stride > 1)) * (self.pool == "conv")
        pooling = pools * (KERNEL_SIZE**2 + 2) * width // plan.num_heads
        mlp = (width + 1) * hidden + (hidden + 1) * out_width
        around = (width + 1) * out_width * (out_width != width)
        return 4 * width + attention + pooling + mlp + around

    def build(self, attention: Attention = "sdpa") -> MViT:
        """Build the network, randomly initialised, in training mode."""
        return MViT(self, attention)


class DepthwisePool(nn.Module):
    """A depthwise convolution on the grid, without bias; its kernel has five dimensions, as SlowFast's, for video."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(width, 1, 1, KERNEL_SIZE, KERNEL_SIZE))

    def forward(self, x: Tensor) -> Tensor:  # (B, d, g, g)
        kernel = self.weight.squeeze(2)
        return F.conv2d(x, kernel, stride=self.stride, padding=KERNEL_SIZE // 2, groups=len(kernel))  # (B, d, g', g')


class PoolingAttention(AttentionLayer):
    """Attention that pools queries, keys and values after they are split into heads, all heads with one kernel."""

    def __init__(self, shape: BlockShape, plan: BlockPlan, pool: Pool) -> None:
        super().__init__(shape)
        self.grid = plan.grid
        width = shape.embed_dim // shape.num_heads
        self.pool_q, self.norm_q = _make_pool(pool, width, plan.query_stride) if plan.query_stride > 1 else (None, None)
        self.pool_k, self.norm_k = _make_pool(pool, width, plan.kv_stride)
        self.pool_v, self.norm_v = _make_pool(pool, width, plan.kv_stride)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, ...]:  # (B, N, D)
        """Project the tokens for each head, and pool them, to (B, h, N', d) and two times (B, h, M, d)."""
        q, k, v = super().queries_keys_values(x)  # each (B, h, N, d)
        q = self._pooled(q, self.pool_q, self.norm_q)
        return q, self._pooled(k, self.pool_k, self.norm_k), self._pooled(v, self.pool_v, self.norm_v)

    def _pooled(self, x: Tensor, pool: nn.Module | None, norm: nn.Module | None) -> Tensor:  # (B, h, N, d)
        if pool is not None:
            x = pool_patches(x.flatten(0, 1), pool, self.grid).unflatten(0, x.shape[:2])  # (B, h, N', d)
        return x if norm is None else norm(x)


def _make_pool(pool: Pool, width: int, stride: int) -> tuple[nn.Module | None, nn.Module | None]:
    """Return what pools a grid, from (B, d, g, g) to (B, d, g', g'), and the norm after it; None where nothing does."""
    if pool == "conv":
        return DepthwisePool(width, stride), nn.LayerNorm(width, eps=NORM_EPS)
    return (nn.MaxPool2d(stride + 1, stride, padding=(stride + 1) // 2) if stride > 1 else None), None


def pool_patches(x: Tensor, pool: nn.Module, grid: int) -> Tensor:  # (B, 1 + g², d)
    """Pool all but the class token, which lie on a grid of side `grid`."""
    patches = x[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))  # (B, d, g, g)
    return torch.cat([x[:, :1], pool(patches).flatten(2).transpose(1, 2)], dim=1)  # (B, 1 + g'², d)


class MultiscaleBlock(ResidualBlock):
    """Pooling attention, then MLP, each added to its input, which is pooled as the queries, or widened by a Linear."""

    def __init__(self, shape: BlockShape, plan: BlockPlan, pool: Pool) -> None:
        super().__init__()
        self.grid = plan.grid
        self.norm1 = nn.LayerNorm(plan.width, eps=NORM_EPS)
        self.attn = PoolingAttention(shape, plan, pool)
        self.pool_skip = (
            nn.MaxPool2d(KERNEL_SIZE, plan.query_stride, padding=KERNEL_SIZE // 2) if plan.query_stride > 1 else None
        )
        self.norm2 = nn.LayerNorm(plan.width, eps=NORM_EPS)
        self.mlp = Mlp(plan.width, shape.mlp_hidden, plan.out_width)
        self.proj = nn.Linear(plan.width, plan.out_width) if plan.out_width != plan.width else None

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        change = self.kept(self.attn(self.norm1(x)))  # (B, N', D)
        x = change + (x if self.pool_skip is None else pool_patches(x, self.pool_skip, self.grid))
        normalised = self.norm2(x)
        return (x if self.proj is None else self.proj(normalised)) + self.kept(self.mlp(normalised))  # (B, N', D')


class MViT(nn.Module):
    """Overlapping patches, class token, positions, blocks, norm, linear head on the class token."""

    def __init__(self, config: MViTConfig, attention: Attention) -> None:
        super().__init__()
        width, patch, plans = config.embed_dim, config.patch_size, config.plans
        self.patch_embed = PatchEmbed(patch, config.in_chans, width, kernel_size=2 * patch - 1, padding=patch - 1)
        self.cls_token = token_table(1, 1, width)
        self.pos_embed = token_table(1, plans[0].tokens, width)
        self.blocks = stack(Recipe(plan.tokens, MultiscaleBlock, _arguments(config, plan, attention)) for plan in plans)
        self.norm = nn.LayerNorm(plans[-1].out_width, eps=NORM_EPS)
        self.head = nn.Sequential(OrderedDict(projection=nn.Linear(plans[-1].out_width, config.num_classes)))
        self.apply(_init)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        """Class logits, (B, num_classes); the released code gives their softmax in evaluation."""
        x = self.patch_embed(images)  # (B, g², D)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed  # (B, N, D)
        x = self.norm(self.blocks(x))  # (B, N', D')
        return self.head(x[:, 0])  # (B, num_classes)


def _arguments(config: MViTConfig, plan: BlockPlan, attention: Attention) -> tuple[BlockShape, BlockPlan, Pool]:
    hidden = config.mlp_hidden(plan.width)
    return BlockShape(plan.width, plan.num_heads, hidden, config.qkv_bias, attention), plan, config.pool


def _init(module: nn.Module) -> None:
    """Initialise as SlowFast does: weights truncated normal with deviation 0.02, biases of linear layers and norms."""
    if isinstance(module, nn.Linear | nn.Conv2d | DepthwisePool):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
        nn.init.constant_(module.bias, INITIAL_BIAS)


_B_24 = {"stage_depths": (2, 3, 16, 3)}  # not published: deeper models repeat blocks, and these give what it prints
_WIDE_320 = {"img_size": 320, "embed_dim": 112}

MVIT_VARIANTS: dict[
    str, dict[str, Any]
] = {  # Fan et al., table 17 of arXiv 2104.11227; _conv where it names no pooling
    "mvit_b_16_conv": {"pool": "conv"},  # SlowFast's configs/ImageNet/MVIT_B_16_CONV.yaml
    "mvit_b_16_max": {"pool": "max"},
    "mvit_b_24_max": _B_24 | {"pool": "max"},
    "mvit_b_24_wide_320_conv": _B_24 | _WIDE_320 | {"pool": "conv"},
    "mvit_b_24_wide_320_max": _B_24 | _WIDE_320 | {"pool": "max"},
}
