import csv
import io
import json

import pytest

from hvt_bench.errors import RequestError
from hvt_bench.metrics.complexity import breakdown, count
from hvt_bench.metrics.timeline import OWN, Timeline
from hvt_bench.models import parse_model
from hvt_bench.parts import BREAKDOWNS
from hvt_bench.point import Point
from hvt_bench.show import describe
from hvt_bench.timed import Timed
from tests.conftest import ENVIRONMENT

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


# --- with time --------------------------------------------------------------------------------------------------------

POINT = Point(model="x", config=SMALL, device="cpu", batch_size=4, warmup_s=0.0, num_threads=3)


@pytest.fixture
def measured(monkeypatch):
    """Describe the small network as if its passes had taken these times; what was to be timed is in `asked`."""

    def describe_with(times, by="block", form="table", point=POINT):
        def time_point(point, names):
            describe_with.asked = names
            return Timed(point, Timeline(times, 12.3456789, 7), ENVIRONMENT)

        monkeypatch.setattr("hvt_bench.show.time_point", time_point)
        return describe("small", point.config, by, form, measured=point)

    return describe_with


BLOCKS = {"": 21.0, OWN: 1.0, "patch_embed": 2.0, "blocks.0": 8.0, "blocks.1": 4.0, "blocks.2": 4.0, "norm": 0.5}


def cells(text, first):
    """The words of the line of a table that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(first)]
    return line[len(first) :].split()


def test_time_stands_beside_the_macs(measured):
    text = measured(BLOCKS)
    assert measured.asked == ["(its own)", "patch_embed", "blocks.0", "blocks.1", "blocks.2", "norm", "head"]
    assert text.splitlines()[3].split() == "module tokens MACs params activations % ms % of time GMACs/s".split()
    share = f"{100 * FIRST / TOTAL:.1f}"
    assert cells(text, "blocks.0")[1] == f"{FIRST:,}"
    assert cells(text, "blocks.0")[-4:] == [share, "8.000", "41.0", f"{4 * FIRST / 8e-3 / 1e9:.1f}"]
    assert cells(text, "norm")[-4:] == ["0.0", "0.500", "2.6", "0.0"]
    assert cells(text, "head")[-1] == f"{100 * 640 / TOTAL:.1f}"  # it did not run, so its time stays empty
    assert cells(text, "total")[-4:] == ["100.0", "19.500", "100.0", f"{4 * TOTAL / 19.5e-3 / 1e9:.1f}"]
    assert text.split("\n\n")[2].splitlines()[:4] == [
        "time          the parts add up to 19.500 ms; a pass without hooks takes 12.346 ms",
        "measured      device=cpu  dtype=float32  batch_size=4  attention=sdpa  num_threads=3; medians of 7 passes",
        "device_name   Test CPU; PyTorch 9.9.9",
        f"macs          {TOTAL:,} (0.00 G multiply-adds of one image)",
    ]


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ("stage", "the parts add up to 19.500 ms; a pass without hooks takes 12.346 ms"),
        ("module", "with hooks, a pass takes 21.000 ms; a pass without them takes 12.346 ms"),
        ("operator", "the operators add up to 8.000 ms; a pass without the profiler takes 12.346 ms"),
    ],
)
def test_what_taking_it_apart_cost_is_said(measured, by, sentence):
    text = measured(BLOCKS if by != "operator" else {"linear": 5.0, "gelu": 3.0}, by)
    assert f"time          {sentence}" in text.splitlines()
    assert (measured.asked is None) == (by == "operator")


def test_an_operator_whose_macs_are_unknown_is_named(measured):
    text = measured({"transformer_encoder_layer_fwd": 3.0, "linear": 1.0}, "operator")
    assert cells(text, "transformer_encoder_layer_fwd") == ["3.000", "75.0"]
    line = "unmatched     the MACs of transformer_encoder_layer_fwd stand with the operators that it is made of"
    assert line in text.splitlines()
    assert "unmatched" not in measured({"gelu": 3.0}, "operator")


def test_eager_attention_is_timed_beside_the_products_that_it_is_written_out_as(measured):
    times = {"linear": 1.0, "matmul": 1.0, "convolution": 1.0, "softmax": 1.0}
    text = measured(times, "operator", point=POINT.model_copy(update={"attention": "eager"}))
    assert cells(text, "matmul")[0] == f"{2 * 18 * 64:,}"
    assert "scaled_dot_product_attention" not in text


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_csv_and_json_hold_the_times_too(measured, by):
    times = BLOCKS if by != "operator" else {"linear": 1 / 3, "gelu": 2.0}
    rows = list(csv.DictReader(io.StringIO(measured(times, by, "csv"))))
    found = json.loads(measured(times, by, "json"))
    assert rows == [
        {key: "" if value is None else str(value) for key, value in part.items()} for part in found["parts"]
    ]
    assert list(rows[0])[-3:] == ["time_ms", "time_pct", "macs_per_s"]
    assert found["time"] == {
        "total_ms": {"operator": 2.33333, "module": 21.0}.get(by, 19.5),
        "pass_ms": 12.3457,
        "passes": 7,
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 4,
        "mode": "infer",
        "attention": "sdpa",
        "compile": False,
        "num_threads": 3,
        "warmup_s": 0.0,
        "warmup_passes": 3,
        "min_time_s": 2.0,
        "device_name": "Test CPU",
        "torch_version": "9.9.9",
    }


def test_what_cannot_be_timed_is_refused_before_it_is_counted(monkeypatch):
    monkeypatch.setattr("hvt_bench.show.breakdown", None)
    with pytest.raises(RequestError, match="no training step"):
        describe("x", SMALL, measured=POINT.model_copy(update={"mode": "train"}))
