"""The images that trained networks are evaluated on, none of which they were trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from hvt_bench.errors import ConfigError, FileError, RequestError, plural
from hvt_bench.models.config import ModelConfig
from hvt_bench.training.augment import evaluation_transform
from hvt_bench.training.data import DATA_SETS, Images, check_decoding, load_data, parse_data
from hvt_bench.training.feed import Batch, Decoded, in_order, loaded, normalised, usual_workers
from hvt_bench.training.folder import list_folder
from hvt_bench.training.preprocessing import Preprocessing


@dataclass(frozen=True)
class HeldOut:
    """Images with their classes."""

    where: str
    """`digits`, `fashion_mnist:PATH`, or, of an imagefolder, its folder."""
    images: Images
    classes: tuple[str, ...] | int
    """Their names, in order, or, where they have none, how many there are."""
    in_chans: int
    preprocessing: Preprocessing | None
    """As networks are trained on them here; None of files, where it depends on the network."""
    left_out: tuple[str, ...] = ()
    """A sentence for each kind of what lies among them and is not read."""

    @property
    def class_count(self) -> int:
        """How many classes there are."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    def check_fits(self, config: ModelConfig) -> int:
        """Return the side, in px, of the images that a network takes.

        Raises ConfigError where it takes none of these, or names other classes.
        """
        fields = config.fields()
        if not config.outside and "num_classes" not in fields:
            raise ConfigError(f"a {config.family} does not name the class of an image, so it has no accuracy")
        shapes = [shape[1:] for shape in config.input_shapes(1)]
        if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != shapes[0][2]:
            taken = " and ".join("x".join(map(str, shape)) for shape in shapes)
            raise ConfigError(f"{self.where} has square images, and the network takes {taken}")
        in_chans, side, _ = shapes[0]
        if in_chans != self.in_chans:
            raise ConfigError(
                f"{self.where} has {plural(self.in_chans, 'channel')} and the network takes {in_chans}: give the "
                f"weights of a network with in_chans={self.in_chans}, or other images"
            )
        named = fields.get("num_classes", self.class_count)
        if named != self.class_count:
            raise ConfigError(
                f"{self.where} has {self.class_count:,} classes and the network names {named:,}: take the images that "
                f"its weights are for, or, with weights for these, num_classes={self.class_count}"
            )
        return side

    def batches(self, side: int, batch_size: int, done: Preprocessing, device: str) -> Iterator[Batch]:
        """Yield each image once, resized and normalised, on the device.

        Raises FileError where a file is no image.
        """
        if self.images.pixels is None:
            transform = evaluation_transform(
                side, done.mean, done.std, done.crop_pct, done.interpolation, done.crop_mode
            )
            decoded = Decoded(self.images, transform, seed=0)  # which draws nothing
            yield from loaded(decoded, in_order(len(self.images), batch_size), usual_workers(device), device)
            return
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (done.mean, done.std))
        for chosen in torch.arange(len(self.images)).split(batch_size):
            pixels = self.images.pixels[chosen].to(device)
            yield normalised(pixels, side, mean, std), self.images.labels[chosen].to(device)


def load_held_out(text: str) -> HeldOut:
    """Return the images that `digits`, `fashion_mnist:PATH` or `imagefolder:PATH` names.

    Of an imagefolder they are in `PATH/val`, or, where nothing is called so, in `PATH`. Raises RequestError where there
    is no such data set, FileError where files are missing or damaged.
    """
    name, _, path = text.partition(":")
    if name == "imagefolder":
        return _folder(path)
    data = parse_data({"name": name} | ({"path": path} if path else {}))
    split = load_data(data)
    usual = Preprocessing("a training on them here, whose images give mean and std", 1.0, split.mean, split.std)
    return HeldOut(text, split.test, split.classes, DATA_SETS[data.name].in_chans, usual)


def _folder(path: str) -> HeldOut:
    if not path:
        raise RequestError("imagefolder needs a path, imagefolder:PATH, with images as PATH/val/CLASS/IMAGE")
    check_decoding()
    folder = Path(path)
    if not folder.is_dir():
        raise FileError(f"{folder}: there is no such folder; an imagefolder has val/CLASS/IMAGE")
    if (folder / "val").is_dir():
        folder /= "val"
    elif (folder / "train").is_dir():
        raise FileError(f"{folder}: has train and no val; name the folder whose folders are the classes")
    found = list_folder(folder)
    images = Images(torch.tensor(found.labels), None, found.paths)
    return HeldOut(str(folder), images, found.classes, 3, None, found.left_out)
