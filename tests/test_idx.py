import gzip
import hashlib

import numpy as np
import pytest
import torch

from hvt_bench.errors import FileError
from hvt_bench.training import idx
from hvt_bench.training.idx import IdxFile, find_fashion_mnist, read_fashion_mnist

NAMES = list(idx.FASHION_MNIST)


def content_of(shape, seed):
    values = np.random.default_rng(seed).integers(0, 10, shape, dtype=np.uint8)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + values.tobytes(), values


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four files in miniature, in place of the published ones."""
    files, known = {}, {}
    for seed, (name, shape) in enumerate(zip(NAMES, [(6, 28, 28), (6,), (4, 28, 28), (4,)], strict=True)):
        content, files[name] = content_of(shape, seed)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        known[name] = IdxFile(shape, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(idx, "FASHION_MNIST", known)
    return tmp_path


def unpack(folder, name):
    packed = folder / f"{name}.gz"
    (folder / name).write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder / name


def test_files_are_read_packed_or_not(folder):
    (images, labels), (test_images, test_labels) = read_fashion_mnist(str(folder))
    assert images.shape == (6, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert (test_images.shape, test_labels.shape) == ((4, 1, 28, 28), (4,))
    for name in NAMES:
        unpack(folder, name)
    (again, _), _ = read_fashion_mnist(str(folder))
    assert torch.equal(images, again)


def test_a_missing_file_is_named_with_how_to_get_it(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileError) as caught:
        find_fashion_mnist(str(folder))
    assert str(caught.value) == (
        f"{folder}: there is no t10k-labels-idx1-ubyte, nor t10k-labels-idx1-ubyte.gz, of Fashion-MNIST's four files; "
        "on Debian and Ubuntu: apt install dataset-fashion-mnist; elsewhere take the files of "
        "github.com/zalandoresearch/fashion-mnist and give their folder as path"
    )


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-10], "is damaged: 4,710 bytes, where 6 x 28 x 28 take 4,720 with their header"),
        (lambda content: content[:-1] + b"\xff", "is damaged: its MD5 unpacked is .*, published "),
        (lambda content: b"GIF8" + content[4:], "is not an IDX file of 6 x 28 x 28 bytes"),
        (lambda content: content[:7] + b"\x09" + content[8:], "is not an IDX file of 6 x 28 x 28 bytes"),
    ],
)
def test_a_damaged_file_says_what_was_expected(folder, damage, sentence):
    path = unpack(folder, NAMES[0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileError, match=f"{NAMES[0]}: {sentence}"):
        read_fashion_mnist(str(folder))


def test_a_torn_archive_is_damaged(folder):
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match=r"ubyte\.gz: is damaged: Compressed file ended"):
        read_fashion_mnist(str(folder))


@pytest.mark.skipif(not idx.DEBIAN.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_the_files_of_debian_are_the_published_ones():
    (images, labels), (_, test_labels) = read_fashion_mnist(None)
    assert len(images) == 60_000
    assert labels.bincount().tolist() == [6_000] * 10
    assert test_labels.bincount().tolist() == [1_000] * 10
