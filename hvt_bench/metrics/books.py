"""The two books: what a network costs by fvcore, and by PyTorch's own counter. The only file that imports fvcore.

Both give, for each module by its path ("" is the network), quantities by name. Nothing is computed unless `executed`
is asked for, and then once, on real numbers.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hvt_bench.errors import CountError, HvtBenchError
from hvt_bench.metrics.rules import COUNTED_OPS, FREE_OPS, SDPA, SECOND_BOOK_RULES, Rule, shape, size_of
from hvt_bench.metrics.tracing import ShapesOnly, failed_in, tensors_in

with warnings.catch_warnings():
    # fvcore uses private parts of torch.jit, which warns since torch 2.13. Can go when fvcore stops to.
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
    from fvcore.nn import FlopCountAnalysis

Costs = dict[str, Counter[str]]
"""By module path: `macs`, `activations`, `fvcore_flops`, ...; what is not there is 0."""

FVCORE_FAILED = "fvcore failed"


def first_book(
    module: nn.Module, inputs: list[Tensor], rules: Mapping[str, Rule | None], *, executed: bool = False
) -> Costs:
    """Count `macs`, `activations` and `fvcore_flops` with fvcore, in one trace on CPU tensors.

    `rules` are those of an outside network's own operators, None where one is free. Raises CountError at an operator
    without a rule, or, unless `executed`, one whose shape depends on data.
    """
    if not executed:
        inputs = [torch.empty_like(x, device="cpu") for x in inputs]
    analysis = FlopCountAnalysis(module, tuple(inputs))
    counted = {**COUNTED_OPS, **rules}
    fvcore_rules = dict(analysis._op_handles)
    handles = {op: _joint_rule(op, counted.get(op), fvcore_rules.get(op)) for op in {*counted, *FREE_OPS}}
    analysis.clear_op_handles().set_op_handle(**handles)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with counting(module), nullcontext() if executed else ShapesOnly(module, inputs):
        by_module: Costs = analysis.by_module_and_operator()
    if analysis.unsupported_ops():
        raise _no_rule(analysis, by_module)
    return by_module


def _no_rule(analysis: FlopCountAnalysis, names: Mapping[str, object]) -> CountError:
    operator = next(iter(analysis.unsupported_ops()))
    module = max((name for name in names if analysis.unsupported_ops(name)[operator]), key=path_depth)
    where = f"in module '{module}'" if module else "at the top of the network"
    hint = (
        ""
        if operator.startswith(("aten::", "prim::"))
        else f"; `operators: {{{operator}: free}}`, or a rule, declares it"
    )
    return CountError(f"{operator} {where}: no counting rule says what this operator costs{hint}")


def path_depth(name: str) -> int:
    """Return how deep a module lies; the network itself is 0."""
    return len(name.split(".")) if name else 0


def _joint_rule(op: str, rule: Rule | None, fvcore_rule: Callable[..., Any] | None) -> Callable[..., Counter[str]]:
    """Return a handle that gives all quantities of one operator at once, so that one trace serves them all."""
    name = op.removeprefix("aten::").removeprefix("_")

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        found: Counter[str] = Counter()
        if rule is not None:
            found["macs"] = found[f"macs of {name}"] = rule(inputs, outputs)
            found["activations"] = found[f"activations of {name}"] = _activations(op, inputs, outputs)
        if op == SDPA:
            found["fvcore_flops"] = found["macs"]
        elif fvcore_rule is not None:
            try:
                flops = fvcore_rule(inputs, outputs)
            except (AssertionError, IndexError, ValueError):  # matmul with a vector, for one
                found[FVCORE_FAILED] = 1
            else:
                found["fvcore_flops"] = int(sum(flops.values()) if isinstance(flops, Counter) else flops)
        return found

    return handle


def _activations(op: str, inputs: list[Any], outputs: list[Any]) -> int:
    out = shape(outputs[0])
    if out is None:
        return 0
    if op == SDPA:
        return math.prod(out[:-1]) * int(size_of(inputs[1])[-2]) + math.prod(out)
    return math.prod(out)


def second_book(
    module: nn.Module, inputs: list[Tensor], rules: Mapping[Any, Callable[..., int]], *, executed: bool = False
) -> Costs:
    """Count `flops`, two per MAC, of each module that is called, with PyTorch's own counter, on `meta`.

    `rules` are those of an outside network's own operators, as FlopCounterMode takes them.
    """
    with (
        warnings.catch_warnings(action="ignore"),  # what a network warns of, it says when it is measured
        nullcontext() if executed else ShapesOnly(module, device="meta"),
        FlopCounterMode(display=False, custom_mapping={**SECOND_BOOK_RULES, **rules}) as counter,
        counting(module),
    ):
        module(*inputs)
    found = {name.partition(".")[2]: counts for name, counts in counter.get_flop_counts().items() if "." in name}
    found[""] = counter.get_flop_counts().get("Global", {})
    return {name: Counter(flops=sum(counts.values())) for name, counts in found.items()}


def compare_books(first: Costs, second: Costs) -> None:
    """Raise CountError, naming the innermost module where they part, unless both books agree."""
    macs, flops = first[""]["macs"], second[""]["flops"]
    if flops == 2 * macs:
        return
    inner = [path for path, found in second.items() if path in first and found["flops"] != 2 * first[path]["macs"]]
    where = f", first in module '{max(inner, key=path_depth)}'" if any(inner) else ""
    unused = "; fvcore passes over a product whose result is not used" if flops > 2 * macs else ""
    raise CountError(
        f"the two counters disagree: fvcore finds {macs:,} MACs, FlopCounterMode {flops / 2:,.1f}{where}{unused}"
    )


def training_flops(run: Callable[..., object], inputs: list[Tensor], rules: Mapping[Any, Callable[..., int]]) -> int:
    """Count the FLOPs, two per MAC, of a forward and a backward pass on `meta`, for the gradients of all weights.

    An input that requires a gradient is given one. Attention is counted as its two products and their gradients.
    Raises whatever stands in the way of a backward pass.
    """
    with (
        warnings.catch_warnings(action="ignore"),
        torch.enable_grad(),
        ShapesOnly(device="meta"),
        FlopCounterMode(display=False, custom_mapping={**SECOND_BOOK_RULES, **rules}) as counter,
    ):
        # an operator without a derivative, which PyTorch passes over with a warning, ends this
        warnings.filterwarnings("error", message="(?s).*autograd kernel was not registered")
        outputs = [output for output in tensors_in((run(*inputs),)) if output.requires_grad]
        if not outputs:
            raise CountError("nothing can be trained: no output depends on a weight")
        torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])
    return counter.get_total_flops()


@contextmanager
def counting(module: nn.Module) -> Iterator[None]:
    """Let only the tensors of the module's output be seen, and make what it raises a CountError that says where."""

    def tensors_only(_: nn.Module, inputs: tuple[Any, ...], output: object) -> object:
        return tuple(tensors_in((output,))) or inputs[0]

    hook = module.register_forward_hook(tensors_only)
    try:
        yield
    except (HvtBenchError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise CountError(f"{type(error).__name__} {failed_in(module, error)}: {reason}") from error
    finally:
        hook.remove()
