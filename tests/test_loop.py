import itertools
import math

import pytest
import torch
from torch import nn

from hvt_bench.errors import DivergedError, UnsupportedError
from hvt_bench.models import create_model
from hvt_bench.training.checkpoints import Checkpoint
from hvt_bench.training.data import Data
from hvt_bench.training.feed import make_feed
from hvt_bench.training.loop import train
from hvt_bench.training.recipes import RECIPES
from hvt_bench.training.seeds import seed_everything
from tests.pictures import CLASSES, SIDE, split

EPOCHS = 4
RECIPE = RECIPES["small"].model_copy(update={"epochs": EPOCHS, "batch_size": 16, "lr_per_512": 0.1, "drop_path": 0.2})
HVT = f"hvt:img_size={SIDE},patch_size=2,in_chans=1,num_classes={CLASSES},embed_dim=64,depth=2"
STEPS = 3  # of an epoch
READINGS = 2 + 2 * STEPS  # of the clock in an epoch


def fresh(model=HVT, **changes):
    seed_everything(7)
    return create_model(model, **changes)


def go(network, recipe=RECIPE, pictures=None, seed=0, dtype="float32", **options):
    pictures = pictures or split()
    feed = make_feed(Data(name="digits"), pictures, recipe, seed, "cpu")
    return train(network, recipe, feed, CLASSES, seed, "cpu", dtype, **{"clock": lambda: 0.0} | options)


def weights(network):
    return [weight.clone() for weight in network.state_dict().values()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class InterruptedTestError(Exception):
    pass


def interrupting(after):
    """A clock that breaks off at its reading number `after`."""
    readings = itertools.count()

    def clock():
        if next(readings) == after:
            raise InterruptedTestError
        return 0.0

    return clock


def test_a_network_learns():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES))
    progress, top1, top5 = go(network, RECIPE.model_copy(update={"lr_per_512": 1.0, "drop_path": 0.0}))
    assert len(progress.losses) == EPOCHS
    assert progress.images == EPOCHS * STEPS * 16
    assert progress.losses[-1] < progress.losses[0]
    assert top1 == 100.0
    assert top5 is None  # of four classes


@pytest.mark.parametrize("dtype", ["float32", "amp_bfloat16", "amp_float16"])
def test_three_interruptions_change_not_a_bit(tmp_path, dtype):
    whole = fresh()
    expected = go(whole, dtype=dtype)
    checkpoint = Checkpoint(tmp_path / "state.pt", {})
    for after in (READINGS + 3, 5, 2 * READINGS - 1):  # in the second epoch, in that again, at the end of the third
        with pytest.raises(InterruptedTestError):
            go(fresh(), dtype=dtype, checkpoint=checkpoint, clock=interrupting(after))
    assert len(checkpoint.load()["progress"]["losses"]) == 2
    last = fresh()
    assert go(last, dtype=dtype, checkpoint=checkpoint) == expected
    assert equal(last, whole)


@pytest.mark.parametrize("dtype", ["amp_bfloat16", "amp_float16"])
def test_autocast_rounds_products_and_nothing_that_is_kept(tmp_path, dtype):
    network, checkpoint, seen = fresh(), Checkpoint(tmp_path / "state.pt", {}), set()
    network.head.register_forward_hook(lambda module, given, logits: seen.add((module.training, logits.dtype)))
    go(network, dtype=dtype, checkpoint=checkpoint)
    rounded = getattr(torch, dtype.removeprefix("amp_"))
    assert seen == {(True, rounded), (False, rounded)}
    state = checkpoint.load()
    kept = [x for moments in state["optimizer"]["state"].values() for x in moments.values()]
    assert {x.dtype for x in [*weights(network), *kept]} == {torch.float32}
    assert bool(state["scaler"]) == (dtype == "amp_float16")  # which alone needs its loss scaled


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "amp_bfloat16", "amp_float16"])
def test_a_gpu_trains_and_goes_on(tmp_path, dtype):
    checkpoint = Checkpoint(tmp_path / "state.pt", {})
    for clock in (interrupting(READINGS + 3), lambda: 0.0):
        network = fresh().to("cuda")
        feed = make_feed(Data(name="digits"), split(), RECIPE, 0, "cuda:0")
        try:
            progress, *_ = train(network, RECIPE, feed, CLASSES, 0, "cuda:0", dtype, checkpoint, clock)
        except InterruptedTestError:
            continue
    assert len(progress.losses) == EPOCHS
    assert progress.losses[-1] < progress.losses[0]


def test_a_training_without_its_random_state_would_differ():
    """What the test above would not see: that the seeds of steps and of order are used at all."""
    one, other = fresh(), fresh()
    go(one, seed=0)
    go(other, seed=1)
    assert not equal(one, other)


def test_a_checkpoint_after_the_last_epoch_only_evaluates(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.pt", {})
    expected = go(fresh(), checkpoint=checkpoint)
    assert go(fresh(), checkpoint=checkpoint, clock=interrupting(0)) == expected


def test_time_goes_into_training_and_into_waiting_for_images(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.pt", {})
    readings = itertools.count()
    with pytest.raises(InterruptedTestError):
        go(fresh(), checkpoint=checkpoint, clock=interrupting(READINGS + 1))
    progress, *_ = go(fresh(), checkpoint=checkpoint, clock=lambda: float(next(readings)))
    assert progress.train_s == (EPOCHS - 1) * (READINGS - 1)  # the interrupted epoch took none by its clock
    assert progress.wait_s == (EPOCHS - 1) * STEPS


def test_a_loss_that_is_not_finite_says_epoch_loss_and_what_to_do(tmp_path):
    network = fresh()
    checkpoint = Checkpoint(tmp_path / "state.pt", {})
    with pytest.raises(InterruptedTestError):
        go(network, checkpoint=checkpoint, clock=interrupting(READINGS))
    nn.init.constant_(network.head.bias, math.nan)
    state = checkpoint.load()
    checkpoint.save(state | {"network": network.state_dict()})
    with pytest.raises(DivergedError) as caught:
        go(fresh(), seed=0, checkpoint=checkpoint)
    assert str(caught.value) == (
        "the loss became nan in epoch 2 of 4, seed 0; "
        "give the recipe a lower lr_per_512 than 0.1, or more warmup_epochs"
    )
    assert caught.value.epochs_done == 1
    assert len(checkpoint.load()["progress"]["losses"]) == 1


def test_a_distilled_network_learns_with_both_heads():
    vit = f"vit:img_size={SIDE},patch_size=2,in_chans=1,num_classes={CLASSES},embed_dim=64,depth=2,distilled=true"
    network = fresh(vit)
    before = network.head_dist.weight.clone()
    progress, *_ = go(network)
    assert progress.losses[-1] < progress.losses[0]
    assert not torch.equal(before, network.head_dist.weight)


def test_a_network_with_a_loss_of_its_own_is_trained_by_it():
    network = fresh(f"patchdiv:img_size={SIDE},patch_size=2,in_chans=1,num_classes={CLASSES},embed_dim=64,depth=2")
    progress, *_ = go(network)
    assert progress.losses[0] > 2 * math.log(CLASSES)  # three losses beside cross-entropy


def test_a_loss_of_its_own_takes_no_mixed_images():
    network = fresh(f"patchdiv:img_size={SIDE},patch_size=2,in_chans=1,num_classes={CLASSES},embed_dim=64,depth=2")
    with pytest.raises(UnsupportedError, match=r"give the recipe mixup: 0 and cutmix: 0$"):
        go(network, RECIPE.model_copy(update={"mixup": 0.8}))


def test_mixing_draws_the_same_again():
    recipe = RECIPE.model_copy(update={"mixup": 0.8, "cutmix": 1.0, "epochs": 2})
    one, other = fresh(), fresh()
    assert go(one, recipe) == go(other, recipe)
    assert equal(one, other)
    plain = fresh()
    go(plain, recipe.model_copy(update={"mixup": 0.0, "cutmix": 0.0}))
    assert not equal(one, plain)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 3)), r"puts out \(16, 3\), and the data has 4 classes"),
        (nn.Sequential(nn.Conv2d(1, 4, 1)), r"puts out \(16, 4, 8, 8\), .* give it num_classes: 4$"),
    ],
)
def test_a_network_that_names_other_classes_is_refused(network, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        go(network, RECIPE.model_copy(update={"drop_path": 0.0}))


def test_blocks_that_are_not_ours_cannot_be_skipped():
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES))
    with pytest.raises(UnsupportedError, match="timm's networks drop_path_rate"):
        go(network)
