import pytest
import torch

from hvt_bench.errors import ConfigError, CountError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.models import parse_model
from tests.outside_networks import PICKS

NETS = """
import math
import torch
from torch import nn

library = torch.library.Library("hvt_bench_declared", "FRAGMENT")
if not hasattr(torch.ops.hvt_bench_declared, "mix"):
    library.define("mix(Tensor x, Tensor weight, int[] size) -> Tensor")
    library.impl("mix", lambda x, weight, size: x @ weight, "CPU")
    torch.library.register_fake("hvt_bench_declared::mix", lambda x, weight, size: x @ weight, lib=library)
    library.define("tune(Tensor x, Tensor weight, int[] size) -> Tensor")
    library.impl("tune", lambda x, weight, size: x @ weight, "CPU")
    torch.library.register_fake("hvt_bench_declared::tune", lambda x, weight, size: x @ weight, lib=library)
    torch.library.register_autograd(
        "hvt_bench_declared::tune",
        lambda ctx, gradient: (gradient @ ctx.weight.t(), None, None),
        setup_context=lambda ctx, inputs, output: setattr(ctx, "weight", inputs[1]),
        lib=library,
    )


class Mixes(nn.Module):
    def __init__(self, width=4, op="mix"):
        super().__init__()
        self.op = op
        self.one = nn.Linear(4, width)
        self.weight = nn.Parameter(torch.zeros(width, 5))

    def forward(self, x):
        return getattr(torch.ops.hvt_bench_declared, self.op)(self.one(x), self.weight, [4, 4])


def rule(inputs, outputs):
    assert inputs[2] is None
    return math.prod(outputs[0]) * inputs[0][-1]


def shy(inputs, outputs):
    raise ValueError("not today")


def vague(inputs, outputs):
    return 1.5


number = 3
"""


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("declared")
    (folder / "declared_nets.py").write_text(NETS + PICKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def mixes(op="mix", **operators):
    return parse_model(
        {
            "target": "declared_nets:Mixes",
            "op": op,
            "input_shapes": [[4]],
            "operators": {f"hvt_bench_declared::{name}": cost for name, cost in operators.items()},
        }
    )


def test_a_free_operator_costs_nothing():
    found = count(mixes(mix="free"))
    assert (found.macs, found.params) == (16, 40)


def test_a_rule_counts_in_both_books():
    found = breakdown(mixes(mix="declared_nets:rule"))
    assert (found.total.macs, found.total.activations) == (16 + 20, 4 + 5)
    assert found.total.train_macs is None  # the operator has no derivative
    assert found.operators["hvt_bench_declared::mix"].macs == 20


def test_a_rule_counts_in_training_too():
    found = count(mixes(tune="declared_nets:rule", op="tune"))
    assert (found.macs, found.train_macs) == (36, 2 * 16 + 20 + 20)  # forward, and the gradient of x by a plain product


def test_a_rule_counts_what_is_executed_too():
    with torch.no_grad():
        assert count(mixes(mix="declared_nets:rule"), executed=True).macs == 36


def test_an_operator_that_is_not_declared_is_told_how():
    with pytest.raises(CountError, match=r"hvt_bench_declared::mix.*`operators: \{hvt_bench_declared::mix: free\}`"):
        count(mixes())


@pytest.mark.parametrize(
    ("operators", "error", "sentence"),
    [
        ({"max": "free"}, ConfigError, "operators: the network brings no operator hvt_bench_declared::max"),
        ({"mix": "declared_nets:rull"}, ConfigError, "declared_nets:rull: unknown name 'rull'; did you mean 'rule'?"),
        ({"mix": "declared_nets:number"}, ConfigError, "declared_nets:number is a int; name a function or a class"),
        ({"mix": "declared_nets:shy"}, CountError, "the rule of hvt_bench_declared::mix fails on .* not today"),
        ({"mix": "declared_nets:vague"}, CountError, "the rule of hvt_bench_declared::mix says 1.5; multiply-adds are"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_one_sentence(operators, error, sentence):
    with pytest.raises(error, match=sentence):
        count(mixes(**operators))


def test_what_was_declared_is_in_the_row():
    config = mixes(mix="free")
    assert "hvt_bench_declared::mix=free" in config.columns("mynet", {})["model_kwargs"]
    assert config != mixes()


def test_an_outside_network_that_depends_on_its_data_is_counted_by_running_it():
    config = parse_model({"target": "declared_nets:Picks", "input_shapes": [[4]]})
    with pytest.raises(CountError, match="--executed counts one real image"):
        count(config)
    found = count(config, executed=True)
    assert (found.macs, found.count_source, found.train_macs) == (16 + 20, "executed", None)
    assert count(config, executed=True) == found
