"""Patch diversification: a DeiT with talking heads that is trained for patches that differ from each other.

Gong et al., "Vision Transformers with Patch Diversification", 2021. state_dict keys are those of the released code
(ChengyueGongR/PatchVisionTransformer). Three losses are added to cross-entropy, each with weight 1, which changes no
cost; each has a switch, so that what it costs in `mode: train` can be measured:

`patch_cosine`       the mean of |cos(h_i, h_j)| over the pairs i != j of patches of the last layer, an n x n product
`patch_contrastive`  patch i of the last layer is to be like patch i of the first, which gets no gradient, and unlike
                     the mean of the other patches of the last
`patch_mixing`       a part of each image is another's (CutMix), and `patch_head` tells the class of every patch

These follow the paper. The released code has no loss over pairs; it compares with the patch embedding instead of the
first layer, and with the mean of the 7 x 7 neighbourhood too; and `patch_head` reads the mean of each mixed part
instead of every patch. Its dropout and stochastic depth are left out here, as in all families. Mixing the pixels is
the work of a data loader and no part of a step: here the labels are mixed.

In evaluation both heads are run, `patch_head` on the mean of the patches, as in the released code. That gives
log p and p + p', where p and p' are the softmax of either head; this gives log((p + p') / 2), whose softmax is the
mean of both. `global_pool: avg` is this project's: without a class token, both heads read the mean of the patches.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from hvt_bench.errors import UnsupportedError
from hvt_bench.models.config import NORM_EPS, Attention, BlockShape, TransformerConfig
from hvt_bench.models.layers import Block, PatchEmbed, Recipe, init_linear, stack, token_table
from hvt_bench.records import Column


class PatchDivConfig(TransformerConfig):
    """Fields of a network with patch diversification."""

    family: ClassVar[str] = "patchdiv"

    talking_heads: Annotated[
        bool, Column("whether attention heads are mixed before and after the softmax (`use_talk` of the released code)")
    ] = True
    patch_cosine: Annotated[
        bool, Column("whether the similarity of all pairs of patches of the last layer is a training loss")
    ] = True
    patch_contrastive: Annotated[
        bool, Column("whether it is a training loss how a patch of the last layer differs from that of the first")
    ] = True
    patch_mixing: Annotated[bool, Column("whether telling the class of every patch of a mixed image is one")] = True

    @model_validator(mode="after")
    def _check_pairs(self) -> PatchDivConfig:
        pairwise = [name for name in ("patch_cosine", "patch_contrastive") if getattr(self, name)]
        if pairwise and self.num_patches < 2:
            raise ValueError(
                f"img_size {self.img_size} makes one patch of patch_size {self.patch_size}, and {pairwise[0]} compares "
                f"patches; take a larger image, or {' and '.join(f'{name} false' for name in pairwise)}"
            )
        return self

    def exists(self) -> bool:
        """There are patches to compare."""
        return super().exists() & ((self.num_patches >= 2) | (not (self.patch_cosine or self.patch_contrastive)))

    def check_attention(self, attention: Attention, training: bool) -> None:
        """Refuse fused attention where heads talk."""
        if self.talking_heads and attention != "eager":
            raise UnsupportedError(
                f"attention {attention} never holds the weights that talking heads mix from head to head; "
                "take eager, or talking_heads false"
            )

    def block_shape(self, attention: Attention) -> BlockShape:
        """Return what `layers.Block` is made of."""
        return super().block_shape(attention)._replace(talking_heads=self.talking_heads)

    @property
    def special_tokens(self) -> int:
        """The class token, if there is one."""
        return int(self.global_pool == "token")

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The same number of tokens in every block."""
        return (self.num_patches + self.special_tokens,) * self.depth

    def closed_form_macs(self) -> int:
        """Patch embedding, blocks, in each 2n²h² where h heads talk, both heads."""
        talking = 2 * self.num_heads**2 if self.talking_heads else 0
        tokens = self.seq_lens[0]
        blocks = self.depth * (self.block_macs(tokens) + talking * tokens**2)
        return self.stem_macs() + blocks + 2 * self.embed_dim * self.num_classes

    def closed_form_params(self) -> int:
        """Patch embedding, class token, positions, blocks, in each 2h² where h heads talk, norm, both heads."""
        tokens = (self.special_tokens + self.seq_lens[0]) * self.embed_dim
        blocks = self.depth * (self.block_params() + 2 * self.num_heads**2 * self.talking_heads)
        patch_head = (self.embed_dim + 1) * self.num_classes
        return self.stem_params() + tokens + blocks + self.head_params() + patch_head

    def build(self, attention: Attention = "sdpa") -> PatchDivTransformer:
        """Build the network, randomly initialised, in training mode."""
        return PatchDivTransformer(self, attention)


class Diversified(NamedTuple):
    """What the network puts out in training."""

    logits: Tensor  # (B, num_classes)
    first: Tensor  # (B, n, D), patches as they leave the first block
    last: Tensor  # (B, n, D), patches after the last norm


class PatchDivTransformer(nn.Module):
    """Patch embedding, class token, positions, blocks, norm, a head for the image and one for patches."""

    def __init__(self, config: PatchDivConfig, attention: Attention) -> None:
        super().__init__()
        width = config.embed_dim
        self.special_tokens = config.special_tokens
        self.losses = (config.patch_cosine, config.patch_contrastive, config.patch_mixing)
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, width)
        self.cls_token = token_table(1, 1, width) if config.special_tokens else None
        self.pos_embed = token_table(1, config.seq_lens[0], width)
        self.blocks = stack(Recipe(n, Block, (config.block_shape(attention),)) for n in config.seq_lens)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, config.num_classes)
        self.patch_head = nn.Linear(width, config.num_classes)
        self.apply(init_linear)

    def forward(self, images: Tensor) -> Tensor | Diversified:  # (B, C, H, W)
        """Logits of both heads together, (B, num_classes); in training, what the losses need."""
        x = self.patch_embed(images)  # (B, n, D)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, N, D)
        x = x + self.pos_embed
        first_block, *other_blocks = self.blocks
        x = first = first_block(x)
        for block in other_blocks:
            x = block(x)
        x = self.norm(x)
        last = x[:, self.special_tokens :]  # (B, n, D)
        logits = self.head(last.mean(dim=1) if self.cls_token is None else x[:, 0])  # (B, num_classes)
        if self.training:
            return Diversified(logits, first[:, self.special_tokens :], last)
        both = torch.stack([logits, self.patch_head(last.mean(dim=1))]).log_softmax(dim=-1)
        return both.logsumexp(dim=0) - math.log(2)

    def training_loss(self, outputs: Diversified, labels: Tensor) -> Tensor:
        """Cross-entropy and the losses that are switched on; the last half of an image is its neighbour's."""
        cosine, contrastive, mixing = self.losses
        others = labels.roll(1)
        loss = F.cross_entropy(outputs.logits, labels)
        if mixing:
            patches = outputs.last.shape[1]
            own = patches - patches // 2
            loss = (own * loss + (patches - own) * F.cross_entropy(outputs.logits, others)) / patches
            of_patches = torch.cat([labels[:, None].expand(-1, own), others[:, None].expand(-1, patches - own)], dim=1)
            loss = loss + F.cross_entropy(self.patch_head(outputs.last).flatten(0, 1), of_patches.flatten())
        if cosine:
            loss = loss + cosine_loss(outputs.last)
        if contrastive:
            loss = loss + contrastive_loss(outputs.first, outputs.last)
        return loss


def cosine_loss(last: Tensor) -> Tensor:  # (B, n, D)
    """Mean over all pairs of different patches of one image of the absolute value of their cosine."""
    patches = last.shape[1]
    directions = F.normalize(last, dim=-1)
    cosines = (directions @ directions.transpose(1, 2)).abs()  # (B, n, n)
    of_itself = cosines.diagonal(dim1=1, dim2=2).mean()
    return (patches * cosines.mean() - of_itself) / (patches - 1)


def contrastive_loss(first: Tensor, last: Tensor) -> Tensor:  # (B, n, D) each
    """Mean over patches of -log of the softmax of f_i · l_i against f_i · (the mean of l_j, j != i)."""
    first = first.detach()
    same = torch.einsum("bnd,bnd->bn", first, last)
    every = (first @ last.sum(dim=1).unsqueeze(-1)).squeeze(-1)  # (B, n), with the sum of all patches
    other = (every - same) / (last.shape[1] - 1)
    return F.softplus(other - same).mean()


_B = {"embed_dim": 768, "num_heads": 12}
_L = {"embed_dim": 1024, "num_heads": 16, "depth": 24}

PATCHDIV_VARIANTS: dict[str, dict[str, Any]] = {  # "model zoo" of the released README
    "patchdiv_small24": {"embed_dim": 384, "num_heads": 6, "depth": 24},  # in the released code alone
    "patchdiv_b12": _B,
    "patchdiv_b24": _B | {"depth": 24},
    "patchdiv_b12_384": _B | {"img_size": 384},
    "patchdiv_l24": _L,
    "patchdiv_l24_384": _L | {"img_size": 384},
}
