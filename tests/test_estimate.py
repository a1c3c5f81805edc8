import resource
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _get_current_dispatch_mode

from hvt_bench.errors import CountError, UnsupportedError
from hvt_bench.metrics import estimate as module_under_test
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.estimate import KINDS, Estimate, estimate
from hvt_bench.metrics.memory import MIB
from hvt_bench.metrics.passes import Passes
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from tests.benchmarks.estimate import profiled_peak_mib
from tests.networks import configs
from tests.outside_networks import PICKS

SMALL = "img_size=64,patch_size=8,embed_dim=96,num_heads=3,depth=2,num_classes=10"
VIT, HVT = f"vit:{SMALL}", f"hvt:{SMALL},pool_stages=2"
DYNAMICVIT = f"dynamicvit:{SMALL},teacher=true".replace("depth=2", "depth=4")


def point(model=VIT, **changes):
    config = parse_model(model) if isinstance(model, str) else model
    fields = {"device": "cpu", "batch_size": 16, "warmup_s": 0.0}
    return Point(model="m", config=config, **(fields | changes))


def total(model=VIT, **changes):
    return estimate(point(model, **changes)).total_mib


# --- against reality ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (VIT, {}),
        (HVT, {}),
        (HVT + ",pool=conv_dw,global_pool=token", {"attention": "eager"}),
        (VIT, {"attention": "sdpa_math", "dtype": "amp_bfloat16"}),
        (HVT, {"dtype": "bfloat16"}),
        (VIT, {"dtype": "float16", "attention": "sdpa_flash"}),
        (VIT, {"mode": "train"}),
        (HVT, {"mode": "train"}),
        (VIT + ",distilled=true", {"mode": "train", "attention": "eager"}),
        (VIT, {"mode": "train", "checkpointing": True}),
        (DYNAMICVIT, {}),
        (DYNAMICVIT, {"mode": "train", "attention": "eager", "checkpointing": True}),
        (DYNAMICVIT + ",backbone=lv_vit", {"mode": "train", "attention": "eager", "dtype": "amp_bfloat16"}),
        (HVT.replace("depth=2", "depth=4"), {"mode": "train", "dtype": "amp_bfloat16"}),  # products need workspaces
        (VIT, {"mode": "train", "dtype": "amp_float16", "checkpointing": True}),
    ],
)
def test_an_estimate_is_what_the_profiler_sees_allocated(model, changes):
    asked = point(model, **changes)
    assert estimate(asked).total_mib == pytest.approx(profiled_peak_mib(asked), rel=0.02)


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("kind", ["Transposed", "Channels"])
def test_a_bias_is_added_in_place_where_it_is_in_reality(kind, mode):
    """Where a fake product is no matrix, PyTorch adds the bias to a copy of it: one output too many."""
    asked = point(f"tests.networks:{kind}", mode=mode)
    assert estimate(asked).total_mib == pytest.approx(profiled_peak_mib(asked), rel=0.02)


def test_an_encoder_layer_is_estimated_outside_its_fast_path():
    peak = estimate(point("tests.networks:Encoder"))
    assert peak.fast_path
    assert peak.total_mib == pytest.approx(profiled_peak_mib(point("tests.networks:Encoder")), rel=0.25)
    assert not estimate(point("tests.networks:Encoder", mode="train")).fast_path
    assert not estimate(point()).fast_path


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "amp_bfloat16"])
def test_an_estimate_is_near_the_peak_of_the_gpu_allocator(mode, attention, dtype):
    """Its workspaces are tens of MiB, so the batch is large."""
    asked = point("deit_small", device="cuda:0", mode=mode, attention=attention, dtype=dtype, batch_size=128)
    estimated = estimate(asked).total_mib
    passes = Passes(asked)
    passes(), passes()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    passes()
    torch.cuda.synchronize()
    assert estimated == pytest.approx(torch.cuda.max_memory_allocated() / MIB, rel=0.1, abs=128)


def test_the_state_given_to_the_optimizer_is_that_after_a_step(monkeypatch):
    seen = []
    real = module_under_test._settle

    def settle(optimizer, in_lists, ledger):
        real(optimizer, in_lists, ledger)
        seen.append(shapes(optimizer))

    monkeypatch.setattr(module_under_test, "_settle", settle)
    asked = point(mode="train", batch_size=3)  # which nobody has estimated before
    estimate(asked)
    passes = Passes(asked)
    passes()
    assert seen == [shapes(passes.optimizer)]


def shapes(optimizer):
    return [
        {key: (value.shape, value.dtype, value.device.type) for key, value in state.items()}
        for state in optimizer.state.values()
    ]


# --- by hand --------------------------------------------------------------------------------------------------------

LINEAR = "torch.nn:Linear:in_features=1000,out_features=10,bias=false,input_shapes=[[1000]]"
LAYERS = f"{__name__}:layers:input_shapes=[[100]]"


def layers(depth=10, width=100):
    return nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(depth)])


def tied():
    network = layers(2)
    network[1].weight = network[0].weight
    network.register_buffer("table", torch.zeros(50, dtype=torch.int64))
    return network


def test_a_linear_layer_in_inference():
    assert estimate(point(LINEAR, batch_size=3)).mib == {
        "weights": 10_000 * 4 / MIB,
        "gradients": 0.0,
        "optimizer_state": 0.0,
        "images": 3 * 1000 * 4 / MIB,
        "activations": 3 * 10 * 4 / MIB,
    }


def test_weights_are_parameters_and_buffers_each_once_in_the_format_of_the_point():
    found = estimate(point(f"{__name__}:tied:input_shapes=[[100]]", dtype="bfloat16"))
    assert found.mib["weights"] == (100 * 100 * 2 + 50 * 8) / MIB


def test_the_optimizer_of_a_gpu_steps_over_lists_and_needs_one_more_copy_of_the_weights():
    """Beside weights, gradients and two moments: roots of all layers, or of one, twice, and of the one before."""
    weights = 10 * 100 * 100 * 4 / MIB
    one_layer = weights / 10
    on_cpu, on_gpu = (estimate(point(LAYERS, mode="train", batch_size=1, device=d)) for d in ("cpu", "cuda:0"))
    assert on_cpu.mib["gradients"] == on_gpu.mib["gradients"] == weights
    assert on_cpu.total_mib == pytest.approx(4 * weights + 3 * one_layer, rel=0.01)
    assert on_gpu.total_mib == pytest.approx(5 * weights, rel=0.01)


def test_gradients_and_moments_of_a_training_step():
    found = estimate(point(mode="train", checkpointing=True)).mib
    assert list(found) == list(KINDS)
    assert found["optimizer_state"] == 2 * found["weights"]
    assert 0 < found["gradients"] <= found["weights"]


def test_attention_written_out_keeps_its_weights():
    batch, heads, tokens, depth = 16, 3, 65, 2
    weights = batch * heads * tokens**2 * 4 / MIB
    fused, eager = (estimate(point(mode="train", attention=a)) for a in ("sdpa", "eager"))
    assert (fused.fused_attention, eager.fused_attention) == (True, False)
    assert eager.total_mib - fused.total_mib == pytest.approx(depth * weights, rel=0.02)
    math = estimate(point(mode="train", attention="sdpa_math"))
    assert (math.total_mib, math.fused_attention) == (eager.total_mib, False)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_autocast_of_a_gpu_takes_softmax_to_float32(checkpointing):
    batch, heads, tokens, depth = 16, 3, 65, 1 if checkpointing else 2
    changes = {"mode": "train", "attention": "eager", "dtype": "amp_bfloat16", "checkpointing": checkpointing}
    on_cpu, on_gpu = (total(device=device, **changes) for device in ("cpu", "cuda:0"))
    assert on_gpu - on_cpu >= depth * batch * heads * tokens**2 * 4 / MIB
    with torch.autocast("cpu", torch.bfloat16):  # of a CPU it is as it was
        assert torch.zeros(2, 2, dtype=torch.bfloat16).softmax(-1).dtype == torch.bfloat16


# --- what is modelled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa_flash", "sdpa_efficient", "sdpa_cudnn"])
def test_every_fused_kernel_of_a_gpu_is_modelled_alike(attention):
    fused = {"device": "cuda:0", "dtype": "bfloat16", "mode": "train"}
    assert estimate(point(attention=attention, **fused)) == estimate(point(**fused))


def test_a_compiled_network_is_estimated_as_not_compiled():
    assert total(compile=True) == total()


def test_22_billion_parameters_take_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = parse_model("vit_22b:depth=12")
    found = estimate(point(config, mode="train", batch_size=1_000_000, device="cuda:0")).mib
    assert found["weights"] == count(config).params * 4 / MIB > 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * (
        2**20 if sys.platform == "darwin" else 1024
    )


def test_nothing_is_left_behind(monkeypatch):
    state, cuda = torch.get_rng_state(), torch.cuda.is_initialized()
    monkeypatch.setattr(module_under_test, "MOST_REMEMBERED", 0)
    estimate(point(dtype="amp_bfloat16", device="cuda:0", batch_size=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert _get_current_dispatch_mode() is None
    assert FakeTensorMode.cache_info().size == 0
    assert torch.cuda.is_initialized() == cuda


@pytest.mark.parametrize("found", [5.5, None])
def test_the_column_is_what_was_estimated(found):
    assert Estimate.summarise([{"estimated_memory_mib": found}]).estimated_memory_mib == found


def test_points_that_differ_in_how_they_are_timed_are_estimated_once(monkeypatch):
    asked = point(batch_size=5)
    found = estimate(asked)
    monkeypatch.setattr(module_under_test, "Passes", None)
    assert estimate(asked.model_copy(update={"axis": "num_threads", "num_threads": 2, "warmup_s": 1.0})) is found


# --- networks of others ---------------------------------------------------------------------------------------------


def test_an_outside_network_is_estimated_where_it_needs_no_values(module):
    """Its forward multiplies by a constant that it made when it was imported."""
    found = estimate(point(f"{module}:Net", batch_size=2, mode="train"))
    assert found.mib["images"] == 2 * 3 * 224 * 224 * 4 / MIB
    assert not found.fused_attention


def test_an_outside_network_whose_constructor_reads_values_is_estimated_too(module):
    assert total(f"{module}:reads_values") == total(f"{module}:Net")


def test_an_outside_network_that_needs_values_is_an_error_that_says_so(tmp_path, monkeypatch):
    (tmp_path / "picks_for_estimate.py").write_text(PICKS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CountError) as caught:
        estimate(point("picks_for_estimate:Picks:input_shapes=[[4]]"))
    assert str(caught.value).startswith(
        "the memory of m cannot be estimated: it does not run on shapes without values: DynamicOutputShapeException"
    )


def test_an_outside_network_that_cannot_do_what_is_asked_says_so_in_its_own_words(module):
    with pytest.raises(UnsupportedError, match="has no set_grad_checkpointing"):
        estimate(point(f"{module}:Net", mode="train", checkpointing=True))


class Smooth(nn.Module):
    """Made of operators that PyTorch also knows to take apart, and does not on a CPU, or takes apart in another way."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(128, 256), nn.Linear(256, 10)

    def forward(self, images):
        x = F.interpolate(images, scale_factor=2, mode="bicubic").flatten(1, 2)
        return self.two(F.silu(self.one(x))).mean(1)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_operators_are_taken_apart_as_a_cpu_takes_them_apart(mode):
    asked = point(f"{__name__}:Smooth:input_shapes=[[3, 64, 64]]", mode=mode)
    assert estimate(asked).total_mib == pytest.approx(profiled_peak_mib(asked), rel=1e-3)


def test_an_operator_that_does_not_say_what_shape_it_gives_is_not_run():
    ran = []

    def silent(x):
        ran.append(x)
        return x.clone()

    with torch.library._scoped_library("hvt_bench_estimate", "DEF") as library:
        library.define("silent(Tensor x) -> Tensor")
        library.impl("silent", silent, "CPU")
        with pytest.raises(CountError, match=r"on shapes without values: UnsupportedOperatorException: .*silent"):
            estimate(point(f"{__name__}:Silent:input_shapes=[[4]]"))
        assert ran == []


class Silent(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x):
        return torch.ops.hvt_bench_estimate.silent(super().forward(x))


def test_timm_is_estimated_as_the_profiler_sees_it():
    asked = point("timm:vit_tiny_patch16_224:img_size=64,depth=2,num_classes=10", mode="train")
    found = estimate(asked)
    assert found.fused_attention
    assert found.total_mib == pytest.approx(profiled_peak_mib(asked), rel=0.02)


# --- for any network ------------------------------------------------------------------------------------------------

CHANGES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["float32", "bfloat16", "amp_bfloat16"]),
        "attention": st.sampled_from(["sdpa", "eager"]),
        "device": st.sampled_from(["cpu", "cuda:0"]),
    }
)


@settings(max_examples=3, derandomize=True, database=None, deadline=None)
@given(configs(), CHANGES)
def test_what_is_true_of_every_network(config, changes):
    assume(config.depth > 1)  # a single block is in memory as a whole even when it is computed again
    few, more, train, checkpointed = (
        estimate(point(config, **changes, **asked))
        for asked in (
            {"batch_size": 2},
            {"batch_size": 3},
            {"batch_size": 2, "mode": "train"},
            {"batch_size": 2, "mode": "train", "checkpointing": True},
        )
    )
    bytes_each = 2 if changes["dtype"] == "bfloat16" else 4
    assert few.mib["weights"] == train.mib["weights"] == count(config).params * bytes_each / MIB
    assert few.mib["weights"] < few.total_mib < more.total_mib
    assert few.total_mib < checkpointed.total_mib <= train.total_mib
