import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from hvt_bench.errors import ConfigError, FileError, RequestError
from hvt_bench.models import parse_model
from hvt_bench.training import data as data_module
from hvt_bench.training.data import Data, check_fits, classes_of, load_data, parse_data
from tests.pictures import images

FITS = "hvt:img_size=8,patch_size=2,in_chans=1,num_classes=10,embed_dim=64"
DIGITS = Data(name="digits")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (DIGITS, "digits"),
        (Data(name="fashion_mnist", path="/x", subset=5, workers=2), "fashion_mnist:subset=5"),
        (Data(name="imagefolder", path="/x", val_fraction=0.1), "imagefolder:path=/x,val_fraction=0.1"),
    ],
)
def test_data_is_spelt_as_what_changes_a_training(data, text):
    assert str(data) == text


def test_digits_hold_a_fifth_out_and_always_the_same():
    split = load_data(DIGITS)
    assert (len(split.train), len(split.test), split.classes) == (1438, 359, 10)
    assert split.train.pixels.shape[1:] == (1, 8, 8)
    assert int(split.train.pixels.max()) == 255
    again = load_data(DIGITS)
    assert torch.equal(split.test.pixels, again.test.pixels)
    together = torch.cat([split.train.labels, split.test.labels])
    assert together.bincount().tolist() == load_digits_counts()


def load_digits_counts():
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().target).bincount().tolist()


def test_a_subset_is_of_what_is_left_for_training():
    split = load_data(parse_data({"name": "digits", "subset": 100, "val_fraction": 0.5}))
    assert (len(split.train), len(split.test)) == (100, 898)


def test_images_are_normalised_by_those_of_the_training():
    split = load_data(Data(name="digits", subset=200))
    pixels = split.train.pixels.double() / 255
    assert split.mean[0] == pytest.approx(pixels.mean().item())
    assert split.std[0] == pytest.approx(pixels.std(correction=0).item())


def test_published_test_images_are_evaluated_unless_some_are_held_out(monkeypatch):
    train, test = images(20, 0), images(8, 1)
    read = lambda path: ((train.pixels, train.labels), (test.pixels, test.labels))  # noqa: E731
    monkeypatch.setattr(data_module, "read_fashion_mnist", read)
    split = load_data(Data(name="fashion_mnist"))
    assert torch.equal(split.test.pixels, test.pixels)
    assert torch.equal(split.train.pixels, train.pixels)
    split = load_data(Data(name="fashion_mnist", val_fraction=0.25))
    assert (len(split.train), len(split.test)) == (15, 5)
    both = torch.cat([split.train.pixels, split.test.pixels]).flatten(1).sum(1).sort().values
    assert torch.equal(both, train.pixels.flatten(1).sum(1).sort().values)


@pytest.fixture
def folder(tmp_path):
    for split, number in (("train", 3), ("val", 2)):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (9, 7), (i, 0, 0)).save(tmp_path / split / name / f"{i}.jpg")
    return tmp_path


def test_an_imagefolder_is_listed(folder):
    data = parse_data({"name": "imagefolder", "path": str(folder)})
    split = load_data(data)
    assert split.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.test.labels.tolist() == [0, 0, 1, 1]
    assert [path.removeprefix(str(folder)) for path in split.test.paths[1:3]] == ["/val/ant/1.jpg", "/val/bee/0.jpg"]
    assert (classes_of(data), data.side, split.mean) == (2, 224, (0.485, 0.456, 0.406))


def test_an_imagefolder_without_val_holds_some_out(folder):
    import shutil

    shutil.rmtree(folder / "val")
    with pytest.raises(FileError, match=r"val: there is no such folder; .* or give val_fraction$"):
        parse_data({"name": "imagefolder", "path": str(folder)})
    split = load_data(parse_data({"name": "imagefolder", "path": str(folder), "val_fraction": 0.5}))
    assert sorted([*split.train.paths, *split.test.paths]) == sorted(map(str, folder.rglob("*.jpg")))


def test_a_hidden_folder_of_an_imagefolder_is_no_class_and_said(folder, capsys):
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    data = parse_data({"name": "imagefolder", "path": str(folder)})
    assert (classes_of(data), load_data(data).train.labels.tolist()) == (2, [0, 0, 0, 1, 1, 1])
    assert capsys.readouterr().err == (f"warning: {folder}/train: 1 hidden folder is left out (.ipynb_checkpoints)\n")


def test_classes_of_train_and_val_are_the_same(folder):
    (folder / "val" / "cat").mkdir()
    with pytest.raises(FileError, match="the class 'cat' is in one of train and val only; give both the same"):
        parse_data({"name": "imagefolder", "path": str(folder)})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"name": "mnist"}, "unknown data set 'mnist'; known: cifar10, cifar100, digits, fashion_mnist, imagefolder"),
        ({"name": "digits", "path": "x"}, "digits come with scikit-learn; leave path out"),
        ({"name": "digits", "subset": 1500}, "subset 1,500 is more than the 1,438 training images of digits"),
        ({"name": "imagefolder"}, "imagefolder needs a path: a folder with train/CLASS/IMAGE"),
        ({"name": "imagefolder", "path": "/nowhere"}, "/nowhere/train: there is no such folder"),
        ({"name": "fashion_mnist", "path": "/nowhere"}, "/nowhere: there is no train-images-idx3-ubyte"),
        ({"name": "cifar10"}, "cifar10 needs a path: get cifar-10-python.tar.gz"),
    ],
)
def test_data_that_is_not_there_is_refused_with_the_next_move(asked, sentence):
    with pytest.raises(RequestError, match=sentence):
        parse_data(asked)


@pytest.mark.parametrize("asked", [{}, {"name": "digits", "val_fraction": 1.0}, {"name": "digits", "size": 3}])
def test_data_that_cannot_be_meant_is_refused(asked):
    with pytest.raises(ValidationError):
        parse_data(asked)


@pytest.mark.parametrize(
    ("package", "asked", "sentence"),
    [
        ("sklearn", {"name": "digits"}, r"scikit-learn, which is not installed; pip install 'hvt-bench\[data\]'"),
        ("timm", {"name": "imagefolder", "path": "x"}, r"which are not installed; pip install 'hvt-bench\[timm\]'"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, package, asked, sentence):
    monkeypatch.setattr(data_module, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(RequestError, match=sentence):
        parse_data(asked)


def test_a_network_that_takes_the_images_fits():
    check_fits(parse_model(FITS), DIGITS)
    check_fits(parse_model(f"{FITS},img_size=16".replace("img_size=8,", "")), Data(name="digits", img_size=16))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (FITS.replace("img_size=8", "img_size=16"), "are 8 px here, the network takes 16: give img_size: 8 to the net"),
        (FITS.replace("in_chans=1", "in_chans=3"), "digits has 1 channel, the network takes 3: give in_chans: 1"),
        (FITS.replace("num_classes=10", "num_classes=100"), "10 classes, the network 100: give num_classes: 10"),
        ("vitgan_generator", "a vitgan_generator does not name the class of an image, so it has no accuracy"),
        ("vitgan_discriminator", "a vitgan_discriminator does not name the class of an image, so it has no accuracy"),
        ("dynamicvit:teacher=true", "take teacher false"),
        (f"{FITS},checkpoint=x.pth", "a training from random weights; leave checkpoint out"),
    ],
)
def test_a_network_that_does_not_fit_says_what_to_give(model, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_fits(parse_model(model), DIGITS)
