"""A pass: what is timed, and whose memory is measured. A forward pass, or, in training, a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from hvt_bench.errors import UnsupportedError
from hvt_bench.models.layers import HasLoss, Recipe, blocks_made_by
from hvt_bench.point import Point

SEED = 0
INIT_SCALE = 128.0  # PyTorch's 65536 overflows at first, so that the first steps would leave the weights as they are
PHASES = ("forward", "backward", "step")
"""Of a training step, in order."""

KERNELS = {
    "sdpa_flash": SDPBackend.FLASH_ATTENTION,
    "sdpa_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa_cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa_math": SDPBackend.MATH,
}


class Passes:
    """A network with random weights, random images for it, and how they go through it; calling it makes one pass."""

    def __init__(self, point: Point, device: str | None = None, model: nn.Module | None = None) -> None:
        """Build the network, on `device` if that is not the point's; or take `model`, which is as it would be built.

        Raises UnsupportedError where the network cannot do what the point asks.
        """
        self._point = point
        device = device or point.device
        self._kind = device.partition(":")[0]
        amp = point.dtype.removeprefix("amp_")
        self._amp: torch.dtype | None = getattr(torch, amp) if amp != point.dtype else None
        weights = weights_format(point)
        torch.manual_seed(SEED)
        if model is None:
            model = network(point).to(device=device, dtype=weights)
        self.model = model.train() if point.mode == "train" else model.eval().requires_grad_(False)
        shapes = point.config.input_shapes(point.batch_size)
        self.images = [torch.randn(shape).to(device=device, dtype=weights) for shape in shapes]
        self._run: Callable[..., Any] = torch.compile(self.model) if point.compile else self.model
        self._labels: list[Tensor] = []
        if point.mode == "train":
            self.optimizer = _adamw(self.model.parameters(), weights)
            self._scaler = torch.amp.GradScaler(self._kind, init_scale=INIT_SCALE, enabled=point.dtype == "amp_float16")

    def __call__(self, mark: Callable[[], object] = lambda: None) -> None:
        """Make one pass, without waiting for the device; in training, `mark` is called as each of PHASES ends."""
        with kernel(self._point):  # of the backward pass too: checkpointing computes attention again there
            if self._point.mode == "infer":
                with torch.inference_mode(), self._autocast():
                    self._run(*self.images)
            else:
                self._train(mark)

    def _train(self, mark: Callable[[], object]) -> None:
        with self._autocast():
            loss = self._loss(self._run(*self.images))
        mark()
        torch.autograd.backward(self._scaler.scale(loss))
        mark()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        mark()

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._kind, self._amp) if self._amp is not None else nullcontext()

    def _loss(self, outputs: Any) -> Tensor:
        """Return the network's own loss on random labels; where it has none, the sum over its outputs.

        Of one that is (B, C), cross-entropy on random labels; of another, the mean of squares.
        """
        if isinstance(self.model, HasLoss):
            if not self._labels:
                self._labels = [self._random_labels(self._point.batch_size, self._point.config.fields()["num_classes"])]
            return self.model.training_loss(outputs, self._labels[0])
        given = [x for x in tree_leaves(outputs) if isinstance(x, Tensor) and x.is_floating_point()]
        if not self._labels:
            self._labels = [self._random_labels(len(x), x.shape[1]) if x.ndim == 2 else torch.empty(0) for x in given]
        losses = [
            F.cross_entropy(x, labels) if x.ndim == 2 else x.float().square().mean()
            for x, labels in zip(given, self._labels, strict=True)
        ]
        if not losses:
            raise UnsupportedError("the network puts out no tensor of floating-point numbers, so it cannot be trained")
        return torch.stack(losses).sum()

    def _random_labels(self, images: int, classes: int) -> Tensor:
        labels = torch.randint(classes, (images,), generator=torch.Generator().manual_seed(SEED))
        return labels.to(self.images[0].device)


def kernel(point: Point) -> AbstractContextManager[object]:
    """Let that kernel of fused attention alone run inside which the point asks for, if it does."""
    return sdpa_kernel(KERNELS[point.attention]) if point.attention in KERNELS else nullcontext()


def _adamw(weights: Iterable[nn.Parameter], dtype: torch.dtype) -> torch.optim.AdamW:
    """Return AdamW as PyTorch has it; in float16, where its eps of 1e-8 is 0 and all would be NaN, with 1e-4."""
    return torch.optim.AdamW(weights, eps=1e-4 if dtype == torch.float16 else 1e-8)


def format_of_products(dtype: str) -> torch.dtype:
    """Return the format of the numbers that products take at a point's `dtype`; TF32 rounds float32 on its way in."""
    found: torch.dtype = torch.float32 if dtype == "tf32" else getattr(torch, dtype.removeprefix("amp_"))
    return found


def load_optimizer() -> None:
    """Make a step of AdamW: the first one of a process imports what no measurement of memory should hold."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    _adamw([weight], torch.float32).step()


def use_precision(dtype: str) -> None:
    """Let float32 products and convolutions be IEEE, or, where the point's `dtype` is `tf32`, TF32.

    The default of cuDNN is TF32, that of products IEEE. Each is set by itself, since torch before 2.15 does not hand
    the setting of all backends down to cuDNN's convolutions.
    """
    backends: Any = torch.backends
    for part in (backends, backends.cuda.matmul, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn):
        part.fp32_precision = "tf32" if dtype == "tf32" else "ieee"


def weights_format(point: Point) -> torch.dtype:
    """Return the number format of weights and images."""
    return torch.float32 if point.dtype == "tf32" or point.dtype.startswith("amp_") else getattr(torch, point.dtype)


def network(point: Point, on_meta: bool = False, random: bool = False) -> nn.Module:
    """Build the network of a point, in float32, with the weights that it has; `on_meta`, without memory for any.

    `random` says that its blocks will draw random numbers, which checkpointing then draws again.

    Raises ConfigError where its checkpoint is gone or changed, UnsupportedError where it cannot do what the point asks.
    """
    config = point.config
    build = config.build_on_meta if on_meta else config.build_loaded
    if not point.checkpointing:
        return build(point.model_attention)
    with blocks_made_by(partial(_checkpointed_block, random=random)):
        model = build(point.model_attention)
    if config.outside:
        switch: Any = getattr(model, "set_grad_checkpointing", None)  # as timm calls it
        if switch is None:
            raise UnsupportedError("the network has no set_grad_checkpointing, so its blocks cannot be checkpointed")
        switch(True)
    return model


def _checkpointed_block(recipe: Recipe, random: bool = False) -> nn.Module:
    """Make a block that keeps no activations, and no random state either unless it draws something."""
    block = recipe.make()
    block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=random)
    return block
