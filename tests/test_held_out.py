import numpy as np
import pytest
import torch
from PIL import Image

from hvt_bench.errors import ConfigError, FileError, RequestError
from hvt_bench.models import parse_model
from hvt_bench.training.held_out import load_held_out
from hvt_bench.training.preprocessing import preprocessing_of

TINY = "img_size=16,patch_size=8,embed_dim=8,num_heads=2,depth=1"


@pytest.fixture
def folder(tmp_path):
    """Two classes of PNG files of several sizes, with edges that a blunt resizing would lose."""
    pytest.importorskip("timm")
    noise = np.random.default_rng(0)
    for name, sizes in (("ant", [(50, 40), (40, 50)]), ("bee", [(21, 21)])):
        (tmp_path / "val" / name).mkdir(parents=True)
        for width, height in sizes:
            pixels = noise.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{width}.png")
    return tmp_path


def by_hand(path, resized, side, mean, std):
    """What PIL makes of a file: the shorter side resized, the centre cut out."""
    image = Image.open(path)
    share = resized / min(image.size)
    width, height = (int(size * share) for size in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    cut = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize(("model", "resized"), [("hvt", 18), ("vit", 17)])
def test_images_are_pixel_for_pixel_what_pil_makes_of_them(folder, model, resized):
    held_out = load_held_out(f"imagefolder:{folder}")
    config = parse_model(f"{model}:{TINY},num_classes=2")
    side = held_out.check_fits(config)
    done = preprocessing_of(model, config, side)
    assert (side, done.resize_px(side)) == (16, resized)
    (batch, labels), (rest, last) = held_out.batches(side, 2, done, "cpu")
    assert (labels.tolist(), last.tolist()) == ([0, 0], [1])
    files = [folder / "val" / "ant" / "40.png", folder / "val" / "ant" / "50.png", folder / "val" / "bee" / "21.png"]
    expected = torch.stack([by_hand(file, resized, side, done.mean, done.std) for file in files])
    assert torch.allclose(torch.cat([batch, rest]), expected, atol=1e-5)


def test_the_folder_of_the_classes_can_be_named_itself(folder):
    whole, itself = (load_held_out(f"imagefolder:{path}") for path in (folder, folder / "val"))
    assert whole.where == itself.where == str(folder / "val")
    assert (itself.classes, itself.images.labels.tolist()) == (("ant", "bee"), [0, 0, 1])


def test_digits_are_those_that_no_training_saw():
    pytest.importorskip("sklearn")
    held_out = load_held_out("digits")
    assert (len(held_out.images), held_out.class_count, held_out.in_chans) == (359, 10, 1)
    config = parse_model("hvt:img_size=16,patch_size=8,embed_dim=8,num_heads=2,depth=1,in_chans=1,num_classes=10")
    (batch, labels), *_ = held_out.batches(held_out.check_fits(config), 359, held_out.preprocessing, "cpu")
    assert batch.shape == (359, 1, 16, 16)
    assert torch.equal(labels, held_out.images.labels)
    assert float(batch.mean()) == pytest.approx(0, abs=0.05)
    assert float(batch.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (
            "mnist",
            RequestError,
            "unknown data set 'mnist'; known: cifar10, cifar100, digits, fashion_mnist, imagefolder",
        ),
        (
            "imagefolder",
            RequestError,
            "imagefolder needs a path, imagefolder:PATH, with images as PATH/val/CLASS/IMAGE",
        ),
        ("imagefolder:nowhere", FileError, "nowhere: there is no such folder; an imagefolder has val/CLASS/IMAGE"),
        ("imagefolder:empty", FileError, "empty: holds no folder of a class; put the images of each "),
        ("imagefolder:half", FileError, "half: has train and no val; name the folder whose folders are the classes"),
        (
            "cifar10:nowhere",
            FileError,
            "nowhere: there is neither cifar-10-python.tar.gz nor cifar-10-batches-py; get ",
        ),
    ],
)
def test_images_that_are_not_there_are_an_error_with_the_next_move(tmp_path, monkeypatch, text, kind, sentence):
    pytest.importorskip("timm")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as raised:
        load_held_out(text)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (f"hvt:{TINY}", "{} has 2 classes and the network names 1,000: take the images that its weights are for, or, "
         "with weights for these, num_classes=2"),
        (f"hvt:{TINY},in_chans=1", "{} has 3 channels and the network takes 1: give the weights of a network with "
         "in_chans=3, or other images"),
        ("vitgan_discriminator", "a vitgan_discriminator does not name the class of an image, so it has no accuracy"),
        ({"target": "nets:Net", "input_shapes": [[3, 8, 6]]}, "{} has square images, and the network takes 3x8x6"),
    ],
)  # fmt: skip
def test_a_network_that_is_for_other_images_is_an_error(folder, model, sentence):
    held_out = load_held_out(f"imagefolder:{folder}")
    with pytest.raises(ConfigError) as raised:
        held_out.check_fits(parse_model(model))
    assert str(raised.value) == sentence.format(held_out.where)
