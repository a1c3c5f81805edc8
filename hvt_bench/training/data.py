"""DATA_SETS: what networks can be trained on. Nothing is downloaded: files are given, or where a package puts them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from hvt_bench.errors import ConfigError, FileError, RequestError, plural, unknown
from hvt_bench.models import yaml_text
from hvt_bench.models.config import ModelConfig
from hvt_bench.records import Record
from hvt_bench.training.cifar import find_cifar, read_cifar
from hvt_bench.training.folder import class_names, list_folder
from hvt_bench.training.idx import find_fashion_mnist, read_fashion_mnist
from hvt_bench.training.recipes import TIMM
from hvt_bench.training.seeds import ORDER, seed_of

SPLIT_SEED = 0  # of which images are held out and which are a subset: the same in all rounds
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision, timm and DeiT alike


class Data(Record):
    """What networks are trained and evaluated on."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Literal["digits", "fashion_mnist", "cifar10", "cifar100", "imagefolder"]
    path: str | None = None
    """Folder of the files; where the distribution's package puts them, if none."""
    subset: Annotated[int, Field(ge=1)] | None = None
    """Training images that are used, drawn once; all, if none. Evaluation always takes all of its own."""
    img_size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Side that images are resized to, in pixels; as they are, or 224 of an imagefolder, if none."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the training images that is held out and evaluated in place of the published test images."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that decode and augment images; what they give does not depend on their number."""

    @property
    def side(self) -> int:
        """Side of the images that a network gets, in pixels."""
        return self.img_size or DATA_SETS[self.name].img_size

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes what a training gives. Of files that have a published checksum, not where they are."""
        known = DATA_SETS[self.name].train is not None
        return self.model_dump(mode="json", exclude={"workers"} | ({"path"} if known else set()))

    def __str__(self) -> str:
        """Spell the name and what was asked for: `fashion_mnist:subset=20000`."""
        asked = [f"{key}={yaml_text(value)}" for key, value in self.identity.items() if value is not None]
        return f"{self.name}:{','.join(asked[1:])}" if asked[1:] else self.name


@dataclass(frozen=True)
class Images:
    """Images and their classes: pixels in memory, or files."""

    labels: Tensor
    """(N,) classes."""
    pixels: Tensor | None = None
    """(N, C, H, W) bytes."""
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor) -> Images:  # (n,) indices
        pixels = None if self.pixels is None else self.pixels[chosen]
        return Images(self.labels[chosen], pixels, tuple(self.paths[i] for i in chosen.tolist() if self.paths))


@dataclass(frozen=True)
class Split:
    """The images of a training and those it is evaluated on."""

    train: Images
    test: Images
    mean: tuple[float, ...]
    """Of each channel over the training images, between 0 and 1; with `std`, what images are normalised with."""
    std: tuple[float, ...]
    classes: int


Pair = tuple[Tensor, Tensor]  # pixels and labels


class DataSet(NamedTuple):
    """What is known of a data set before it is read."""

    classes: int | None
    in_chans: int
    img_size: int
    train: int | None
    """Training images; None where the files tell."""
    check: Callable[[Data], None]
    """Raises RequestError where files or packages are missing; reads no images."""


def _check_digits(data: Data) -> None:
    if data.path is not None:
        raise RequestError("digits come with scikit-learn; leave path out")
    if find_spec("sklearn") is None:
        raise RequestError("digits come with scikit-learn, which is not installed; pip install 'hvt-bench[data]'")


def check_decoding() -> None:
    """Raise RequestError where what decodes the images of an imagefolder is not installed."""
    if find_spec("timm") is None:
        raise RequestError(f"imagefolder reads images by torchvision and timm, which are not installed; {TIMM}")


def _check_folder(data: Data) -> None:
    check_decoding()
    classes = {split: _class_names(data, split) for split in ("train", *(("val",) if not data.val_fraction else ()))}
    for split, names in classes.items():
        if names != classes["train"]:
            odd = sorted(set(names) ^ set(classes["train"]))[0]
            raise FileError(f"{data.path}: the class '{odd}' is in one of train and {split} only; give both the same")


def _class_names(data: Data, split: str) -> list[str]:
    if data.path is None:
        raise RequestError("imagefolder needs a path: a folder with train/CLASS/IMAGE and val/CLASS/IMAGE")
    folder = Path(data.path) / split
    if not folder.is_dir():
        instead = ", or give val_fraction" if split == "val" else ""
        raise FileError(f"{folder}: there is no such folder; an imagefolder has {split}/CLASS/IMAGE{instead}")
    return class_names(folder)


DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet(10, 1, 8, 1797, _check_digits),
    "fashion_mnist": DataSet(10, 1, 28, 60_000, lambda data: (find_fashion_mnist(data.path), None)[1]),
    "cifar10": DataSet(10, 3, 32, 50_000, lambda data: (find_cifar("cifar10", data.path), None)[1]),
    "cifar100": DataSet(100, 3, 32, 50_000, lambda data: (find_cifar("cifar100", data.path), None)[1]),
    "imagefolder": DataSet(None, 3, 224, None, _check_folder),
}
DEFAULT = "digits"
DIGITS_HELD_OUT = 0.2  # digits have no published test images


def parse_data(asked: Mapping[str, Any]) -> Data:
    """Turn a mapping into a data set that is there.

    Raises ValidationError where a value does not fit, RequestError where files or packages are missing.
    """
    if "name" in asked and asked["name"] not in [*DATA_SETS]:
        raise RequestError(unknown("data set", asked["name"], DATA_SETS))
    data = Data.model_validate(asked)
    known = DATA_SETS[data.name]
    known.check(data)
    if known.train is not None:
        left = known.train - _held_out(data, known.train)
        if data.subset is not None and data.subset > left:
            raise RequestError(f"subset {data.subset:,} is more than the {left:,} training images of {data.name}")
    return data


def classes_of(data: Data) -> int:
    """Return how many classes the images have."""
    return DATA_SETS[data.name].classes or len(_class_names(data, "train"))


def check_fits(config: ModelConfig, data: Data) -> None:
    """Raise ConfigError where a network does not take the images, or does not name their classes."""
    fields = config.fields()
    if not config.outside and "num_classes" not in fields:
        raise ConfigError(
            f"a {config.family} does not name the class of an image, so it has no accuracy; leave accuracy out of "
            "measure, or this model out of the sweep"
        )
    if config.checkpoint is not None:
        raise ConfigError("accuracy is that of a training from random weights; leave checkpoint out")
    if fields.get("teacher") is True:
        raise ConfigError(
            "teacher true distils from a trained network, and here all start from random weights; take teacher false"
        )
    wanted = (DATA_SETS[data.name].in_chans, data.side, data.side)
    shapes = [shape[1:] for shape in config.input_shapes(1)]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ConfigError(f"a network that takes {len(shapes)} inputs is not trained on images; leave accuracy out")
    in_chans, *side = shapes[0]
    if in_chans != wanted[0]:
        raise ConfigError(
            f"{data.name} has {plural(wanted[0], 'channel')}, the network takes {in_chans}: give in_chans: {wanted[0]}"
        )
    if (in_chans, *side) != wanted:
        size = "x".join(map(str, side)) if side[0] != side[1] else str(side[0])
        raise ConfigError(
            f"images of {data.name} are {data.side} px here, the network takes {size}: "
            f"give img_size: {data.side} to the network, or img_size: {size} under data"
        )
    classes = classes_of(data)
    if fields.get("num_classes", classes) != classes:
        raise ConfigError(
            f"{data.name} has {classes} classes, the network {fields['num_classes']}: give num_classes: {classes}"
        )


def load_data(data: Data) -> Split:
    """Read the images, pixels of an imagefolder excepted. Raises FileError where a file is missing or damaged."""
    train, test = _read(data)
    if test is None:
        held = _held_out(data, len(train))
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed_of(SPLIT_SEED, ORDER)))
        test, order = train[order[:held].sort().values], order[held:]
    elif data.subset is not None:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed_of(SPLIT_SEED, ORDER)))
    else:
        order = torch.arange(len(train))
    if data.subset is not None and data.subset > len(order):
        raise FileError(f"subset {data.subset:,} is more than the {len(order):,} training images of {data.path}")
    train = train[order[: data.subset].sort().values]
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if train.pixels is None else _statistics(train.pixels)
    return Split(train, test, mean, std, classes_of(data))


def _held_out(data: Data, images: int) -> int:
    """Return how many of the training images are held out for evaluation."""
    fraction = data.val_fraction or (DIGITS_HELD_OUT if data.name == "digits" else 0.0)
    return min(max(round(fraction * images), 1), images - 1) if fraction else 0


def _read(data: Data) -> tuple[Images, Images | None]:
    """Return the training images, and those for evaluation where they are not held out of them."""
    if data.name == "digits":
        return _digits(), None
    if data.name == "imagefolder":
        train, test = (Path(str(data.path)) / split for split in ("train", "val"))
        return _of_folder(train), None if data.val_fraction else _of_folder(test)
    pairs = read_fashion_mnist(data.path) if data.name == "fashion_mnist" else read_cifar(data.name, data.path)
    known, held_out = (Images(labels, pixels) for pixels, labels in pairs)
    return known, None if data.val_fraction else held_out


def _of_folder(folder: Path) -> Images:
    found = list_folder(folder)
    for sentence in found.left_out:
        print(f"warning: {sentence}", file=sys.stderr)  # which a sweep keeps in its log
    return Images(torch.tensor(found.labels), None, found.paths)


def _digits() -> Images:
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.from_numpy(found.images * (255 / 16)).round().to(torch.uint8)  # from 17 levels
    return Images(torch.from_numpy(found.target).long(), pixels[:, None])


def _statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:  # (N, C, H, W) bytes
    """Return mean and deviation of each channel, between 0 and 1, from counts of each value, so exactly the same."""
    means, stds = [], []
    levels = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(pixels.shape[1]):
        share = torch.bincount(pixels[:, channel].flatten().long(), minlength=256).double()
        share /= share.sum()
        mean = (share * levels).sum()
        means.append(float(mean))
        stds.append(float((share * (levels - mean).square()).sum().sqrt()) or 1.0)
    return tuple(means), tuple(stds)
