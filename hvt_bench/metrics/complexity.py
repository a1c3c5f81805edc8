"""params, macs, fvcore_flops, activations and train_macs of a network.

The counting rule, in full:
1. One MAC is one multiply-add of a convolution, linear layer or matrix product, of one image. All else is 0.
2. `macs` is fvcore's count by COUNTED_OPS. An operator in neither COUNTED_OPS nor FREE_OPS is an error.
3. A second book, PyTorch's FlopCounterMode on a `meta` copy, must hold exactly twice as many FLOPs.
4. `fvcore_flops` is what a user of fvcore expects: its default table, with the attention rule it lacks.
5. `activations` is fvcore's rule: the outputs of the operators of COUNTED_OPS. Fused attention counts its two
   products, so that `sdpa` and `eager` agree.
6. Counting looks at shapes only (tracing.py), on a copy: nothing is computed and the given module is not changed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor, nn

from hvt_bench.errors import CountError
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.blocks import CHECKPOINTED, TRAINING, Blocks, paths_above, training_step
from hvt_bench.metrics.books import (
    FVCORE_FAILED,
    Costs,
    compare_books,
    first_book,
    second_book,
    training_flops,
)
from hvt_bench.metrics.declared import NOTHING, Declared, declared
from hvt_bench.metrics.passes import format_of_products
from hvt_bench.metrics.tracing import WritesSkipped, attention_written_out, copied, meta_copy, to_address_space
from hvt_bench.models import override, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.models.external import ExternalConfig
from hvt_bench.models.layers import blocks_made_by
from hvt_bench.records import Column

CountSource = Literal["shapes", "executed"]

SEED = 0
_ONE_AT_A_TIME = threading.RLock()  # counting sets switches of PyTorch that are global


class Complexity(Metric):
    """What a network costs whatever machine it runs on; of one image."""

    params: Annotated[int, Column("learned numbers, head included; shared ones counted once", "", "parameters")]
    macs: Annotated[
        int, Column("multiply-adds of convolutions, linear layers, matrix products, 1 image", "", "MACs", best="low")
    ]
    fvcore_flops: Annotated[
        int | None, Column("fvcore's own table plus fused attention: macs plus norms at 5 per element")
    ]
    activations: Annotated[int, Column("numbers put out by convolutions, linear layers, matrix products, 1 image")]
    train_macs: Annotated[
        int | None,
        Column(
            "multiply-adds of a forward and a backward pass, 1 image; empty where it has no backward",
            "",
            "training MACs",
            best="low",
        ),
    ] = None
    seq_lens: Annotated[tuple[int, ...] | None, Column("tokens that enter each block, special tokens included")]
    count_source: Annotated[
        CountSource,
        Column("`shapes`: read off shapes alone; `executed`: off one seeded image, since the cost depends on it"),
    ] = "shapes"

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Return the last count: counting is exact."""
        return cls.model_validate_json(json.dumps(rounds[-1]))


def arithmetic_intensity(cost: Mapping[str, Any], batch_size: int, dtype: str) -> float | None:
    """Return MACs per byte moved where each operator reads from memory and writes to it; None if nothing is moved.

    `cost` holds `macs`, `params` and `activations`. Unfused: what is put out is written once and read once.
    """
    numbers = cost["params"] + 2 * batch_size * cost["activations"]
    return batch_size * cost["macs"] / (format_of_products(dtype).itemsize * numbers) if numbers else None


@dataclass(frozen=True)
class ModuleCost:
    """The share of a network's cost that falls on one module and what it holds."""

    params: int
    macs: int
    activations: int


@dataclass(frozen=True)
class OperatorCost:
    """The share of a network's cost that falls on one kind of operator."""

    macs: int
    activations: int


@dataclass(frozen=True)
class Breakdown:
    """The cost of a network, whole, by module path ("" is the network itself) and by operator (`linear`)."""

    total: Complexity
    modules: Mapping[str, ModuleCost]
    operators: Mapping[str, OperatorCost]
    checkpointed_train_macs: int | None
    """`train_macs` where each block throws its activations away and computes them again; None as there."""

    def without(self, *modules: str) -> ModuleCost:
        """Return the cost of the network but for some modules (`head`): some papers count the encoder alone.

        Raises KeyError where the network has no such module.
        """
        left = {key: getattr(self.total, key) for key in ("params", "macs", "activations")}
        for name in modules:
            left = {key: value - getattr(self.modules[name], key) for key, value in left.items()}
        return ModuleCost(**left)


def count(
    model: str | ModelConfig | nn.Module,
    *inputs: Tensor,
    img_size: int | None = None,
    checkpointing: bool = False,
    executed: bool = False,
) -> Complexity:
    """Count what one forward pass of `model` costs.

    `inputs` are what a module's forward takes, batch included (give batch 1); a config or a variant name knows its
    own. With `checkpointing`, `train_macs` holds what each block computes again for its backward pass. With `executed`,
    a network whose cost cannot be read off its shapes is run once on its inputs (a config, with seeded weights, on a
    seeded image) and counted by what it did. Raises CountError where the cost is not certain, ConfigError where no such
    network exists.
    """
    counted = breakdown(model, *inputs, img_size=img_size, executed=executed)
    if not checkpointing:
        return counted.total
    return counted.total.model_copy(update={"train_macs": counted.checkpointed_train_macs})


def breakdown(
    model: str | ModelConfig | nn.Module, *inputs: Tensor, img_size: int | None = None, executed: bool = False
) -> Breakdown:
    """Count like `count`, and say what falls on each module."""
    with _ONE_AT_A_TIME:
        return _breakdown(model, inputs, img_size, executed)


def _breakdown(
    model: str | ModelConfig | nn.Module, inputs: Sequence[Tensor], img_size: int | None, executed: bool
) -> Breakdown:
    if isinstance(model, nn.Module):
        if not inputs or img_size is not None:
            raise TypeError("counting a module needs the tensors that its forward takes, and no img_size")
        try:
            with torch.inference_mode(False):
                return _count_shapes(meta_copy(model), inputs)
        except CountError:
            if not executed:
                raise
            return _execute(model, inputs)
    if inputs:
        raise TypeError("a config knows the shape of its input: give img_size, or build the module")
    config = parse_model(model) if isinstance(model, str) else model
    if img_size is not None:
        config = override(config, img_size=img_size)
    return _count_config(config, executed)


@lru_cache(maxsize=1024)
def _count_config(config: ModelConfig, executed: bool) -> Breakdown:
    return _count_outside(config, executed) if isinstance(config, ExternalConfig) else _count_ours(config)


@torch.inference_mode(False)
def _count_ours(config: ModelConfig) -> Breakdown:
    blocks = Blocks()
    with WritesSkipped(), blocks_made_by(blocks.make):
        module = config.build_on_meta(config.usual_attention(training=False))
    return _count_shapes(module, _inputs(config), config.seq_lens, blocks)


@torch.inference_mode(False)
def _count_outside(config: ExternalConfig, executed: bool) -> Breakdown:
    module = meta_copy(config.build_on_meta())
    own = declared(config.operators)
    try:
        return _count_shapes(module, _inputs(config), own=own)
    except CountError as error:
        if not executed:
            raise _told_inputs(error, config) from error.__cause__
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _execute(config.build_loaded(), [torch.randn(shape) for shape in config.input_shapes(1)], own)


def _told_inputs(error: CountError, config: ExternalConfig) -> CountError:
    """Say what a network was given, where its own code did not take it."""
    if not isinstance(error.__cause__, TypeError | ValueError | RuntimeError):
        return error
    given = " and ".join(" x ".join(map(str, shape)) for shape in config.input_shapes(1))
    return CountError(
        f"{error}; it was given {given}: input_shapes, as in input_shapes=[[3, 64, 64], [10]], is for others"
    )


def _inputs(config: ModelConfig) -> list[Tensor]:
    return [torch.empty(shape, device="meta") for shape in config.input_shapes(1)]


@torch.inference_mode(False)
def _count_shapes(
    module: nn.Module,
    inputs: Sequence[Tensor],
    seq_lens: tuple[int, ...] | None = None,
    blocks: Blocks | None = None,
    own: Declared = NOTHING,
) -> Breakdown:
    """Count a module that lives on `meta`, keeping two books; `blocks` is what it was built under, if it was."""
    module.eval().requires_grad_(False)
    on_meta = [torch.empty_like(x, device="meta") for x in inputs]
    params = _params(module)  # before `to_address_space` unties weights
    with attention_written_out():
        with torch.no_grad():
            second = second_book(module, on_meta, own.second)
        for weight in module.parameters():
            weight.requires_grad_(weight.is_floating_point() or weight.is_complex())
        training = blocks.train(module, on_meta) if blocks is not None else _train(module, on_meta, own)
        with torch.no_grad():
            first = first_book(to_address_space(module.requires_grad_(False)), on_meta, own.first)
    compare_books(first, second)
    costs = _joined(params, first, second, training)
    return _summed_up(costs if blocks is None else blocks.whole(module, costs), seq_lens, "shapes")


@torch.no_grad()
def _execute(module: nn.Module, inputs: Sequence[Tensor], own: Declared = NOTHING) -> Breakdown:
    """Run copies of a module on a CPU, one for each book: a forward may change what the next one does."""
    with attention_written_out():
        first = first_book(_real_copy(module), _copies(inputs), own.first, executed=True)
        second = second_book(_real_copy(module), _copies(inputs), own.second, executed=True)
    compare_books(first, second)
    return _summed_up(_joined(_params(module), first, second), None, "executed")


def _copies(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [x.to("cpu", copy=True) for x in inputs]


def _real_copy(module: nn.Module) -> nn.Module:
    try:
        return copied(module).cpu().eval()
    except Exception as error:
        raise CountError(f"the network cannot be copied: {type(error).__name__}: {error}") from error


def _train(module: nn.Module, inputs: list[Tensor], own: Declared) -> Costs:
    """Count what training costs; nothing where the network has no backward on `meta`."""
    found: Counter[str] = Counter()
    step = training_step(module)
    module.train(step is not module)  # a loss of one's own is of what the network puts out in training
    switch: Any = getattr(module, "set_grad_checkpointing", None)  # as timm calls it
    with suppress(Exception):  # an operator without a derivative, or without a meta kernel for it
        found[TRAINING] = training_flops(step, inputs, own.second)
    if switch is not None:
        with suppress(Exception):
            switch(True)
            found[CHECKPOINTED] = training_flops(step, inputs, own.second)
        switch(False)
    module.eval()
    return {"": found}


def _joined(*books: Costs) -> Costs:
    """Put all that was found of a module into one counter."""
    found: Costs = {}
    for book in books:
        for name, cost in book.items():
            found.setdefault(name, Counter()).update(cost)
    return found


def _params(module: nn.Module) -> Costs:
    """Count the parameters of each module and of what it holds; a shared one at the first that holds it."""
    found: Costs = {}
    seen: set[int] = set()
    for name, child in module.named_modules():
        new = [p for p in child.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, new))
        found[name] = Counter(params=0)
        for path in (name, *paths_above(name)):
            found[path]["params"] += sum(p.numel() for p in new)
    return found


def _summed_up(costs: Costs, seq_lens: tuple[int, ...] | None, source: CountSource) -> Breakdown:
    whole = costs[""]
    total = Complexity(
        params=whole["params"],
        macs=whole["macs"],
        fvcore_flops=None if whole[FVCORE_FAILED] else whole["fvcore_flops"],
        activations=whole["activations"],
        train_macs=_half(whole.get(TRAINING)),
        seq_lens=seq_lens,
        count_source=source,
    )
    modules = {name: ModuleCost(cost["params"], cost["macs"], cost["activations"]) for name, cost in costs.items()}
    return Breakdown(total, modules, _by_operator(whole), _half(whole.get(CHECKPOINTED)))


def _half(flops: int | None) -> int | None:
    """Return the MACs of so many FLOPs."""
    return None if flops is None else flops // 2


def _by_operator(whole: Mapping[str, int]) -> dict[str, OperatorCost]:
    """Sort out the counts of single operators, whose keys name quantity and operator."""
    names = [key.removeprefix("macs of ") for key, value in whole.items() if key.startswith("macs of ") and value]
    return {name: OperatorCost(whole[f"macs of {name}"], whole[f"activations of {name}"]) for name in names}
