import pytest
import torch
from PIL import Image

from hvt_bench.training.augment import evaluation_transform, training_transform
from hvt_bench.training.recipes import RECIPES
from hvt_bench.training.seeds import drawn_with

HALF = (0.5,) * 3
DEIT = RECIPES["deit"]


def picture(width=40, height=30):
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Image.fromarray(pixels.numpy())


def names(transform):
    return [type(step).__name__ for step in transform.transforms]


def test_a_photograph_is_cut_flipped_augmented_and_erased():
    transform = training_transform(DEIT, 64, HALF, HALF, shift=True)
    steps = names(transform)
    assert (steps[0][:13], steps[-1]) == ("RandomResized", "RandomErasing")
    assert {"RandomHorizontalFlip", "RandAugment", "Normalize"} <= set(steps)
    assert transform(picture()).shape == (3, 64, 64)


def test_a_small_picture_is_shifted_and_not_cut():
    transform = training_transform(DEIT, 32, HALF, HALF, shift=True)
    assert names(transform)[:3] == ["Resize", "RandomCrop", "RandomHorizontalFlip"]
    assert transform(picture(28, 28)).shape == (3, 32, 32)


def test_a_recipe_without_augmentation_cuts_and_flips_alone():
    steps = names(training_transform(RECIPES["small"], 64, HALF, HALF, shift=False))
    assert not {"RandAugment", "RandomErasing"} & set(steps)


def test_the_strongest_posterize_keeps_a_bit():
    """Which Pillow 13 asks for, and one image in a thousand meets."""
    transform = training_transform(DEIT, 32, HALF, HALF, shift=False)
    (augment,) = [step for step in transform.transforms if type(step).__name__ == "RandAugment"]
    (posterize,) = [operation for operation in augment.ops if operation.name.startswith("Posterize")]
    posterize.prob, posterize.magnitude, posterize.magnitude_std = 1.0, 10, 0
    assert set(posterize(picture()).tobytes()) == {0, 128}


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_evaluation_takes_the_centre_and_draws_nothing(share):
    transform = evaluation_transform(32, (0.0,) * 3, (1.0,) * 3, crop_share=share)
    white = Image.new("RGB", (64, 64), "black")
    edge = int(64 * (1 - share) / 2)
    white.paste("white", (edge, edge, 64 - edge, 64 - edge))
    found = transform(white)
    assert found.shape == (3, 32, 32)
    assert found.mean().item() == pytest.approx(1, abs=0.1)
    with drawn_with(1):
        assert torch.equal(transform(white), found)
