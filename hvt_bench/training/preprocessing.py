"""PREPROCESSING: what happened to an image before it met the networks whose weights are published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hvt_bench.models.config import ModelConfig
from hvt_bench.models.external import ExternalConfig
from hvt_bench.models.vit import DEIT_VARIANTS
from hvt_bench.training.augment import CROP_SHARE
from hvt_bench.training.data import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Preprocessing:
    """How an image is resized, cut and normalised."""

    source: str
    """Where this is written."""
    crop_pct: float
    """Side of the centre that is cut out over the shorter side of the resized image; timm's word, and a share."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each channel, between 0 and 1; with `std`, what images are normalised with."""
    std: tuple[float, ...] = IMAGENET_STD
    whole_from: int | None = None
    """Networks of so many px and more see the whole of the shorter side, whatever `crop_pct` says."""
    interpolation: str = "bicubic"
    crop_mode: str = "center"
    """timm's: `center`, `squash` or `border`."""

    def at(self, side: int) -> Preprocessing:
        """Return what a network of images of `side` px has."""
        whole = self.whole_from is not None and side >= self.whole_from
        return replace(self, crop_pct=1.0 if whole else self.crop_pct, whole_from=None)

    def resize_px(self, side: int) -> int:
        """Shorter side of an image, from which `side` px are cut."""
        return math.floor(side / self.crop_pct)


_HALF = (0.5, 0.5, 0.5)

PREPROCESSING: dict[str, Preprocessing] = {
    # github:facebookresearch/deit datasets.py @012a100: 256 of 224 px, in proportion at 384
    "deit": Preprocessing("DeiT's released code", CROP_SHARE),
    # github:ziplab/HVT main.py @ae5286e evaluates by DeiT's datasets.py; PaddleViT's port prints 0.875 and bicubic too
    "hvt": Preprocessing("HVT's released code, which is DeiT's", CROP_SHARE),
    # github:raoyongming/DynamicViT datasets.py @75a4915, for its LV-ViTs too
    "dynamicvit": Preprocessing("DynamicViT's released code", CROP_SHARE),
    # github:facebookresearch/SlowFast slowfast/datasets/imagenet.py @1930c6a, MVIT_B_16_CONV.yaml @a9faa82
    "mvit": Preprocessing("SlowFast", CROP_SHARE),
    # github:ChengyueGongR/PatchVisionTransformer deit/datasets.py @73b3c4a: no cutting above 300 px
    "patchdiv": Preprocessing("patch diversification's released code", CROP_SHARE, whole_from=301),
    # timm 1.0.31, default_cfgs of vit_*_patch*_{224,384}.augreg_in21k_ft_in1k, whose files have the keys of ours
    "vit": Preprocessing("timm's settings of ViT (augreg)", 0.9, _HALF, _HALF, whole_from=384),
}


def preprocessing_of(name: str, config: ModelConfig, side: int) -> Preprocessing:
    """Return how images of `side` px were made for the weights of a network; `name` is as a person writes it.

    A ViT and a DeiT can be the same network; their weights are not. An outside network has timm's settings, if it is
    one of timm's, else DeiT's.
    """
    if isinstance(config, ExternalConfig):
        return _of_timm(config.settings()) or replace(
            PREPROCESSING["deit"], source="DeiT's released code, for want of its own"
        )
    variant = name.partition(":")[0]
    return PREPROCESSING["deit" if variant in DEIT_VARIANTS else config.family].at(side)


def _of_timm(settings: Mapping[str, Any] | None) -> Preprocessing | None:
    if settings is None:
        return None
    named = {key: settings[key] for key in ("interpolation", "crop_mode") if settings.get(key)}
    return Preprocessing(
        "timm's settings of this network",
        settings["crop_pct"],
        tuple(settings["mean"]),
        tuple(settings["std"]),
        **named,
    )
