"""Fashion-MNIST: four IDX files, packed with gzip or not."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hvt_bench.errors import FileError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where the package `dataset-fashion-mnist` puts them
HOW_TO_GET = (
    "on Debian and Ubuntu: apt install dataset-fashion-mnist; elsewhere take the files of "
    "github.com/zalandoresearch/fashion-mnist and give their folder as path"
)


class IdxFile(NamedTuple):
    """What a published file is."""

    shape: tuple[int, ...]
    md5: str
    """Of the file unpacked."""


FASHION_MNIST = {  # Xiao et al. 2017; checksums of Debian's package 0.0~git20200523, whose gzip is its own
    "train-images-idx3-ubyte": IdxFile((60_000, 28, 28), "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train-labels-idx1-ubyte": IdxFile((60_000,), "9018921c3c673c538a1fc5bad174d6f9"),
    "t10k-images-idx3-ubyte": IdxFile((10_000, 28, 28), "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte": IdxFile((10_000,), "15d484375f8d13e6eb1aabb0c3f46965"),
}


def find_fashion_mnist(path: str | None) -> dict[str, Path]:
    """Return where each file is. Raises FileError where one is missing."""
    folder = DEBIAN if path is None else Path(path)
    found = {}
    for name in FASHION_MNIST:
        places = [folder / name, folder / f"{name}.gz"]
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            raise FileError(f"{folder}: there is no {name}, nor {name}.gz, of Fashion-MNIST's four files; {HOW_TO_GET}")
        found[name] = there
    return found


def read_fashion_mnist(path: str | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images, (N, 1, 28, 28) bytes, and labels, (N,), of training and test. Raises FileError."""
    found = {name: _read(place, FASHION_MNIST[name]) for name, place in find_fashion_mnist(path).items()}
    train_images, train_labels, test_images, test_labels = found.values()
    return (train_images[:, None], train_labels.long()), (test_images[:, None], test_labels.long())


def _read(path: Path, expected: IdxFile) -> Tensor:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: is damaged: {error}; {HOW_TO_GET}") from None
    header = (0x0800 | len(expected.shape), *expected.shape)  # 8: bytes; then the number of dimensions, and each
    start = b"".join(number.to_bytes(4, "big") for number in header)
    spelt = " x ".join(f"{size:,}" for size in expected.shape)
    if not content.startswith(start):
        raise FileError(f"{path}: is not an IDX file of {spelt} bytes, as Fashion-MNIST has it; {HOW_TO_GET}")
    asked = len(start) + int(np.prod(expected.shape))
    if len(content) != asked:
        raise FileError(
            f"{path}: is damaged: {len(content):,} bytes, where {spelt} take {asked:,} with their header; {HOW_TO_GET}"
        )
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != expected.md5:
        raise FileError(f"{path}: is damaged: its MD5 unpacked is {md5}, published {expected.md5}; {HOW_TO_GET}")
    values = np.frombuffer(content, np.uint8, offset=len(start)).reshape(expected.shape)
    return torch.from_numpy(values.copy())
