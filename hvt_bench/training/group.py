"""Group: the processes that train one network together, by PyTorch's own data parallelism, on one machine.

Each takes a share of every batch, so batch size, order of the images and learning rate are those of one process, and
so is the result, but for the order in which floating-point numbers are added.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hvt_bench.errors import HvtBenchError, RequestError, UnsupportedError, WorkerError
from hvt_bench.executors.base import Place
from hvt_bench.executors.process import ProcessExecutor, children_allowed
from hvt_bench.training.recipes import TrainingRecipe

Value = TypeVar("Value")
STALL_S = 600.0  # one that keeps the others waiting for longer has lost them: as PyTorch has it for GPUs
PRELOAD = ("torch._dynamo",)  # which DistributedDataParallel imports: seconds, which the processes then share
_NOISE = "find_unused_parameters=True was specified"  # each process says so where all weights have gradients


@dataclass(frozen=True)
class Group:
    """One of `size` processes that train a network; ALONE where there are no others."""

    rank: int = 0
    size: int = 1

    def share(self, images: int) -> list[int]:
        """Return the places in a batch of so many images that this process takes, in rising order.

        Mixup blends the image at place i with that at -1 - i, so the two stay together.
        """
        if self.size == 1:
            return list(range(images))
        pairs = [place for i in range((images + 1) // 2) for place in (i, images - 1 - i)][:images]
        each = images // self.size
        return sorted(pairs[self.rank * each : (self.rank + 1) * each])

    def agree(self, epochs: int, device: str) -> None:
        """Raise HvtBenchError where the processes found checkpoints after different numbers of epochs."""
        if int(self.total(torch.tensor(epochs, device=device))) != epochs * self.size:
            raise HvtBenchError(
                "not every process could read the state that the training was to go on from; "
                "look after its disk, and --retry error goes on"
            )

    def parallel(self, network: nn.Module, device: str) -> nn.Module:
        """Return what a training step calls: `network`, whose gradients then are means over the whole batch.

        Raises UnsupportedError where batch norms cannot see the whole batch.
        """
        if self.size == 1:
            return network
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
            if not device.startswith("cuda"):
                raise UnsupportedError(f"batch norms of several processes need GPUs; on {device} train it in one")
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place, but for a network that is a batch norm
        return DistributedDataParallel(
            network,
            device_ids=[device] if device.startswith("cuda") else None,
            find_unused_parameters=True,  # weights that a step leaves out have no gradient then, as in one process
            gradient_as_bucket_view=True,
        )

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


ALONE = Group()


def check_shares(recipe: TrainingRecipe, size: int) -> None:
    """Raise RequestError where `size` processes cannot take equal shares of a batch, or would part mixed images."""
    among = size * (2 if recipe.mixes and size > 1 else 1)
    if recipe.batch_size % among:
        pairs = ", in pairs for mixup," if recipe.mixes else ""
        near = recipe.batch_size // among * among or among
        raise RequestError(
            f"the recipe's batch_size {recipe.batch_size} cannot be shared out equally{pairs} among {size} processes; "
            f"give batch_size: {near} under recipe, or another number of GPUs"
        )


@dataclass(frozen=True)
class _Membership(Generic[Value]):
    """What one process of a group is to do."""

    function: Callable[[Group], Value]
    group: Group
    kind: str
    meeting: Path
    """File in which they find each other."""


class _LeftAloneError(HvtBenchError):
    """Another process of the group is gone, or does not answer: what happened is that one's to say."""


def train_together(function: Callable[[Group], Value], size: int, kind: str) -> Value:
    """Call `function` in `size` new processes at once, and return what the first of them gave.

    `kind` is cpu or cuda; `function` is pickled. Where one raises, or dies, the others are ended. Raises what it
    raised, a WorkerError where it died, HvtBenchError where one keeps the others waiting for more than STALL_S.
    """
    places = tuple(Place(f"process {number} of {size} that train together") for number in range(1, size + 1))
    executor = ProcessExecutor((getattr(function, "func", function).__module__, *PRELOAD), places)
    gave: list[Value] = []
    alone: _LeftAloneError | None = None
    with tempfile.TemporaryDirectory() as folder, children_allowed():
        members = [_Membership(function, Group(rank, size), kind, Path(folder) / "meeting") for rank in range(size)]
        ended: Any = executor.map(_take_part, members)
        with contextlib.closing(ended):  # which ends those that are left
            for outcome in ended:
                sys.stderr.writelines(line for line in outcome.output.splitlines(True) if _NOISE not in line)
                if isinstance(outcome.error, _LeftAloneError):
                    alone = outcome.error
                elif isinstance(outcome.error, WorkerError):
                    raise type(outcome.error)(f"{outcome.place}: {outcome.error}")
                elif outcome.error is not None:
                    raise outcome.error
                elif outcome.item.group.rank == 0:
                    gave.append(outcome.value)
    if alone is not None:
        raise HvtBenchError(str(alone))
    return gave[0]


def _take_part(membership: _Membership[Value]) -> Value:
    group, on_gpu = membership.group, membership.kind == "cuda"
    if on_gpu:
        torch.cuda.set_device(group.rank)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=f"file://{membership.meeting}",
            rank=group.rank,
            world_size=group.size,
            timeout=timedelta(seconds=STALL_S),
        )
        value = membership.function(group)
        dist.destroy_process_group()  # where all went well; else it could wait for what never comes
        return value
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise _LeftAloneError(f"the processes that train together lost each other: {error}") from None
        raise
