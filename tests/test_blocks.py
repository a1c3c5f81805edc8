import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hvt_bench.errors import CountError
from hvt_bench.metrics import blocks
from hvt_bench.metrics.blocks import Blocks, StandIn
from hvt_bench.metrics.complexity import _count_config, breakdown, count
from hvt_bench.models import make_config
from hvt_bench.models.config import ModelConfig
from hvt_bench.models.layers import Block, Recipe, blocks_made_by, stack
from tests.networks import configs

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "num_heads": 2, "num_classes": 3}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(blocks, "_KNOWN", {})
    _count_config.cache_clear()


def whole(config):
    """Count the network module by module, each block entered."""
    with torch.device("meta"):
        return breakdown(config.build(), *(torch.empty(shape) for shape in config.input_shapes(1)))


def same(found, expected):
    assert found.modules.keys() >= expected.modules.keys()
    assert {name: found.modules[name] for name in expected.modules} == expected.modules
    assert found.operators == expected.operators
    for name in ("params", "macs", "fvcore_flops", "activations", "train_macs"):
        assert getattr(found.total, name) == getattr(expected.total, name), name


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(configs())
def test_blocks_counted_once_give_what_the_whole_network_does(config):
    """Over a run of Hypothesis ever more blocks are known from other networks."""
    _count_config.cache_clear()
    same(breakdown(config), whole(config))


@pytest.mark.parametrize(
    "name",
    [  # of each family what its blocks can be
        *(
            "vit_tiny",
            "deit_base_distilled_384",
            "scaling_g_14",
            "hvt_ti_1",
            "hvt_s_4",
            "mvit_b_16_conv",
            "mvit_b_16_max",
        ),
        *(
            "dynamicvit_s",
            "dynamicvit_lv_s",
            "lvvit_s",
            "patchdiv_b12",
            "vitgan_generator_64",
            "vitgan_discriminator_32",
        ),
    ],
)
def test_a_published_network_is_counted_alike(name):
    config = make_config(name, {})
    same(breakdown(config), whole(config))


def built(config):
    found = Blocks()
    with torch.device("meta"), blocks_made_by(found.make):
        return found, config.build()


def test_of_equal_blocks_one_stands_in_the_network_as_itself():
    found, network = built(make_config("vit", TINY | {"depth": 5}))
    assert [type(block) for block in network.blocks] == [Block] + [StandIn] * 4
    assert list(found.met.values()) == [network.blocks[0]]


def test_equal_blocks_at_another_length_are_others():
    _, network = built(make_config("hvt", TINY | {"depth": 6, "pool_stages": 2}))
    kinds = [type(block).__name__ for block in network.blocks]
    assert kinds == ["PoolingBlock", "Block", "StandIn", "PoolingBlock", "Block", "StandIn"]


def test_a_block_known_from_another_network_is_not_built_again():
    count(make_config("vit", TINY | {"depth": 2}))
    _, network = built(make_config("vit", TINY | {"depth": 3, "num_classes": 7}))
    assert [type(block) for block in network.blocks] == [StandIn] * 3


def test_outside_the_maker_every_block_is_itself():
    built(make_config("vit", TINY | {"depth": 2}))
    assert all(type(block) is Block for block in make_config("vit", TINY | {"depth": 2}).build().blocks)


def test_what_is_known_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(blocks, "_MOST", 3)
    for depth in range(1, 9):
        config = make_config("hvt", TINY | {"depth": depth, "pool_stages": 1, "mlp_ratio": depth})
        assert count(config).macs == config.closed_form_macs()
        assert len(blocks._KNOWN) <= 5


def test_what_a_network_stands_on_is_not_forgotten_while_it_is_counted(monkeypatch):
    count(make_config("vit", TINY | {"depth": 2}))
    monkeypatch.setattr(blocks, "_MOST", 0)
    config = make_config("vit", TINY | {"depth": 3})
    assert count(config).macs == config.closed_form_macs()


def test_a_recipe_that_names_other_tokens_than_enter_is_noticed(monkeypatch):
    config = make_config("vit", TINY | {"depth": 2})
    made = Block(config.block_shape("sdpa"))
    found = Blocks()
    monkeypatch.setattr("hvt_bench.models.layers.Recipe.make", lambda self: made)
    found.make(Recipe(9, Block, ()))
    with pytest.raises(CountError, match="17 tokens enter a block whose recipe says 9"):
        made(torch.empty(1, 17, 8))


# --- training ---------------------------------------------------------------------------------------------------------


def executed(config, checkpointing):
    """Multiply-adds of a real training step, as PyTorch's counter sees it."""
    network = config.build("eager")
    if checkpointing:
        for block in network.blocks:
            block.forward = lambda x, forward=block.forward: checkpoint(forward, x, use_reentrant=False)
    with FlopCounterMode(display=False) as counter:
        outputs = network(torch.randn(config.input_shapes(1)[0]))
        (sum(outputs).sum() if isinstance(outputs, tuple) else outputs.sum()).backward()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("vit", {"depth": 3}),
        ("vit", {"depth": 1, "global_pool": "avg"}),
        ("vit", {"depth": 2, "distilled": True}),
        ("hvt", {"depth": 4, "pool_stages": 2}),
        ("hvt", {"depth": 3, "pool_stages": 3, "pool": "avg", "pool_kernel_size": 2}),
    ],
)
def test_training_costs_what_a_real_step_executes(family, fields, checkpointing):
    config = make_config(family, TINY | fields)
    for _ in range(2):  # with blocks that are new, and with blocks that are known
        assert count(config, checkpointing=checkpointing).train_macs == executed(config, checkpointing)
        _count_config.cache_clear()


def test_a_module_is_trained_on_paper_too_and_checkpoints_if_it_can():
    class Checkpoints(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
            self.checkpointing = False

        def set_grad_checkpointing(self, enable=True):
            self.checkpointing = enable

        def forward(self, x):
            x = self.stem(x)
            return checkpoint(self.block, x, use_reentrant=False) if self.checkpointing else self.block(x)

    network = Checkpoints()
    assert count(network, torch.empty(1, 4)).train_macs == 2 * 32 + 3 * 128
    assert count(network, torch.empty(1, 4), checkpointing=True).train_macs == 2 * 32 + 3 * 128 + 64
    assert count(nn.Linear(4, 4), torch.empty(1, 4), checkpointing=True).train_macs is None


@pytest.mark.parametrize("function", [lambda x: x.argmax(1), lambda x: x.detach() @ x.detach().t()])
def test_what_has_no_backward_has_no_cost_of_training(function):
    class Only(nn.Module):
        def forward(self, x):
            return function(x)

    assert count(Only(), torch.empty(3, 4)).train_macs is None


def test_checkpoints_that_fail_leave_the_rest_of_the_count_alone():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.checkpointing = nn.Linear(4, 4), False

        def set_grad_checkpointing(self, enable=True):
            self.checkpointing = enable

        def forward(self, x):
            if self.checkpointing:
                raise ValueError("not today")
            return self.layer(x)

    assert count(Fails(), torch.empty(1, 4)).train_macs == 32
    assert count(Fails(), torch.empty(1, 4), checkpointing=True).train_macs is None


# --- blocks that nothing stands in for, and networks with a loss of their own -----------------------------------------


class Gated(nn.Module):
    """A block of two inputs, which in training takes all tokens and else the first two."""

    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x, gate):
        return self.fc(x if self.training else x[:, :2]) * gate


class Judged(nn.Module):
    """Two gated blocks and a loss that multiplies what they put out by itself."""

    def __init__(self):
        super().__init__()
        self.blocks = stack(Recipe(None, Gated, (8,)) for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = block(x, x[:, :1])
        return x

    def training_loss(self, outputs, labels):
        return (outputs @ outputs.transpose(1, 2)).sum() + labels.sum()


class GatedConfig(ModelConfig):
    family = "gated"

    def build(self, attention="sdpa"):
        return Judged()

    def input_shapes(self, batch_size):
        return ((batch_size, 5, 8),)


def test_a_block_of_unstated_tokens_is_counted_each_time_and_in_the_mode_it_is_used_in():
    found = breakdown(GatedConfig())
    assert found.total.macs == 2 * 2 * 8 * 8
    assert found.modules["blocks.1"].macs == 2 * 8 * 8
    of_a_block, of_the_loss = 5 * 8 * 8, 5 * 5 * 8
    whole = 3 * 2 * of_a_block - of_a_block + 3 * of_the_loss  # the images ask for no gradient
    assert found.total.train_macs == whole
    assert found.checkpointed_train_macs == whole + 2 * of_a_block
