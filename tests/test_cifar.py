import hashlib
import io
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch

from hvt_bench.errors import FileError
from hvt_bench.training import cifar
from hvt_bench.training.cifar import CIFAR, find_cifar, read_cifar


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2 did, in which the archives were made."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, value):
        raw = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_text


def python2(content):
    raw = io.BytesIO()
    Python2Pickler(raw, protocol=2).dump(content)
    return raw.getvalue().replace(b"numpy._core.", b"numpy.core.")


def batch(images, labels_key, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 3072), dtype=np.uint8)
    return {b"data": pixels, labels_key: [seed] * images, b"batch_label": b"made by a test"}


def publish(monkeypatch, folder, name, contents):
    """Write files in the published layout, and take their checksums for the published ones."""
    archive = CIFAR[name]
    place = folder / archive.folder
    place.mkdir()
    sums = {}
    for file, content in contents.items():
        raw = python2(content)
        (place / file).write_bytes(raw)
        sums[file] = hashlib.md5(raw).hexdigest()
    train, test = ({file: sums[file] for file in part} for part in (archive.train, archive.test))
    monkeypatch.setitem(cifar.CIFAR, name, archive._replace(train=train, test=test))
    return place


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    files = [*CIFAR["cifar10"].train, *CIFAR["cifar10"].test]
    return publish(monkeypatch, tmp_path, "cifar10", {f: batch(2, b"labels", n) for n, f in enumerate(files)})


def test_batches_are_joined_in_order(cifar10):
    (images, labels), (test_images, test_labels) = read_cifar("cifar10", str(cifar10.parent))
    assert (images.shape, images.dtype) == ((10, 3, 32, 32), torch.uint8)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (test_images.shape, test_labels.tolist()) == ((2, 3, 32, 32), [5, 5])
    first = batch(2, b"labels", 0)[b"data"].reshape(2, 3, 32, 32)
    assert torch.equal(images[:2], torch.from_numpy(first))
    assert torch.equal(read_cifar("cifar10", str(cifar10))[0][0], images)  # the folder itself


def test_the_archive_is_read_as_it_is(cifar10, tmp_path):
    packed = tmp_path / "packed" / "cifar-10-python.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(cifar10, "cifar-10-batches-py")
    images = read_cifar("cifar10", str(cifar10))[0][0]
    for place in (packed, packed.parent):
        assert torch.equal(read_cifar("cifar10", str(place))[0][0], images)


def test_cifar100_has_fine_labels(tmp_path, monkeypatch):
    contents = {file: batch(3, b"fine_labels", n) for n, file in enumerate(("train", "test"))}
    publish(monkeypatch, tmp_path, "cifar100", contents)
    (_, labels), (_, test_labels) = read_cifar("cifar100", str(tmp_path))
    assert (labels.tolist(), test_labels.tolist()) == ([0] * 3, [1] * 3)


def test_a_missing_batch_is_named(cifar10):
    (cifar10 / "data_batch_3").unlink()
    with pytest.raises(FileError, match=r"there is no data_batch_3 of cifar10; get cifar-10-python.tar.gz from www"):
        find_cifar("cifar10", str(cifar10))


@pytest.mark.parametrize("path", [None, "/nowhere"])
def test_what_is_not_there_says_how_to_get_it(path):
    with pytest.raises(FileError, match=r"get cifar-100-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html"):
        find_cifar("cifar100", path)


def test_a_file_that_is_not_the_published_one_is_not_read(cifar10):
    class Attack:
        def __reduce__(self):
            return (pytest.fail, ("the pickle ran",))

    (cifar10 / "test_batch").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(FileError, match=r"test_batch: is damaged: its MD5 is .*, published .*; get cifar-10-python"):
        read_cifar("cifar10", str(cifar10))


def test_even_a_trusted_pickle_makes_arrays_alone():
    class Attack:
        def __reduce__(self):
            return (pytest.fail, ("the pickle ran",))

    with pytest.raises(pickle.UnpicklingError, match=r"it holds a _pytest\.\S+, which CIFAR does not"):
        cifar._Unpickler(io.BytesIO(pickle.dumps(Attack()))).load()


@pytest.mark.parametrize("error", [zlib.error("Error -3 while decompressing"), tarfile.ReadError("not:\n- gz\n- tar")])
def test_a_flipped_byte_is_one_sentence(tmp_path, monkeypatch, error):
    """gzip tells most of them as OSError, and some in words of zlib's; tarfile, in a line for each kind of packing."""
    packed = tmp_path / "cifar-10-python.tar.gz"
    packed.write_bytes(b"x")
    monkeypatch.setattr(cifar.tarfile, "open", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(FileError) as damaged:
        read_cifar("cifar10", str(packed))
    reason = str(error).partition(":")[0]
    assert str(damaged.value) == f"{packed}: is damaged, or not cifar-10-python.tar.gz: {reason}; get it again"


def test_a_torn_archive_is_damaged(cifar10, tmp_path):
    packed = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(cifar10, "cifar-10-batches-py")
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(FileError, match=r"cifar-10-python\.tar\.gz: is damaged, or not"):
        read_cifar("cifar10", str(packed))
