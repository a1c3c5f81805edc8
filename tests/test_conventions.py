"""What the sources count, as we count it."""

import pytest

from hvt_bench.metrics.complexity import Breakdown, Complexity, ModuleCost, breakdown, count
from hvt_bench.models import parse_model
from hvt_bench.reproduce.conventions import CONVENTIONS


def counted_by(convention, network):
    config = parse_model(network)
    rule = CONVENTIONS[convention]
    return rule.params(config, breakdown(config)), rule.flops(config, breakdown(config))


def test_macs_are_those_of_the_count():
    counted = count("hvt_s_1")
    assert counted_by("macs", "hvt_s_1") == (counted.params, counted.macs)


def test_timm_counts_norms_too():
    params, flops = counted_by("timm", "deit_tiny")
    norms = 25 * 197 * 192 * 5  # two a block and the last one, 5 per element
    assert (params, flops) == (5_717_416, 1_253_683_200 + norms)


def test_without_a_classifier_its_weights_and_products_are_missing():
    with_it, without = counted_by("timm", "vit_large_patch32"), counted_by("timm_no_classifier", "vit_large_patch32")
    assert with_it[0] - without[0] == 1024 * 1000 + 1000
    assert with_it[1] - without[1] == 1024 * 1000


@pytest.mark.parametrize(
    ("network", "theirs"),
    [("vit_small", "deit3_small_patch16_224"), ("vit_base:embed_dim=512,num_heads=8", "deit3_medium_patch16_224")],
)
def test_deit_iii_has_the_weights_of_timms(network, theirs):
    pytest.importorskip("timm")
    module = parse_model(f"timm:{theirs}").build_on_meta()
    assert counted_by("deit_iii", network)[0] == sum(weight.numel() for weight in module.parameters())


SMALL = {"fvcore_flops": 0, "activations": 0, "seq_lens": None}


def of_parts(**parts):
    """A count of a network made of `parts`, each of so many params and MACs, and 1,000 and 10,000 of its own."""
    modules = {name: ModuleCost(params, macs, 0) for name, (params, macs) in parts.items()}
    params = 1_000 + sum(cost.params for cost in modules.values())
    macs = 10_000 + sum(cost.macs for cost in modules.values())
    return Breakdown(Complexity(params=params, macs=macs, **SMALL), modules, {}, None)


def test_an_encoder_is_counted_without_what_reads_it_at_2_flops_a_mac():
    rule, counted = CONVENTIONS["encoder_2x"], of_parts(attn_pool=(50, 60), head=(7, 8))
    config = parse_model("vit_tiny")
    assert (rule.params(config, counted), rule.flops(config, counted)) == (1_000, 20_000)


def test_predictors_are_counted_and_left_out():
    rule, counted = CONVENTIONS["predictors"], of_parts(score_predictor=(50, 60))
    config = parse_model("vit_tiny")
    assert (rule.params(config, counted), rule.flops(config, counted)) == (1_050, 10_060)
    assert rule.least_flops(config, counted) == 10_000


def test_readme_has_every_convention(repository):
    readme = (repository / "README.md").read_text()
    assert [name for name in CONVENTIONS if f"| `{name}` | " not in readme] == []
