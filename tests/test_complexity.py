import copy
import dataclasses
import itertools
import math
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from hypothesis import given, settings
from torch import nn

from hvt_bench.errors import ConfigError, CountError
from hvt_bench.metrics.complexity import Complexity, breakdown, count
from hvt_bench.metrics.rules import COUNTED_OPS, FREE_OPS
from hvt_bench.metrics.rules import SDPA as FUSED
from hvt_bench.models import create_model, make_config, parse_model
from hvt_bench.models.layers import Block
from tests.networks import Calls, configs, macs

SDPA = F.scaled_dot_product_attention


# --- the table of DESIGN, section 5 -----------------------------------------------------------------------------------

TABLE = {  # macs, params
    "deit_tiny": (1_253_683_200, 5_717_416),
    "deit_small": (4_598_882_304, 22_050_664),
    "deit_base": (17_563_828_224, 86_567_656),
    "hvt_ti_1": (642_299_520, 5_735_656),
    "hvt_s_0": (4_574_026_752, 22_049_896),
    "hvt_s_1": (2_402_020_608, 22_087_144),
    "hvt_s_2": (1_941_216_768, 22_105_576),
    "hvt_s_3": (1_620_095_232, 22_114_408),
    "hvt_s_4": (1_393_640_448, 22_118_632),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_the_design_is_hit_to_the_last_mac(name):
    found = count(name)
    assert (found.macs, found.params) == TABLE[name]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("hvt_ti_1", "0.64"),
        ("hvt_s_0", "4.57"),
        ("hvt_s_1", "2.40"),
        ("hvt_s_2", "1.94"),
        ("hvt_s_3", "1.62"),
        ("hvt_s_4", "1.39"),
        ("scale_hvt_ti_4", "1.39"),
    ],
)
def test_macs_are_what_the_paper_prints_as_flops(name, printed):
    assert f"{count(name).macs / 1e9:.2f}" == printed


def test_the_default_table_of_fvcore_adds_the_norms():
    """As DESIGN says: with norms at 5 per element, HVT-S-1 prints 2.41 where the paper prints 2.40."""
    found = count("hvt_s_1")
    norms = 2 * sum(found.seq_lens) + 97
    assert found.fvcore_flops == found.macs + 5 * 384 * norms
    assert f"{found.fvcore_flops / 1e9:.2f}" == "2.41"


def test_fused_attention_is_what_fvcore_alone_would_lose():
    heads = sum(2 * tokens**2 * 192 for tokens in count("deit_tiny").seq_lens)
    assert heads == 178_831_872


# --- any valid config -------------------------------------------------------------------------------------------------


def eager(config):
    with torch.device("meta"):
        network = config.build("eager")
    return count(network, *(torch.empty(size, device="meta") for size in config.input_shapes(1)))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(configs())
def test_fvcore_pytorch_and_the_closed_form_agree_for_any_valid_config(config):
    found = count(config)
    assert found.macs == config.closed_form_macs()
    assert found.train_macs == 3 * found.macs - config.stem_macs()  # there is no gradient of the image
    assert config.closed_form_params() == found.params
    assert found.seq_lens == config.seq_lens
    assert found.params == sum(p.numel() for p in config.build().parameters())


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(configs())
def test_both_attention_paths_cost_the_same(config):
    assert eager(config) == count(config).model_copy(update={"seq_lens": None})


def real_trace(network, *inputs):
    """What fvcore finds where everything is computed."""
    analysis = FlopCountAnalysis(network.eval(), inputs).clear_op_handles().set_op_handle(**COUNTED_OPS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert analysis.total() >= 0
    assert analysis.unsupported_ops().keys() <= FREE_OPS
    return analysis.total()


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "vit"},
        {"family": "vit", "distilled": True},
        {"family": "vit", "global_pool": "avg", "qkv_bias": False},
        {"family": "hvt", "pool_stages": 2},
        {"family": "hvt", "pool_stages": 3, "pool": "conv_dw", "global_pool": "token"},
        {"family": "hvt", "pool": "avg", "pool_stride": 1},
    ],
)
def test_a_trace_of_shapes_finds_what_a_real_one_finds(fields):
    config = parse_model(fields | {"img_size": 48, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_classes": 10})
    images = torch.randn(config.input_shapes(1)[0])
    for path in ("sdpa", "eager"):
        network = config.build(path)
        assert real_trace(network, images) == count(network, images).macs == config.closed_form_macs()


# --- what may be counted ----------------------------------------------------------------------------------------------


def test_a_name_a_config_and_a_module_give_the_same():
    config = parse_model("hvt_ti_1")
    found = count("hvt_ti_1")
    assert count(config) == found
    assert count(create_model("hvt_ti_1"), torch.empty(1, 3, 224, 224)) == found.model_copy(update={"seq_lens": None})


def test_another_image_size_is_another_network():
    small = count("hvt_ti_1", img_size=32)
    assert small == count(parse_model("hvt_ti_1:img_size=32")) == count(parse_model("hvt_ti_1"), img_size=32)
    assert small.macs == parse_model("hvt_ti_1:img_size=32").closed_form_macs()
    with pytest.raises(ConfigError, match="not divisible by patch_size"):
        count("hvt_ti_1", img_size=33)


def test_a_batch_costs_as_many_times_more():
    config = parse_model("hvt_ti_1:depth=2,img_size=48")
    network = config.build()
    one, four = (count(network, torch.empty(config.input_shapes(batch)[0])) for batch in (1, 4))
    assert (four.macs, four.activations) == (4 * one.macs, 4 * one.activations)
    assert four.params == one.params


def test_a_module_without_inputs_and_an_image_size_for_a_module_are_mistakes():
    with pytest.raises(TypeError, match="needs the tensors"):
        count(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="no img_size"):
        count(nn.Linear(2, 2), torch.empty(1, 2), img_size=224)


def test_inputs_for_a_config_are_a_mistake_and_not_ignored():
    with pytest.raises(TypeError):
        count("hvt_ti_1", torch.empty(1, 3, 32, 32))


def test_a_name_that_is_no_network_is_refused():
    with pytest.raises(ConfigError, match="unknown model"):
        count("hvt_s_9")


def test_the_breakdown_adds_up():
    found = breakdown(make_config("hvt", {"depth": 3, "img_size": 48, "pool_stages": 2, "pool": "conv_dw"}))
    top = found.modules[""]
    assert (top.macs, top.params, top.activations) == (found.total.macs, found.total.params, found.total.activations)
    children = [name for name in found.modules if name and "." not in name]
    assert set(children) == {"patch_embed", "blocks", "norm", "head"}
    assert sum(found.modules[name].macs for name in children) == top.macs
    blocks = [found.modules[f"blocks.{i}"].macs for i in range(3)]
    assert sum(blocks) == found.modules["blocks"].macs
    assert found.modules["blocks.0.pool"].macs == 4 * 3 * 384  # 9 tokens become 4, of 3 each
    assert found.modules["blocks.1.pool"].macs == 1 * 3 * 384
    assert found.modules["blocks.0.pool"].params == 384 * 3 + 384
    assert found.modules["norm"].macs == 0


def test_the_summary_of_rounds_is_the_count():
    found = count("hvt_ti_1", img_size=32)
    assert Complexity.summarise([found.model_dump(), found.model_dump()]) == found


def test_what_was_counted_once_is_remembered(monkeypatch):
    config = parse_model("hvt_ti_1:depth=1,img_size=32")
    found = count(config)
    monkeypatch.setattr(type(config), "build", lambda *_, **__: pytest.fail("was built again"))
    assert count(parse_model("hvt:depth=1,img_size=32,embed_dim=192")) == found


# --- the given module is left alone -----------------------------------------------------------------------------------


def snapshot(module):
    return {
        name: (
            child.training,
            dict(child._forward_hooks),
            dict(child._forward_pre_hooks),
            {
                key: (t.data_ptr(), t.requires_grad, t.device, t.dtype, t.grad, t._version)
                for key, t in itertools.chain(child.named_parameters(recurse=False), child.named_buffers(recurse=False))
            },
        )
        for name, child in module.named_modules()
    }


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_module_unchanged(training):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).train(training)
    network[1].eval()
    network[3].weight.requires_grad_(False)
    network[0].register_forward_hook(lambda *_: None)
    before, values = snapshot(network), copy.deepcopy(network.state_dict())
    images = torch.ones(1, 3, 4, 4)
    assert count(network, images).macs == 4 * 4 * 27 + 16 * 2
    assert snapshot(network) == before
    assert all(torch.equal(values[key], value) for key, value in network.state_dict().items())
    assert torch.equal(images, torch.ones(1, 3, 4, 4))


def test_counting_leaves_the_process_unchanged():
    from torch.nn.modules import module as registry

    wrong, right = nn.Linear(3, 4), nn.Linear(4, 5)
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    fast, grad = torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()
    count("hvt_ti_1:depth=2,img_size=48")
    with pytest.raises(CountError):
        macs(lambda a: torch.cdist(a, a), (3, 4))
    with pytest.raises(CountError):
        macs(lambda a: a[a > 0], (3, 4))
    with pytest.raises((RuntimeError, CountError)):
        macs(wrong, (4, 4))
    assert torch.equal(torch.get_rng_state(), generator)
    assert (torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()) == (fast, grad)
    assert torch.get_num_threads() == threads
    assert torch._C._get_tracing_state() is None
    assert not registry._global_forward_hooks
    assert not registry._global_forward_pre_hooks
    assert macs(right, (3, 4)) == 60


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_number_format_changes_no_count(dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).to(dtype)
    assert count(network, torch.zeros(1, 3, 4, 4, dtype=dtype)).macs == 464


def test_whole_numbers_can_be_an_input():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 5))
    assert count(network, torch.zeros(1, 3, dtype=torch.int64)).macs == 60


def test_counting_works_in_inference_mode_and_under_another_default():
    with torch.inference_mode():
        assert macs(nn.Linear(4, 5), (3, 4)) == 60
    torch.set_default_dtype(torch.float64)
    try:
        assert macs(nn.Linear(4, 5), (3, 4)) == 60
    finally:
        torch.set_default_dtype(torch.float32)


COUNT_22B = """
import resource, sys
from hvt_bench.metrics.complexity import count
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
count("vit:depth=1,img_size=32,embed_dim=64")
before = peak()
found = count("vit_22b")
print(found.params, round(peak() - before))
"""


def test_counting_a_network_of_22_billion_parameters_takes_no_memory():
    answer = subprocess.run([sys.executable, "-c", COUNT_22B], capture_output=True, text=True, check=True).stdout
    params, grown_mib = map(int, answer.split())
    assert params == 21_758_467_048
    assert grown_mib < 200


# --- blocks that are entered once, and those that only look alike ---------------------------------------------------


TINY = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 3, "num_classes": 3}
TINY_IMAGE = torch.empty(1, 3, 16, 16)


def test_a_block_that_was_changed_is_counted_as_it_is():
    config = make_config("vit", TINY)
    network = config.build()
    network.blocks[2].mlp.fc1 = nn.Linear(8, 100)
    network.blocks[2].mlp.fc2 = nn.Linear(100, 8)
    assert count(network, TINY_IMAGE).macs == config.closed_form_macs() + 2 * 5 * 8 * (100 - 32)


def test_a_block_that_was_taken_out_is_not_counted():
    network = make_config("vit", TINY).build()
    network.blocks[1] = nn.Identity()
    assert count(network, TINY_IMAGE).macs == make_config("vit", TINY | {"depth": 2}).closed_form_macs()


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_block_called_several_times_counts_each_time(times):
    config = make_config("vit", TINY)
    found = breakdown(nn.Sequential(*[Block(config.block_shape("sdpa"))] * times), torch.empty(1, 5, 8))
    assert found.total.macs == times * config.block_macs(5)
    assert found.modules["0"].macs == times * config.block_macs(5)


def test_a_block_of_another_class_is_another_block():
    class Longer(Block):
        def __init__(self, config):
            super().__init__(config.block_shape("sdpa"))
            self.extra = nn.Linear(8, 8)

        def forward(self, x):
            return self.extra(super().forward(x))

    config = make_config("vit", TINY)
    network = nn.Sequential(Block(config.block_shape("sdpa")), Longer(config), Block(config.block_shape("sdpa")))
    assert count(network, torch.empty(1, 5, 8)).macs == 3 * config.block_macs(5) + 5 * 8 * 8


def test_blocks_of_the_same_shape_and_another_number_of_heads_differ_in_activations():
    network = make_config("vit", TINY).build()
    network.blocks[2].attn.num_heads = 1
    two, one = 2 * 5 * 5 + 5 * 8, 5 * 5 + 5 * 8
    assert count(make_config("vit", TINY)).activations - count(network, TINY_IMAGE).activations == two - one


def test_the_breakdown_names_blocks_that_were_not_entered():
    config = make_config("hvt", TINY | {"img_size": 48, "pool_stages": 1})
    found = breakdown(config).modules
    for part in ("", ".attn", ".attn.qkv", ".mlp", ".mlp.fc2", ".norm1"):
        assert found[f"blocks.1{part}"] == found[f"blocks.2{part}"]
    assert found["blocks.0"].macs == config.block_macs(36)
    assert found["blocks.1"].macs == config.block_macs(17)
    assert found.keys() >= {name for name, _ in config.build().named_modules()} - {"blocks.0.pool"}


# --- arithmetic on sizes is no data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, : x.shape[1] // 2],
        lambda x: x.view(1, int(math.sqrt(x.shape[1])), -1, 4),
        lambda x: x.view(1, int(x.shape[1] ** 0.5), -1, 4),
        lambda x: x[:, : int(x.shape[1] / 2)],
        lambda x: x[:, : int(0.5 * x.shape[1])],
        lambda x: x[:, : math.ceil(x.shape[1] * 0.5)],
        lambda x: x[:, : max(1, x.shape[1] - 3)],
        lambda x: x + torch.arange(x.shape[1])[:, None],
        lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
        lambda x: F.pad(x, (0, 0, 0, -x.shape[1] % 7)),
        lambda x: x if x.shape[1] > 4 else x + 1,
        lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]),
        lambda x: x[: torch.tensor(2).item()],
        lambda x: x.new_zeros(x.numel()),
    ],
)
def test_a_network_may_reckon_with_sizes(function):
    network = nn.Sequential(nn.Linear(4, 4), Calls(lambda _, x: function(x)))
    assert count(network, torch.empty(1, 9, 4)).macs == 9 * 16


# --- what cannot be counted -------------------------------------------------------------------------------------------


def nested(function, depth):
    """A network that calls `function` in a module `depth` levels down; and the name of that module."""
    inner = Calls(lambda _, x: function(x))
    for _ in range(depth):
        inner = nn.Sequential(nn.Linear(4, 4), inner)
    return inner, ".".join(["1"] * depth)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("aten::cdist", lambda x: torch.cdist(x, x)),
        ("aten::fft_fft", lambda x: torch.fft.fft(x).real),
        ("aten::fft_rfft2", lambda x: torch.fft.irfft2(torch.fft.rfft2(x))),
        ("aten::linalg_multi_dot", lambda x: torch.linalg.multi_dot([x, x.t(), x])),
        ("aten::kron", lambda x: torch.kron(x, x)),
    ],
)
def test_an_operator_without_a_rule_is_an_error_that_names_it_and_its_module(operator, function, depth):
    network, name = nested(function, depth)
    with pytest.raises(CountError) as caught:
        count(network, torch.empty(3, 4))
    assert str(caught.value) == f"{operator} in module '{name}': no counting rule says what this operator costs"


def test_an_operator_without_a_rule_at_the_top():
    with pytest.raises(CountError, match="aten::cdist at the top of the network"):
        macs(lambda a: torch.cdist(a, a), (3, 4))
    with pytest.raises(CountError, match="aten::lstm at the top of the network"):
        macs(nn.LSTM(4, 5), (3, 1, 4))


def test_an_operator_of_its_own_is_an_error_that_names_it():
    library = torch.library.Library("hvt_bench_test", "DEF")
    try:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        network, _ = nested(lambda x: torch.ops.hvt_bench_test.twice(x), 2)
        with pytest.raises(CountError, match=r"hvt_bench_test::twice in module '1\.1'"):
            count(network, torch.empty(3, 4))
    finally:
        library._destroy()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("nonzero", lambda x: x[x.nonzero()[:, 0]]),
        ("index", lambda x: x[x > 0]),
        ("masked_select", lambda x: x.masked_select(x > 0)),
        ("unique", lambda x: x.unique()),
        ("_local_scalar_dense", lambda x: x * x.sum().item()),
        ("_local_scalar_dense", lambda x: x[: x.argmax().item()]),
        ("_local_scalar_dense", lambda x: x[: x.argmax(1)[0].item()]),
        ("_local_scalar_dense", lambda x: x if x.sum() > 0 else -x),
        ("repeat_interleave", lambda x: x.repeat_interleave(x.argmax(1), 0)),
        ("", lambda x: x[x.argmax(1).tolist()]),
        ("", lambda x: x * float(x.detach().numpy().sum())),
    ],
)
def test_what_depends_on_the_data_is_an_error_that_names_operator_and_module(operator, function, depth):
    network, name = nested(function, depth)
    with pytest.raises(CountError, match=rf"{operator}.* in module '{name.replace('.', '[.]')}'"):
        count(network, torch.empty(3, 4))


class HoldsNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("keep", torch.tensor(2))
        self.layer = nn.Linear(4, 5)

    def forward(self, x):
        return self.layer(x[: int(self.keep)])


def test_a_number_in_a_buffer_is_refused_and_not_guessed():
    with pytest.raises(CountError, match="in module '0'"):
        count(nn.Sequential(HoldsNumber()), torch.empty(3, 4))


# --- two books --------------------------------------------------------------------------------------------------------


def off_by_one(monkeypatch, operator):
    rule = COUNTED_OPS[operator]
    monkeypatch.setitem(COUNTED_OPS, operator, lambda inputs, outputs: rule(inputs, outputs) + 1)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_wrong_rule_is_noticed_and_located(monkeypatch, depth):
    network, name = nested(lambda x: x @ x.t(), depth)
    off_by_one(monkeypatch, "aten::matmul")
    with pytest.raises(CountError) as caught:
        count(network, torch.empty(3, 4))
    right = depth * 3 * 16 + 3 * 3 * 4
    assert f"fvcore finds {right + 1:,} MACs, FlopCounterMode {right:,}" in str(caught.value)
    assert f"in module '{name}'" in str(caught.value)


def test_a_wrong_rule_at_the_top_is_noticed(monkeypatch):
    off_by_one(monkeypatch, "aten::linear")
    with pytest.raises(CountError, match="fvcore finds 61 MACs, FlopCounterMode 60"):
        macs(nn.Linear(4, 5), (3, 4))


@pytest.mark.parametrize(
    ("operator", "module"),
    [
        ("aten::linear", "blocks.0.attn.qkv"),
        (FUSED, "blocks.0.attn"),
        ("aten::_convolution", "patch_embed.proj"),
    ],
)
def test_a_wrong_rule_is_noticed_in_a_vision_transformer(monkeypatch, operator, module):
    off_by_one(monkeypatch, operator)
    with torch.device("meta"):
        network = create_model("hvt", embed_dim=64, depth=2, img_size=48)
    with pytest.raises(CountError, match=f"'{module}'"):
        count(network, torch.empty(1, 3, 48, 48))


def test_a_second_book_that_finds_more_is_noticed_too(monkeypatch):
    monkeypatch.setitem(COUNTED_OPS, "aten::linear", lambda inputs, outputs: 0)
    with pytest.raises(CountError, match="fvcore finds 0 MACs, FlopCounterMode 60"):
        macs(nn.Linear(4, 5), (3, 4))


# --- what depends on its data, executed -------------------------------------------------------------------------------


def test_a_network_that_depends_on_its_data_is_counted_by_what_it_did():
    """Of six rows, those whose sum is positive go on."""
    network = Calls(lambda net, x: net.two(net.one(x)[x.sum(1) > 0]), one=nn.Linear(4, 4), two=nn.Linear(4, 5))
    x = torch.ones(6, 4)
    x[:2] = -1
    found = breakdown(network, x, executed=True)
    assert (found.total.macs, found.total.params, found.total.count_source) == (6 * 16 + 4 * 20, 45, "executed")
    assert found.modules["two"].macs == 4 * 20
    assert found.total.train_macs is None
    with pytest.raises(CountError, match="--executed counts one real image"):
        count(network, x)


def test_what_can_be_read_off_shapes_is_not_executed():
    assert count("vit_22b", executed=True).count_source == "shapes"  # else it would take 88 GB
    assert count(nn.Linear(4, 5), torch.ones(1, 4), executed=True).count_source == "shapes"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_execution_counts_as_a_trace_of_shapes_does(attention):
    """Attention on CPU tensors, which FlopCounterMode alone passes over before torch 2.15, included."""
    config = make_config("hvt", TINY | {"img_size": 48, "pool_stages": 2, "depth": 4})
    network = Calls(lambda net, x: net.hvt(x) * float(x.sum()), hvt=config.build(attention))
    found = count(network, torch.randn(1, 3, 48, 48), executed=True)
    expected = count(config)
    assert found.count_source == "executed"
    for name in ("params", "macs", "fvcore_flops", "activations"):
        assert getattr(found, name) == getattr(expected, name), name


def test_an_execution_leaves_the_network_and_its_weights_alone():
    network = Calls(lambda net, x: net.norm(net.one(x)[x > 0]), one=nn.Linear(4, 4), norm=nn.Identity()).train()
    before = copy.deepcopy(network.state_dict())
    count(network, torch.ones(2, 4), executed=True)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_what_has_no_rule_has_none_when_executed_either():
    with pytest.raises(CountError, match="aten::cdist at the top of the network: no counting rule"):
        count(Calls(lambda _, x: torch.cdist(x, x)), torch.ones(3, 4), executed=True)


def test_an_operator_that_does_not_say_its_shape_is_told_how():
    library = torch.library.Library("hvt_bench_shapeless", "DEF")
    try:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CPU")
        network = Calls(lambda net, x: net.one(torch.ops.hvt_bench_shapeless.twice(x)), one=nn.Linear(4, 4))
        with pytest.raises(CountError, match=r"hvt_bench_shapeless::twice .*torch\.library\.register_fake teaches it"):
            count(network, torch.ones(3, 4))
    finally:
        library._destroy()


# --- values that are known while shapes are traced --------------------------------------------------------------------


def shape_of_loop(steps):
    """A network that goes through its layer as often as `steps()` says."""

    def forward(net, x):
        for _ in range(int(steps())):
            x = net.layer(x)
        return x

    return Calls(forward, layer=nn.Linear(4, 4))


def in_place(change, *start, read=lambda n: n[0]):
    def steps():
        n = torch.tensor(start)
        change(n)
        return read(n)

    return steps


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (in_place(lambda n: n.add_(3), 0), 3),
        (in_place(lambda n: n.mul_(2), 2), 4),
        (in_place(lambda n: torch.add(n, 2, out=n), 2), 4),
        (in_place(lambda n: n[:1].add_(3), 1, 1), 4),
        (in_place(lambda n: n.fill_(2), 0, read=lambda n: n.tolist()[0]), 2),
        (in_place(lambda n: n.fill_(2), 0, read=lambda n: n.numpy()[0]), 2),
        (in_place(lambda n: torch.cumsum(n, 0, out=n), 1, 2, read=lambda n: n[1]), 3),
    ],
)
def test_a_known_value_that_is_written_over_is_the_new_one(steps, times):
    assert count(shape_of_loop(steps), torch.randn(1, 4)).macs == times * 16


def test_an_unknown_value_in_the_place_of_a_known_one_is_refused():
    def forward(net, x):
        n = torch.tensor([1.0])
        n.copy_(x.sum())
        return net.layer(x) * n

    with pytest.raises(CountError, match=r"aten::copy_ .* writes into a tensor of known values"):
        count(Calls(forward, layer=nn.Linear(4, 4)), torch.randn(1, 4))


def test_what_is_repeated_as_often_as_a_size_says_is_counted():
    network = Calls(lambda net, x: net.layer(x.repeat_interleave(x.shape[1] // 2, dim=0)), layer=nn.Linear(4, 4))
    assert count(network, torch.empty(3, 4)).macs == 6 * 16


# --- outputs and modules of every kind --------------------------------------------------------------------------------


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    steps: int = 3


@pytest.mark.parametrize(
    "wrap",
    [Output, lambda y: {"y": y, "n": 3}, lambda y: (y, True), lambda y: {1: y}, lambda y: [[y], None], lambda y: (y,)],
)
def test_an_output_may_hold_what_is_no_tensor(wrap):
    network = Calls(lambda net, x: wrap(net.layer(x)), layer=nn.Linear(4, 4))
    found = count(network, torch.empty(1, 4))
    assert (found.macs, found.train_macs) == (16, 32)


def test_a_view_of_a_parameter_may_be_an_input():
    network = Calls(lambda net, x: net.layer(net.token.expand(2, -1)) + x.sum(), layer=nn.Linear(4, 4))
    network.token = nn.Parameter(torch.zeros(1, 4))
    found = count(network, torch.empty(1, 4))
    assert (found.macs, found.train_macs, found.params) == (32, 96, 24)


def test_a_compiled_network_is_counted_as_what_it_was_made_from():
    assert count(torch.compile(nn.Linear(4, 5)), torch.empty(1, 4)).macs == 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nn.LazyLinear(3), "cannot be copied without its weights: .*uninitialized parameter"),
        (lambda: nn.utils.weight_norm(nn.Linear(4, 4)), "cannot be copied without its weights"),
        (lambda: torch.jit.script(nn.Linear(4, 4)), "a scripted module hides what it calls"),
    ],
)
def test_a_network_that_cannot_be_counted_says_why(make, sentence):
    with pytest.raises(CountError, match=sentence):
        count(make(), torch.empty(1, 4))


def test_training_of_a_network_without_products_costs_nothing():
    network = Calls(lambda net, x: x * net.layer.weight.sum(), layer=nn.Linear(4, 4))
    assert count(network, torch.empty(1, 4)).train_macs == 0


def test_tied_weights_are_the_first_modules_that_hold_them():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    found = breakdown(nn.Sequential(one, other), torch.empty(3, 4)).modules
    assert [found[name].params for name in ("", "0", "1")] == [24, 20, 4]


def test_threads_count_one_after_the_other():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = []
    threads = [threading.Thread(target=lambda: found.append(count(layer, torch.empty(1, 5, 8)).macs)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_execution_gives_each_book_a_network_of_its_own():
    def forward(net, x):
        net.calls += 1
        return net.layer(x[x.sum(1) > -1e9]) if net.calls == 1 else x

    network = Calls(forward, layer=nn.Linear(4, 4))
    network.calls = 0
    assert count(network, torch.ones(2, 4), executed=True).macs == 32
    assert network.calls == 0


# --- more address space than there is memory --------------------------------------------------------------------------


def test_a_weight_larger_than_any_memory_is_counted():
    with torch.device("meta"):
        layer = nn.Linear(1_000_000_000, 5000)  # 20 TB
    found = count(layer, torch.empty(1, 1_000_000_000, device="meta"))
    assert (found.macs, found.params) == (5_000_000_000_000, 5_000_000_005_000)


def test_attention_over_more_tokens_than_fit_any_memory_is_counted():
    config = make_config("hvt", {"img_size": 16 * 800, "embed_dim": 64, "depth": 2, "pool_stages": 1})
    with torch.device("meta"):
        network = config.build("eager")  # weights of 640,000 x 640,000
    assert count(network, torch.empty(1, 3, 12800, 12800, device="meta")).macs == config.closed_form_macs()


def test_some_modules_can_be_left_out_of_the_cost():
    config = parse_model("vit:img_size=32,embed_dim=64,depth=2,num_classes=10,global_pool=map")
    counted = breakdown(config)
    encoder = counted.without("attn_pool", "head")
    assert encoder.macs == config.stem_macs() + 2 * config.block_macs(4)
    assert encoder.params == counted.total.params - counted.modules["attn_pool"].params - 650
    assert counted.without().activations == counted.total.activations
    with pytest.raises(KeyError, match="atn_pool"):
        counted.without("atn_pool")
