"""DynamicViT, which drops tokens on its way, on DeiT or LV-ViT; without pruning, these two themselves.

Rao et al., "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification", NeurIPS 2021; Jiang et al.,
"All Tokens Matter: Token Labeling for Training Better Vision Transformers", NeurIPS 2021. After the released code of
both, whose state_dict keys these are. Before three of the blocks a predictor scores the patch tokens. In evaluation
those that score best go on, in the order of their scores. In training all go on, since which are dropped has to be
learned: those that are dropped are masked in the softmax, so that a step costs more than one of the network unpruned.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from hvt_bench.errors import ConfigError
from hvt_bench.models.config import Attention, BlockShape, EqualBlocksConfig, whole
from hvt_bench.models.layers import Block, PatchEmbed, Recipe, blocks_made_by, init_linear, stack, token_table
from hvt_bench.records import Column

PRUNINGS = 3
PREDICTOR_EPS = 1e-5  # of its LayerNorm, whatever the blocks have
STEM_WIDTH = 64  # channels of LV-ViT's convolutions, its `4_2` embedding
LV_RESIDUAL, LV_EPS = 0.5, 1e-5  # `skip_lam` 2; PyTorch's default eps
AUX_WEIGHT = 0.5  # of the best token's logits, LV-ViT
RATIO_WEIGHT, TEACHER_WEIGHT = 2.0, 0.5  # DynamicViT, section 3.3


class DynamicViTConfig(EqualBlocksConfig):
    """Fields of a DynamicViT."""

    family: ClassVar[str] = "dynamicvit"

    keep_rate: Annotated[
        float | None,
        Field(gt=0, le=1),
        Column(
            "share of the patch tokens that goes on from each of three prunings; 1 scores them and keeps all, null "
            "does neither",
            "",
            "keep rate",
        ),
    ] = 0.7
    backbone: Annotated[
        Literal["deit", "lv_vit"],
        Column("what is pruned: `deit`, or `lv_vit`: convolutions as a stem, halved residuals, a head on every token"),
    ] = "deit"
    teacher: Annotated[
        bool,
        Column("whether training also asks an unpruned teacher; it is in memory and not in `params`"),
    ] = False

    @model_validator(mode="after")
    def _check_pruning(self) -> Self:
        if self.backbone == "lv_vit" and self.patch_size % 2:
            raise ValueError(
                f"patch_size {self.patch_size} is odd, and the stem of backbone 'lv_vit' halves it; "
                f"take {' or '.join(str(size) for size in (self.patch_size - 1, self.patch_size + 1) if size)}"
            )
        if self.keep_rate is None:
            if self.teacher:
                raise ValueError("teacher true has nobody to teach where keep_rate is null; give a keep_rate")
            return self
        if self.depth < PRUNINGS:
            raise ValueError(
                f"depth {self.depth} has no {PRUNINGS} blocks to prune before; take {PRUNINGS} or more, "
                "or keep_rate null, which does not prune"
            )
        if self.embed_dim < 4 or self.embed_dim % 2:
            raise ValueError(
                f"embed_dim {self.embed_dim} cannot be cut as a predictor cuts it, to a half and then to a quarter; "
                "take an even number from 4"
            )
        if not self.keep_counts[-1]:
            raise ValueError(
                f"keep_rate {self.keep_rate} leaves none of {self.num_patches} tokens before block "
                f"{self.pruning_blocks[self.keep_counts.index(0)]}; take a higher rate, a larger image or smaller "
                "patches"
            )
        return self

    def exists(self) -> bool:
        """Halve the patches in the stem; have a block for each pruning, a width to cut, and a token that is left."""
        found = super().exists() & ((self.backbone == "deit") | (self.patch_size % 2 == 0))
        if self.keep_rate is None:
            return found & (not self.teacher)
        if self.depth < PRUNINGS:
            return False
        return found & (self.embed_dim >= 4) & (self.embed_dim % 2 == 0) & (self.keep_counts[-1] >= 1)

    @property
    def pruning_blocks(self) -> tuple[int, ...]:
        """Indices of the blocks before which tokens are dropped: 3, 6, 9 of 12; 4, 8, 12 of 16; 5, 10, 15 of 20."""
        if self.keep_rate is None:
            return ()
        return tuple(stage * self.depth // (PRUNINGS + 1) for stage in range(1, PRUNINGS + 1))

    @property
    def keep_rates(self) -> tuple[float, ...]:
        """Share of all patch tokens that each pruning leaves."""
        return () if self.keep_rate is None else tuple(self.keep_rate**stage for stage in range(1, PRUNINGS + 1))

    @property
    def keep_counts(self) -> tuple[int, ...]:
        """Patch tokens that each pruning leaves, of the number at the start, rounded down as the released code does."""
        return tuple(whole(self.num_patches * rate) for rate in self.keep_rates)

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """Tokens that enter each block, in evaluation; in training all do, always."""
        left = dict(zip(self.pruning_blocks, self.keep_counts, strict=True))
        lens, tokens = [], self.num_patches
        for block in range(self.depth):
            tokens = left.get(block, tokens)
            lens.append(1 + tokens)
        return tuple(lens)

    @property
    def unpruned(self) -> DynamicViTConfig:
        """The backbone itself, which is also the teacher."""
        return self.model_copy(update={"keep_rate": None, "teacher": False})

    def check_attention(self, attention: Attention, training: bool) -> None:
        """Refuse to train with fused attention, which cannot mask as the training of the pruning does."""
        if training and attention == "sdpa" and self.keep_rate is not None:
            raise ConfigError(
                "attention sdpa cannot train a DynamicViT: the tokens that it drops are masked inside the softmax; "
                "take eager, or auto"
            )

    def block_shape(self, attention: Attention) -> BlockShape:
        """Return what `layers.Block` is made of."""
        shape = super().block_shape(attention)
        return shape._replace(residual_scale=LV_RESIDUAL, norm_eps=LV_EPS) if self.backbone == "lv_vit" else shape

    def stem_macs(self) -> int:
        """Multiply-adds of the patch embedding, a convolution or four."""
        if self.backbone == "deit":
            return super().stem_macs()
        per_pixel = STEM_WIDTH * (self.in_chans * 7**2 + 2 * STEM_WIDTH * 3**2)
        proj = self.num_patches * STEM_WIDTH * (self.patch_size // 2) ** 2 * self.embed_dim
        return (self.img_size // 2) ** 2 * per_pixel + proj

    def predictor_macs(self) -> int:
        """Multiply-adds of the predictors, each over the tokens that reach it: part of `closed_form_macs`."""
        width = self.embed_dim
        per_token = width**2 + width * (width // 2) + (width // 2) * (width // 4) + 2 * (width // 4)
        return per_token * sum(
            self.seq_lens[block - 1] - 1 if block else self.num_patches for block in self.pruning_blocks
        )

    def closed_form_macs(self) -> int:
        """Patch embedding, predictors, blocks, head; of LV-ViT the head on every token that is left."""
        read = self.seq_lens[-1] if self.backbone == "lv_vit" else 1
        heads = read * self.embed_dim * self.num_classes
        return self.stem_macs() + self.predictor_macs() + sum(map(self.block_macs, self.seq_lens)) + heads

    def stem_params(self) -> int:
        """Learned numbers of the patch embedding, a convolution or four with three norms."""
        if self.backbone == "deit":
            return super().stem_params()
        convolutions = STEM_WIDTH * (self.in_chans * 7**2 + 2 * STEM_WIDTH * 3**2)
        proj = (STEM_WIDTH * (self.patch_size // 2) ** 2 + 1) * self.embed_dim
        return convolutions + 3 * 2 * STEM_WIDTH + proj

    def predictor_params(self) -> int:
        """Learned numbers of one predictor: a norm and four linear layers."""
        width, half, quarter = self.embed_dim, self.embed_dim // 2, self.embed_dim // 4
        return 2 * width + (width + 1) * (width + half) + (half + 1) * quarter + (quarter + 1) * 2

    def closed_form_params(self) -> int:
        """Patch embedding, class token, positions, predictors, blocks, norm, head; of LV-ViT two heads. No teacher."""
        tokens = (2 + self.num_patches) * self.embed_dim
        predictors = len(self.pruning_blocks) * self.predictor_params()
        second = (self.embed_dim + 1) * self.num_classes if self.backbone == "lv_vit" else 0
        blocks = self.depth * self.block_params()
        return self.stem_params() + tokens + predictors + blocks + self.head_params() + second

    def build(self, attention: Attention = "sdpa") -> Backbone:
        """Build the network, randomly initialised, in training mode."""
        return Backbone(self, attention) if self.keep_rate is None else DynamicViT(self, attention)


class ConvStem(nn.Module):
    """LV-ViT's patch embedding: three convolutions at half the resolution, then patches of what they give."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        half, wide = patch_size // 2, STEM_WIDTH
        self.conv1 = nn.Conv2d(in_chans, wide, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv3 = nn.Conv2d(wide, wide, kernel_size=3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.proj = nn.Conv2d(wide, embed_dim, kernel_size=half, stride=half)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))  # (B, 64, H/2, W/2)
        return self.proj(x).flatten(2).transpose(1, 2)  # (B, n, D)


class Predictor(nn.Module):
    """Score each patch token by itself and by the mean of those that are kept."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        half, quarter = embed_dim // 2, embed_dim // 4
        self.in_conv = nn.Sequential(
            nn.LayerNorm(embed_dim, eps=PREDICTOR_EPS), nn.Linear(embed_dim, embed_dim), nn.GELU()
        )
        self.out_conv = nn.Sequential(
            nn.Linear(embed_dim, half), nn.GELU(), nn.Linear(half, quarter), nn.GELU(), nn.Linear(quarter, 2)
        )

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:  # (B, n, D), (B, n) of 0 and 1
        """Log-probabilities that a token is kept, and that it is dropped, (B, n, 2); without `kept` all are."""
        local, common = self.in_conv(x).chunk(2, dim=-1)  # each (B, n, D/2)
        if kept is None:
            mean = common.mean(dim=1, keepdim=True)  # (B, 1, D/2)
        else:
            kept = kept.to(common.dtype)[..., None]
            left = kept.sum(dim=1, keepdim=True).clamp(min=1)  # the released code divides by 0 where none is left
            mean = (common * kept).sum(dim=1, keepdim=True) / left
        return self.out_conv(torch.cat([local, mean.expand_as(local)], dim=-1)).log_softmax(dim=-1)


class Predictors(nn.ModuleList):
    """A predictor for each pruning; called as one module, so that what they take can be timed."""

    def forward(self, stage: int, x: Tensor, kept: Tensor | None = None) -> Tensor:
        return self[stage](x, kept)


class Backbone(nn.Module):
    """Patch embedding, class token, positions, blocks, norm, linear head; of LV-ViT a second head on every token."""

    def __init__(self, config: DynamicViTConfig, attention: Attention) -> None:
        super().__init__()
        width, shape = config.embed_dim, config.block_shape(attention)
        stem = ConvStem if config.backbone == "lv_vit" else PatchEmbed
        self.patch_embed = stem(config.patch_size, config.in_chans, width)
        self.cls_token = token_table(1, 1, width)
        self.pos_embed = token_table(1, 1 + config.num_patches, width)
        pruned = config.keep_rate is not None  # then blocks take a mask too, and fewer tokens in evaluation
        self.blocks = stack(Recipe(None if pruned else n, Block, (shape,)) for n in config.seq_lens)
        self.norm = nn.LayerNorm(width, eps=shape.norm_eps)
        self.head = nn.Linear(width, config.num_classes)
        self.aux_head = nn.Linear(width, config.num_classes) if config.backbone == "lv_vit" else None
        self.apply(init_linear)

    def embed(self, images: Tensor) -> Tensor:  # (B, C, H, W)
        """Return the tokens that enter the blocks, the class token in front, (B, 1 + n, D)."""
        x = self.patch_embed(images)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, 1 + n, D)
        """Return the class token's logits, (B, num_classes), and what the patch tokens say.

        Of DeiT that is themselves, (B, n, D), of LV-ViT their logits, (B, n, num_classes).
        """
        x = self.norm(x)
        return self.head(x[:, 0]), x[:, 1:] if self.aux_head is None else self.aux_head(x[:, 1:])

    def logits(self, x: Tensor) -> Tensor:  # (B, 1 + n, D)
        """Return the class logits, (B, num_classes): of LV-ViT with the best of all tokens'."""
        logits, said = self.read(x)
        return logits if self.aux_head is None else logits + AUX_WEIGHT * said.amax(dim=1)

    def forward(self, images: Tensor) -> Tensor | Lesson:  # (B, C, H, W)
        """Class logits, (B, num_classes)."""
        return self.logits(self.blocks(self.embed(images)))


class Lesson(NamedTuple):
    """What the loss of a training step is made of."""

    logits: Tensor
    """(B, num_classes); beside a teacher the class token's alone, as the released code compares them."""
    decisions: Tensor
    """Whether each pruning keeps each token, (B, 3, n) of 0 and 1."""
    compared: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    """The network's and the teacher's class logits and what the tokens say, as `Backbone.read` has them."""


class DynamicViT(Backbone):
    """A backbone with a predictor before each block that prunes."""

    def __init__(self, config: DynamicViTConfig, attention: Attention) -> None:
        super().__init__(config, attention)
        self.stages = {block: stage for stage, block in enumerate(config.pruning_blocks)}
        self.keep_rates, self.keep_counts = config.keep_rates, config.keep_counts
        self.score_predictor = Predictors(Predictor(config.embed_dim) for _ in config.pruning_blocks)
        self.score_predictor.apply(init_linear)
        self.teacher = Teacher(config.unpruned, attention) if config.teacher else None

    def forward(self, images: Tensor) -> Tensor | Lesson:  # (B, C, H, W)
        """Class logits, (B, num_classes); in training a Lesson."""
        if self.training:
            return self._learn(images)
        x = self.embed(images)
        for index, block in enumerate(self.blocks):
            if index in self.stages:
                x = self._prune(x, self.stages[index])
            x = block(x)  # (B, N', D)
        return self.logits(x)

    def _prune(self, x: Tensor, stage: int) -> Tensor:  # (B, N, D)
        """Keep the class token and the tokens that score best, best first."""
        scores = self.score_predictor(stage, x[:, 1:])[..., 0]  # (B, n)
        best = scores.argsort(dim=1, descending=True)[:, : self.keep_counts[stage]]
        rows = F.pad(best + 1, (1, 0))  # row 0 is the class token
        return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))  # (B, N', D)

    def _learn(self, images: Tensor) -> Lesson:  # (B, C, H, W)
        x = self.embed(images)
        kept = torch.ones(x.shape[:2], device=x.device)  # (B, N), in float32 whatever the weights are
        decisions = []
        for index, block in enumerate(self.blocks):
            if index in self.stages:
                scores = self.score_predictor(self.stages[index], x[:, 1:], kept[:, 1:]).float()
                drawn = F.gumbel_softmax(scores, hard=True)[..., 0] * kept[:, 1:]  # what was dropped stays so
                kept = torch.cat([kept[:, :1], drawn], dim=1)
                decisions.append(drawn)
            x = block(x, kept)  # (B, N, D)
        if self.teacher is None:
            return Lesson(self.logits(x), torch.stack(decisions, dim=1), None)
        own = self.read(x)
        return Lesson(own[0], torch.stack(decisions, dim=1), (own, self.teacher(images)))

    def training_loss(self, outputs: Lesson, labels: Tensor) -> Tensor:
        """Cross-entropy, distance to the kept shares that are asked for, and, with a teacher, distance to it."""
        asked = torch.tensor(self.keep_rates, device=labels.device)
        ratios = (outputs.decisions.mean(dim=2) - asked).square().mean()
        loss = F.cross_entropy(outputs.logits, labels) + RATIO_WEIGHT * ratios
        if outputs.compared is None:
            return loss
        (logits, said), (taught, taught_said) = outputs.compared
        of_class = _divergence(logits, taught).mean()
        kept = outputs.decisions[:, -1].detach()  # (B, n)
        mse = self.aux_head is None  # of features, where LV-ViT has logits
        each = (said - taught_said).square().mean(dim=-1) if mse else _divergence(said, taught_said)  # (B, n)
        of_tokens = (each * kept).sum() / kept.sum().clamp(min=1)
        return loss + TEACHER_WEIGHT * (of_class + of_tokens)


def _divergence(logits: Tensor, taught: Tensor) -> Tensor:  # (..., num_classes) each
    """Return the Kullback-Leibler divergence from what is taught, (...)."""
    own, target = logits.log_softmax(dim=-1), taught.log_softmax(dim=-1)
    return F.kl_div(own, target, reduction="none", log_target=True).sum(dim=-1)


class Teacher(nn.Module):
    """An unpruned network that is asked and never changed: always in eval mode, its weights no parameters.

    They are buffers that no state_dict has: they go where the network goes, and released weights still fit it.
    """

    def __init__(self, config: DynamicViTConfig, attention: Attention) -> None:
        super().__init__()
        with blocks_made_by(Recipe.make):  # nothing of them is kept for a backward pass
            self.network = Backbone(config, attention)
        for module in self.network.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach(), persistent=False)
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=False)
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False  # else it makes load_state_dict expect a counter of batches
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, H, W)
        """Return what `Backbone.read` does."""
        return self.network.read(self.network.blocks(self.network.embed(images)))


_S = {"embed_dim": 384, "num_heads": 6}
_LV = {"backbone": "lv_vit", "mlp_ratio": 3.0, "qkv_bias": False}
_LV_S = _LV | _S | {"depth": 16}
_LV_M = _LV | {"embed_dim": 512, "num_heads": 8, "depth": 20}

DYNAMICVIT_VARIANTS: dict[str, dict[str, Any]] = {  # Rao et al., tables 1, 2 and 5; keep_rate 0.7, as released
    "dynamicvit_256": {"embed_dim": 256, "num_heads": 4},  # of the released README alone
    "dynamicvit_s": _S,
    "dynamicvit_b": {"embed_dim": 768, "num_heads": 12},
    "dynamicvit_lv_s": _LV_S,
    "dynamicvit_lv_m": _LV_M,
    "lvvit_s": _LV_S | {"keep_rate": None},  # LV-ViT, table 1
    "lvvit_m": _LV_M | {"keep_rate": None},
}
