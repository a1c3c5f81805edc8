import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.rules import COUNTED_OPS, FREE_OPS
from tests.networks import Calls, macs

SDPA = F.scaled_dot_product_attention

# --- operators, one by one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)])
def test_linear(size, bias):
    found = count(nn.Linear(4, 5, bias=bias), torch.empty(size))
    assert found.macs == math.prod(size) * 5
    assert found.activations == math.prod(size) // 4 * 5
    assert found.params == 20 + 5 * bias


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (nn.Conv1d(4, 6, 3), (1, 4, 10), 8 * 6 * 4 * 3),
        (nn.Conv1d(4, 6, 3), (4, 10), 8 * 6 * 4 * 3),
        (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 8, 8), 64 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, 3, padding=1), (4, 8, 8), 64 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, (3, 5), stride=2), (1, 4, 9, 9), 4 * 3 * 6 * 4 * 15),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (1, 4, 8, 8), 64 * 6 * 4 * 9),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 27 * 3 * 2 * 8),
        (nn.Conv2d(4, 8, 3, groups=2), (1, 4, 8, 8), 36 * 8 * 2 * 9),
        (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 8, 8), 36 * 8 * 9),
        (nn.Conv2d(4, 8, 3, dilation=2), (1, 4, 8, 8), 16 * 8 * 4 * 9),
        (nn.Conv2d(4, 8, 3, bias=False), (1, 4, 8, 8), 36 * 8 * 4 * 9),
        (nn.ConvTranspose1d(4, 8, 3, stride=2), (1, 4, 5), 5 * 4 * 8 * 3),
        (nn.ConvTranspose2d(4, 8, 3, stride=2), (1, 4, 5, 5), 25 * 4 * 8 * 9),
        (nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2, output_padding=1), (1, 4, 5, 5), 25 * 4 * 4 * 9),
        (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 3, 3), 27 * 2 * 3 * 8),
    ],
)
def test_convolution(layer, size, expected):
    found = count(layer, torch.empty(size))
    assert found.macs == expected
    with torch.device("meta"):
        assert found.activations == layer.to("meta")(torch.empty(size)).numel()


def test_convolution_as_a_function():
    assert macs(F.conv2d, (1, 4, 8, 8), (6, 4, 3, 3)) == 36 * 6 * 4 * 9


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((7,), (7,), 7),
        ((7,), (7, 3), 21),
        ((3, 7), (7,), 21),
        ((3, 7), (7, 2), 42),
        ((7,), (5, 7, 3), 105),
        ((5, 3, 7), (7,), 105),
        ((5, 3, 7), (7, 2), 210),
        ((3, 7), (5, 7, 2), 210),
        ((5, 3, 7), (5, 7, 2), 210),
        ((1, 3, 7), (5, 7, 2), 210),
        ((4, 5, 3, 7), (5, 7, 2), 840),
        ((5, 3, 7), (4, 5, 7, 2), 840),
        ((4, 1, 3, 7), (1, 5, 7, 2), 840),
        ((7,), (4, 5, 7, 2), 280),
        ((4, 5, 2, 7), (7,), 280),
        ((4, 5, 2, 7), (7, 3), 840),
    ],
)
def test_matmul(one, other, expected):
    found = count(Calls(lambda _, a, b: a @ b), torch.empty(one), torch.empty(other))
    assert found.macs == expected
    assert found.activations == (torch.empty(one) @ torch.empty(other)).numel()


def test_fvcore_fails_at_a_matrix_times_a_vector_and_macs_survive():
    found = count(Calls(lambda _, a, b: a @ b), torch.empty(3, 7), torch.empty(7))
    assert (found.macs, found.fvcore_flops) == (21, None)


@pytest.mark.parametrize(
    ("function", "sizes", "expected"),
    [
        (torch.mm, [(3, 7), (7, 2)], 42),
        (torch.bmm, [(5, 3, 7), (5, 7, 2)], 210),
        (torch.mv, [(3, 7), (7,)], 21),
        (torch.dot, [(7,), (7,)], 7),
        (torch.addmm, [(3, 2), (3, 7), (7, 2)], 42),
        (torch.addmm, [(2,), (3, 7), (7, 2)], 42),
        (torch.addmv, [(3,), (3, 7), (7,)], 21),
        (torch.addbmm, [(3, 2), (5, 3, 7), (5, 7, 2)], 210),
        (torch.baddbmm, [(5, 3, 2), (5, 3, 7), (5, 7, 2)], 210),
        (torch.baddbmm, [(1, 1, 2), (5, 3, 7), (5, 7, 2)], 210),
        (torch.linalg.matmul, [(3, 7), (7, 2)], 42),
        (torch.vdot, [(7,), (7,)], 7),
        (torch.inner, [(7,), (7,)], 7),
        (torch.inner, [(3, 7), (2, 7)], 42),
        (lambda a, b: torch.tensordot(a, b, dims=1), [(3, 7), (7, 2)], 42),
        (lambda a, b: torch.tensordot(a, b, dims=([0, 2], [1, 0])), [(3, 7, 5), (5, 3, 2)], 210),
        (lambda a, b: torch.tensordot(a, b, dims=0), [(3,), (2,)], 6),
    ],
)
def test_matrix_products(function, sizes, expected):
    assert macs(function, *sizes) == expected


@pytest.mark.parametrize(
    ("equation", "sizes", "expected"),
    [
        ("i,j->ij", [(3,), (4,)], 0),
        ("ij,ij->ij", [(3, 4), (3, 4)], 0),
        ("ij->j", [(3, 4)], 0),
        ("ii", [(4, 4)], 0),
        ("i,i->", [(4,), (4,)], 4),
        ("ij,jk->ik", [(3, 4), (4, 5)], 60),
        ("ij,kj->ik", [(3, 4), (5, 4)], 60),
        ("bij,jk->k", [(2, 3, 4), (4, 5)], 20),  # torch sums b and i before it multiplies
        ("bhnd,bhmd->bhnm", [(2, 3, 4, 5), (2, 3, 6, 5)], 720),
        ("bhnm,bhmd->bhnd", [(2, 3, 4, 6), (2, 3, 6, 5)], 720),
        ("bij,bjk->bik", [(1, 3, 4), (2, 4, 5)], 120),
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)], 120),
        (" b i j , b j k -> b i k ", [(2, 3, 4), (2, 4, 5)], 120),
    ],
)
def test_einsum(equation, sizes, expected):
    found = count(
        nn.Sequential(nn.Identity(), Calls(lambda _, *x: torch.einsum(equation, *x)))[1],
        *(torch.empty(size) for size in sizes),
    )
    assert found.macs == expected
    assert found.activations == torch.einsum(equation, *(torch.empty(size) for size in sizes)).numel()


def test_einsum_of_three_costs_the_products_that_torch_makes():
    """(AB)C or A(BC), whichever torch takes: opt_einsum, if it is installed, may choose."""
    found = macs(lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), (3, 4), (4, 5), (5, 2))
    assert found in (3 * 4 * 5 + 3 * 5 * 2, 4 * 5 * 2 + 3 * 4 * 2)


def test_einsum_with_operands_in_lists_and_with_weights():
    assert macs(lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), (3, 4), (4, 5)) == 60
    network = Calls(lambda net, x: torch.einsum("ij,jk->ik", net.layer(x), net.weight), layer=nn.Linear(4, 4))
    network.weight = nn.Parameter(torch.empty(4, 5))
    assert count(network, torch.empty(3, 4)).macs == 48 + 60


Q, K, V = (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)
FULL = 2 * 3 * 5 * 7 * (8 + 4)


@pytest.mark.parametrize(
    ("function", "sizes", "expected"),
    [
        (SDPA, [Q, K, V], FULL),
        (lambda q, k, v, m: SDPA(q, k, v, attn_mask=m), [Q, K, V, (5, 7)], FULL),
        (lambda q, k, v: SDPA(q, k, v, attn_mask=torch.ones(5, 7, dtype=torch.bool).tril()), [Q, K, V], FULL),
        (lambda q, k, v: SDPA(q, k, v, is_causal=True), [Q, Q, Q], 2 * 3 * 5 * 5 * 16),
        (lambda q, k, v: SDPA(q, k, v, scale=0.5), [Q, K, V], FULL),
        (lambda q, k, v: SDPA(q, k, v, dropout_p=0.1), [Q, K, V], FULL),
        (SDPA, [Q[1:], K[1:], V[1:]], FULL // 2),
        (SDPA, [Q[2:], K[2:], V[2:]], FULL // 6),
        (SDPA, [(4, *Q), (4, *K), (4, *V)], 4 * FULL),
        (SDPA, [Q, (2, 1, 7, 8), (2, 1, 7, 4)], FULL),  # one key for all heads
        (SDPA, [(1, 3, 5, 8), K, V], FULL),  # one query for all images
        (SDPA, [(3, 5, 8), K, V], FULL),
        (
            lambda q, k, v: SDPA(q, k, v, enable_gqa=True),
            [(2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)],
            2 * 4 * 5 * 7 * 16,
        ),
    ],
)
def test_fused_attention(function, sizes, expected):
    found = count(Calls(lambda _, *x: function(*x)), *(torch.empty(size) for size in sizes))
    assert found.macs == found.fvcore_flops == expected
    products = expected // (sizes[0][-1] + sizes[2][-1])
    assert found.activations == products + products // sizes[1][-2] * sizes[2][-1]


def test_a_module_called_twice_counts_twice_and_its_weights_once():
    layer = nn.Linear(4, 4)
    found = breakdown(Calls(lambda net, x: net.layer(net.layer(x)), layer=layer), torch.empty(3, 4))
    assert (found.total.macs, found.total.params) == (96, 20)
    assert (found.modules["layer"].macs, found.modules["layer"].params) == (96, 20)


def test_tied_weights_count_once_and_their_products_twice():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    found = count(nn.Sequential(one, other), torch.empty(3, 4))
    assert (found.macs, found.params) == (96, 24)


def test_the_same_module_under_two_names():
    layer = nn.Linear(4, 4)
    found = count(nn.Sequential(layer, nn.ReLU(), layer), torch.empty(3, 4))
    assert (found.macs, found.params) == (96, 20)


def test_several_inputs_and_outputs_of_every_kind():
    one, other = nn.Linear(4, 4), nn.Linear(3, 4)
    network = Calls(lambda net, x, y: {"sum": net.one(x) + net.other(y), "x": net.one(x)}, one=one, other=other)
    assert count(network, torch.empty(2, 4), torch.empty(2, 3)).macs == 32 + 24 + 32
    for wrap in (lambda x: (x, x + 1), lambda x: [x], lambda x: {"a": x, "b": [x, x]}, lambda x: (x, None)):
        assert count(Calls(lambda net, x, wrap=wrap: wrap(net.one(x)), one=one), torch.empty(2, 4)).macs == 32


def test_a_network_without_products_costs_nothing():
    for network in (nn.LayerNorm(4), nn.Identity(), Calls(lambda _, x: x + 1), nn.Sequential(nn.ReLU(), nn.ReLU())):
        found = count(network, torch.empty(3, 4))
        assert (found.macs, found.activations) == (0, 0)


MHA = 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
LAYER = MHA + 2 * 5 * 8 * 16


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_multi_head_attention_hides_nothing(weights, training):
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    network = Calls(lambda net, x: net.attention(x, x, x, need_weights=weights)[0], attention=attention)
    assert count(network.train(training), torch.empty(1, 5, 8)).macs == MHA


def test_attention_to_another_sequence():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    network = Calls(lambda net, x, y: net.attention(x, y, y)[0], attention=attention)
    found = count(network, torch.empty(1, 5, 8), torch.empty(1, 7, 8))
    assert found.macs == 2 * 5 * 64 + 2 * 7 * 64 + 2 * 5 * 7 * 8


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_hides_nothing(norm_first, training):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    assert count(layer.train(training), torch.empty(1, 5, 8)).macs == LAYER


def test_a_transformer_hides_nothing():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert macs(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval(), (1, 5, 8)) == 2 * LAYER
    assert macs(nn.TransformerEncoder(layer, 2).eval(), (1, 5, 8)) == 2 * LAYER
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("operator", sorted(COUNTED_OPS))
def test_a_counted_operator_is_not_free(operator):
    assert operator not in FREE_OPS
    assert operator.startswith("aten::")


@pytest.mark.parametrize(
    "word", "linear matmul mm bmm conv attention einsum dot addmm bilinear fft cdist lstm gru rnn".split()
)
def test_no_free_operator_sounds_like_a_product(word):
    assert [name for name in FREE_OPS if word in name.removeprefix("aten::").strip("_").split("_")] == []


@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
def test_bilinear(leading):
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Bilinear(3, 4, 7)

        def forward(self, left, right):
            return self.layer(left, right)

    found = count(Bilinear(), torch.empty(*leading, 3), torch.empty(*leading, 4))
    assert found.macs == math.prod(leading) * 7 * (3 * 4 + 4)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), (1, 4, 9, 9)),
        (nn.Conv1d(8, 8, 3, groups=8, stride=2), (1, 8, 9)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (1, 4, 5, 5)),
        (nn.Conv3d(2, 4, 2), (1, 2, 3, 3, 3)),
        (nn.Linear(4, 5), (3, 4)),
    ],
)
def test_the_gradient_of_a_layer_costs_as_much_as_the_layer_and_that_of_its_input_too(layer, size):
    alone = count(layer, torch.empty(size))
    assert alone.train_macs == 2 * alone.macs
    after = count(nn.Sequential(Scale(size[1:]), layer), torch.empty(size))
    assert after.train_macs == 3 * alone.macs


class Scale(nn.Module):
    """Learned, so that what follows owes it a gradient; and free."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_padding_that_has_a_name(kernel, groups):
    layer = nn.Conv2d(4, 6, kernel, padding="same", groups=groups)
    assert macs(layer, (1, 4, 8, 8)) == 8 * 8 * 6 * 4 // groups * kernel**2
    layer = nn.Conv2d(4, 6, kernel, padding="valid", groups=groups)
    assert macs(layer, (1, 4, 8, 8)) == (9 - kernel) ** 2 * 6 * 4 // groups * kernel**2


@pytest.mark.parametrize(("cell", "gates"), [(nn.GRUCell, 3), (nn.LSTMCell, 4), (nn.RNNCell, 1)])
def test_a_recurrent_cell_is_its_two_linear_layers(cell, gates):
    assert macs(cell(4, 5), (1, 4)) == gates * 5 * (4 + 5)
