"""The memory of one pass, computed from shapes: the peak of the tensors that live at the same moment.

`estimate` makes the pass that is measured, one of `Passes`, on fake CPU tensors, and keeps a ledger of their storages.
Nothing is computed or allocated. `torch.distributed._tools.mem_tracker.MemTracker` keeps such a ledger too, but in
torch 2.11 to 2.15 it refuses weights that need no gradient and does not see inside the operators of inference: of
attention written out it finds 5 to 9 % too little.

What is modelled:
- Attention: `sdpa` and its kernels `flash`, `efficient` and `cudnn` as one fused kernel, that of the CPU, which keeps
  q, k, v, the output and one number a row; `sdpa_math` and `eager` with the N x N weights that they keep.
- `nn.MultiheadAttention` and PyTorch's encoder layers as outside their fast path of inference, which is one operator
  that tells nothing of what it makes inside: on a CPU 16 % more to 18 % less was seen.
- Training: a step in the midst of it, when AdamW has its moments and no gradient is left of the step before.
- On CUDA: AdamW that steps over lists of weights, and the casts to float32 that CUDA's autocast adds to the CPU's.
What is not: workspaces of kernels, the CUDA context, fragmentation; `compile`, which is estimated as not compiled.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from hvt_bench.errors import CountError, HvtBenchError
from hvt_bench.metrics.base import Metric
from hvt_bench.metrics.memory import MIB
from hvt_bench.metrics.passes import Passes, network, weights_format
from hvt_bench.metrics.tracing import Mode, attention_written_out, tensors_in
from hvt_bench.point import Point
from hvt_bench.records import Column

aten, prim = torch.ops.aten, torch.ops.prim

KINDS = ("weights", "gradients", "optimizer_state", "images", "activations")
"""Of what lives: `weights` are parameters and buffers, `activations` everything that is none of the others: what the
backward pass needs, copies of weights under autocast, results on their way."""

MOST_REMEMBERED = 50_000  # calls of operators whose outputs PyTorch remembers, at about 1 kB each

FLOAT32_ON_CUDA = (
    "cumsum", "exp", "expm1", "group_norm", "layer_norm", "log", "log1p", "log2", "log_softmax.int", "logsumexp",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "reciprocal", "rsqrt", "softmax.int", "softplus", "sum",
    "sum.dim_IntList",
)  # fmt: skip
"""Operators whose inputs autocast takes to float32 on CUDA and not on a CPU (aten/src/ATen/autocast_mode.h of PyTorch),
but for those that no network is made of."""


class Estimate(Metric):
    """Memory of one pass, by shapes."""

    estimated_memory_mib: Annotated[
        float | None,
        Column(
            "peak of live tensors of one pass, weights included, computed from shapes: without workspaces and "
            "fragmentation, `sdpa` as a fused kernel, `compile` as not compiled",
            "MiB",
            "estimated memory",
            best="low",
        ),
    ]

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Return what was estimated; None where it could not be."""
        return cls.model_validate(rounds[0])


@dataclass(frozen=True)
class Peak:
    """What lives at the peak of one pass."""

    mib: Mapping[str, float]
    """By kind, in the order of KINDS."""
    fused_attention: bool
    """Whether the pass called a fused kernel of attention."""
    fast_path: bool = False
    """Whether the real pass takes PyTorch's fast path of inference, which was estimated as outside of it."""

    @property
    def total_mib(self) -> float:
        """All kinds together."""
        return sum(self.mib.values())


def estimate(point: Point) -> Peak:
    """Say what lives at the peak of one pass of `point`.

    Raises CountError where the network does not run on shapes alone, as code of others that reads values, and
    UnsupportedError where it cannot do what the point asks.
    """
    kind = point.device.partition(":")[0]
    fused = point.attention in ("sdpa_efficient", "sdpa_cudnn")
    alike = Point(  # what is left out changes nothing
        model="",
        config=point.config,
        device="cpu",
        dtype=point.dtype,
        batch_size=point.batch_size,
        mode=point.mode,
        attention="sdpa_flash" if fused else point.attention,
        checkpointing=point.checkpointing,
        num_threads=1,
        warmup_s=0.0,
    )
    try:
        return _estimate(alike, kind == "cuda")
    except HvtBenchError:
        raise
    except Exception as error:  # of code that reads values, or of a PyTorch to come
        text = " ".join(str(error).split())[:300]
        raise CountError(
            f"the memory of {point.model} cannot be estimated: it does not run on shapes without values: "
            f"{type(error).__name__}: {text}"
        ) from error
    finally:
        if FakeTensorMode.cache_info().size > MOST_REMEMBERED:
            FakeTensorMode.cache_clear()


@lru_cache(maxsize=1024)
def _estimate(point: Point, on_cuda: bool) -> Peak:
    """Look at one pass of a CPU point, as it would be `on_cuda`."""
    with torch.random.fork_rng(devices=[]):
        on_meta = network(point, on_meta=True)
        with FakeTensorMode(allow_non_fake_inputs=True):  # modules of others may hold constants
            passes = Passes(point, model=_shapes_of(on_meta, weights_format(point)))
            ledger = _Ledger()
            ledger.enter("weights", *passes.model.parameters(), *passes.model.buffers())
            ledger.enter("images", *passes.images)
            if point.mode == "train":
                _settle(passes.optimizer, on_cuda, ledger)
            autocast = _cuda_autocast() if on_cuda and point.dtype.startswith("amp_") else nullcontext()
            with attention_written_out(), autocast, ledger, _BiasAddedInPlace():
                passes()
    fast_path = point.mode == "infer" and any(isinstance(m, nn.MultiheadAttention) for m in passes.model.modules())
    return Peak({kind: ledger.peak[kind] / MIB for kind in KINDS}, ledger.fused_attention, fast_path)


# --- a network without memory ---------------------------------------------------------------------------------------


def _shapes_of(module: nn.Module, weights: torch.dtype) -> nn.Module:
    """Put fake CPU tensors in the place of parameters and buffers, in `weights` where they are floating-point."""
    made: dict[int, Tensor] = {}
    for child in module.modules():
        tables: tuple[dict[str, Any], ...] = (child._parameters, child._buffers)
        for held in tables:
            for name, tensor in held.items():
                if tensor is not None:
                    made.setdefault(id(tensor), _shape_of(tensor, weights))
                    held[name] = made[id(tensor)]
    return module


def _shape_of(tensor: Tensor, weights: torch.dtype) -> Tensor:
    dtype = weights if tensor.is_floating_point() else tensor.dtype
    made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="cpu")
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _settle(optimizer: torch.optim.Optimizer, in_lists: bool, ledger: _Ledger) -> None:
    """Give AdamW the state that it has after its first step; `in_lists` is how it steps on CUDA of its own accord."""
    step = torch.tensor(1.0)  # one for all, since nothing is written into it
    ledger.known[id(step)] = 1.0
    for group in optimizer.param_groups:
        group["foreach"] = in_lists
        for weight in group["params"]:
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            optimizer.state[weight] = {"step": step, **moments}
            ledger.enter("optimizer_state", *moments.values())
            weight.register_post_accumulate_grad_hook(ledger.enter_gradient)


class _BiasAddedInPlace(TorchFunctionMode):
    """A linear layer that adds its bias to the product in place, as it does on real tensors and not on fake ones.

    On a matrix, and on a contiguous batch of them, the product and the bias are one operator (ATen's Linear.cpp).
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3 and args[2] is not None:
            x, weight, bias = args
            if x.ndim > 3 or (x.ndim == 3 and not x.is_contiguous()):
                return func(x, weight).add_(bias)
        return func(*args, **(kwargs or {}))


@contextmanager
def _cuda_autocast() -> Iterator[None]:
    """Let autocast take to float32 on a CPU, too, what it does on CUDA."""
    with torch.library._scoped_library("aten", "IMPL") as library:
        for name in FLOAT32_ON_CUDA:
            packet, _, overload = name.partition(".")
            operator = getattr(getattr(aten, packet), overload or "default")
            library.impl(name, partial(_in_float32, operator), "AutocastCPU")
        yield


def _in_float32(operator: Any, *args: Any, **kwargs: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)):
        return operator(*(x.float() if isinstance(x, Tensor) else x for x in args), **kwargs)


# --- the ledger -----------------------------------------------------------------------------------------------------


class _Ledger(Mode):
    """Notes the storages that operators make, and when they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.peak: Counter[str] = Counter()
        """Bytes by kind at the moment when there were most in all."""
        self.known: dict[int, float] = {}
        """The values of scalars that the optimizer reads, by their id."""
        self.fused_attention = False
        self._live: Counter[str] = Counter()
        self._total = self._most = 0
        self._storages: dict[int, tuple[str, int, weakref.ref[Any]]] = {}
        self._found_inf: list[Tensor] = []  # kept, so that their ids stay theirs

    def enter(self, kind: str, *tensors: Tensor) -> None:
        """Note the storages of `tensors`, new or known, as of this kind."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._storages:
                self._leave(key)
            self._storages[key] = (kind, size, weakref.ref(storage, partial(self._gone, key)))
            self._live[kind] += size
            self._total += size
        if self._total > self._most:
            self._most, self.peak = self._total, self._live.copy()

    def enter_gradient(self, weight: Tensor) -> None:
        """Note what has become the gradient of `weight`."""
        assert weight.grad is not None
        self.enter("gradients", weight.grad)

    def _gone(self, key: int, _: object) -> None:
        self._leave(key)

    def _leave(self, key: int) -> None:
        kind, size, _ = self._storages.pop(key)
        self._live[kind] -= size
        self._total -= size

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is prim.device.default:  # asked at every turn
            return args[0].fake_device
        if func is aten._local_scalar_dense.default and id(args[0]) in self.known:
            return self.known[id(args[0])]
        if func is aten._amp_foreach_non_finite_check_and_unscale_.default:
            self._found_inf.append(args[1])
            self.known[id(args[1])] = 0.0  # a step that is skipped needs less
        if _is_composite(func):  # in inference nobody took it apart before
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        if _writes_only(func):
            return args[0] if func._schema.returns else None
        self.fused_attention |= func is aten._scaled_dot_product_flash_attention_for_cpu.default
        outputs = func(*args, **kwargs)
        self._enter_new(outputs)
        if func is aten._safe_softmax.default:
            self._enter_new(aten.isneginf.default(args[0]))  # the mask that it makes for itself
        return outputs

    def _enter_new(self, outputs: Any) -> None:
        for tensor in tensors_in((outputs,)):
            if tensor.untyped_storage()._cdata not in self._storages:
                self.enter("activations", tensor)


@lru_cache(maxsize=10_000)
def _is_composite(func: Any) -> bool:
    """Say whether an operator is made of others on a CPU, and nothing else."""
    composite, own = (
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key) for key in ("CompositeImplicitAutograd", "CPU")
    )
    return func.namespace == "aten" and composite and not own


@lru_cache(maxsize=10_000)
def _writes_only(func: Any) -> bool:
    """Say whether an operator writes into a tensor, or each of a list, and makes none and changes the size of none."""
    name = func._schema.name
    return (
        func._schema.is_mutable
        and name.endswith("_")
        and not name.startswith(("aten::resize", "aten::set_"))
        and torch.Tag.inplace_view not in func.tags
        and all(output.alias_info is not None for output in func._schema.returns)
    )
