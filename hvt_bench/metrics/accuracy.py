"""How well a network names the class of an image, once it was trained from its first weights: a round is a seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np

from hvt_bench.errors import CountError, DivergedError
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.passes import network
from hvt_bench.point import Point
from hvt_bench.records import Column
from hvt_bench.training.checkpoints import Checkpoint
from hvt_bench.training.data import load_data
from hvt_bench.training.feed import make_feed
from hvt_bench.training.loop import train
from hvt_bench.training.seeds import WEIGHTS, seed_everything, seed_of


class Accuracy(Metric):
    """What trainings of several seeds came to, and what one of them took."""

    top1: Annotated[
        float | None,
        Column(
            "images whose class the trained network names; mean over rounds, each of a seed", "%", "top-1", best="high"
        ),
    ] = None
    top5: Annotated[
        float | None,
        Column("images whose class is among its first five; mean over rounds; empty below five classes", "%", "top-5",
               best="high"),
    ] = None  # fmt: skip
    top1_spread: Annotated[
        float | None,
        Column("standard deviation of top1 between rounds (n - 1), in points of a percent; needs two rounds", "%",
               "spread of top-1"),
    ] = None  # fmt: skip
    top1_rounds: Annotated[
        tuple[float, ...] | None, Column("top1 of each round, in order of the seeds", "%", "top-1 of rounds")
    ] = None
    train_loss: Annotated[
        float | None,
        Column(
            "mean loss of the batches of the last epoch, smoothing and mixing included; mean over rounds", best="low"
        ),
    ] = None
    epochs_done: Annotated[int | None, Column("epochs of each training; the fewest, where one went wrong")] = None
    train_s: Annotated[
        float | None,
        Column(
            "time to train, evaluation and interruptions left out; median over rounds", "s", "time to train", best="low"
        ),
    ] = None
    data_wait_pct: Annotated[
        float | None, Column("share of `train_s` in which the device waited for images; median over rounds", "%")
    ] = None
    total_train_macs: Annotated[
        int | None,
        Column("train_macs · images of all epochs: what one training costs", label="training MACs", best="low"),
    ] = None

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `measure_accuracy` gave in each round; of a training that diverged, only how far it came."""
        epochs_done = min(found["epochs_done"] for found in rounds)
        whole = sorted((found for found in rounds if not found.get("diverged")), key=lambda found: found["seed"])
        if not whole:
            return cls(epochs_done=epochs_done)
        top1 = [found["top1"] for found in whole]
        return cls(
            top1=_mean(top1),
            top5=None if whole[0]["top5"] is None else _mean([found["top5"] for found in whole]),
            top1_spread=float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
            top1_rounds=tuple(top1),
            train_loss=_mean([found["losses"][-1] for found in whole]),
            epochs_done=epochs_done,
            train_s=float(np.median([found["train_s"] for found in whole])),
            data_wait_pct=float(np.median([100 * found["wait_s"] / found["train_s"] for found in whole])),
            total_train_macs=whole[0]["total_train_macs"],
        )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def diverged(found: Mapping[str, Any]) -> bool:
    """Say whether what a sample holds is of a training whose loss was not finite: other seeds may do better."""
    return bool(found.get("accuracy", {}).get("diverged"))


def measure_accuracy(
    point: Point, seed: int, checkpoint: Checkpoint | None, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Train the network of `point` from weights of `seed` and evaluate it.

    Its state is kept in `checkpoint` after each epoch; where one is there, the training goes on from it. Raises
    FileError where images are missing or damaged, and what `train` raises.
    """
    assert point.data is not None
    assert point.recipe is not None
    split = load_data(point.data)
    feed = make_feed(point.data, split, point.recipe, seed, point.device)
    seed_everything(seed_of(seed, WEIGHTS))
    model = network(point, random=point.recipe.drop_path > 0).to(point.device)
    progress, top1, top5 = train(
        model, point.recipe, feed, split.classes, seed, point.device, point.dtype, checkpoint, clock
    )
    return {
        "seed": seed,
        "top1": top1,
        "top5": top5,
        "losses": progress.losses,
        "epochs_done": len(progress.losses),
        "train_s": progress.train_s,
        "wait_s": progress.wait_s,
        "train_images": len(split.train),
        "test_images": len(split.test),
        "images_seen": progress.images,
        "total_train_macs": _macs(point, progress.images),
    }


def _macs(point: Point, images: int) -> int | None:
    """Return what so many images cost in training; None where that cannot be counted."""
    try:
        each = count(point.config, checkpointing=point.checkpointing).train_macs
    except CountError:
        return None
    return None if each is None else each * images


def found_of(error: DivergedError, seed: int) -> dict[str, Any]:
    """Return what a sample holds of a training that diverged."""
    return {"seed": seed, "diverged": True, "epochs_done": error.epochs_done}
