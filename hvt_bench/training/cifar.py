"""CIFAR-10 and CIFAR-100: the published Python archives, packed or unpacked.

They are pickles, which can run code when they are read. So a file is read only if its checksum is the published one,
and then by an unpickler that knows arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hvt_bench.errors import FileError

SIDE = 32  # pixels


class Archive(NamedTuple):
    """What is published."""

    name: str
    folder: str
    labels: bytes
    train: Mapping[str, str]
    """By file its MD5."""
    test: Mapping[str, str]


CIFAR = {  # Krizhevsky 2009, www.cs.toronto.edu/~kriz/cifar.html; checksums as torchvision has them
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        b"labels",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        {"test_batch": "40351d587109b95175f43aff81a1287e"},
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        b"fine_labels",
        {"train": "16019d7e3df5f24257cddd939b257f8d"},
        {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    ),
}


def find_cifar(name: str, path: str | None) -> Path:
    """Return the archive, or the folder with its files. Raises FileError where neither is at `path`."""
    archive = CIFAR[name]
    get = f"get {archive.name} from www.cs.toronto.edu/~kriz/cifar.html and give its folder as path"
    if path is None:
        raise FileError(f"{name} needs a path: {get}")
    given = Path(path)
    for place in (given, given / archive.folder):
        missing = [file for file in (*archive.train, *archive.test) if not (place / file).is_file()]
        if not missing:
            return place
        if len(missing) < len(archive.train) + len(archive.test):
            raise FileError(f"{place}: there is no {missing[0]} of {name}; {get}")
    for place in (given, given / archive.name):
        if place.is_file():
            return place
    raise FileError(f"{given}: there is neither {archive.name} nor {archive.folder}; {get}")


def read_cifar(name: str, path: str | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images, (N, 3, 32, 32) bytes, and labels, (N,), of training and test. Raises FileError."""
    archive, place = CIFAR[name], find_cifar(name, path)
    files = _contents(place, archive)
    train, test = (
        [_read(place, file, files[file], md5, archive) for file, md5 in part.items()]
        for part in (archive.train, archive.test)
    )
    return _joined(train), _joined(test)


def _contents(place: Path, archive: Archive) -> dict[str, bytes]:
    wanted = (*archive.train, *archive.test)
    found = {}
    try:
        if place.is_dir():
            return {file: (place / file).read_bytes() for file in wanted}
        with tarfile.open(place) as packed:
            for file in wanted:
                member = packed.extractfile(f"{archive.folder}/{file}")  # its bytes; nothing is written
                if member is None:
                    raise KeyError(file)
                found[file] = member.read()
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        reason = str(error).partition(":\n")[0]  # tarfile goes on with a line for each kind of packing
        raise FileError(f"{place}: is damaged, or not {archive.name}: {reason}; get it again") from None
    return found


def _read(place: Path, file: str, content: bytes, md5: str, archive: Archive) -> tuple[np.ndarray[Any, Any], list[int]]:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise FileError(f"{place / file}: is damaged: its MD5 is {found}, published {md5}; get {archive.name} again")
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        pixels = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, SIDE, SIDE)
        return pixels, [int(label) for label in batch[archive.labels]]
    except Exception as error:  # of pickle and NumPy, in many kinds
        raise FileError(f"{place / file}: cannot be read: {type(error).__name__}: {error}") from None


def _joined(parts: list[tuple[np.ndarray[Any, Any], list[int]]]) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.concatenate([images for images, _ in parts]))
    return pixels, torch.tensor([label for _, labels in parts for label in labels])


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # the function that pickles of arrays call, wherever NumPy keeps it


class _Unpickler(pickle.Unpickler):
    """Knows NumPy's arrays."""

    known = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the known; refuse anything else."""
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, which CIFAR does not")
        return self.known[module, name]
