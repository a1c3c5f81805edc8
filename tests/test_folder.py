"""Which files of an imagefolder are images, and what is said of the others."""

import pytest

from hvt_bench.errors import FileError
from hvt_bench.training.folder import class_names, list_folder

pytest.importorskip("torchvision")
FILES = ("b/2.png", "b/sub/1.JPEG", "b/1.webp", "a/0.jpg", "b/sub-x/0.png")


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        touch(tmp_path / name)
    return tmp_path


def touch(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_images_are_listed_as_torchvision_lists_them(folder):
    from torchvision.datasets import ImageFolder

    theirs, ours = ImageFolder(str(folder)), list_folder(folder)
    assert list(zip(ours.paths, ours.labels, strict=True)) == theirs.samples
    assert (list(ours.classes), len(ours.paths), ours.left_out) == (theirs.classes, 5, ())


def test_what_is_left_out_is_said(folder):
    before = list_folder(folder).paths
    for name in ("a/x.gif", "a/.DS_Store", ".ipynb_checkpoints/0.jpg", "b/.ipynb_checkpoints/1.jpg"):
        touch(folder / name)
    found = list_folder(folder)
    assert (found.paths, found.classes) == (before, ("a", "b"))
    assert found.left_out == (
        f"{folder}: 2 hidden folders are left out (.ipynb_checkpoints)",
        f"{folder}: 1 file is no image of a known ending (.gif)",
    )
    for name in ("a/x.txt", "b/y.avif", "b/README", "b/z.npy"):
        touch(folder / name)
    assert (
        list_folder(folder).left_out[1] == f"{folder}: 5 files are no images of a known ending (.avif, .gif, .npy, ...)"
    )


def test_a_class_without_images_is_an_error_with_the_next_move(folder):
    (folder / "c").mkdir()
    touch(folder / "d" / "x.gif")
    with pytest.raises(FileError) as raised:
        list_folder(folder)
    assert str(raised.value) == (
        f"{folder}/c (and 1 more folder): holds no image, a file that ends in .jpg, .jpeg, .png, .ppm, .bmp, .pgm, "
        ".tif, .tiff, .webp; put the images of the class there, or, if it is no class, take the folder away"
    )


def test_a_folder_without_classes_is_an_error_with_the_next_move(tmp_path):
    touch(tmp_path / "0.jpg")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    with pytest.raises(FileError) as raised:
        class_names(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: holds no folder of a class; put the images of each class into a folder of its name, "
        f"{tmp_path}/CLASS/IMAGE"
    )
