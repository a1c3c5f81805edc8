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


def _convolution_by_name(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a convolution whose padding is `same` or `valid`."""
    return math.prod(size_of(outputs[0])) * math.prod(size_of(inputs[1])[1:])


def _contraction(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a product that sums over indices which both operands have and the output has not."""
    both = math.prod(size_of(inputs[0])) * math.prod(size_of(inputs[1]))
    out = math.prod(size_of(outputs[0]))
    summed = math.isqrt(both // out) if out else 0
    return out * summed


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
    "aten::_convolution_mode": _convolution_by_name,
    "aten::linear": _product,
    "aten::matmul": _product,
    "aten::mm": _product,
    "aten::bmm": _product,
    "aten::mv": _product,
    "aten::dot": _product,
    "aten::vdot": _product,
    "aten::inner": _contraction,
    "aten::tensordot": _contraction,
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
    __and__ __lshift__ __or__ __rshift__ __xor__ _log_softmax _softmax _upsample_bicubic2d_aa
    _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    _weight_norm abs abs_ acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d add add_ addcdiv addcdiv_ addcmul addcmul_ adjoint affine_grid_generator
    alias all alpha_dropout amax amin aminmax any arange argmax argmin argsort argwhere as_strided asin asinh atan
    atan2 atanh avg_pool1d avg_pool2d avg_pool3d batch_norm bernoulli_ bitwise_and bitwise_not bitwise_or
    bitwise_xor Bool broadcast_tensors broadcast_to bucketize cat ceil celu celu_ channel_shuffle chunk clamp clamp_
    clamp_max clamp_min clip clip_ clone col2im column_stack complex concat conj constant_pad_nd contiguous copy
    copy_ copysign cos cosh cosine_similarity count_nonzero cummax cummin cumprod cumsum detach detach_ diag_embed
    diagonal diff digamma dist div div_ dropout dropout_ dstack elu elu_ embedding embedding_bag empty empty_like eq
    erf erfc erfinv exp exp2 exp_ expand expand_as expm1 exponential_ eye feature_dropout fill_ flatten flip fliplr
    flipud Float FloatImplicit floor floor_ floor_divide floor_divide_ floordiv fmax fmin fmod frac
    fractional_max_pool2d full full_like gather ge gelu gelu_ glu grid_sampler group_norm gt hardshrink hardsigmoid
    hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ heaviside hstack hypot im2col imag index index_add
    index_add_ index_copy index_fill index_put index_put_ index_select instance_norm Int IntImplicit
    is_floating_point isclose isfinite isin isinf isnan item kthvalue layer_norm le leaky_relu leaky_relu_ lerp
    lgamma lift_fresh linalg_vector_norm linspace log log10 log1p log2 log_sigmoid log_softmax logcumsumexp
    logical_and logical_and_ logical_not logical_not_ logical_or logical_or_ logical_xor logit logsumexp lt
    masked_fill masked_fill_ masked_scatter matrix_H max max_pool1d max_pool2d max_pool3d max_unpool2d maximum mean
    median meshgrid mH min minimum mish mish_ moveaxis movedim msort mT mul mul_ nan_to_num nanmean narrow
    narrow_copy native_batch_norm native_group_norm native_layer_norm ne neg neg_ new_empty new_full new_ones
    new_zeros nonzero norm normal_ numel numpy_T one_hot ones ones_like outer pad pairwise_distance permute
    pixel_shuffle pixel_unshuffle polar pow pow_ prelu prod rand rand_like randint randint_like randn randn_like
    random_ randperm ravel real reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 relu6_
    relu_ remainder remainder_ repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
    reshape reshape_as resolve_conj resolve_neg rms_norm roll rot90 round round_ rrelu rsqrt rsqrt_ rsub
    scalar_tensor ScalarImplicit scatter scatter_ scatter_add scatter_add_ scatter_reduce searchsorted select selu
    sgn sigmoid sigmoid_ sign silu silu_ sin sinc sinh size slice softmax softplus softshrink sort special_erf
    special_expit split split_copy split_with_sizes split_with_sizes_copy sqrt sqrt_ square squeeze squeeze_
    squeeze_copy stack std std_mean sub sub_ sum sum_to_size swapaxes swapdims t take_along_dim tan tanh tanh_
    tensor tensor_split threshold threshold_ to topk transpose tril tril_ tril_indices triu triu_ triu_indices
    true_divide true_divide_ trunc type_as unbind unflatten unfold uniform_ unsafe_chunk unsafe_split
    unsafe_split_with_sizes unsqueeze unsqueeze_ unsqueeze_copy upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean
    view view_as view_as_complex view_as_real vstack where xlogy zero_ zeros zeros_like
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
    torch.ops.aten.vdot: _mv_flops,
    torch.ops.aten.addmv: _addmv_flops,
    torch.ops.aten.addbmm: _addbmm_flops,
    torch.ops.aten._trilinear: _trilinear_flops,  # which bilinear calls
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_flops,  # before torch 2.15, where executed
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
}
