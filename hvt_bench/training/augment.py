"""What happens to an image that is decoded by itself: timm's transformations, as in DeiT's released code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from hvt_bench.training.recipes import TrainingRecipe

CROP_SHARE = 224 / 256  # of the shorter side of a photograph is evaluated, its centre (DeiT, HVT)
SMALL = 32  # px: images up to here are shifted by up to 4 px, and not cut and scaled (DeiT's released code)
SHIFT = 4

Transform = Callable[[Any], Tensor]  # from a PIL image in RGB to (3, S, S)


def training_transform(
    recipe: TrainingRecipe, side: int, mean: tuple[float, ...], std: tuple[float, ...], shift: bool
) -> Transform:
    """Return what augments an image; with `shift`, small images are shifted and not cut and scaled."""
    from timm.data import create_transform
    from torchvision import transforms

    made = create_transform(
        input_size=(3, side, side),
        is_training=True,
        auto_augment=recipe.rand_augment,
        color_jitter=0.0,
        interpolation="bicubic",
        mean=mean,
        std=std,
        re_prob=recipe.random_erasing,
        re_mode="pixel",
    )
    _keep_a_bit(made.transforms)
    if not shift or side > SMALL:
        return made
    rest = made.transforms[1:]  # without what cuts and scales
    resize = transforms.Resize(side, transforms.InterpolationMode.BICUBIC)
    return transforms.Compose([resize, transforms.RandomCrop(side, padding=SHIFT), *rest])


def _keep_a_bit(steps: Sequence[Any]) -> None:
    """Let RandAugment's strongest `Posterize` keep one bit of a colour: timm asks for none, which was black.

    Pillow from 13 on refuses that; this can go once timm (1.0.31) asks for one at least.
    """
    for step in steps:
        for operation in getattr(step, "ops", ()):
            if operation.name.startswith("Posterize"):
                operation.aug_fn = partial(_posterized, operation.aug_fn)


def _posterized(posterize: Callable[..., Any], image: Any, bits: int, **options: Any) -> Any:
    return posterize(image, max(1, bits), **options)


def evaluation_transform(
    side: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    crop_share: float = CROP_SHARE,
    interpolation: str = "bicubic",
    crop_mode: str = "center",
) -> Transform:
    """Return what resizes an image, cuts out its centre and normalises it."""
    from timm.data import create_transform

    return create_transform(
        input_size=(3, side, side),
        interpolation=interpolation,
        mean=mean,
        std=std,
        crop_pct=crop_share,
        crop_mode=crop_mode,
    )
