"""train: a network from its first weights to its accuracy, with a stop after each epoch that it can go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hvt_bench.errors import DivergedError, UnsupportedError
from hvt_bench.models.layers import HasLoss, use_drop_path
from hvt_bench.training.checkpoints import Checkpoint
from hvt_bench.training.feed import Batch, Feed
from hvt_bench.training.group import ALONE, Group
from hvt_bench.training.optimizer import learning_rate, make_optimizer
from hvt_bench.training.recipes import TrainingRecipe
from hvt_bench.training.seeds import STEPS, seed_everything, seed_of

TOP = 5


@dataclass
class Progress:
    """How far a training is, and what it took so far, interruptions left out."""

    losses: list[float]
    """Mean over the batches of each epoch that is done."""
    train_s: float = 0.0
    wait_s: float = 0.0
    """Of `train_s`, waiting for images."""
    images: int = 0


def train(
    network: nn.Module,
    recipe: TrainingRecipe,
    feed: Feed,
    classes: int,
    seed: int,
    device: str,
    dtype: str,
    checkpoint: Checkpoint | None = None,
    clock: Callable[[], float] = time.perf_counter,
    group: Group = ALONE,
) -> tuple[Progress, float, float | None]:
    """Train `network`, which is on `device` in float32, and return what it took, top-1 and top-5 in percent.

    There is no top-5 where there are fewer classes. `dtype` is the point's; `amp_*` trains under autocast. On a CPU, a
    training that went on from `checkpoint` ends as one that was never interrupted, to the last bit. In a `group` each
    process calls this with its own share of `feed`, and gets what all of them gave together; the first alone writes
    `checkpoint`, which another number of processes can go on from. Raises
    DivergedError where the loss of an epoch is not finite, UnsupportedError where the network cannot be trained so.
    """
    learner = _Learner(network, recipe, classes, device, dtype, group)
    progress = Progress([])
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        learner.load_state(state)
        progress = Progress(**state["progress"])
    group.agree(len(progress.losses), device)
    batches = feed.training(len(progress.losses))
    for epoch in range(len(progress.losses), recipe.epochs):
        seed_everything(seed_of(seed, STEPS, epoch))
        _epoch(learner, batches, feed.steps_per_epoch, epoch, progress, clock)
        if not math.isfinite(progress.losses[-1]):
            raise DivergedError(
                f"the loss became {progress.losses[-1]} in epoch {epoch + 1} of {recipe.epochs}, seed {seed}; "
                f"give the recipe a lower lr_per_512 than {recipe.lr_per_512:g}, or more warmup_epochs",
                epoch,
            )
        if checkpoint is not None and group.rank == 0:
            checkpoint.save(learner.state() | {"progress": vars(progress)})
    return progress, *learner.evaluate(feed.evaluation())


def _epoch(
    learner: _Learner,
    batches: Iterator[Batch],
    steps: int,
    epoch: int,
    progress: Progress,
    clock: Callable[[], float],
) -> None:
    """Train for an epoch and write it into `progress`."""
    start, waited = clock(), 0.0
    total = torch.zeros((), dtype=torch.float64, device=learner.device)
    for step in range(epoch * steps, (epoch + 1) * steps):
        asked = clock()
        images, labels = next(batches)
        waited += clock() - asked
        total += learner.step(images, labels, learning_rate(learner.recipe, step, steps))
        progress.images += len(images) * learner.group.size
    progress.losses.append(float(learner.group.total(total)) / steps / learner.group.size)  # waits for the device
    progress.train_s += clock() - start
    progress.wait_s += waited


class _Learner:
    """A network and what changes it."""

    def __init__(
        self, network: nn.Module, recipe: TrainingRecipe, classes: int, device: str, dtype: str, group: Group
    ) -> None:
        self.recipe, self.device, self.group = recipe, device, group
        self._network, self._classes = network.train(), classes
        kind, amp = device.partition(":")[0], dtype.removeprefix("amp_")
        self._kind, self._amp = kind, getattr(torch, amp) if amp != dtype else None
        self._scaler = torch.amp.GradScaler(kind, enabled=dtype == "amp_float16")
        self._optimizer = make_optimizer(network, recipe)
        places = (recipe.batch_size, group.share(recipe.batch_size)) if group.size > 1 else None
        if recipe.drop_path and not use_drop_path(network, recipe.drop_path, places):
            raise UnsupportedError(
                f"drop_path {recipe.drop_path:g}: the network has no blocks of ours that can be skipped; "
                "give the recipe drop_path: 0, and timm's networks drop_path_rate"
            )
        if isinstance(network, HasLoss) and recipe.mixes:
            raise UnsupportedError(
                "the loss of this network takes one class of each image, and mixup gives it two; give the recipe "
                "mixup: 0 and cutmix: 0"
            )
        self._mix = _mixing(recipe, classes)
        self._lossy = group.parallel(_WithLoss(network, self._loss), device)

    def step(self, images: Tensor, labels: Tensor, lr: float) -> Tensor:
        """Take one step and return its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        targets = labels
        if self._mix is not None:
            images, targets = self._mix(images, labels)
        with self._autocast():
            loss = self._lossy(images, targets)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the network's own loss, or cross-entropy, the mean over heads where there are several."""
        if isinstance(self._network, HasLoss):
            return self._network.training_loss(outputs, targets)
        smoothing = 0.0 if targets.ndim == 2 else self.recipe.label_smoothing  # what mixes has smoothed them
        heads = [class_scores(head, self._classes) for head in tree_leaves(outputs)]
        return torch.stack([F.cross_entropy(head, targets, label_smoothing=smoothing) for head in heads]).mean()

    @torch.inference_mode()
    def evaluate(self, batches: Iterator[Batch]) -> tuple[float, float | None]:
        """Return top-1 and top-5 in percent."""
        self._network.eval()
        images, right, among = 0, 0, 0
        for batch, labels in batches:
            with self._autocast():
                logits = class_scores(self._network(batch), self._classes)
            first, best = hits(logits, labels)
            images, right, among = images + len(batch), right + first, among + best
        images, right, among = self.group.total(torch.tensor([images, right, among], device=self.device)).tolist()
        return 100 * right / images, 100 * among / images if self._classes >= TOP else None

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._kind, self._amp) if self._amp is not None else nullcontext()

    def state(self) -> dict[str, Any]:
        """Return what a training goes on from. Learning rates and random numbers follow from the epoch."""
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the state of `state`."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


class _WithLoss(nn.Module):
    """A network up to its loss, which may have weights of its own to be trained."""

    def __init__(self, network: nn.Module, loss: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.network(images), targets)


def class_scores(output: object, classes: int) -> Tensor:
    """Return what a network put out, (B, classes), in float32. Raises UnsupportedError where it is something else."""
    if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] == classes:
        return output.float()
    found = f"({', '.join(map(str, output.shape))})" if isinstance(output, Tensor) else type(output).__name__
    raise UnsupportedError(
        f"the network puts out {found}, and the data has {classes} classes, so it should be "
        f"(B, {classes}): give it num_classes: {classes}"
    )


def hits(scores: Tensor, labels: Tensor) -> tuple[int, int]:
    """Return of how many images of (B, classes) the class, (B,), has the highest score, and of how many one of TOP."""
    best = scores.topk(min(TOP, scores.shape[1]), dim=1).indices == labels[:, None]  # (B, 5)
    return int(best[:, 0].sum()), int(best.sum())


def _mixing(recipe: TrainingRecipe, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return what blends the images of a batch, and their classes with the label smoothing; None if nothing does."""
    if not recipe.mixes:
        return None
    from timm.data import Mixup

    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )
