from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import record_function

from hvt_bench.metrics import timeline
from hvt_bench.metrics.passes import Passes
from hvt_bench.metrics.stopwatch import Stopwatch, make_stopwatch
from hvt_bench.metrics.timeline import (
    MIN_PASSES,
    MOST_PROFILED,
    OWN,
    Hooks,
    operator_kind,
    outermost,
    profile_operators,
    time_modules,
    time_operators,
)
from hvt_bench.models import parse_model
from hvt_bench.point import Point

TINY = parse_model("hvt:depth=2,pool_stages=1,img_size=32,embed_dim=64,num_classes=10")
POINT = Point(model="tiny", config=TINY, device="cpu", batch_size=2, warmup_s=0.0, warmup_passes=1, min_time_s=1e-9)


class Clock(Stopwatch):
    """A clock that stands still but for what the modules of a test let pass."""

    def __init__(self):
        super().__init__("cpu")
        self.time = 0.0
        self.waits = 0

    def now(self):
        return self.time

    def synchronize(self):
        self.waits += 1


class Takes(nn.Module):
    """Lets the next of some times pass, the last again and again; between them run the modules inside, in order."""

    def __init__(self, clock, *seconds, **inside):
        super().__init__()
        self.clock, self.seconds, self.order = clock, list(seconds), list(inside)
        for name, module in inside.items():
            setattr(self, name, module)

    def forward(self, x):
        self.clock.time += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        for name in self.order:
            x = getattr(self, name)(x)
        return x


def passes_of(network, extra=0.0):
    """A pass of a network, which takes `extra` seconds more outside it."""

    def run():
        network.clock.time += extra
        network(torch.zeros(1))

    run.model = network
    return run


def timed(network, names=None, point=POINT, extra=0.0):
    every = [name for name, _ in network.named_modules()]
    return time_modules(passes_of(network, extra), every if names is None else names, network.clock, point)


def test_every_module_is_timed_with_what_lies_in_it():
    clock = Clock()
    inner = Takes(clock, 0.25, deep=Takes(clock, 0.5))
    found = timed(Takes(clock, 1.0, a=inner, b=Takes(clock, 2.0)))
    assert found.parts == {"": 3750.0, OWN: 1000.0, "a": 750.0, "a.deep": 500.0, "b": 2000.0}


def test_what_was_not_asked_for_belongs_to_the_module_around_it():
    clock = Clock()
    network = Takes(clock, 1.0, a=Takes(clock, 0.25, deep=Takes(clock, 0.5)), b=Takes(clock, 2.0))
    assert timed(network, ["a"]).parts == {"": 3750.0, OWN: 3000.0, "a": 750.0}
    assert timed(network, ["a.deep", "b"]).parts == {"": 3750.0, OWN: 1250.0, "a.deep": 500.0, "b": 2000.0}
    assert timed(network, []).parts == {"": 3750.0, OWN: 3750.0}


def test_calls_of_one_module_add_up():
    clock = Clock()
    network = Takes(clock, 1.0, a=Takes(clock, 0.5))
    network.order = ["a", "a", "a"]
    assert timed(network).parts == {"": 2500.0, OWN: 1000.0, "a": 1500.0}


def test_a_shared_module_counts_where_it_was_made_as_its_macs_do():
    clock = Clock()
    shared = Takes(clock, 0.5)
    network = Takes(clock, 1.0, a=shared, b=Takes(clock, 0.25, again=shared))
    assert timed(network).parts == {"": 2250.0, OWN: 1000.0, "a": 1000.0, "b": 250.0}


def test_a_module_that_is_not_called_has_no_time():
    clock = Clock()
    network = Takes(clock, 1.0, a=Takes(clock, 0.5), unused=Takes(clock, 0.5))
    network.order = ["a"]
    assert "unused" not in timed(network).parts


def test_each_part_is_the_median_over_passes_without_the_warm_up():
    clock = Clock()
    calls = [9.0] * 4 + [0.5, 1.0, 0.5, 2.0, 0.5, 3.0, 0.5, 4.0, 0.5, 50.0]  # bare and hooked by turns
    found = timed(Takes(clock, 0.0, a=Takes(clock, *calls)), point=POINT.model_copy(update={"warmup_passes": 2}))
    assert found.parts["a"] == 3000.0
    assert found.pass_ms == 500.0
    assert found.passes == MIN_PASSES == 5


def test_bare_passes_are_timed_whole_and_have_no_hooks():
    clock = Clock()
    network = Takes(clock, 1.0)
    hooked = []
    network.register_forward_pre_hook(lambda *_: hooked.append(len(network._forward_hooks)))
    found = timed(network, extra=0.125)
    assert found.pass_ms == 1125.0
    assert found.parts[""] == 1000.0
    assert hooked == [0, 1] * (1 + MIN_PASSES)
    assert len(network._forward_hooks) == 0


def test_passes_and_warm_up_last_as_long_as_asked():
    clock = Clock()
    network = Takes(clock, 0.25)
    found = timed(network, point=POINT.model_copy(update={"warmup_s": 3.0, "min_time_s": 5.0}))
    assert found.passes == 10  # each pair takes half a second
    assert clock.time == 3.0 + 5.0


def test_the_device_is_waited_for_after_each_pass_and_not_at_each_module():
    clock = Clock()
    network = Takes(clock, 1.0, **{f"m{index}": Takes(clock, 1.0) for index in range(10)})
    timed(network)
    assert clock.waits == 3 * (1 + MIN_PASSES)  # a block waits before and after its pass


def test_a_pass_that_fails_leaves_no_hooks():
    clock = Clock()

    class Fails(Takes):
        def forward(self, x):
            raise RuntimeError("no")

    network = Takes(clock, 1.0, a=Fails(clock, 1.0))
    with pytest.raises(RuntimeError, match=r"^no$"):
        timed(network)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@st.composite
def trees(draw, clock, depth=3):
    count = draw(st.integers(0, 3)) if depth else 0
    inside = {f"m{index}": draw(trees(clock, depth - 1)) for index in range(count)}
    return Takes(clock, draw(st.integers(1, 8)) / 8, **inside)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_module_takes_as_long_as_its_children_and_itself(data):
    clock = Clock()
    network = data.draw(trees(clock))
    parts = timed(network).parts
    for name, module in network.named_modules():
        children = [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
        assert parts[name] == sum(parts[child] for child in children) + 1e3 * module.seconds[0]
    assert parts[OWN] == 1e3 * network.seconds[0]


# --- operators --------------------------------------------------------------------------------------------------------


def event(name, us=0.0, device_us=0.0, inside=()):
    return SimpleNamespace(name=name, cpu_time_total=us, device_time_total=device_us, cpu_children=list(inside))


def test_an_operator_takes_the_time_of_those_it_calls_and_those_are_not_listed():
    linear = event("aten::linear", 3000.0, 40.0, [event("aten::addmm", 2500.0, 40.0)])
    events = [linear, event("aten::gelu", 500.0, 10.0), linear]
    assert outermost(events, on_gpu=False) == {"linear": 6.0, "gelu": 0.5}
    assert outermost(events, on_gpu=True) == {"linear": 0.08, "gelu": 0.01}


def test_what_stands_in_no_namespace_is_looked_into():
    named = event("my attention", 9000.0, inside=[event("mylib::op", 1000.0), event("aten::add_", 2000.0)])
    assert outermost([named, event("cudaLaunchKernel", 5.0)], on_gpu=False) == {"mylib::op": 1.0, "add_": 2.0}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::linear", "linear"),
        ("aten::conv2d", "convolution"),
        ("aten::conv_transpose1d", "convolution"),
        ("aten::_convolution", "convolution"),
        ("convolution_mode", "convolution"),
        ("aten::_softmax", "softmax"),
        ("aten::copy_", "copy_"),
        ("mylib::conv2d", "mylib::conv2d"),
    ],
)
def test_an_operator_has_the_name_under_which_it_is_counted(name, kind):
    assert operator_kind(name) == kind


def test_operators_are_the_median_over_profiled_passes(monkeypatch):
    asked = []

    def profiled(passes, number, stopwatch, device):
        asked.append((number, device))
        return [{"linear": 1.0, "gelu": 4.0}, {"linear": 7.0}, {"linear": 2.0, "gelu": 6.0}]

    monkeypatch.setattr(timeline, "profile_operators", profiled)
    clock = Clock()
    found = time_operators(passes_of(Takes(clock, 9.0, 0.25)), clock, POINT)
    assert (found.parts, found.pass_ms, found.passes) == ({"linear": 2.0, "gelu": 4.0}, 250.0, 3)
    assert asked == [(MIN_PASSES, "cpu")]


def test_no_more_passes_are_profiled_than_memory_holds(monkeypatch):
    asked = []
    monkeypatch.setattr(timeline, "profile_operators", lambda passes, number, *_: asked.append(number) or [{}])
    clock = Clock()
    time_operators(passes_of(Takes(clock, 0.125)), clock, POINT.model_copy(update={"min_time_s": 100.0}))
    assert asked == [MOST_PROFILED]


class Named(nn.Module):
    """Two linear layers, the second under a name of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.one(x).relu()
        with record_function("a name"):
            return self.two(x)


@torch.inference_mode()
def test_the_profiler_finds_the_operators_that_python_calls():
    network, x = Named(), torch.zeros(2, 4)
    calls = []

    def run():
        calls.append(network(x))

    found = profile_operators(run, 2, Stopwatch("cpu"), "cpu")
    assert [set(times) for times in found] == [{"linear", "relu"}] * 2
    assert len(calls) == 3


# --- for real ---------------------------------------------------------------------------------------------------------

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_real_pass_has_time_in_all_its_modules(device):
    point = POINT.model_copy(update={"device": device})
    passes = Passes(point)
    names = [name for name, _ in passes.model.named_modules()]
    found = time_modules(passes, names, make_stopwatch(device), point)
    assert set(found.parts) == {*names, OWN}
    assert all(0 < ms < float("inf") for ms in [*found.parts.values(), found.pass_ms])


@pytest.mark.parametrize("device", DEVICES)
def test_the_parts_of_one_real_pass_add_up_to_it(device):
    passes, stopwatch = Passes(POINT, device), make_stopwatch(device)
    top = [name for name, _ in passes.model.named_children()]
    times = Hooks(passes, top).times_of_a_pass(stopwatch)
    assert sum(times[name] for name in top) + times[OWN] == pytest.approx(times[""])
    assert all(times[name] > 0 for name in top)


@pytest.mark.parametrize("device", DEVICES)
def test_a_real_profile_has_the_operators_of_the_network(device):
    point = POINT.model_copy(update={"device": device})
    found = time_operators(Passes(point), make_stopwatch(device), point)
    expected = {"convolution", "linear", "scaled_dot_product_attention", "layer_norm", "gelu", "max_pool1d", "mean"}
    assert expected < set(found.parts)
    assert all(0 < found.parts[name] < float("inf") for name in expected)
