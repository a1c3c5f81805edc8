"""How well a network names the class of an image, once it was trained from its first weights: a round is a seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Self

import numpy as np
import torch

from hvt_bench.errors import CountError, DivergedError
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.passes import kernel, network, use_precision
from hvt_bench.point import Point
from hvt_bench.records import Column
from hvt_bench.training.checkpoints import Checkpoint
from hvt_bench.training.data import load_data
from hvt_bench.training.feed import make_feed
from hvt_bench.training.group import ALONE, Group, check_shares, train_together
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
    train_processes: Annotated[
        int | None,
        Column("processes that trained one network together, on a GPU each; empty where rounds differ in it"),
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
            train_processes=_same([found.get("processes", 1) for found in whole]),
            total_train_macs=whole[0]["total_train_macs"],
        )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _same(values: Sequence[int]) -> int | None:
    return values[0] if len(set(values)) == 1 else None


def diverged(found: Mapping[str, Any]) -> bool:
    """Say whether what a sample holds is of a training whose loss was not finite: other seeds may do better."""
    return bool(found.get("accuracy", {}).get("diverged"))


def sound(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sample holds, but for a training that diverged."""
    return {name: values for name, values in found.items() if name != "accuracy" or not diverged(found)}


def measure_accuracy(
    point: Point,
    seed: int,
    checkpoint: Checkpoint | None,
    processes: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train the network of `point` from weights of `seed` and evaluate it.

    Its state is kept in `checkpoint` after each epoch; where one is there, the training goes on from it. With several
    `processes` these train together, each on a GPU of its own if the point is on one. Raises FileError where images are
    missing or damaged, and what `train` and `train_together` raise.
    """
    if processes == 1:
        return _trained(point, seed, checkpoint, clock)
    assert point.recipe is not None
    check_shares(point.recipe, processes)
    return train_together(partial(_trained_with_others, point, seed, checkpoint), processes, _kind(point))


def _kind(point: Point) -> str:
    return point.device.partition(":")[0]


def _trained_with_others(point: Point, seed: int, checkpoint: Checkpoint | None, group: Group) -> dict[str, Any]:
    """Take part in a training, in a process that knows nothing of the point yet."""
    torch.set_num_threads(point.num_threads)
    use_precision(point.dtype)
    point.config.prepare()
    return _trained(point, seed, checkpoint, time.perf_counter, group)


def _trained(
    point: Point, seed: int, checkpoint: Checkpoint | None, clock: Callable[[], float], group: Group = ALONE
) -> dict[str, Any]:
    assert point.data is not None
    assert point.recipe is not None
    split = load_data(point.data)
    device = f"{_kind(point)}:{group.rank}" if group.size > 1 and _kind(point) == "cuda" else point.device
    feed = make_feed(point.data, split, point.recipe, seed, device, group)
    seed_everything(seed_of(seed, WEIGHTS))
    model = network(point, random=point.recipe.drop_path > 0).to(device)
    with kernel(point):
        progress, top1, top5 = train(
            model, point.recipe, feed, split.classes, seed, device, point.dtype, checkpoint, clock, group
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
        "processes": group.size,
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
