import os
import signal
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hvt_bench.errors import HvtBenchError, RequestError, UnsupportedError, WorkerCrashedError
from hvt_bench.models import create_model
from hvt_bench.training.checkpoints import Checkpoint
from hvt_bench.training.data import Data
from hvt_bench.training.feed import make_feed
from hvt_bench.training.group import ALONE, Group, check_shares, train_together
from hvt_bench.training.loop import train
from hvt_bench.training.recipes import RECIPES
from hvt_bench.training.seeds import seed_everything
from tests.pictures import CLASSES, SIDE, split

HVT = f"hvt:img_size={SIDE},patch_size=2,in_chans=1,num_classes={CLASSES},embed_dim=64,depth=2"
PLAIN = RECIPES["small"].model_copy(update={"epochs": 2, "batch_size": 16, "lr_per_512": 0.02})
MIXED = PLAIN.model_copy(update={"mixup": 0.8, "cutmix": 1.0, "drop_path": 0.3})
PICTURES = split(test=600)  # three batches of evaluation, the last one smaller


def trained(group, recipe=PLAIN, dtype="float32", checkpoint=None):
    """Losses, top-1 and a weight of what a process of `group` ends with."""
    torch.set_num_threads(1)
    seed_everything(7)
    network = create_model(HVT)
    feed = make_feed(Data(name="digits"), PICTURES, recipe, 0, "cpu", group)
    progress, top1, _ = train(network, recipe, feed, CLASSES, 0, "cpu", dtype, checkpoint, lambda: 0.0, group)
    return progress.losses, progress.images, top1, network.state_dict()["head.weight"].tolist()


def in_three_ways(group):
    return [trained(group), trained(group, MIXED), trained(group, MIXED, "amp_bfloat16")]


# --- shares ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 12))
def test_shares_are_alike_and_each_image_is_in_one(size, each):
    shares = [Group(rank, size).share(size * each) for rank in range(size)]
    assert {len(share) for share in shares} == {each}
    assert sorted(place for share in shares for place in share) == list(range(size * each))


@given(st.integers(1, 6), st.integers(1, 6))
def test_images_that_mixup_blends_stay_together(size, pairs):
    """Place i with -1 - i, in a share as in the whole batch."""
    images = 2 * size * pairs
    for rank in range(size):
        share = Group(rank, size).share(images)
        assert [images - 1 - place for place in share] == share[::-1]


def test_a_batch_that_cannot_be_shared_out_names_one_that_can():
    check_shares(PLAIN, 4)
    check_shares(PLAIN.model_copy(update={"batch_size": 7}), 1)
    with pytest.raises(RequestError) as refused:
        check_shares(PLAIN, 3)
    assert str(refused.value) == (
        "the recipe's batch_size 16 cannot be shared out equally among 3 processes; "
        "give batch_size: 15 under recipe, or another number of GPUs"
    )
    with pytest.raises(
        RequestError, match="equally, in pairs for mixup, among 16 processes; give batch_size: 32 under"
    ):
        check_shares(MIXED, 16)


@pytest.mark.parametrize("recipe", [PLAIN, RECIPES["deit"].model_copy(update={"epochs": 1, "batch_size": 16})])
def test_what_processes_get_is_what_one_gets(recipe):
    """Pixels, labels and, of images that are augmented, what was drawn for each."""
    if recipe.augments:
        pytest.importorskip("timm")
    pictures, data = split(test=300), Data(name="digits", workers=0)
    whole, *parts = (make_feed(data, pictures, recipe, 0, "cpu", group) for group in (ALONE, Group(0, 2), Group(1, 2)))
    shares = [Group(rank, 2).share(16) for rank in (0, 1)]
    for (images, labels), *own in zip(*(feed.training(0) for feed in (whole, *parts)), strict=True):
        for share, (some, theirs) in zip(shares, own, strict=True):
            assert torch.equal(images[share], some)
            assert torch.equal(labels[share], theirs)
    evaluated = [labels for part in parts for _, labels in part.evaluation()]
    assert sorted(torch.cat(evaluated).tolist()) == sorted(pictures.test.labels.tolist())


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_as_one():
    """Losses and weights differ by the order of additions alone; each image is evaluated once."""
    pytest.importorskip("timm")  # whose mixup it is
    together = train_together(in_three_ways, 2, "cpu")
    for (losses, images, top1, weight), expected, rel in zip(
        together, in_three_ways(ALONE), (1e-5, 1e-5, 1e-2), strict=True
    ):
        assert losses == pytest.approx(expected[0], rel=rel)
        assert images == expected[1] == 2 * 48
        assert top1 == pytest.approx(expected[2], abs=0 if rel < 1e-3 else 2)
        assert torch.allclose(torch.tensor(weight), torch.tensor(expected[3]), atol=10 * rel)


class _EnoughError(HvtBenchError):
    pass


class _Until(Checkpoint):
    """Ends the training once so many epochs are kept."""

    def __init__(self, path, epochs):
        super().__init__(path, {})
        self.epochs = epochs

    def save(self, state):
        super().save(state)
        if len(state["progress"]["losses"]) == self.epochs:
            raise _EnoughError


def going_on(group, path, epochs):
    return trained(group, checkpoint=_Until(path, epochs))


def run(processes, path, epochs):
    function = partial(going_on, path=path, epochs=epochs)
    return function(ALONE) if processes == 1 else train_together(function, processes, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on(tmp_path, first, second):
    with pytest.raises(_EnoughError):
        run(first, tmp_path / "state.pt", 1)
    losses, *_ = run(second, tmp_path / "state.pt", 0)
    assert losses == pytest.approx(trained(ALONE)[0], rel=1e-5)


def _fail(group, how):
    group.total(torch.ones(1))
    if group.rank == 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UnsupportedError("the network puts out nothing")
    group.total(torch.ones(1))  # waits for the other


@pytest.mark.slow
def test_where_one_fails_the_others_are_ended():
    with pytest.raises(WorkerCrashedError) as crashed:
        train_together(partial(_fail, how="dies"), 2, "cpu")
    assert str(crashed.value) == (
        "process 2 of 2 that train together: the worker was ended by SIGKILL; the system may have run out of memory"
    )
    with pytest.raises(UnsupportedError, match=r"^the network puts out nothing$"):
        train_together(partial(_fail, how="raises"), 2, "cpu")


def test_batch_norms_of_several_processes_need_gpus():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    assert ALONE.parallel(network, "cpu") is network
    with pytest.raises(UnsupportedError, match="batch norms of several processes need GPUs; on cpu train it in one"):
        Group(0, 2).parallel(network, "cpu")
