import json
import re

import pytest
import torch
from PIL import Image

from hvt_bench.errors import ConfigError, FileError, HvtBenchError, RequestError
from hvt_bench.evaluate import Asked, Evaluation, evaluate, printed_of
from hvt_bench.evaluate.render import render
from hvt_bench.models import make_config, parse_model
from hvt_bench.models.checkpoint import Loaded
from hvt_bench.point import Point
from hvt_bench.training.preprocessing import preprocessing_of

pytest.importorskip("timm")

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
NETS = """
import torch
from torch import nn


class Brightest(nn.Module):
    '''Scores of blue, green and red: how bright that channel is.'''

    def __init__(self, img_size=16, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, images):
        return self.scale * images.mean((2, 3)).flip(1)


class Greedy(nn.Module):
    def forward(self, images):
        raise torch.OutOfMemoryError("tried to allocate 9 TiB")


def pair():
    class Pair(nn.Module):
        def forward(self, images):
            return images, images
    return Pair()
"""
TINY = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 1, "num_classes": 6}
FIELDS = [f"{key}={value}" for key, value in TINY.items()]


def paint(folder, name, colour, number):
    (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 18), colour).save(folder / name / f"{number}.png")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def colours(here, module):
    """Seven images in three classes, one of them in the wrong one, and the module of what tells them apart."""
    for name, colour in COLOURS.items():
        for number in range(2):
            paint(here / "val", name, colour, number)
    paint(here / "val", "blue", COLOURS["red"], 2)
    (here / f"{module}.py").write_text(NETS)
    return module


@pytest.fixture
def six(here):
    """Weights that name the third of six classes for every image, and a folder with 1, 2, ... 6 images of each."""
    network = make_config("hvt", TINY).build()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([1.0, 2.0, 9.0, 3.0, 4.0, 0.0]))
    torch.save({"model": {f"module.{key}": value for key, value in network.state_dict().items()}}, "w.pth")
    for place, name in enumerate("abcdef"):
        for number in range(place + 1):
            paint(here / "val", name, (40 * place, 10, 0), number)
    return here


def run(model, *assignments, data="imagefolder:.", asked=None, **options):
    return evaluate(model, [*assignments, "device=cpu", "num_threads=1"], data, asked or Asked(), **options)


def test_a_network_whose_answers_are_known_is_right_where_it_is_right(colours):
    seen = []
    found = run(f"{colours}:Brightest:img_size=16", "batch_size=3", seen=lambda *numbers: seen.append(numbers))
    assert (found.right, found.images, found.classes, found.top5) == (6, 7, 3, None)
    assert found.top1 == pytest.approx(600 / 7)
    assert found.standard_error(found.top1) == pytest.approx(100 * (6 / 7 * 1 / 7 / 7) ** 0.5)
    assert seen == [(3, 2, 7), (6, 5, 7), (7, 6, 7)]
    assert (found.loaded, found.printed, found.warnings) == (None, (), ())
    reversed_scores = run(f"{colours}:Brightest:img_size=16,scale=-1.0")
    assert reversed_scores.right == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "amp_bfloat16"])
def test_weights_of_a_file_are_evaluated(six, dtype):
    found = run("hvt", *FIELDS, "checkpoint=w.pth", f"dtype={dtype}")
    assert (found.right, found.among, found.images) == (3, 15, 21)
    assert found.loaded == Loaded(20, "model")


def test_digits_score_as_at_the_end_of_their_training(here):
    """The same images, preprocessed alike, as those of the metric."""
    pytest.importorskip("sklearn")
    from hvt_bench.training.data import Data, load_data
    from hvt_bench.training.feed import make_feed
    from hvt_bench.training.loop import train
    from hvt_bench.training.recipes import RECIPES

    fields = TINY | {"img_size": 8, "patch_size": 4, "in_chans": 1, "num_classes": 10}
    torch.manual_seed(0)
    network, recipe = make_config("hvt", fields).build(), RECIPES["small"].model_copy(update={"epochs": 2})
    data = Data(name="digits")
    split = load_data(data)
    _, top1, top5 = train(network, recipe, make_feed(data, split, recipe, 0, "cpu"), 10, 0, "cpu", "float32")
    torch.save(network.state_dict(), "digits.pt")
    given = [f"{key}={value}" for key, value in fields.items()]
    found = run("hvt", *given, "checkpoint=digits.pt", data="digits")
    assert (found.top1, found.top5) == (top1, top5)
    assert top1 > 10


def test_what_is_asked_of_the_preprocessing_is_done_and_said(colours):
    """A dark frame around a coloured centre is seen or cut off."""
    framed = Image.new("RGB", (160, 160), COLOURS["red"])
    framed.paste(Image.new("RGB", (80, 80), (0, 0, 90)), (40, 40))
    framed.save("val/blue/0.png")
    whole, centre = (
        run(f"{colours}:Brightest:img_size=16", asked=Asked(crop_pct=share, mean=(0.0,) * 3, std=(1.0,) * 3))
        for share in (1.0, 0.5)
    )
    assert (whole.right, centre.right) == (5, 6)
    assert centre.preprocessing.source == "DeiT's released code, for want of its own, but for --crop-pct, --mean, --std"
    less_red = run(f"{colours}:Brightest:img_size=16", asked=Asked(1.0, (0.9, 0.0, 0.0), (1.0,) * 3))
    assert less_red.right == 6


def test_what_is_not_read_is_warned_of(colours, here):
    (here / "val" / ".ipynb_checkpoints").mkdir()
    (here / "val" / "red" / "x.gif").touch()
    found = run(f"{colours}:Brightest:img_size=16")
    assert (found.images, found.classes) == (7, 3)
    assert found.warnings == (
        "val: 1 hidden folder is left out (.ipynb_checkpoints)",
        "val: 1 file is no image of a known ending (.gif)",
    )


def test_classes_named_by_numbers_out_of_order_are_warned_of(here, colours):
    for name, number in zip(COLOURS, (1, 10, 2), strict=True):
        (here / "val" / name).rename(here / "val" / str(number))
    found = run(f"{colours}:Brightest:img_size=16")
    assert found.warnings == (
        "val: classes are counted in the order of their names: 1, 10, 2, ...; if the weights count them as numbers, "
        "name the folders with leading zeros",
    )


@pytest.mark.parametrize(
    ("model", "assignments", "options", "kind", "sentence"),
    [
        ("hvt", FIELDS, {}, RequestError, "hvt: random weights name a class by chance; give --checkpoint FILE"),
        ("timm:test_vit", [], {}, RequestError, "timm:test_vit: random weights name a class by chance; give "),
        ("hvt", [*FIELDS, "checkpoint=no.pth"], {}, ConfigError, "checkpoint no.pth: there is no such file; a path "),
        ("hvt", [*FIELDS, "checkpoint=w.pth", "depth=2"], {}, ConfigError, "'depth' is given twice"),
        ("hvt", [*FIELDS[1:], "img_size=32", "checkpoint=w.pth"], {}, ConfigError, "checkpoint w.pth does not fit: its "
         "pos_embed is for 4 tokens, that of the network for 16; these are weights of another resolution: give the "),
        ("hvt", [*FIELDS, "checkpoint=w.pth", "mode=train"], {}, RequestError, "'mode' says how a pass is measured: an "
         "evaluation reads device, dtype, batch_size, attention, num_threads"),
        ("hvt", [*FIELDS, "checkpoint=w.pth", "batch_size=0"], {}, RequestError, "batch_size: 0 does not fit: "),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"data": "imagefolder:x"}, FileError, "x: there is no such folder"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(crop_pct=1.5)}, RequestError, "--crop-pct 1.5: should "
         "be a share of the resized image, such as 0.875"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(mean=(0.5,))}, RequestError, "--mean: the images have 3 "
         "channels; give a number of each"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(std=(1.0, 1.0, 0.0))}, RequestError, "--std: images are "
         "divided by it; give numbers above 0"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(mean=(127.0,) * 3, std=(58.0,) * 3)}, RequestError,
         "--mean 127,127,127: should be from 0 to 1, as pixels are here; those of bytes: divide by 255"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(std=(58.4, 57.1, 57.4))}, RequestError,
         "--std 58.4,57.1,57.4: should be from 0 to 1"),
        ("hvt", [*FIELDS, "checkpoint=w.pth"], {"asked": Asked(mean=(0.5, 0.5, -0.1))}, RequestError,
         "--mean 0.5,0.5,-0.1: should be from 0 to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_an_error_with_the_next_move(six, model, assignments, options, kind, sentence):
    with pytest.raises(kind) as raised:
        run(model, *assignments, **options)
    assert str(raised.value).startswith(sentence)


def test_small_images_are_taken_whole(six):
    pytest.importorskip("sklearn")
    fields = TINY | {"in_chans": 1, "num_classes": 10}
    torch.save(make_config("hvt", fields).build().state_dict(), "d.pth")
    given = [f"{key}={value}" for key, value in fields.items()]
    with pytest.raises(
        RequestError, match=r"^--crop-pct: the images of digits are small and taken whole; leave it out$"
    ):
        run("hvt", *given, "checkpoint=d.pth", data="digits", asked=Asked(crop_pct=0.5))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "pair",
            "the network puts out tuple, and the data has 3 classes, so it should be (B, 3): give it num_classes: 3",
        ),
        ("Brightest:scale=1.0e+300", "its scores of 7 images are not finite numbers: look at its weights"),
    ],
)
def test_what_names_no_class_fails(colours, model, sentence):
    with pytest.raises(HvtBenchError) as raised:
        run(f"{colours}:{model}" + ("" if ":" in model else ":input_shapes=[[3, 16, 16]]"))
    assert str(raised.value).endswith(sentence)


def test_out_of_memory_says_what_to_take(colours):
    with pytest.raises(HvtBenchError, match=r"^out of memory at --batch-size 8; take a smaller one$"):
        run(f"{colours}:Greedy:input_shapes=[[3, 16, 16]]", "batch_size=8")


def test_numbers_beyond_float16_say_what_to_take(colours):
    with pytest.raises(HvtBenchError, match=r"float16 ends at 65,504; take bfloat16 or float32$"):
        run(f"{colours}:Brightest:img_size=16,scale=1000000", "dtype=float16")


def test_a_file_that_is_no_image_is_named(six):
    (six / "val" / "a" / "0.png").write_bytes(b"GIF89a")
    with pytest.raises(FileError, match=r"^val/a/0\.png: cannot be read as an image: .*; replace it, or take it away$"):
        run("hvt", *FIELDS, "checkpoint=w.pth")


# --- what is printed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        ("hvt_s_1", ["78.00", "78.06"]),  # the authors', PaddleViT's port
        ("deit_small", ["79.9", "79.856"]),  # the authors', timm's
        ("dynamicvit_s", ["79.32"]),
        ("mvit_b_16_conv", ["82.9"]),
        ("vit_small", []),  # DeiT-III's have LayerScale
        ("hvt_s_1:num_classes=100", []),
        ("hvt:img_size=32,patch_size=8", []),
    ],
)
def test_what_is_printed_of_released_weights_stands_beside(model, printed):
    config = parse_model(model).model_copy(update={"checkpoint": "x.pth"})
    assert [row.top1 for row in printed_of(model, config)] == printed


def found_by_hand():
    config = parse_model("hvt_s_1:checkpoint=hvt_s_1.pth")
    point = Point(model="x", config=config, device="cpu", batch_size=64, warmup_s=0.5, num_threads=2)
    done = preprocessing_of("hvt_s_1", config, 224)
    where, printed = "imagenet/val", printed_of("hvt_s_1", config)
    return Evaluation(
        "hvt_s_1", point, Loaded(152, "model"), where, 50_000, 1000, 39_002, 46_915, 224, done, printed, ()
    )


def test_an_evaluation_as_text(repository):
    lines = render(found_by_hand(), "text").splitlines()
    assert lines[0] == "hvt_s_1 (family hvt)"
    assert lines[4] == "measured      78.00     0.19      93.83     0.11  50,000 images"
    printed = (
        "printed       78.00               93.83           ImageNet-1k: HVT-S-1, github:ziplab/HVT README.md @f32cc1c"
    )
    assert lines[5] == printed
    assert lines[8:] == [
        "checkpoint     hvt_s_1.pth: 152 tensors, all loaded (its key 'model')",
        "data           imagenet/val: 50,000 images of 1,000 classes",
        "preprocessing  resized to 256 px (bicubic), centre of 224 px; mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "               as in HVT's released code, which is DeiT's",
        "protocol       device=cpu  dtype=float32  batch_size=64  attention=sdpa  num_threads=2",
        "error          standard error of a share of so many images",
    ]
    shown = re.search(r"hvt-bench evaluate hvt_s_1 .*\n((?:    .*\n)+)", (repository / "README.md").read_text())[1]
    assert [
        line for line in map(str.strip, shown.splitlines()) if line != "..." and line not in map(str.strip, lines)
    ] == []


def test_an_evaluation_for_programs():
    told = json.loads(render(found_by_hand(), "json"))
    assert told.pop("top1_error") == pytest.approx(100 * (0.78004 * 0.21996 / 50_000) ** 0.5)
    assert told.pop("top5_error") == pytest.approx(100 * (0.9383 * 0.0617 / 50_000) ** 0.5)
    assert told.pop("printed")[0] == {
        "model": "HVT-S-1",
        "top1": 78.0,
        "top5": 93.83,
        "source": "github:ziplab/HVT README.md @f32cc1c",
    }
    assert told == {
        "model": "hvt_s_1",
        "top1": 100 * 39_002 / 50_000,
        "top5": 100 * 46_915 / 50_000,
        "images": 50_000,
        "classes": 1000,
        "checkpoint": {"file": "hvt_s_1.pth", "tensors": 152, "key": "model"},
        "data": "imagenet/val",
        "preprocessing": {
            "resize_px": 256,
            "crop_px": 224,
            "crop_pct": 0.875,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "source": "HVT's released code, which is DeiT's",
        },
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 64,
        "attention": "sdpa",
        "num_threads": 2,
        "warnings": [],
    }
