"""Running a network without computing: shapes only, no memory.

`ShapesOnly` answers every operator with an empty CPU tensor of the shape its meta kernel gives. The tensor is address
space that nobody touches, so a network of 22 billion parameters traces in a moment. The JIT tracer that fvcore reads
sees ordinary CPU tensors: on `meta` tensors it fails (sizes become traced tensors, which meta kernels refuse).
"""

from __future__ import annotations

import copy
import math
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hvt_bench.errors import CountError

aten = torch.ops.aten

MOST_BYTES = 2**30  # of address space that one tensor takes; a system may refuse more than it has memory


class Mode(TorchDispatchMode):
    """A dispatch mode that nobody compiles, and that so is spared a detour through torch._dynamo at every operator."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class ShapesOnly(Mode):
    """Answer operators with empty tensors of the right shape; let views and arithmetic on sizes through.

    Raises CountError at an operator whose output shape depends on the values of a tensor.
    """

    def __init__(self, module: nn.Module | None = None, inputs: Sequence[Tensor] = (), device: str = "cpu") -> None:
        super().__init__()
        self._module = module
        self._device = device
        held = (*module.parameters(), *module.buffers(), *inputs) if module is not None else inputs
        self._held = {id(tensor) for tensor in held}  # of address space only: their values mean nothing

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten.convolution.default:
            # The tracer leaves `convolution` to be recorded as the `_convolution` it calls, which an answer given
            # here would hide. The four flags choose cuDNN's algorithms and change no shape.
            with _tracer_awake(), self:
                return aten._convolution.default(*args, False, False, False, False)
        with _tracing_paused():
            return self._answer(func, args, kwargs)

    def _answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is aten._convolution.default:
            func, args = aten.convolution.default, args[:9]  # before torch 2.13 only this one has a meta kernel
        tensors = list(tensors_in((*args, *kwargs.values())))
        if func.is_view or torch.Tag.inplace_view in func.tags:
            view = func(*args, **kwargs)
            return view if all(map(self._is_real, tensors)) else _answered(view)
        if tensors and all(tensor.dim() == 0 and self._is_real(tensor) for tensor in tensors):
            return func(*args, **kwargs)  # arithmetic on sizes, which the tracer keeps as real scalars
        if func is aten._local_scalar_dense.default or torch.Tag.data_dependent_output in func.tags:
            raise self._depends_on_data(func)
        if func._schema.is_mutable:
            return self._write(func, args, kwargs, tensors)
        try:
            outputs = _meta_outputs(func, _frozen(args), _frozen(kwargs), torch.get_default_dtype())
        except RuntimeError as error:  # a NotImplementedError, or what repeat_interleave says
            if not isinstance(error, NotImplementedError) and torch.Tag.dynamic_output_shape not in func.tags:
                raise
            if tensors and all(map(self._is_real, tensors)):
                return func(*args, **kwargs)  # the tracer hands sizes over as tensors
            if func.namespace not in ("aten", "prims") and torch.Tag.dynamic_output_shape not in func.tags:
                raise CountError(
                    f"{func.name()} {running_in(self._module)}: it does not say what shape it gives; "
                    "torch.library.register_fake teaches it, or count with --executed"
                ) from None
            raise self._depends_on_data(func) from None
        return _answered(_thawed(outputs, self._device))

    def _write(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: Sequence[Tensor]) -> Any:
        """Write known values, pass over writing unknown ones into tensors that are unknown as well."""
        real = list(map(self._is_real, tensors))
        if all(real):
            return func(*args, **kwargs)
        outputs = _mutated(func, args, kwargs)
        if func._schema.returns and next(tensors_in((outputs,)), None) is None:  # batch norm in training gives new ones
            given = _meta_outputs(func, _frozen(args), _frozen(kwargs), torch.get_default_dtype())
            return _answered(_thawed(given, self._device))
        if any(map(self._is_real, tensors_in((outputs,)))):
            raise CountError(
                f"{func.name()} {running_in(self._module)}: it writes into a tensor of known values what only the data "
                "tells, so the cost cannot be read off shapes; --executed counts one real image"
            )
        return outputs

    def _is_real(self, tensor: Tensor) -> bool:
        """Say whether a tensor holds values that were computed."""
        return not (tensor.is_meta or id(tensor) in self._held or getattr(tensor, _ANSWERED, False))

    def _depends_on_data(self, func: Any) -> CountError:
        return CountError(
            f"{func.name()} {running_in(self._module)}: the shape or value it gives depends on the "
            "data, so the cost cannot be read off shapes; --executed counts one real image"
        )


class WritesSkipped(Mode):
    """Leaves out operators that write into a tensor, such as the drawing of random weights."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func._schema.is_mutable:
            return _mutated(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_ANSWERED = "_hvt_bench_answered"


def _answered(outputs: Any) -> Any:
    """Mark tensors whose values were not computed."""
    for output in tensors_in((outputs,)):
        setattr(output, _ANSWERED, True)
    return outputs


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among `values`, and in lists, tuples, dictionaries and dataclasses among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())
        elif is_dataclass(value):
            yield from tensors_in(vars(value).values())


class _Meta(NamedTuple):
    """What the meta kernel of an operator needs to know of a tensor."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Items(NamedTuple):
    """A list, a tuple, or the values of a dictionary with these keys."""

    kind: type
    items: tuple[Any, ...]
    keys: tuple[str, ...] = ()


class _Other(NamedTuple):
    """Any other argument; with its type, since 1, 1.0 and True are equal."""

    kind: type
    value: Any


def _frozen(value: Any) -> _Meta | _Items | _Other:
    """Describe an argument by something hashable."""
    if isinstance(value, Tensor):
        return _Meta(tuple(value.size()), value.stride(), value.dtype)
    if isinstance(value, dict):
        return _Items(dict, tuple(map(_frozen, value.values())), tuple(value))
    if isinstance(value, list | tuple):
        return _Items(type(value), tuple(map(_frozen, value)))
    return _Other(type(value), value)


def _thawed(frozen: _Meta | _Items | _Other, device: str) -> Any:
    """Make the argument again, a tensor as an empty one on `device`."""
    if isinstance(frozen, _Meta) and device == "cpu":
        return _address_space(frozen.size, frozen.stride, frozen.dtype)
    if isinstance(frozen, _Meta):
        return torch.empty_strided(frozen.size, frozen.stride, dtype=frozen.dtype, device=device)
    if isinstance(frozen, _Items):
        values = [_thawed(item, device) for item in frozen.items]
        return dict(zip(frozen.keys, values, strict=True)) if frozen.kind is dict else frozen.kind(values)
    return frozen.value


@lru_cache(maxsize=100_000)
def _meta_outputs(func: Any, args: _Items, kwargs: _Items, default_dtype: torch.dtype) -> _Meta | _Items | _Other:
    """Run the meta kernel of `func`; designs of one sweep share most of their operators, hence the cache."""
    keywords = _thawed(kwargs, "meta")
    if any(argument.name == "device" for argument in func._schema.arguments):
        keywords["device"] = "meta"
    return _frozen(func(*_thawed(args, "meta"), **keywords))


def _mutated(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what an in-place or `out=` operator returns: the arguments that it would have written to."""
    written = {}
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            for name in argument.alias_info.before_set:
                written[name] = value
    outputs = [
        written[next(iter(output.alias_info.before_set))] if output.alias_info is not None else None
        for output in func._schema.returns
    ]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


@contextmanager
def _tracer_awake() -> Iterator[None]:
    """Let the tracer see the operators called here: inside a dispatch mode it is shut out."""
    included = torch._C._dispatch_tls_local_include_set()
    excluded = torch._C._dispatch_tls_local_exclude_set()
    with torch._C._ForceDispatchKeyGuard(included, excluded - included):
        yield


@contextmanager
def _tracing_paused() -> Iterator[None]:
    """Hide the tracing state, under which the sizes of a tensor are tensors themselves."""
    state = torch._C._get_tracing_state()
    if state is None:
        yield
        return
    with _tracer_awake():
        torch._C._set_tracing_state(None)
        try:
            yield
        finally:
            torch._C._set_tracing_state(state)


def meta_copy(module: nn.Module) -> nn.Module:
    """Copy a module with every parameter and buffer on `meta`; costs no memory and leaves the original alone.

    Raises CountError where a module cannot be copied.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise CountError("a scripted module hides what it calls; count the module that it was made from")
    memo: dict[int, Any] = {}
    try:
        for tensor in (*module.parameters(), *module.buffers()):
            empty = torch.empty_like(tensor, device="meta")
            memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
        return copied(module, memo)
    except Exception as error:  # lazy modules, weights computed by a hook, scripted modules
        reason = " ".join(str(error).split())[:500]
        raise CountError(
            f"the network cannot be copied without its weights: {type(error).__name__}: {reason}"
        ) from error


def copied(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Copy a module, in which what torch.compile was given stands for what it made, whatever lies around it."""
    memo = {} if memo is None else memo
    for inner in reversed(list(module.modules())):
        original = inner._modules.get("_orig_mod")
        if original is not None:
            memo[id(inner)] = copy.deepcopy(original, memo)
    return copy.deepcopy(module, memo)


def running_in(module: nn.Module | None) -> str:
    """Say which submodule's forward is running, such as `in module 'blocks.3.attn'`, by the call stack."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        frames.insert(0, frame)
        frame = frame.f_back
    return _innermost(module, frames) if module is not None else "at the top of the network"


def failed_in(module: nn.Module, error: BaseException) -> str:
    """Say which submodule's forward raised `error`, by its traceback."""
    return _innermost(module, [frame for frame, _ in traceback.walk_tb(error.__traceback__)])


def _innermost(module: nn.Module, frames: Sequence[FrameType]) -> str:
    """Name the submodule whose method is the last of `frames`, which go inwards."""
    names = {id(child): name for name, child in module.named_modules()}
    running = [names.get(id(frame.f_locals.get("self")), "") for frame in frames]
    inner = next((name for name in reversed(running) if name), "")
    return f"in module '{inner}'" if inner else "at the top of the network"


def to_address_space(module: nn.Module) -> nn.Module:
    """Take a module from `meta` to CPU tensors that nobody is to read."""
    return module._apply(lambda t: _address_space(t.size(), t.stride(), t.dtype))


def _address_space(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor whose memory is never touched; where a system may not grant it, one number stands for all."""
    if math.prod(size) * dtype.itemsize > MOST_BYTES:
        return torch.empty(1, dtype=dtype).expand(size)
    return torch.empty_strided(size, stride, dtype=dtype)


def size_of_traced(tensor: Tensor) -> tuple[int, ...]:
    """Return the size of a tensor as plain numbers, whether or not the tracer looks on."""
    with _tracing_paused():
        return tuple(tensor.shape)


@contextmanager
def attention_written_out() -> Iterator[None]:
    """Switch off the fused path of nn.MultiheadAttention in eval mode, which hides its products from counters."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
