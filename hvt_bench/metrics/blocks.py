"""Counting each distinct block once, in all the networks of a sweep.

A network that is built under `Blocks` gets one real block for each recipe that was never counted before. Every other is
a `StandIn` that gives an output of the right shape; `whole` puts their costs in afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hvt_bench.errors import CountError
from hvt_bench.metrics.books import Costs, training_flops
from hvt_bench.metrics.tracing import size_of_traced
from hvt_bench.models.layers import HasLoss, Recipe


class _Shapes(NamedTuple):
    """Of the tensor that enters a block, and of the one that leaves it."""

    input: tuple[int, ...]
    output: tuple[int, ...]


class _Known(NamedTuple):
    """What a block was found to give and to cost."""

    shapes: _Shapes
    costs: Costs  # by path within the block


_KNOWN: dict[Recipe, _Known] = {}
_MOST = 10_000

TRAINING, CHECKPOINTED = "training flops", "checkpointed training flops"


class Blocks:
    """The blocks of one network that is being counted."""

    def __init__(self) -> None:
        if len(_KNOWN) > _MOST:  # here, where no stand-in needs them yet
            _KNOWN.clear()
        self.met: dict[Recipe, nn.Module] = {}
        """Those that stand in the network as themselves, and may have stand-ins."""
        self._shapes: dict[Recipe, _Shapes] = {}
        self._irreplaceable: list[nn.Module] = []

    def make(self, recipe: Recipe) -> nn.Module:
        """Make a block, or a stand-in where its cost is, or will be, known."""
        if recipe in self.met or recipe in _KNOWN:
            return StandIn(recipe, self._output)
        block = recipe.make()
        if recipe.tokens is None:
            self._irreplaceable.append(block)
            return block
        block.register_forward_hook(partial(self._note, recipe))
        self.met[recipe] = block
        return block

    def _note(self, recipe: Recipe, block: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        tokens = size_of_traced(inputs[0])[1]
        if tokens != recipe.tokens:
            raise CountError(f"{tokens} tokens enter a block whose recipe says {recipe.tokens}")
        self._shapes[recipe] = _Shapes(size_of_traced(inputs[0]), size_of_traced(output))

    def _output(self, recipe: Recipe) -> tuple[int, ...]:
        return _KNOWN[recipe].shapes.output if recipe in _KNOWN else self._shapes[recipe].output

    def train(self, network: nn.Module, inputs: list[Tensor]) -> Costs:
        """Count what training costs in the parts that are entered, with and without activation checkpointing."""
        paths = {id(module): name for name, module in network.named_modules()}
        found: Costs = {}
        for recipe, block in self.met.items():
            x = torch.empty(self._shapes[recipe].input, device="meta", requires_grad=True)
            found[paths[id(block)]] = Counter(
                {TRAINING: training_flops(block, [x], {}), CHECKPOINTED: training_flops(_checkpointed(block), [x], {})}
            )
        step = training_step(network)
        again = sum(cost[CHECKPOINTED] - cost[TRAINING] for cost in found.values())
        network.train()
        whole = training_flops(step, inputs, {})
        if self._irreplaceable:
            for block in self._irreplaceable:
                block.forward = _checkpointed(block.forward)
            again += training_flops(step, inputs, {}) - whole
            for block in self._irreplaceable:
                del block.forward
        network.eval()
        found[""] = Counter({TRAINING: whole, CHECKPOINTED: whole + again})
        return found

    def whole(self, network: nn.Module, costs: Costs) -> Costs:
        """Return `costs`, of the parts that were entered, with those of every block in its place."""
        self._remember(network, costs)
        found: Costs = {}
        for name, module in network.named_modules():
            if not isinstance(module, StandIn):
                found[name] = Counter(costs.get(name, {}))
                continue
            known = _KNOWN[module.recipe].costs
            found |= {f"{name}.{inner}".rstrip("."): Counter(cost) for inner, cost in known.items()}
            for above in paths_above(name):
                found[above] += known[""]
        return found

    def _remember(self, network: nn.Module, costs: Costs) -> None:
        paths = {id(module): name for name, module in network.named_modules()}
        for recipe, block in self.met.items():
            path = paths[id(block)]
            inner = {name: f"{path}.{name}".rstrip(".") for name, _ in block.named_modules()}
            _KNOWN[recipe] = _Known(
                self._shapes[recipe], {name: Counter(costs.get(full, {})) for name, full in inner.items()}
            )


def paths_above(name: str) -> list[str]:
    """Return the paths of the modules that hold module `name`; the network itself first."""
    parts = name.split(".") if name else []
    return [".".join(parts[:length]) for length in range(len(parts))]


class StandIn(nn.Module):
    """Stands for a block: gives an output of the right shape and costs nothing."""

    def __init__(self, recipe: Recipe, output: Callable[[Recipe], tuple[int, ...]]) -> None:
        super().__init__()
        self.recipe = recipe
        self._output = output

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D)
        """Give `x` itself, or an empty tensor, (B, N', D)."""
        size = self._output(self.recipe)
        if size == size_of_traced(x):
            return x
        return _LetGradientPass.apply(x, size) if x.requires_grad else x.new_empty(size)


class _LetGradientPass(torch.autograd.Function):
    """An empty tensor of some size, whose gradient gives an empty one for the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, ...]) -> Tensor:
        ctx.size = x.size()
        return x.new_empty(size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.new_empty(ctx.size), None


def training_step(network: nn.Module) -> Callable[..., object]:
    """Return what training calls: the network and, if it has one, its own loss."""
    if not isinstance(network, HasLoss):
        return network

    def step(*inputs: Tensor) -> Tensor:
        labels = torch.empty(len(inputs[0]), dtype=torch.long, device="meta")
        return network.training_loss(network(*inputs), labels)

    return step


def _checkpointed(block: Callable[..., Any]) -> Callable[..., Any]:
    return partial(checkpoint, block, use_reentrant=False)
