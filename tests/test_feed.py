import itertools

import pytest
import torch
from PIL import Image

from hvt_bench.errors import FileError, HvtBenchError, RequestError
from hvt_bench.training.data import Data, Images, Split
from hvt_bench.training.feed import DecodedFeed, TensorFeed, make_feed, order_of
from hvt_bench.training.recipes import RECIPES
from tests.pictures import SIDE, images, split

SMALL = RECIPES["small"].model_copy(update={"epochs": 2, "batch_size": 16})
DEIT = RECIPES["deit"].model_copy(update={"epochs": 2, "batch_size": 16})


def feed_of(recipe=SMALL, pictures=None, seed=0, **data):
    return make_feed(Data(name="digits", **data), pictures or split(), recipe, seed, "cpu")


def batches(feed, first_epoch=0):
    return [(batch.clone(), labels.tolist()) for batch, labels in feed.training(first_epoch)]


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) and left == right for (a, left), (b, right) in zip(one, other, strict=True)
    )


def test_every_epoch_has_every_image_in_another_order():
    first, second = ([image for batch in order_of(48, SMALL, 0, epoch) for image in batch] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(48))
    assert first != second
    assert order_of(48, SMALL, 1, 0) != order_of(48, SMALL, 0, 0)


def test_images_that_fill_no_batch_miss_an_epoch():
    order = order_of(50, SMALL, 0, 0)
    assert [len(batch) for batch in order] == [16] * 3


def test_a_repeated_image_stands_in_a_row_and_an_epoch_stays_as_long():
    order = [image for batch in order_of(48, DEIT, 0, 0) for image in batch]
    assert len(order) == 48
    assert [len(list(group)) for _, group in itertools.groupby(order)] == [3] * 16


def test_pixels_in_memory_stay_tensors_and_are_normalised():
    feed = feed_of()
    assert isinstance(feed, TensorFeed)
    found = batches(feed)
    assert len(found) == 2 * feed.steps_per_epoch == 6
    chosen = order_of(48, SMALL, 0, 0)[0]
    pixels = images(48, 0).pixels[torch.tensor(chosen)]
    assert torch.allclose(found[0][0], (pixels.float() / 255 - 0.3) / 0.2)
    assert found[0][1] == images(48, 0).labels[torch.tensor(chosen)].tolist()


@pytest.mark.parametrize("recipe", [SMALL, DEIT], ids=["small", "deit"])
def test_epochs_can_be_begun_anywhere(recipe):
    whole = batches(feed_of(recipe, workers=0))
    assert same(batches(feed_of(recipe, workers=0), first_epoch=1), whole[3:])


def test_images_are_resized_and_stay_images():
    for recipe in (SMALL, DEIT):
        feed = feed_of(recipe, img_size=12, workers=0)
        batch, _ = next(feed.training(0))
        (held_out, labels), *rest = feed.evaluation()
        assert batch.shape == (16, 1, 12, 12)
        assert (held_out.shape, len(labels), rest) == ((20, 1, 12, 12), 20, [])


def test_augmentation_depends_on_seed_and_epoch_and_not_on_what_was_drawn():
    one = batches(feed_of(DEIT, workers=0))
    torch.rand(5)
    assert same(batches(feed_of(DEIT, workers=0)), one)
    assert not same(batches(feed_of(DEIT, seed=1, workers=0)), one)
    state = torch.get_rng_state()
    batches(feed_of(DEIT, workers=0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing():
    alone = feed_of(DEIT, workers=0)
    for workers in (1, 2):
        with_workers = feed_of(DEIT, workers=workers)
        state = torch.get_rng_state()
        assert same(batches(with_workers), batches(alone))
        assert torch.equal(torch.get_rng_state(), state)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(RequestError, match="batch_size 128 is more than the 48 training images; give a smaller one"):
        feed_of(RECIPES["small"])


@pytest.fixture
def files(tmp_path):
    """A split whose images are PNG files, 10 x 8 pixels."""
    pictures = images(16, 0, side=8, channels=3)
    paths = []
    for index, pixels in enumerate(pictures.pixels):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((10, 8)).save(paths[-1])
    found = Images(pictures.labels, None, tuple(paths))
    return Split(found, found, (0.5,) * 3, (0.5,) * 3, 4)


def test_files_are_decoded(files):
    feed = make_feed(Data(name="imagefolder", path="x", img_size=SIDE, workers=0), files, SMALL, 0, "cpu")
    assert isinstance(feed, DecodedFeed)
    batch, labels = next(feed.training(0))
    assert batch.shape == (16, 3, SIDE, SIDE)
    assert sorted(labels.tolist()) == sorted(files.train.labels.tolist())
    (held_out, labels), *_ = feed.evaluation()
    assert (held_out.shape, labels.tolist()) == ((16, 3, SIDE, SIDE), files.test.labels.tolist())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_no_image_is_named(files, tmp_path, workers):
    (tmp_path / "3.png").write_bytes(b"GIF89a")
    feed = make_feed(Data(name="imagefolder", path="x", img_size=SIDE, workers=workers), files, SMALL, 0, "cpu")
    with pytest.raises(FileError, match=rf"^{tmp_path}/3\.png: cannot be read as an image: .*; replace it, or take it"):
        list(feed.evaluation())


def test_a_transformation_that_fails_says_so(files):
    feed = make_feed(Data(name="imagefolder", path="x", img_size=SIDE, workers=0), files, SMALL, 0, "cpu")
    feed._test._transform = lambda image: {}["nothing"]
    with pytest.raises(HvtBenchError, match="an image could not be decoded or augmented: KeyError: 'nothing'"):
        list(feed.evaluation())
