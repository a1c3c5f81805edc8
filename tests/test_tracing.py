import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hvt_bench.errors import CountError
from hvt_bench.metrics.complexity import breakdown
from hvt_bench.metrics.tracing import ShapesOnly, meta_copy


def shapes_only(function, *tensors, device="cpu"):
    with torch.no_grad(), ShapesOnly(inputs=tensors, device=device):
        return function(*tensors)


# --- ShapesOnly -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda a, b: a @ b, [(3, 4), (4, 5)]),
        (lambda a: a.sum(0), [(3, 4)]),
        (lambda a: a.softmax(-1).transpose(0, 1), [(3, 4)]),
        (lambda a: torch.nn.functional.layer_norm(a, (4,)), [(3, 4)]),
        (lambda a: torch.nn.functional.max_pool1d(a, 3, 2), [(1, 3, 9)]),
        (lambda a: torch.cat([a, a], 1).split(3, 1)[2], [(3, 4)]),
        (lambda a: a.topk(2, 1).indices, [(3, 4)]),
        (lambda a: a > 0, [(3, 4)]),
        (lambda a: a.to(torch.float64).mean(1, keepdim=True), [(3, 4)]),
        (lambda a, w: torch.nn.functional.conv2d(a, w, padding=1), [(1, 3, 8, 8), (4, 3, 3, 3)]),
        (lambda a: torch.nn.functional.scaled_dot_product_attention(a, a, a), [(1, 2, 5, 4)]),
        (lambda a: a[:, torch.tensor([0, 2])], [(3, 4)]),
        (lambda a: a + torch.arange(4), [(3, 4)]),
        (lambda a: a.expand(5, 3, 4).reshape(15, 4), [(3, 4)]),
    ],
)
def test_an_answer_has_the_shape_and_type_of_the_real_one(function, sizes, device):
    real = function(*(torch.zeros(size) for size in sizes))
    answer = shapes_only(function, *(torch.zeros(size, device=device) for size in sizes), device=device)
    assert answer.shape == real.shape
    assert answer.dtype == real.dtype
    assert answer.stride() == real.stride()
    assert answer.device.type == device


def test_an_operator_that_writes_and_gives_new_tensors_gives_them():
    """Batch norm in training, which a counter takes apart into one that writes the statistics."""
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to("meta")
    before = layer[1].running_mean
    with ShapesOnly(device="meta"), FlopCounterMode(display=False) as counter:
        output = layer(torch.empty(2, 3, 8, 8, device="meta"))
        output.sum().backward()
    assert output.shape == (2, 4, 6, 6)
    assert counter.get_total_flops() == 2 * 2 * (2 * 4 * 36 * 27)  # forward, and the gradient of the weights
    assert layer[1].running_mean is before
    assert layer[0].weight.grad.shape == (4, 3, 3, 3)


def test_several_outputs_keep_their_structure():
    values, indices = shapes_only(lambda a: a.max(1), torch.zeros(3, 4))
    assert (values.shape, values.dtype) == ((3,), torch.float32)
    assert (indices.shape, indices.dtype) == ((3,), torch.int64)


def test_a_view_shares_its_memory():
    base = torch.zeros(3, 4)
    assert shapes_only(lambda a: a[1:].t(), base).data_ptr() == base[1:].data_ptr()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.add_(1),
        lambda a: a.relu_(),
        lambda a: a.copy_(torch.ones(3, 4)),
        lambda a: a.masked_fill_(a > 0, 1.0),
        lambda a: a.fill_(7),
        lambda a: torch.add(a, 1, out=a),
    ],
)
def test_writing_in_place_gives_the_same_tensor_and_writes_nothing(change):
    base = torch.zeros(3, 4)
    assert shapes_only(change, base) is base
    assert not base.any()


def test_an_in_place_reshape_happens():
    base = torch.zeros(3, 4)
    shapes_only(lambda a: a.t_(), base)
    assert base.shape == (4, 3)


def test_a_wrong_shape_is_the_error_that_torch_gives():
    with pytest.raises(RuntimeError):
        shapes_only(lambda a, b: a @ b, torch.zeros(3, 4), torch.zeros(3, 4))


def test_nothing_is_computed_and_nothing_is_held():
    huge = torch.empty(40_000, 40_000)  # 6 GB of address space each; touching them would kill this process
    assert shapes_only(lambda a: ((a @ a).softmax(-1) + a).sum(), huge).shape == ()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("nonzero", lambda a: a.nonzero()),
        ("index", lambda a: a[a > 0]),
        ("masked_select", lambda a: a.masked_select(a > 0)),
        ("unique", lambda a: a.unique()),
        ("_local_scalar_dense", lambda a: a.sum().item()),
        ("_local_scalar_dense", lambda a: a[: a.argmax()]),
        ("_local_scalar_dense", lambda a: a[: (a > 0).sum().item()]),
        ("_local_scalar_dense", lambda a: a if a.sum() > 0 else -a),
        ("_local_scalar_dense", lambda a: a[: a.argmax(1)[0]]),
        ("_local_scalar_dense", lambda a: a[: a.topk(2, 1).indices[0, 1].item()]),
        ("equal", lambda a: torch.equal(a, a)),
        ("repeat_interleave", lambda a: a.repeat_interleave(a.argmax(1), 0)),
    ],
)
def test_what_depends_on_the_data_is_refused(operator, function, device):
    with pytest.raises(CountError, match=rf"{operator}.*depends on the data"):
        shapes_only(function, torch.zeros(3, 4, device=device), device=device)


@pytest.mark.parametrize("first", [1, 1.0, True])
def test_numbers_that_are_equal_are_not_the_same(first):
    """One answer is reused for equal questions; 1, 1.0 and True are equal and give tensors of different types."""
    for number in (first, 1, 1.0, True):
        assert shapes_only(lambda number=number: torch.full((7, 9), number)).dtype == torch.full((1,), number).dtype
        found = shapes_only(lambda a, number=number: a * number, torch.zeros(7, 9, dtype=torch.int64)).dtype
        assert found == (torch.zeros(1, dtype=torch.int64) * number).dtype


def test_answers_follow_the_default_type():
    assert shapes_only(lambda: torch.ones(7, 11)).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert shapes_only(lambda: torch.ones(7, 11)).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_counter_on_top_sees_every_operator():
    layer = nn.Linear(4, 5)
    with torch.no_grad(), ShapesOnly(), FlopCounterMode(display=False) as counter:
        layer(torch.zeros(3, 4))
    assert counter.get_total_flops() == 2 * 3 * 4 * 5


def test_the_mode_ends_where_its_block_ends():
    shapes_only(lambda a: a + 1, torch.zeros(2))
    assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))


# --- meta_copy --------------------------------------------------------------------------------------------------------


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.again = self.one
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("passing", torch.ones(2, dtype=torch.float16), persistent=False)
        self.norm = nn.BatchNorm1d(4)
        self.plain = [1, {"a": 2}]


def test_a_copy_lives_on_meta_with_the_same_shapes_types_and_ties():
    original = Everything().eval()
    found = meta_copy(original)
    assert {t.device.type for t in (*found.parameters(), *found.buffers())} == {"meta"}
    for own, theirs in (
        (found.named_parameters, original.named_parameters),
        (found.named_buffers, original.named_buffers),
    ):
        assert [(n, t.shape, t.dtype, type(t)) for n, t in own()] == [
            (n, t.shape, t.dtype, type(t)) for n, t in theirs()
        ]
    assert found.other.weight is found.one.weight
    assert found.again is found.one
    assert found.state_dict().keys() == original.state_dict().keys()
    assert not found.training
    assert found.plain == original.plain
    assert found.plain is not original.plain


def test_copying_leaves_the_original_alone():
    original = Everything()
    before = copy.deepcopy(original.state_dict())
    pointers = [t.data_ptr() for t in (*original.parameters(), *original.buffers())]
    found = meta_copy(original)
    found.eval().requires_grad_(False)
    found.plain.append(3)
    assert [t.data_ptr() for t in (*original.parameters(), *original.buffers())] == pointers
    assert all(torch.equal(before[key], value) for key, value in original.state_dict().items())
    assert original.one.weight.requires_grad
    assert not original.frozen.requires_grad
    assert original.training
    assert original.plain == [1, {"a": 2}]


# --- the name of the module that runs ---------------------------------------------------------------------------------


class Asks(nn.Module):
    """Asks for a value of its input, where `asks` says so; else hands on to its `inner`."""

    def __init__(self, inner=None, asks=True):
        super().__init__()
        self.inner, self.asks = inner, asks

    def forward(self, x):
        if self.inner is not None:
            x = self.inner(x)
        return x * x.sum().item() if self.asks else x


@pytest.mark.parametrize(
    ("network", "where"),
    [
        (Asks(), "at the top of the network"),
        (nn.Sequential(Asks()), "in module '0'"),
        (nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), Asks())), "in module '1.1'"),
        (nn.Sequential(Asks(Asks())), "in module '0.inner'"),
        (nn.Sequential(Asks(Asks(asks=False))), "in module '0'"),
        (nn.Sequential(Asks(nn.Sequential(nn.Linear(4, 4)))), "in module '0'"),
    ],
)
def test_a_refusal_names_the_module_whose_forward_runs(network, where):
    with pytest.raises(CountError) as caught, torch.no_grad(), ShapesOnly(network):
        network(torch.zeros(3, 4))
    assert f" {where}: " in str(caught.value)


def test_a_failure_that_the_network_survives_does_not_confuse_the_name():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrong, self.right = nn.Linear(3, 3), Asks()

        def forward(self, x):
            try:
                return self.wrong(x)
            except RuntimeError:
                return self.right(x)

    network = Careful()
    with pytest.raises(CountError, match="in module 'right'"), torch.no_grad(), ShapesOnly(network):
        network(torch.zeros(3, 4))


def test_what_was_compiled_is_counted_and_named_as_it_was_given():
    plain = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.ModuleDict({"fc": nn.Linear(4, 2)})["fc"])
    given = copy.deepcopy(plain)
    given[0][0] = torch.compile(given[0][0])
    given[0] = torch.compile(given[0])
    given[1].compile()
    expected = breakdown(plain, torch.empty(1, 4))
    for network in (given, torch.compile(given)):
        assert breakdown(network, torch.empty(1, 4)) == expected
    assert type(given[0]).__name__ == "OptimizedModule"  # the network itself is left alone
