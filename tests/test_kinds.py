import pytest

from hvt_bench.metrics.complexity import breakdown
from hvt_bench.metrics.kinds import KINDS, kinds_of
from hvt_bench.models import parse_model

SMALL = "img_size=64,depth=4,embed_dim=64,num_heads=1,num_classes=10"


@pytest.mark.parametrize(
    "name",
    [
        f"hvt:{SMALL},pool_stages=2,pool=conv_dw",
        f"vit:{SMALL},distilled=true",
        f"dynamicvit:{SMALL}",
        f"patchdiv:{SMALL}",
        "mvit:img_size=64,embed_dim=16,num_heads=1",
        "vitgan_generator",
        "vitgan_discriminator",
    ],
)
def test_kinds_add_up_to_the_whole_and_stages_to_the_blocks(name):
    counted = breakdown(parse_model(name))
    found = kinds_of(counted)
    assert sum(found.macs.values()) == counted.total.macs
    assert set(found.macs) <= set(KINDS)
    stages = sum(sum(stage.macs.values()) for stage in found.stages)
    assert stages == counted.modules["blocks"].macs
    assert sum(stage.blocks for stage in found.stages) == len(counted.total.seq_lens)


def test_kinds_of_an_hvt_are_those_of_the_formula():
    config = parse_model(f"hvt:{SMALL},pool_stages=1,pool=conv_dw")  # 16 tokens in the first block, 7 in three
    found = kinds_of(breakdown(config))
    width, lens = 64, (16, 7, 7, 7)
    assert found.macs == {
        "patch embedding": 16 * 3 * 16 * 16 * width,
        "attention products": sum(2 * n * n * width for n in lens),
        "projections": sum(4 * n * width * width for n in lens),
        "MLP": sum(8 * n * width * width for n in lens),
        "pooling": 7 * 3 * width,
        "head": width * 10,
    }
    assert [(stage.tokens, stage.blocks) for stage in found.stages] == [(16, 1), (7, 3)]
    assert found.stages[1].macs == {"attention products": 18_816, "projections": 344_064, "MLP": 688_128}


def test_what_is_no_known_part_is_other():
    found = kinds_of(breakdown(parse_model(f"dynamicvit:{SMALL}")))
    predictors = breakdown(parse_model(f"dynamicvit:{SMALL}")).modules["score_predictor"].macs
    assert found.macs["other"] == predictors
