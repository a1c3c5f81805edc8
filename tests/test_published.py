"""The transcribed tables: whole, in scope or with a reason, and of the networks that they name."""

import csv
from collections import Counter
from dataclasses import fields
from decimal import Decimal
from importlib.resources import files

import pytest

from hvt_bench.models import VARIANTS, parse_model
from hvt_bench.published import SYSTEMS, Printed, published
from hvt_bench.reproduce.conventions import CONVENTIONS

ROWS = [row for key in SYSTEMS for row in published(key)]
OURS = [row for row in ROWS if row.ours]


def named(row):
    return f"{row.key}: {row.model} {row.variant} ({row.location[:40]})"


def test_every_table_is_a_system_and_has_the_columns_of_a_row():
    tables = {path.name: path for path in files("hvt_bench.published").iterdir() if path.name.endswith(".csv")}
    assert sorted(tables) == sorted(f"{key}.csv" for key in SYSTEMS)
    columns = [field.name for field in fields(Printed) if field.name != "key"]
    for path in tables.values():
        assert next(csv.reader(path.read_text("utf-8").splitlines())) == columns


def test_the_transcription_is_whole():
    assert Counter(row.key for row in ROWS) == {
        "hvt": 22,
        "vit": 13,
        "deit": 31,
        "deit_iii": 16,
        "torchvision": 5,
        "timm": 98,
        "dynamicvit": 78,
        "mvit": 36,
        "mvitv2": 4,
        "scaling_vit": 24,
        "vitgan": 1,
        "patchdiv": 8,
    }
    assert sum(len(row.cells) for row in ROWS) == 490
    assert sum(len(row.cells) for row in OURS) == 322


def test_readme_says_how_many_lines_there_are(repository):
    assert f"`hvt_bench/published/`: {len(ROWS)} lines as printed" in (repository / "README.md").read_text()


def test_no_line_stands_there_twice():
    places = Counter((row.source, row.location, row.model, row.variant, row.dataset, row.resolution) for row in ROWS)
    assert [place for place, times in places.items() if times > 1] == []


def test_a_number_that_is_printed_once_for_several_lines_stands_in_one():
    of_scaling = [row for row in published("scaling_vit") if row.location.startswith("Table 2")]
    assert Counter(row.resolution for row in of_scaling if row.params_m) == {"224": 11}
    assert Counter(row.resolution for row in of_scaling if row.flops_g) == {"224": 11, "384": 11}


def test_every_line_has_its_source():
    assert [named(row) for row in ROWS if not (row.source and row.location and row.model)] == []


def test_what_is_printed_are_numbers():
    for row in ROWS:
        for text in (row.params_m, row.flops_g, row.throughput):
            assert not text or Decimal(text) > 0, named(row)
        for text in (row.top1, row.top5):
            assert not text or 0 < Decimal(text) < 100, named(row)


def test_a_line_is_ours_or_says_why_not():
    for row in ROWS:
        assert row.ours or (row.reason and not row.overrides and not row.convention), named(row)


def test_a_convention_is_known_and_stands_where_something_is_compared():
    for row in ROWS:
        assert bool(row.convention) == bool(row.ours and row.cells), named(row)
        assert not row.convention or row.convention in CONVENTIONS, named(row)
    assert {row.convention for row in ROWS} - {""} == set(CONVENTIONS)


def test_a_line_of_ours_has_a_reason_only_with_a_cause_of_one_cell():
    for row in OURS:
        assert bool(row.reason) == bool(row.cause), named(row)
        assert not row.cause or row.cell(row.cause.partition(":")[0]), named(row)


def test_every_variant_is_there():
    assert {row.ours for row in OURS} <= set(VARIANTS)


@pytest.mark.parametrize("row", OURS, ids=named)
def test_our_network_has_the_shape_that_is_printed(row):
    shape = parse_model(row.network).fields()
    printed = {"patch_size": row.patch, "embed_dim": row.width, "depth": row.depth, "num_heads": row.heads}
    for name, text in printed.items():
        if text.isdecimal() and name in shape:
            assert shape[name] == int(text), name
    if row.resolution:
        patch = shape["patch_size"]
        assert shape["img_size"] == int(row.resolution) // patch * patch  # what is left over is dropped
    if row.dataset.startswith("CIFAR-100"):
        assert shape["num_classes"] == 100


def test_a_network_that_timm_is_said_to_have_is_there():
    timm = pytest.importorskip("timm")
    said = {row.reason.partition("timm:")[2].split()[0] for row in ROWS if "timm:" in row.reason}
    assert len(said) > 10
    assert said <= set(timm.list_models())
