import csv
import io
import json

import pytest

from hvt_bench.errors import RequestError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.models import parse_model
from hvt_bench.show import BREAKDOWNS, describe

SMALL = parse_model("hvt:depth=3,pool_stages=1,img_size=32,embed_dim=64,num_classes=10")
STEM, FIRST, LATER = 4 * 3 * 16**2 * 64, 12 * 4 * 64**2 + 2 * 4**2 * 64, 12 * 64**2 + 2 * 64
TOTAL = STEM + FIRST + 2 * LATER + 640


def parts_of(config, by):
    return json.loads(describe("x", config, by, "json"))["parts"]


def test_shows_fields_blocks_and_totals():
    lines = describe("small", SMALL).splitlines()
    assert lines[0] == "small (family hvt)"
    assert lines[1].startswith("img_size=32  patch_size=16  in_chans=3  num_classes=10  embed_dim=64  depth=3  ")
    assert "qkv_bias=true" in lines[1]
    assert "blocks_per_stage" not in lines[1]
    table = {line.split()[0]: line.split()[1:] for line in lines[5:] if line}
    assert table["patch_embed"][0] == f"{STEM:,}"
    assert table["blocks.0"][:2] == ["4", f"{FIRST:,}"]
    assert table["blocks.1"][:2] == ["1", f"{LATER:,}"]
    assert table["head"][0] == "640"
    assert table["total"][0] == f"{TOTAL:,}"
    assert table["total"][-1] == "100.0"
    assert f"macs          {TOTAL:,} (0.00 G multiply-adds of one image)" in lines


@pytest.mark.parametrize("model", ["hvt_s_2:depth=4,num_classes=10", "deit_tiny_distilled:depth=2"])
@pytest.mark.parametrize("by", ["block", "stage"])
def test_blocks_and_stages_add_up_to_the_whole(model, by):
    config = parse_model(model)
    total = count(config)
    parts = parts_of(config, by)
    for quantity in ("macs", "params", "activations"):
        assert sum(part[quantity] for part in parts) == getattr(total, quantity)


def test_stages_are_runs_of_blocks_that_see_the_same_tokens():
    parts = [part for part in parts_of(parse_model("hvt_s_2:num_classes=10"), "stage") if part["tokens"]]
    assert [(part["stage"], part["tokens"]) for part in parts] == [
        ("blocks.0", 196),
        ("blocks.1 to blocks.6", 97),
        ("blocks.7 to blocks.11", 48),
    ]


def test_modules_are_all_there_with_what_lies_in_them():
    parts = {part["module"]: part for part in parts_of(SMALL, "module")}
    assert parts["(all)"]["macs"] == TOTAL
    assert parts["blocks"]["macs"] == FIRST + 2 * LATER
    assert parts["blocks.2"] == {**parts["blocks.1"], "module": "blocks.2"}
    assert parts["blocks.2.mlp.fc1"]["macs"] == 4 * 64**2
    assert set(parts) == {name or "(all)" for name in breakdown(SMALL).modules}


def test_operators_add_up_to_the_whole():
    parts = {part["operator"]: part["macs"] for part in parts_of(SMALL, "operator")}
    attention = 2 * (4**2 + 1 + 1) * 64
    assert parts == {"linear": TOTAL - STEM - attention, "convolution": STEM, "scaled_dot_product_attention": attention}
    assert list(parts.values()) == sorted(parts.values(), reverse=True)


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_csv_and_json_hold_the_same_numbers(by):
    rows = list(csv.DictReader(io.StringIO(describe("x", SMALL, by, "csv"))))
    parts = parts_of(SMALL, by)
    assert rows == [{key: "" if value is None else str(value) for key, value in part.items()} for part in parts]
    assert json.loads(describe("x", SMALL, by, "json"))["total"]["macs"] == TOTAL


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_every_breakdown_is_a_table_too(by):
    (total,) = [line for line in describe("x", SMALL, by).splitlines() if line.startswith("total")]
    assert f"{TOTAL:,}" in total.split()
    assert total.split()[-1] == "100.0"


@pytest.mark.parametrize(
    ("by", "form", "sentence"),
    [
        ("blok", "table", "--by: unknown breakdown 'blok'; did you mean 'block'?"),
        ("block", "xml", "--format: unknown format 'xml'; known: csv, json, table"),
    ],
)
def test_an_unknown_breakdown_or_format_is_refused(by, form, sentence):
    with pytest.raises(RequestError) as caught:
        describe("x", SMALL, by, form)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("by", BREAKDOWNS)
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_single_module_that_costs_nothing_is_shown_too(by, form):
    config = parse_model("torch.nn:AdaptiveAvgPool2d:output_size=1")
    assert describe("pool", config, by, form)
