"""Printed numbers beside ours: verdicts, causes, what is shown, a person's own top-1."""

import csv
import io
import json
from dataclasses import replace

import pytest

from hvt_bench.cli import main
from hvt_bench.errors import FileError, RequestError
from hvt_bench.models import VARIANTS
from hvt_bench.published import SYSTEMS, published
from hvt_bench.reproduce import cells as cells_module
from hvt_bench.reproduce import reproduce
from hvt_bench.reproduce.accuracy import join_accuracy
from hvt_bench.reproduce.cells import compare, judge
from hvt_bench.reproduce.render import describe


@pytest.fixture(scope="module")
def counted():
    """Every cell that is counted."""
    return compare(SYSTEMS)[0]


def row_of(key, **wanted):
    (row,) = [row for row in published(key) if all(getattr(row, name) == text for name, text in wanted.items())]
    return row


@pytest.fixture
def printing(monkeypatch):
    """Have one system consist of given rows."""

    def have(key, *rows):
        original = published
        monkeypatch.setattr(cells_module, "published", lambda asked: rows if asked == key else original(asked))

    return have


S_4 = row_of("hvt", model="HVT-S-4", variant="official")

# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "ours", "verdict"),
    [
        ("2.40", 2_402_020_608, "match"),
        ("2.4", 2_402_020_608, "match"),
        ("2.41", 2_402_020_608, "within"),
        ("2.39", 2_402_020_608, "within"),
        ("2.405", 2_402_020_608, "within"),
        ("2", 2_402_020_608, "match"),
        ("0.6", 642_299_520, "match"),
        ("0.60", 642_299_520, "differs"),
        ("37.0", 36_950_000_000, "match"),
        ("37.0", 36_949_999_999, "within"),
        ("100", 102_500_000_000, "within"),
        ("100.0", 102_500_000_001, "differs"),
        ("100.0", 97_499_999_999, "differs"),
    ],
)
def test_the_digits_of_a_printed_number_say_how_it_was_rounded(printed, ours, verdict):
    assert judge(printed, "macs", "flops", ours, ours) == verdict


def test_params_are_in_millions():
    assert judge("5.74", "macs", "params", 5_735_656, 5_735_656) == "match"
    assert judge("5.74", "macs", "flops", 5_735_656, 5_735_656) == "differs"


def test_timm_drops_zeros_that_it_rounded_to():
    assert judge("4.7", "macs", "flops", 4_670_000_000, 4_670_000_000) == "match"
    assert judge("4.7", "timm", "flops", 4_670_000_000, 4_670_000_000) == "within"
    assert judge("4.7", "timm", "flops", 4_700_100_000, 4_700_100_000) == "match"


def test_scaling_vit_may_be_3_percent_off():
    assert judge("100.0", "encoder_2x", "flops", 97_000_000_000, 97_000_000_000) == "within"
    assert judge("100.0", "encoder_2x", "flops", 96_999_999_999, 96_999_999_999) == "differs"


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [("2.8", "differs"), ("2.9", "bracketed"), ("3.0", "match"), ("3.1", "differs")],
)
def test_dynamicvit_prints_a_number_between_two_counts(printed, verdict):
    assert judge(printed, "predictors", "flops", ours=2_980_892_544, least=2_878_000_000) == verdict


@pytest.mark.parametrize(
    ("printed", "least", "ours", "verdict"),
    [
        ("11.1", 11_150_000_000, 11_450_000_000, "bracketed"),
        ("11.1", 11_150_000_001, 11_450_000_000, "differs"),
        ("11.50", 11_150_000_000, 11_450_000_000, "bracketed"),
        ("11.50", 11_150_000_000, 11_449_999_999, "differs"),
    ],
)
def test_half_a_tenth_beyond_the_two_counts_is_bracketed(printed, least, ours, verdict):
    assert judge(printed, "predictors", "flops", ours, least) == verdict


# --- the printed cells ------------------------------------------------------------------------------------------------


def test_every_printed_cell_matches_or_is_explained(counted):
    unexplained = [
        f"{c.row.key} {c.row.network} {c.quantity}: {c.printed}, {c.ours:,}" for c in counted if c.unexplained
    ]
    assert unexplained == []


def test_every_cell_of_a_network_that_is_built_is_counted(counted):
    built = [row for key in SYSTEMS for row in published(key) if row.ours in VARIANTS]
    assert len(counted) == sum(len(row.cells) for row in built)
    _, rest = compare(SYSTEMS)
    assert len(rest) + len({id(cell.row) for cell in counted}) == sum(len(published(key)) for key in SYSTEMS)


def test_an_explanation_is_of_a_cell_that_differs(counted):
    differing = {(id(cell.row), cell.quantity) for cell in counted if cell.verdict == "differs"}
    for row in {id(cell.row): cell.row for cell in counted}.values():
        if row.cause:
            assert (id(row), row.cause.partition(":")[0]) in differing, row


def test_what_official_hvt_prints_matches_to_the_last_digit(counted):
    official = [cell for cell in counted if cell.row.key == "hvt" and cell.row.variant == "official"]
    assert len(official) == 16
    assert {cell.verdict for cell in official} == {"match"}


def test_what_timm_counted_matches_to_the_last_digit(counted):
    of_timm = [cell for cell in counted if cell.row.key == "timm"]
    assert len(of_timm) > 100
    assert {cell.verdict for cell in of_timm} == {"match"}


def test_a_published_number_of_another_class_count_is_compared_under_it(counted):
    (cell,) = [cell for cell in counted if cell.printed == "21.74"]
    assert (cell.row.network, cell.ours, cell.verdict) == ("hvt_s_1:num_classes=100", 21_740_644, "match")


def test_dynamicvit_is_within_or_between_its_counts(counted):
    verdicts = {cell.verdict for cell in counted if cell.row.convention == "predictors"}
    assert verdicts <= {"match", "bracketed"}


# --- causes -----------------------------------------------------------------------------------------------------------


def verdict_and_explanation(printing, row):
    printing("hvt", row)
    ((cell,), _) = compare(["hvt"])
    return cell.verdict, cell.explanation


@pytest.mark.parametrize(
    ("printed", "cause", "holds"),
    [
        ("1.2", "flops:as=hvt_s_3", False),
        ("1.6", "flops:as=hvt_s_3", True),
        ("1.6", "params:as=hvt_s_3", False),
        ("1.6", "", False),
        ("1.6", "flops:elsewhere", True),
        ("1.3", "flops:cut", True),
        ("1.2", "flops:cut", False),
    ],
)
def test_a_cause_is_checked(printing, printed, cause, holds):
    official = replace(S_4, params_m="")
    row = replace(official, flops_g=printed, cause=cause, reason="why")
    printing("hvt", row, official)
    cells, _ = compare(["hvt"])
    assert cells[0].verdict == "differs"
    assert cells[0].explanation == ("why" if holds else "")
    assert cells[0].unexplained is not holds


def test_right_elsewhere_needs_another_place(printing):
    row = replace(S_4, params_m="", flops_g="1.6", cause="flops:elsewhere", reason="why", overrides="num_classes=999")
    assert verdict_and_explanation(printing, row) == ("differs", "")


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    def run_here(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *map(str, arguments)])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_here


def test_one_system(run):
    code, out, err = run("hvt")
    lines = out.splitlines()
    assert (code, err, lines[0]) == (0, "", "--- hvt ---")
    assert [line.split() for line in lines if line.startswith("Scale HVT-Ti-4 ")][1] == (
        "Scale HVT-Ti-4 scale_hvt_ti_4 224 1.39 G FLOPs 1,393,640,448 MACs +0.26 match".split()
    )
    assert "  - holds: MACs: 1.39 against 1.25 G, 11 % more" in lines
    assert lines[-3:] == [
        "hvt: 34 of 36 printed cells match, 2 different for a known cause; 2 rows not compared",
        "",
        "--all lists what is not compared, and why",
    ]


def test_all_systems_end_with_a_sum(run, counted):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("--- ")] == [f"--- {key} ---" for key in SYSTEMS]
    matching = sum(cell.verdict == "match" for cell in counted)
    assert out.splitlines()[-2].startswith(f"all: {matching} of {len(counted)} printed cells match, ")


def test_another_count_than_that_of_the_whole_network_is_shown_with_it(run):
    _, out, _ = run("timm")
    assert "1.26 G FLOPs    1,258,411,200    1,253,683,200  fvcore" in out


def test_an_unexplained_difference_fails_and_stands_out(run, printing):
    printing("hvt", replace(S_4, flops_g="1.6"))
    code, out, err = run("hvt")
    assert (code, err) == (1, "1 cell differs from what is printed, and nobody knows why\n")
    assert "-12.90  DIFFERS" in out
    assert "- HVT-S-4, 1.6 G FLOPs (official): differs, and nobody knows why" in out
    assert "hvt: 1 of 2 printed cells match, 1 UNEXPLAINED; 0 rows not compared" in out


def test_an_image_that_patches_do_not_divide_is_said_to_be_counted_smaller(run, printing):
    row = row_of("torchvision", model="vit_h_14")
    printing("torchvision", replace(row, resolution="520", flops_g=""))
    _, out, _ = run("torchvision")
    assert (
        "- vit_h_14 at 520 px: its patches do not divide the image, and the source drops what is left over; "
        "counted at 518 px"
    ) in out.splitlines()


def test_all_lists_the_rest_with_its_reason(run):
    _, out, _ = run("mvitv2", "--all")
    (line,) = [line for line in out.splitlines() if line.startswith("MViTv2-T")]
    assert line.split() == "MViTv2-T 1k 24 4.7 82.3 not one of our families; timm:mvitv2_tiny is this network".split()
    assert "--all lists" not in out


def test_an_unknown_system_names_the_nearest(run):
    assert run("dynamic_vit") == (2, "", "error: unknown system 'dynamic_vit'; did you mean 'dynamicvit'?\n")


def test_an_unknown_format_is_said_before_anything_is_counted(monkeypatch):
    monkeypatch.setattr("hvt_bench.reproduce.render.reproduce", None)
    with pytest.raises(RequestError, match=r"^--format: unknown format 'yml'; known: csv, json, markdown, table$"):
        describe("hvt", "yml")


def test_csv_has_a_line_a_cell():
    text, unexplained = describe("hvt", "csv")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert (len(lines), unexplained) == (36, 0)
    assert {name: lines[3][name] for name in ("model", "quantity", "printed", "ours", "verdict", "top1")} == {
        "model": "Scale HVT-Ti-4",
        "quantity": "flops",
        "printed": "1.39",
        "ours": "1393640448",
        "verdict": "match",
        "top1": "75.23",
    }
    everything = list(csv.DictReader(io.StringIO(describe("hvt", "csv", everything=True)[0])))
    assert len(everything) == 38
    assert everything[-1]["not_compared"] == "no params or FLOPs are printed"


def test_json_has_conventions_cells_claims_and_the_sum():
    said = json.loads(describe("hvt", "json")[0])
    assert list(said) == ["conventions", "cells", "claims", "not_joined", "summary"]
    assert said["cells"][1]["printed"] == "0.64"
    assert said["cells"][1]["ours"] == 642_299_520
    assert said["claims"][0]["findings"][0]["holds"] is True
    assert said["summary"] == "34 of 36 printed cells match, 2 different for a known cause"


def test_markdown_has_a_heading_and_a_table_a_system():
    text, _ = describe("vit", "markdown")
    assert text.startswith("## vit\n\n| model ")
    assert "| ViT-Large | vit_large              |      | 307 M params | 304,326,632 |" in text


def test_a_bar_in_a_name_is_no_cell_of_a_markdown_table():
    lines = describe("deit", "markdown")[0].splitlines()
    table = [line.replace("\\|", "") for line in lines if line.startswith("| ")]
    assert any("DeiT-B384 " in line for line in table)
    assert {line.count("|") for line in table} == {10}


def test_what_is_counted_can_be_followed():
    seen = []
    reproduce("torchvision", follow=lambda rows: (seen.append(row.model) or row for row in rows))
    assert seen == ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"]


# --- a person's own top-1 ---------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "my.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_text


def test_own_accuracy_stands_beside_the_printed_one(run, write):
    path = write("note,model,top1\nx,hvt_s_4,75.5\n,HVT-S-0,80\n,deit_tiny,\n,hvt_s_1:num_classes=100,74\n")
    code, out, _ = run("hvt", "--accuracy", path)
    assert code == 0
    table = [line.split() for line in out.splitlines() if line.endswith(tuple("0123456789")) and "ImageNet-1k" in line]
    assert ["HVT-S-4", "official", "ImageNet-1k", "75.23", "75.5", "+0.27"] in table
    assert ["HVT-S-0", "official", "ImageNet-1k", "80.39", "80", "-0.39"] in table
    (line,) = [line for line in out.splitlines() if "user reading" in line and "CIFAR-100" in line]
    assert line.split()[-3:] == ["75", "74", "-1.00"]


def test_own_accuracy_is_in_the_csv_even_where_nothing_else_is_compared(write):
    path = write("model,top1\nhvt_s_1:num_classes=100,74\n")
    text, _ = describe("hvt", "csv", accuracy=path)
    own = [line for line in csv.DictReader(io.StringIO(text)) if line["own_top1"]]
    assert [line["own_top1"] for line in own] == ["74"] * len(own)
    assert "no params or FLOPs are printed" in {line["not_compared"] for line in own}


def test_a_model_that_nothing_is_printed_of_is_told(write):
    joined, strange = join_accuracy(write("model,top1\nhvt_s_4,75\nhvt_s_9,76\n"), ["hvt"])
    assert {pair.row.network for pair in joined} == {"hvt_s_4"}
    assert len(strange) == 1
    assert "my.csv:3: column 'model': no top-1 is printed of 'hvt_s_9'; did you mean 'hvt_s_4' or" in strange[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ":1: column 'model' is missing; the header needs 'model' and 'top1', such as model,top1"),
        ("model,acc\n", ":1: column 'top1' is missing; the header needs"),
        ("model,top1,top1\n", ":1: column 'top1' stands there twice; the header needs"),
        ("model,top1\n", ": no line has a top1; give one a model"),
        ("model,top1\nhvt_s_4,\n", ": no line has a top1"),
        ("model,top1\nhvt_s_4,high\n", ":2: column 'top1': 'high' is no percentage; give a number from 0 to 100"),
        ("model,top1\nhvt_s_4,nan\n", ":2: column 'top1': 'nan' is no percentage"),
        ("model,top1\n\nhvt_s_4,752.3\n", ":3: column 'top1': '752.3' is no percentage"),
        ("model,top1\nhvt_s_4,75\nhvt_s_4,76\n", ":3: column 'model': 'hvt_s_4' stands in line 2 too; leave one"),
        ("model,top1\nHTV-S-4,75\n", ":2: column 'model': no top-1 is printed of 'HTV-S-4'; did you mean 'HVT-S-4' or"),
        (
            "model,top1\nresnet50,75\n",
            ":2: column 'model': no top-1 is printed of 'resnet50'; give it a variant's name",
        ),
        ("model,top1\nhvt_s_4,0.75\n", ":2: column 'top1': '0.75' looks like a share; give percent, such as 75"),
        ("model,top1\nhvt_s_4,75,5\n", ":2: more cells than the header has columns; a decimal comma?"),
        (
            "model,top1\nHVT-S-0,75\nhvt_s_0,76\n",
            ":3: column 'model': 'hvt_s_0' stands in line 2 too, as hvt_s_0",
        ),
        (
            "model,top1\nHVT-S-1,75\n",
            ":2: column 'model': 'HVT-S-1' is printed of 2 networks; name one of them: hvt_s_1",
        ),
        (b"model,top1\n\xff\xfe,75\n", ": is not a CSV: "),
        ('model,top1\n"hvt_s_4,75\n', ": is not a CSV: "),
    ],
)
def test_a_bad_file_names_file_line_and_column(write, text, sentence):
    path = write(text)
    with pytest.raises(FileError) as caught:
        join_accuracy(path, ["hvt"])
    assert str(caught.value).startswith(f"{path}{sentence}")


def test_a_missing_file_is_named_before_anything_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("hvt_bench.reproduce.compare", None)
    with pytest.raises(FileError, match=r"none\.csv: cannot be read: No such file or directory$"):
        reproduce("hvt", tmp_path / "none.csv")
