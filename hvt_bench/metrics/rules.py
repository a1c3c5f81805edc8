"""The counting rules, operator by operator: COUNTED_OPS, FREE_OPS, and what the second book lacks.

A rule takes the inputs and outputs of an operator as they stand in a trace, and gives multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from hvt_bench.metrics.tracing import Mode

Rule = Callable[[list[Any], list[Any]], int]


def shape(value: Any) -> list[int] | None:
    """Return the shape of a value of a trace; None if it is no tensor."""
    return value.type().sizes() if value.isCompleteTensor() else None


def size_of(value: Any) -> list[int]:
    """Return the shape of a tensor of a trace."""
    found = shape(value)
    assert found is not None
    return found


def _product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of A·B: one for each number put out and each index summed over, the last of A."""
    return math.prod(size_of(outputs[0])) * int(size_of(inputs[0])[-1])


def _added_product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of C + A·B."""
    return _product(inputs[1:], outputs)


def _summed_product(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of C + the sum over the batch of A·B (`addbmm`)."""
    batch = int(size_of(inputs[1])[0])
    return batch * _added_product(inputs, outputs)


def _convolution(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a convolution, grouped, dilated or transposed."""
    transposed = inputs[6].toIValue()
    per_position = math.prod(size_of(inputs[1])[1:])
    positions = size_of(inputs[0]) if transposed else size_of(outputs[0])
    return math.prod(positions) * per_position


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of fused attention: B·H·N·M·(d_qk + d_v), causal or masked ones included."""
    q, k, v = (size_of(value) for value in inputs[:3])
    return math.prod(size_of(outputs[0])[:-1]) * int(k[-2]) * (int(q[-1]) + int(v[-1]))


def _bilinear(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of x1ᵀ·A·x2: the product with A, and the one of its result with x2."""
    in1, in2 = size_of(inputs[2])[1:]
    return math.prod(size_of(outputs[0])) * int(in2) * (int(in1) + 1)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of the matrix products that torch turns an einsum into; one that sums over no index is free."""
    equation, operands = inputs[0].toIValue(), inputs[1].node().inputs()
    tensors = [torch.empty(size_of(value), device="meta") for value in operands]
    with _BatchedProducts() as products:
        torch.einsum(equation, *tensors)
    return products.macs


class _BatchedProducts(Mode):
    """Add up the multiply-adds of the `bmm` calls made under it."""

    macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default:
            self.macs += math.prod(args[0].shape) * args[1].shape[-1]
        return func(*args, **(kwargs or {}))


SDPA = "aten::scaled_dot_product_attention"

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
    SDPA: _attention,
}

FREE_OPS: frozenset[str] = frozenset(
    f"aten::{name}"
    for name in """
    __and__ __or__ __xor__ abs adaptive_avg_pool1d adaptive_avg_pool2d add add_ alias all amax amin any arange
    argmax argmin argsort as_strided atan2 avg_pool1d avg_pool2d avg_pool3d batch_norm bernoulli_ bitwise_not
    broadcast_tensors broadcast_to cat ceil chunk clamp clamp_ clone concat constant_pad_nd contiguous copy copy_
    cos cumsum detach detach_ diagonal diff div div_ dropout elu embedding empty eq erf exp expand expand_as
    feature_dropout fill_ flatten flip floor floor_divide floordiv full full_like gather ge gelu gelu_ group_norm gt
    hardsigmoid hardswish hardswish_ hardtanh hardtanh_ im2col index index_put_ index_select instance_norm Int
    is_floating_point item layer_norm le leaky_relu leaky_relu_ lift_fresh linspace log log1p log_softmax
    logical_and logical_not logical_or logsumexp lt masked_fill masked_fill_ masked_scatter max max_pool1d
    max_pool2d max_pool3d maximum mean meshgrid min minimum mish movedim mul mul_ narrow ne neg new_empty new_full
    new_ones new_zeros nonzero norm numel numpy_T one_hot ones ones_like outer pad permute pixel_shuffle
    pixel_unshuffle pow prelu prod rand rand_like randn randn_like reciprocal relu relu_ remainder repeat
    repeat_interleave reshape reshape_as rms_norm roll rsqrt rsub ScalarImplicit scatter scatter_ select selu
    sigmoid sigmoid_ sign silu silu_ sin size slice softmax softplus sort split split_copy split_with_sizes sqrt
    square squeeze squeeze_ stack std sub sub_ sum swapaxes t tanh tanh_ tensor tensor_split to topk transpose tril
    triu true_divide type_as unbind unflatten unfold unsqueeze unsqueeze_ upsample_bicubic2d upsample_bilinear2d
    upsample_nearest2d var view view_as where zeros zeros_ zeros_like
    """.split()
)


# --- what PyTorch's own counter lacks -------------------------------------------------------------------------------


def _mv_flops(a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a)


def _addmv_flops(c: Any, a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a)


def _addbmm_flops(c: Any, a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(a) * int(b[-1])


def _sdpa_flops(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(q[:-1]) * int(k[-2]) * (int(q[-1]) + int(v[-1]))


def _convolution_backward_flops(
    out: Any,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Any,
    *_: Any,
    out_shape: Any = None,
) -> int:
    forward = 2 * math.prod(x if transposed else out) * math.prod(weight[1:])
    return forward * (wanted[0] + wanted[1])  # the gradients of the input and of the weight cost as much each


def _trilinear_flops(x1: Any, weight: Any, x2: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * math.prod(x2) * int(weight[-3]) * (int(weight[-2]) + 1)


SECOND_BOOK_RULES = {  # operators for which FlopCounterMode says 0, or, in the case of the last, forgets groups
    torch.ops.aten.mv: _mv_flops,
    torch.ops.aten.dot: _mv_flops,
    torch.ops.aten.addmv: _addmv_flops,
    torch.ops.aten.addbmm: _addbmm_flops,
    torch.ops.aten._trilinear: _trilinear_flops,  # which bilinear calls
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_flops,  # before torch 2.15, where executed
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
}
