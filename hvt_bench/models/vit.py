"""ViT, DeiT and Scaling ViT, which are one network under three heads.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021: the head reads a class token. Touvron et al., "Training
data-efficient image transformers & distillation through attention", ICML 2021: a distilled DeiT has a second special
token and a second head. Zhai et al., "Scaling Vision Transformers", CVPR 2022: no class token, and a head that pools by
attention (`global_pool: map`). state_dict keys are timm's. `global_pool: avg` is this project's reading of a ViT
without class token: the mean of the tokens after the final norm, so that it differs from an HVT without pooling in
nothing but its family.

Where Zhai's code differs and costs the same: big_vision's GELU is approximated with tanh, here it is exact as in timm;
and its networks start otherwise than DeiT, as all do here.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from hvt_bench.models.config import NORM_EPS, Attention, BlockShape, GlobalPool, TransformerConfig
from hvt_bench.models.layers import Block, Mlp, PatchEmbed, Recipe, init_linear, stack, token_table
from hvt_bench.records import Column


class ViTConfig(TransformerConfig):
    """Fields of a ViT, DeiT or Scaling ViT."""

    family: ClassVar[str] = "vit"
    poolings: ClassVar[tuple[GlobalPool, ...]] = ("avg", "token", "map")

    distilled: Annotated[
        bool,
        Column("whether a DeiT has a distillation token and a second head; evaluation averages both heads"),
    ] = False

    @model_validator(mode="after")
    def _check_heads(self) -> ViTConfig:
        if self.distilled and self.global_pool != "token":
            raise ValueError("distilled needs global_pool 'token': its two heads read the two special tokens")
        return self

    def exists(self) -> bool:
        """Have a token for a second head to read."""
        return super().exists() & (not self.distilled or self.global_pool == "token")

    @property
    def special_tokens(self) -> int:
        """Class and distillation tokens."""
        return (self.global_pool == "token") + self.distilled

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The same number of tokens in every block."""
        return (self.num_patches + self.special_tokens,) * self.depth

    def closed_form_macs(self) -> int:
        """Patch embedding, blocks, pooling by attention, heads."""
        heads = (1 + self.distilled) * self.embed_dim * self.num_classes
        if self.global_pool == "map":
            heads += self.attention_pool_macs(self.seq_lens[-1])
        return self.stem_macs() + self.depth * self.block_macs(self.seq_lens[0]) + heads

    def closed_form_params(self) -> int:
        """Patch embedding, special tokens, positions, blocks, norm, pooling by attention, heads."""
        tokens = (self.special_tokens + self.seq_lens[0]) * self.embed_dim
        heads = self.head_params() + self.distilled * (self.embed_dim + 1) * self.num_classes
        if self.global_pool == "map":
            heads += self.attention_pool_params()
        return self.stem_params() + tokens + self.depth * self.block_params() + heads

    def attention_pool_macs(self, tokens: int) -> int:
        """Multiply-adds of pooling `tokens` tokens by attention: one query, keys and values of all, an MLP of one."""
        width = self.embed_dim
        return 2 * width**2 + 2 * tokens * width**2 + 2 * tokens * width + 2 * width * self.mlp_hidden

    def attention_pool_params(self) -> int:
        """Learned numbers of it: the probe; query, keys, values and their output, with biases; a norm; the MLP."""
        width, hidden = self.embed_dim, self.mlp_hidden
        return width + 4 * (width**2 + width) + 2 * width + 2 * width * hidden + hidden + width

    def build(self, attention: Attention = "sdpa") -> VisionTransformer:
        """Build the network, randomly initialised, in training mode."""
        return VisionTransformer(self, attention)


class AttentionPool(nn.Module):
    """Pool by attention (MAP): a learned probe attends to the tokens, and what it gathers goes through an MLP.

    The first residual is added to what was gathered, not to the probe. The projections always have a bias. This is
    timm's `AttentionPoolLatent`.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        width = shape.embed_dim
        self.num_heads = shape.num_heads
        self.path = shape.attention
        self.latent = token_table(1, 1, width)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=shape.norm_eps)
        self.mlp = Mlp(width, shape.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        batch, tokens, width = x.shape
        q = self.q(self.latent.expand(batch, -1, -1))  # (B, 1, D)
        q = q.reshape(batch, 1, self.num_heads, width // self.num_heads).transpose(1, 2)  # (B, h, 1, d)
        kv = self.kv(x).reshape(batch, tokens, 2, self.num_heads, width // self.num_heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, N, d)
        if self.path == "sdpa":
            x = F.scaled_dot_product_attention(q, k, v)  # (B, h, 1, d)
        else:
            x = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        x = self.proj(x.transpose(1, 2).reshape(batch, 1, width))  # (B, 1, D)
        return (x + self.mlp(self.norm(x)))[:, 0]  # (B, D)


class VisionTransformer(nn.Module):
    """Patch embedding, special tokens, positions, blocks, norm, pooling, linear head."""

    def __init__(self, config: ViTConfig, attention: Attention) -> None:
        super().__init__()
        width = config.embed_dim
        self.global_pool = config.global_pool
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, width)
        self.cls_token = token_table(1, 1, width) if config.global_pool == "token" else None
        self.dist_token = token_table(1, 1, width) if config.distilled else None
        self.pos_embed = token_table(1, config.seq_lens[0], width)
        shape = config.block_shape(attention)
        self.blocks = stack(Recipe(n, Block, (shape,)) for n in config.seq_lens)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn_pool = AttentionPool(shape) if config.global_pool == "map" else None
        self.head = nn.Linear(width, config.num_classes)
        self.head_dist = nn.Linear(width, config.num_classes) if config.distilled else None
        self.apply(init_linear)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # (B, C, H, W)
        """Class logits, (B, num_classes); a distilled DeiT in training gives those of both heads."""
        x = self.patch_embed(images)  # (B, n, D)
        special = [token for token in (self.cls_token, self.dist_token) if token is not None]
        if special:
            x = torch.cat([*(token.expand(len(x), -1, -1) for token in special), x], dim=1)  # (B, N, D)
        x = x + self.pos_embed
        x = self.norm(self.blocks(x))
        if self.attn_pool is not None:
            return self.head(self.attn_pool(x))  # (B, num_classes)
        if self.global_pool == "avg":
            return self.head(x.mean(dim=1))  # (B, num_classes)
        if self.head_dist is None:
            return self.head(x[:, 0])
        logits, distilled = self.head(x[:, 0]), self.head_dist(x[:, 1])
        return (logits, distilled) if self.training else (logits + distilled) / 2


_TI = {"embed_dim": 192, "num_heads": 3}
_S = {"embed_dim": 384, "num_heads": 6}
_B = {"embed_dim": 768, "num_heads": 12}
_L = {"embed_dim": 1024, "num_heads": 16, "depth": 24}

VIT_VARIANTS: dict[str, dict[str, Any]] = {
    "vit_tiny": _TI,  # timm's name for DeiT-Ti trained as a ViT
    "vit_small": _S,  # likewise
    "vit_base": _B,  # ViT, table 1
    "vit_large": _L,  # ViT, table 1
    "vit_huge": {"embed_dim": 1280, "num_heads": 16, "depth": 32, "patch_size": 14},  # ViT, table 1
    "vit_base_patch32": _B | {"patch_size": 32},  # ViT, section 4.1
    "vit_large_patch32": _L | {"patch_size": 32},  # ViT, section 4.1
    # Dehghani et al., "Scaling Vision Transformers to 22 Billion Parameters", 2023, table 1: the shape, with
    # blocks in sequence where the paper runs attention and MLP side by side
    "vit_22b": {"embed_dim": 6144, "num_heads": 48, "depth": 48, "patch_size": 14},
}
DEIT_VARIANTS: dict[str, dict[str, Any]] = {
    "deit_tiny": _TI,  # DeiT, table 1
    "deit_small": _S,  # DeiT, table 1
    "deit_base": _B,  # DeiT, table 1
    "deit_tiny_distilled": _TI | {"distilled": True},  # DeiT, table 5, and its released models
    "deit_small_distilled": _S | {"distilled": True},
    "deit_base_distilled": _B | {"distilled": True},
    "deit_small_384": _S | {"img_size": 384},  # fine-tuned at 384 px, DeiT section 4
    "deit_base_384": _B | {"img_size": 384},
    "deit_base_distilled_384": _B | {"img_size": 384, "distilled": True},
}

_MAP = {"global_pool": "map"}
_SCALING_S = {"embed_dim": 256, "num_heads": 8, "depth": 6}  # "s", narrower and shallower than "S"
_SCALING_G = {"embed_dim": 1408, "num_heads": 16, "depth": 40, "mlp_ratio": 4.36364}  # an MLP of 6144
_SCALING_BIG_G = {"embed_dim": 1664, "num_heads": 16, "depth": 48, "mlp_ratio": 4.92308}  # of 8192

# Zhai et al., table 2, for 1000 classes; "big" is the capital letter. The last three are of later papers. An MLP ratio
# has at most six digits, so that a CSV gives it back, and is rounded up, so that the hidden width is exact.
SCALING_VARIANTS: dict[str, dict[str, Any]] = {
    "scaling_s_28": _SCALING_S | {"patch_size": 28} | _MAP,
    "scaling_s_16": _SCALING_S | _MAP,
    "scaling_big_s_32": _S | {"patch_size": 32} | _MAP,
    "scaling_ti_16": _TI | _MAP,
    "scaling_b_32": _B | {"patch_size": 32} | _MAP,
    "scaling_big_s_16": _S | _MAP,
    "scaling_b_28": _B | {"patch_size": 28} | _MAP,
    "scaling_b_16": _B | _MAP,
    "scaling_l_16": _L | _MAP,
    "scaling_g_14": _SCALING_G | {"patch_size": 14} | _MAP,
    "scaling_big_g_14": _SCALING_BIG_G | {"patch_size": 14} | _MAP,
    # Alabdulmohsin et al., "Getting ViT in Shape", 2023: an MLP of 4304
    "scaling_so400m_14": {"embed_dim": 1152, "num_heads": 16, "depth": 27, "mlp_ratio": 3.7362, "patch_size": 14}
    | _MAP,
    "scaling_h_14": VIT_VARIANTS["vit_huge"] | _MAP,  # ViT's largest under this head, as in big_vision
    # Chen et al., "PaLI", 2022: an MLP of 15360
    "scaling_e_14": {"embed_dim": 1792, "num_heads": 16, "depth": 56, "mlp_ratio": 8.57143, "patch_size": 14} | _MAP,
}
