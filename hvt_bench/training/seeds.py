"""Random numbers of a training. Each thing that is drawn has a seed of its own, so none depends on what came before.

That is why a training which goes on from a checkpoint draws what it would have drawn, and why it does not matter how
many workers decode images.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

WEIGHTS, ORDER, STEPS, IMAGES = range(4)
"""What is drawn: the weights at the start; the order of the images in an epoch; dropout, stochastic depth and mixing in
an epoch; the augmentation of an image."""


def seed_of(seed: int, what: int, *place: int) -> int:
    """Return the seed of what is drawn at a place, such as an epoch, in the training of `seed`."""
    return int(np.random.SeedSequence((seed, what, *place)).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seed PyTorch, NumPy and Python, since augmentations and networks of others draw from any of them."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextmanager
def drawn_with(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and afterwards as if nothing had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            seed_everything(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
