"""ViT and DeiT, which are one network; a distilled DeiT has a second special token and a second head.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al., "Training data-efficient image
transformers & distillation through attention", ICML 2021. state_dict keys are timm's. `global_pool: avg` is this
project's reading of a ViT without class token: the mean of the tokens after the final norm, so that it differs from
an HVT without pooling in nothing but its family.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import model_validator
from torch import Tensor, nn

from hvt_bench.models.config import NORM_EPS, Attention, TransformerConfig
from hvt_bench.models.layers import Block, PatchEmbed, Recipe, init_linear, stack, token_table
from hvt_bench.records import Column


class ViTConfig(TransformerConfig):
    """Fields of a ViT or DeiT."""

    family: ClassVar[str] = "vit"

    distilled: Annotated[
        bool,
        Column("whether a DeiT has a distillation token and a second head; evaluation averages both heads"),
    ] = False

    @model_validator(mode="after")
    def _check_heads(self) -> ViTConfig:
        if self.distilled and self.global_pool != "token":
            raise ValueError("distilled needs global_pool 'token': its two heads read the two special tokens")
        return self

    @property
    def special_tokens(self) -> int:
        """Class and distillation tokens."""
        return (self.global_pool == "token") + self.distilled

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The same number of tokens in every block."""
        return (self.num_patches + self.special_tokens,) * self.depth

    def closed_form_macs(self) -> int:
        """Patch embedding, blocks, heads."""
        heads = (1 + self.distilled) * self.embed_dim * self.num_classes
        return self.stem_macs() + sum(map(self.block_macs, self.seq_lens)) + heads

    def build(self, attention: Attention = "sdpa") -> VisionTransformer:
        """Build the network, randomly initialised, in training mode."""
        return VisionTransformer(self, attention)


class VisionTransformer(nn.Module):
    """Patch embedding, special tokens, positions, blocks, norm, linear head."""

    def __init__(self, config: ViTConfig, attention: Attention) -> None:
        super().__init__()
        width = config.embed_dim
        self.global_pool = config.global_pool
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, width)
        self.cls_token = token_table(1, 1, width) if config.global_pool == "token" else None
        self.dist_token = token_table(1, 1, width) if config.distilled else None
        self.pos_embed = token_table(1, config.seq_lens[0], width)
        self.blocks = stack(Recipe(n, Block, (config.block_shape(attention),)) for n in config.seq_lens)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
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
