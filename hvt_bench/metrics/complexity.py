"""params, macs, fvcore_flops and activations of a network. The only file that imports fvcore.

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
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hvt_bench.errors import CountError
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.tracing import Repeats, ShapesOnly, WritesSkipped, failed_in, meta_copy
from hvt_bench.models import override, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.records import Column

with warnings.catch_warnings():
    # fvcore uses private parts of torch.jit, which warns since torch 2.13. Can go when fvcore stops to.
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_analysis import _IGNORED_OPS as FVCORE_FREE_OPS
    from fvcore.nn.jit_handles import get_shape

Rule = Callable[[list[Any], list[Any]], int]  # (inputs, outputs) of a traced operator -> multiply-adds


class Complexity(Metric):
    """What a network costs whatever machine it runs on; of one image."""

    params: Annotated[int, Column("learned numbers, head included; shared ones counted once", "", "parameters")]
    macs: Annotated[int, Column("multiply-adds of convolutions, linear layers, matrix products, 1 image", "", "MACs")]
    fvcore_flops: Annotated[
        int | None, Column("fvcore's own table plus fused attention: macs plus norms at 5 per element")
    ]
    activations: Annotated[int, Column("numbers put out by convolutions, linear layers, matrix products, 1 image")]
    seq_lens: Annotated[tuple[int, ...] | None, Column("tokens that enter each block, special tokens included")]

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Return the last count: counting is exact."""
        return cls.model_validate_json(json.dumps(rounds[-1]))


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


def count(model: str | ModelConfig | nn.Module, *inputs: Tensor, img_size: int | None = None) -> Complexity:
    """Count what one forward pass of `model` costs.

    `inputs` are what a module's forward takes, batch included (give batch 1); a config or a variant name knows its
    own. Raises CountError where the cost is not certain, ConfigError where no such network exists.
    """
    return breakdown(model, *inputs, img_size=img_size).total


def breakdown(model: str | ModelConfig | nn.Module, *inputs: Tensor, img_size: int | None = None) -> Breakdown:
    """Count like `count`, and say what falls on each module."""
    if isinstance(model, nn.Module):
        if not inputs or img_size is not None:
            raise TypeError("counting a module needs the tensors that its forward takes, and no img_size")
        return _count_module(meta_copy(model), [torch.empty_like(x, device="meta") for x in inputs], None)
    if inputs:
        raise TypeError("a config knows the shape of its input: give img_size, or build the module")
    config = parse_model(model) if isinstance(model, str) else model
    if img_size is not None:
        config = override(config, img_size=img_size)
    return _count_config(config)


@lru_cache(maxsize=1024)
def _count_config(config: ModelConfig) -> Breakdown:
    with torch.device("meta"), WritesSkipped():
        module = config.build()
    inputs = [torch.empty(shape, device="meta") for shape in config.input_shapes(1)]
    return _count_module(module, inputs, config.seq_lens, skip_repeats=True)


def _count_module(
    module: nn.Module, inputs: list[Tensor], seq_lens: tuple[int, ...] | None, skip_repeats: bool = False
) -> Breakdown:
    """Count a module that lives on `meta`, keeping two books.

    `skip_repeats` enters only one of several equal blocks; only a network fresh from its config is sure to have any.
    """
    module = module.eval().requires_grad_(False)
    held = _params_by_module(module)
    with _attention_written_out(), torch.no_grad():
        second = _second_book(module, inputs, skip_repeats)
        first = _first_book(module.to_empty(device="cpu"), inputs, skip_repeats)
    _compare_books(first, second)
    modules = {name: ModuleCost(held[name], cost["macs"], cost["activations"]) for name, cost in first.items()}
    total = Complexity(
        params=held[""],
        macs=first[""]["macs"],
        fvcore_flops=None if first[""][_FVCORE_FAILED] else first[""]["fvcore_flops"],
        activations=first[""]["activations"],
        seq_lens=seq_lens,
    )
    return Breakdown(total, modules, _by_operator(first[""]))


def _by_operator(found: Mapping[str, int]) -> dict[str, OperatorCost]:
    """Sort out the counts of single operators, whose keys name quantity and operator."""
    names = [key.removeprefix("macs of ") for key, value in found.items() if key.startswith("macs of ") and value]
    return {name: OperatorCost(found[f"macs of {name}"], found[f"activations of {name}"]) for name in names}


def _params_by_module(module: nn.Module) -> dict[str, int]:
    return {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_modules()}


# --- the first book: fvcore -----------------------------------------------------------------------------------------


def _first_book(module: nn.Module, inputs: list[Tensor], skip_repeats: bool) -> dict[str, Counter[str]]:
    """Count macs, fvcore_flops and activations of each module in one trace."""
    analysis = FlopCountAnalysis(module, tuple(torch.empty_like(x, device="cpu") for x in inputs))
    fvcore_rules = dict(analysis._op_handles)
    handles = {op: _joint_rule(op, fvcore_rules.get(op)) for op in {*COUNTED_OPS, *FREE_OPS}}
    analysis.clear_op_handles().set_op_handle(**handles)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with Repeats(module, skip_repeats) as repeats, ShapesOnly(module):
        by_module: dict[str, Counter[str]] = analysis.by_module_and_operator()
    if analysis.unsupported_ops():
        raise _no_rule(analysis, by_module)
    return _with_twins(by_module, repeats.twins)


def _no_rule(analysis: FlopCountAnalysis, names: Mapping[str, object]) -> CountError:
    operator = next(iter(analysis.unsupported_ops()))
    module = max((name for name in names if analysis.unsupported_ops(name)[operator]), key=_depth)
    where = f"in module '{module}'" if module else "at the top of the network"
    return CountError(f"{operator} {where}: no counting rule says what this operator costs")


def _depth(name: str) -> int:
    """Return how deep a module lies; the network itself is 0."""
    return len(name.split(".")) if name else 0


_FVCORE_FAILED = "fvcore failed"


def _joint_rule(op: str, fvcore_rule: Callable[..., Any] | None) -> Callable[..., Counter[str]]:
    """Return a handle that gives all quantities of one operator at once, so that one trace serves them all."""
    rule = COUNTED_OPS.get(op)
    name = op.removeprefix("aten::").removeprefix("_")

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        found: Counter[str] = Counter()
        if rule is not None:
            found["macs"] = found[f"macs of {name}"] = rule(inputs, outputs)
            found["activations"] = found[f"activations of {name}"] = _activations(op, inputs, outputs)
        if op == _SDPA:
            found["fvcore_flops"] = found["macs"]
        elif fvcore_rule is not None:
            try:
                flops = fvcore_rule(inputs, outputs)
            except (AssertionError, IndexError, ValueError):  # matmul with a vector, for one
                found[_FVCORE_FAILED] = 1
            else:
                found["fvcore_flops"] = int(sum(flops.values()) if isinstance(flops, Counter) else flops)
        return found

    return handle


def _activations(op: str, inputs: list[Any], outputs: list[Any]) -> int:
    if op == _SDPA:
        k, out = get_shape(inputs[1]), get_shape(outputs[0])
        return math.prod(out[:-1]) * int(k[-2]) + math.prod(out)
    return math.prod(get_shape(outputs[0]))


def _product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of A·B: one for each number put out and each index summed over, the last of A."""
    return math.prod(get_shape(outputs[0])) * int(get_shape(inputs[0])[-1])


def _added_product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of C + A·B."""
    return _product(inputs[1:], outputs)


def _summed_product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of C + the sum over the batch of A·B (`addbmm`)."""
    batch = int(get_shape(inputs[1])[0])
    return batch * _added_product(inputs, outputs)


def _convolution(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a convolution, grouped, dilated or transposed."""
    transposed = inputs[6].toIValue()
    per_position = math.prod(get_shape(inputs[1])[1:])
    positions = get_shape(inputs[0]) if transposed else get_shape(outputs[0])
    return math.prod(positions) * per_position


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of fused attention: B·H·N·M·(d_qk + d_v), causal or masked ones included."""
    q, k, v = (get_shape(value) for value in inputs[:3])
    return math.prod(get_shape(outputs[0])[:-1]) * int(k[-2]) * (int(q[-1]) + int(v[-1]))


def _bilinear(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of x1ᵀ·A·x2: the product with A, and the one of its result with x2."""
    in1, in2 = get_shape(inputs[2])[1:]
    return math.prod(get_shape(outputs[0])) * int(in2) * (int(in1) + 1)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of the matrix products that torch turns an einsum into; one that sums over no index is free."""
    equation, operands = inputs[0].toIValue(), inputs[1].node().inputs()
    tensors = [torch.empty(get_shape(value), device="meta") for value in operands]
    with _BatchedProducts() as products:
        torch.einsum(equation, *tensors)
    return products.macs


class _BatchedProducts(TorchDispatchMode):
    """Add up the multiply-adds of the `bmm` calls made under it."""

    macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default:
            self.macs += math.prod(args[0].shape) * args[1].shape[-1]
        return func(*args, **(kwargs or {}))


_SDPA = "aten::scaled_dot_product_attention"

COUNTED_OPS: dict[str, Rule] = {
    "aten::_convolution": _convolution,
    "aten::linear": _product,
    "aten::matmul": _product,
    "aten::mm": _product,
    "aten::bmm": _product,
    "aten::mv": _product,
    "aten::dot": _product,
    "aten::addmm": _added_product,
    "aten::baddbmm": _added_product,
    "aten::addmv": _added_product,
    "aten::addbmm": _summed_product,
    "aten::bilinear": _bilinear,
    "aten::einsum": _einsum,
    _SDPA: _attention,
}

FREE_OPS: frozenset[str] = frozenset(FVCORE_FREE_OPS) | {
    f"aten::{name}"
    for name in """
    __or__ __xor__ abs adaptive_avg_pool1d adaptive_avg_pool2d add add_ alias all amax amin any argmax argmin
    argsort as_strided atan2 avg_pool1d avg_pool2d avg_pool3d batch_norm bernoulli_ broadcast_tensors broadcast_to
    ceil clone concat copy cos cumsum detach_ diagonal diff div div_ elu embedding erf exp expand_as feature_dropout
    fill_ flip floordiv gelu gelu_ group_norm hardsigmoid hardswish hardswish_ hardtanh hardtanh_ im2col
    index_select instance_norm is_floating_point item layer_norm le leaky_relu leaky_relu_ lift_fresh linspace log
    log1p log_softmax logical_and logical_not logical_or logsumexp lt masked_fill_ masked_scatter max_pool1d
    max_pool2d max_pool3d maximum mean meshgrid min minimum mish movedim mul mul_ ne neg new_ones norm numel numpy_T
    one_hot ones_like outer pad pixel_shuffle pixel_unshuffle pow prelu prod rand rand_like randn randn_like
    reciprocal repeat repeat_interleave reshape_as rms_norm rsqrt rsub scatter scatter_ selu sigmoid sigmoid_ sign
    silu silu_ sin softmax softplus sort split_copy sqrt square squeeze_ std sub sub_ sum swapaxes tanh tanh_ tensor
    tensor_split topk tril triu true_divide unflatten unfold upsample_bicubic2d upsample_bilinear2d
    upsample_nearest2d var view_as where zeros_
    """.split()
}


# --- the second book: PyTorch's own counter -------------------------------------------------------------------------


def _second_book(module: nn.Module, inputs: list[Tensor], skip_repeats: bool) -> dict[str, int]:
    """Count FLOPs of each module that is called, two per MAC, on `meta`."""
    with (
        Repeats(module, skip_repeats) as repeats,
        ShapesOnly(module, device="meta"),
        FlopCounterMode(display=False, custom_mapping=_SECOND_BOOK_RULES) as counter,
    ):
        try:
            module(*inputs)
        except CountError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise CountError(f"{type(error).__name__} {failed_in(module, error)}: {reason}") from error
    found = {name.partition(".")[2]: counts for name, counts in counter.get_flop_counts().items() if "." in name}
    found[""] = counter.get_flop_counts().get("Global", {})
    whole = _with_twins(
        {name: Counter({"flops": sum(counts.values())}) for name, counts in found.items()}, repeats.twins
    )
    return {name: counts["flops"] for name, counts in whole.items()}


def _mv_flops(a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a)


def _addmv_flops(c: Any, a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a)


def _addbmm_flops(c: Any, a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a) * int(b[-1])


def _trilinear_flops(x1: Any, weight: Any, x2: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(x2) * int(weight[-3]) * (int(weight[-2]) + 1)


_SECOND_BOOK_RULES = {  # operators for which FlopCounterMode says 0
    torch.ops.aten.mv: _mv_flops,
    torch.ops.aten.dot: _mv_flops,
    torch.ops.aten.addmv: _addmv_flops,
    torch.ops.aten.addbmm: _addbmm_flops,
    torch.ops.aten._trilinear: _trilinear_flops,  # which bilinear calls
}


def _with_twins(by_module: Mapping[str, Counter[str]], twins: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Give each block that was not entered, and all that hold it, the counts of its twin."""
    found = {name: Counter(counts) for name, counts in by_module.items()}
    for name, twin in twins.items():
        for inner in by_module:
            if inner == twin or inner.startswith(f"{twin}."):
                found[name + inner.removeprefix(twin)] = Counter(by_module[inner])
        parts = name.split(".")
        for length in range(len(parts)):
            found[".".join(parts[:length])] += by_module[twin]
    return found


def _compare_books(first: Mapping[str, Mapping[str, int]], second: Mapping[str, int]) -> None:
    """Raise CountError, naming the innermost module where they part, unless both books agree."""
    macs, flops = first[""]["macs"], second[""]
    if flops == 2 * macs:
        return
    inner = [path for path, found in second.items() if path in first and found != 2 * first[path]["macs"]]
    where = f", first in module '{max(inner, key=_depth)}'" if any(inner) else ""
    raise CountError(f"the two counters disagree: fvcore finds {macs:,} MACs, FlopCounterMode {flops / 2:,.1f}{where}")


@contextmanager
def _attention_written_out() -> Iterator[None]:
    """Switch off the fused path of nn.MultiheadAttention in eval mode, which hides its products from counters."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
