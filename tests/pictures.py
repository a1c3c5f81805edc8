"""Small images that can be learned: each class is a bright quarter of a dark picture."""

import torch

from hvt_bench.training.data import Images, Split

SIDE, CLASSES = 8, 4


def images(number, seed, side=SIDE, channels=1):
    """Images, (N, channels, side, side) bytes, and labels, (N,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % CLASSES
    pixels = torch.randint(0, 60, (number, channels, side, side), generator=generator)
    half = side // 2
    for quarter in range(CLASSES):
        row, column = divmod(quarter, 2)
        chosen = labels == quarter
        pixels[chosen, :, row * half : (row + 1) * half, column * half : (column + 1) * half] += 190
    return Images(labels, pixels.to(torch.uint8))


def split(train=48, test=20, **options):
    """A data set of such images."""
    channels = options.get("channels", 1)
    return Split(images(train, 0, **options), images(test, 1, **options), (0.3,) * channels, (0.2,) * channels, CLASSES)
