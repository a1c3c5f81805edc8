"""Batches of images, normalised and on the device, for training and for evaluation.

Shapes:  B images  C channels  S side in pixels
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hvt_bench.errors import FileError, HvtBenchError, RequestError
from hvt_bench.executors.process import children_allowed
from hvt_bench.training.augment import CROP_SHARE, Transform, evaluation_transform, training_transform
from hvt_bench.training.data import Data, Images, Split
from hvt_bench.training.group import ALONE, Group
from hvt_bench.training.recipes import TrainingRecipe
from hvt_bench.training.seeds import IMAGES, ORDER, drawn_with, seed_of

EVALUATION_BATCH = 256
MOST_WORKERS = 8

Batch = tuple[Tensor, Tensor]  # (B, C, S, S) and (B,) classes


class Feed(Protocol):
    """Gives batches, or one process's shares of them, in an order that follows from the seed."""

    steps_per_epoch: int

    def training(self, first_epoch: int) -> Iterator[Batch]:
        """Yield the batches of all epochs from `first_epoch` on, `steps_per_epoch` for each."""
        ...

    def evaluation(self) -> Iterator[Batch]:
        """Yield the images that were held out, each once."""
        ...


def make_feed(data: Data, split: Split, recipe: TrainingRecipe, seed: int, device: str, group: Group = ALONE) -> Feed:
    """Return how images get to the device: as tensors, or, where each is decoded or augmented, through workers.

    To one of a `group` come its shares of the batches. Raises RequestError where there are fewer images than a batch
    holds.
    """
    if len(split.train) < recipe.batch_size:
        raise RequestError(
            f"the recipe's batch_size {recipe.batch_size} is more than the {len(split.train):,} training images; "
            "give a smaller one under recipe"
        )
    if split.train.pixels is not None and not recipe.augments:
        return TensorFeed(split, recipe, data.side, seed, device, group)
    return DecodedFeed(split, recipe, data, seed, device, group)


def order_of(images: int, recipe: TrainingRecipe, seed: int, epoch: int) -> list[list[int]]:
    """Return the images of each batch of an epoch; whole batches, so a few images miss an epoch, others each time."""
    generator = torch.Generator().manual_seed(seed_of(seed, ORDER, epoch))
    order = torch.randperm(images, generator=generator).repeat_interleave(recipe.repeats)[:images]
    steps = images // recipe.batch_size
    return [batch.tolist() for batch in order[: steps * recipe.batch_size].split(recipe.batch_size)]


class TensorFeed:
    """Images in memory, as bytes on the device."""

    def __init__(self, split: Split, recipe: TrainingRecipe, side: int, seed: int, device: str, group: Group) -> None:
        self.steps_per_epoch = len(split.train) // recipe.batch_size
        self._train, self._test = (_moved(images, device) for images in (split.train, split.test))
        self._recipe, self._side, self._seed, self._group = recipe, side, seed, group
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in (split.mean, split.std)
        )

    def training(self, first_epoch: int) -> Iterator[Batch]:
        """Yield the batches of all epochs from `first_epoch` on."""
        share = self._group.share(self._recipe.batch_size)
        for epoch in range(first_epoch, self._recipe.epochs):
            for batch in order_of(len(self._train[1]), self._recipe, self._seed, epoch):
                own = [batch[place] for place in share]
                yield self._prepared(*self._train, torch.tensor(own, device=self._train[1].device))

    def evaluation(self) -> Iterator[Batch]:
        """Yield the images that were held out."""
        images = torch.arange(len(self._test[1]), device=self._test[1].device)
        for chosen in images.split(EVALUATION_BATCH)[self._group.rank :: self._group.size]:
            yield self._prepared(*self._test, chosen)

    def _prepared(self, pixels: Tensor, labels: Tensor, chosen: Tensor) -> Batch:
        return normalised(pixels[chosen], self._side, self._mean, self._std), labels[chosen]


def normalised(pixels: Tensor, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """Return (B, C, S, S) of (B, C, H, W) bytes, resized to `side` px where they are of another size."""
    images = pixels.float() / 255
    if images.shape[-1] != side:
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return (images - mean) / std


def _moved(images: Images, device: str) -> Batch:
    assert images.pixels is not None
    return images.pixels.to(device), images.labels.to(device)


class DecodedFeed:
    """Images that worker processes decode and augment one by one, ahead of the device."""

    def __init__(self, split: Split, recipe: TrainingRecipe, data: Data, seed: int, device: str, group: Group) -> None:
        self.steps_per_epoch = len(split.train) // recipe.batch_size
        self._images, self._recipe, self._seed, self._device = len(split.train), recipe, seed, device
        self._group = group
        self._workers = usual_workers(device, group.size) if data.workers is None else data.workers
        in_memory = split.train.pixels is not None
        mean, std = ((values * 3)[:3] for values in (split.mean, split.std))  # images in gray are made RGB on the way
        augment = training_transform(recipe, data.side, mean, std, shift=in_memory)
        plain = evaluation_transform(data.side, mean, std, 1.0 if in_memory else CROP_SHARE)
        self._train = Decoded(split.train, augment, seed)
        self._test = Decoded(split.test, plain, seed)

    def training(self, first_epoch: int) -> Iterator[Batch]:
        """Yield the batches of all epochs from `first_epoch` on; workers go over the end of an epoch without a stop."""
        share = self._group.share(self._recipe.batch_size)
        keys = _Lazily(
            [(epoch, place * self._recipe.batch_size + i, batch[i]) for i in share]
            for epoch in range(first_epoch, self._recipe.epochs)
            for place, batch in enumerate(order_of(self._images, self._recipe, self._seed, epoch))
        )
        yield from self._loaded(self._train, keys)

    def evaluation(self) -> Iterator[Batch]:
        """Yield the images that were held out."""
        yield from self._loaded(self._test, in_order(len(self._test), EVALUATION_BATCH, self._group))

    def _loaded(self, images: Decoded, keys: Iterable[list[Key]]) -> Iterator[Batch]:
        return loaded(images, keys, self._workers, self._device)


def in_order(images: int, batch_size: int, group: Group = ALONE) -> Iterable[list[Key]]:
    """Return the keys of all images, each once, in batches; of a `group`, one process has every so manieth batch."""
    starts = range(0, images, batch_size)[group.rank :: group.size]
    return _Lazily([(0, i, i) for i in range(at, min(at + batch_size, images))] for at in starts)


def loaded(images: Decoded, keys: Iterable[list[Key]], workers: int, device: str) -> Iterator[Batch]:
    """Yield the batches that `keys` name, decoded by so many workers and moved to the device.

    Raises FileError where a file is no image.
    """
    loader = DataLoader(
        images,
        batch_sampler=keys,
        num_workers=workers,
        pin_memory=device.startswith("cuda"),
        multiprocessing_context="fork" if workers else None,  # pixels in memory are shared, not copied
        generator=torch.Generator(),  # its seeds are not used, and must not be drawn from those of the training
    )
    with children_allowed():
        batches = iter(loader)
        while True:
            try:
                batch, labels = next(batches)
            except StopIteration:
                return
            except Exception as error:
                raise _in_own_words(error) from None
            yield batch.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _in_own_words(error: Exception) -> Exception:
    """Return what went wrong with an image, without the traceback that PyTorch puts before the words of a worker."""
    last = (str(error).strip().splitlines() or [""])[-1]
    if isinstance(error, FileError):
        return FileError(last.rpartition("FileError: ")[2])
    return HvtBenchError(f"an image could not be decoded or augmented: {type(error).__name__}: {last}")


Key = tuple[int, int, int]  # epoch, place in it, image


class _Lazily(Iterable[list[Key]]):
    """Keys of batches, made as they are asked for: those of a long training would fill the memory."""

    def __init__(self, keys: Iterator[list[Key]]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[list[Key]]:
        return self._keys


class Decoded(Dataset[Batch]):
    """Images by epoch, place and index, each augmented by a seed of its own."""

    def __init__(self, images: Images, transform: Transform, seed: int) -> None:
        self._images, self._transform, self._seed = images, transform, seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: Key) -> Batch:
        epoch, place, index = key
        with drawn_with(seed_of(self._seed, IMAGES, epoch, place)):
            image = self._transform(self._opened(index))
        if self._images.pixels is not None:
            image = image[: self._images.pixels.shape[1]]
        return image, self._images.labels[index]

    def _opened(self, index: int) -> Any:
        from PIL import Image
        from torchvision.transforms.functional import to_pil_image

        if self._images.pixels is not None:
            return to_pil_image(self._images.pixels[index]).convert("RGB")
        path = self._images.paths[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:  # of PIL
            raise FileError(f"{path}: cannot be read as an image: {error}; replace it, or take it away") from None


def usual_workers(device: str, processes: int = 1) -> int:
    """Return how many workers decode: on a CPU one beside the network, on a GPU one for each other core, at most 8.

    That many `processes` of the machine have such workers, and share the cores.
    """
    if not device.startswith("cuda"):
        return 1
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // processes - 1))
