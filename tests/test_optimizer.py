import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hvt_bench.models import create_model
from hvt_bench.training.optimizer import learning_rate, make_optimizer
from hvt_bench.training.recipes import RECIPES

RECIPE = RECIPES["small"].model_copy(update={"epochs": 4, "warmup_epochs": 1.0, "min_lr": 1e-5})


def decayed(network):
    groups = make_optimizer(network, RECIPE).param_groups
    names = {id(weight): name for name, weight in network.named_parameters()}
    return {group["weight_decay"]: {names[id(weight)] for weight in group["params"]} for group in groups}


@pytest.mark.parametrize(
    "model", ["hvt:depth=2,embed_dim=64,global_pool=token", "vit:depth=2,embed_dim=64,distilled=true"]
)
def test_positions_tokens_biases_and_norms_do_not_decay(model):
    network = create_model(model)
    found = decayed(network)
    names = {name for name, _ in network.named_parameters()}
    free = {name for name in names if name.endswith(("bias", "pos_embed", "_token")) or "norm" in name}
    assert found == {RECIPE.weight_decay: names - free, 0.0: free}
    assert "blocks.0.attn.qkv.weight" in found[RECIPE.weight_decay]


def test_a_network_can_name_what_does_not_decay():
    class Own(nn.Linear):
        def no_weight_decay(self):
            return {"weight"}

    assert decayed(Own(2, 2))[0.0] == {"weight", "bias"}


def test_the_rate_rises_over_the_warm_up_then_falls_as_a_cosine():
    rates = [learning_rate(RECIPE, step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([RECIPE.lr * (step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(RECIPE.lr)
    assert rates[25] == pytest.approx((RECIPE.lr + 1e-5) / 2)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_deit_is_within_3_1_percent_of_its_released_schedule():
    """timm 0.3.2: by epoch, a rise from 1e-6 over five of them, and a cosine that counts from the first epoch."""
    for epoch in range(1, 300):
        cosine = 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2
        released = 1e-6 + (1e-3 - 1e-6) * epoch / 5 if epoch < 5 else cosine
        assert learning_rate(RECIPES["deit"], 1251 * epoch, 1251) == pytest.approx(released, rel=0.031)


@settings(derandomize=True, database=None, deadline=None)
@given(st.integers(1, 50), st.integers(1, 30), st.floats(0, 0.99), st.data())
def test_no_rate_leaves_its_bounds(epochs, steps, share, data):
    recipe = RECIPE.model_copy(update={"epochs": epochs, "warmup_epochs": share * epochs})
    rate = learning_rate(recipe, data.draw(st.integers(0, epochs * steps - 1)), steps)
    assert 0 < rate <= recipe.lr * (1 + 1e-12)
    assert math.isfinite(rate)
