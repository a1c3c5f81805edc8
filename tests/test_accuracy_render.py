"""What `hvt-bench reproduce --claims` prints."""

import csv
import io
import json
import math

import pytest

from hvt_bench.cli import main
from hvt_bench.errors import RequestError
from hvt_bench.reproduce.accuracy_render import describe_claims
from hvt_bench.row import Row
from hvt_bench.table import write_table
from tests.test_accuracy_judge import HVT, VIT, example, trained

TABLE = """\
--- data fashion_mnist:subset=20000, 28 px, float32, recipe small, 8 epochs, 5 seeds ---

claim               A         B                 top-1 of A    top-1 of B    A - B        interval    claimed         MACs of A / B     to train  verdict
------------------  --------  --------------  ------------  ------------  -------  --------------  ---------  --------------------  -----------  ------------
equal MACs          hvt_wide  vit_token       85.60 ± 0.16  82.70 ± 0.16    +2.90  +2.67 to +3.13        > 0  16.7 / 16.7 M = 1.00  8.0 / 8.0 T  supported
equal MACs          hvt_deep  vit_token       82.90 ± 0.16  82.70 ± 0.16    +0.20  -0.03 to +0.43        > 0  16.6 / 16.7 M = 0.99  7.9 / 8.0 T  undecided
mean or token: HVT  hvt_half  hvt_half_token  80.90 ± 0.16  82.00 ± 0.16    -1.10  -1.33 to -0.87        > 0    9.0 / 9.3 M = 0.96  4.3 / 4.5 T  contradicted
mean or token: ViT  vit_avg   vit_token       82.80 ± 0.16  82.70 ± 0.16    +0.10  -0.13 to +0.33        > 0  16.3 / 16.7 M = 0.98  7.8 / 8.0 T  undecided
half the MACs       hvt_half  vit_token       80.90 ± 0.16  82.70 ± 0.16    -1.80  -2.03 to -1.57     > -1.8   9.0 / 16.7 M = 0.54  4.3 / 8.0 T  undecided

- equal MACs: "With comparable FLOPs, our HVT outperforms the competitive baselines on ImageNet and CIFAR-100 datasets" (arXiv 2103.10619, abstract; in Figure 1, Scale HVT-Ti-4 has 3.03 points more than DeiT-Ti, at 1.39 and 1.25 GFLOPs). A: an HVT that pools, read by the mean of its tokens; B: a ViT, read by its class token; A at 0.89 to 1.12 x the MACs of B; claimed: A - B > 0
- mean or token: HVT: "the average pooled visual tokens contain more discriminative information than the single class token" (arXiv 2103.10619, abstract). A: an HVT that pools, read by the mean of its tokens; B: an HVT that pools, read by a class token, of the same shape; claimed: A - B > 0
- mean or token: ViT: "the average pooled visual tokens contain more discriminative information than the single class token" (arXiv 2103.10619, abstract; a control that never pools, as HVT-S-0 does not: 80.39 % on ImageNet, DeiT-S 79.8 %). A: a ViT, read by the mean of its tokens; B: a ViT, read by its class token, of the same shape; claimed: A - B > 0
- half the MACs: on ImageNet, HVT-S-1 has 78.00 % where DeiT-S has 79.8 %, at 0.52 x the FLOPs: half of them for 1.8 points (our sentence; HVT's released README, main results, and arXiv 2012.12877, Table 5; where errors are fewer than ImageNet's 20 %, 1.8 points are a larger part of them). A: an HVT that pools, read by the mean of its tokens; B: a ViT, read by its class token, of the same shape; A at 0.45 to 0.60 x the MACs of B; claimed: A - B > -1.8
- interval: 95 %, of A - B in points of top-1, by Welch's t over seeds, not paired; ± is the standard deviation between seeds
- supported: the whole interval lies above what is claimed; contradicted: the whole of it lies below; undecided: anything else
- each interval is 95 % by itself, and there are 5; with 5 % for any error among all of them (Holm), all decided verdicts stand
- seeds change weights and the order of images, never the images: how far other test images would move a top-1 is in no interval here
- this is of fashion_mnist, this recipe and these networks, and says nothing of ImageNet; the paper's claims are of ImageNet and CIFAR-100 at 224 px, after 300 epochs
"""  # noqa: E501


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Write rows as reports/run.csv, and reproduce."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()

    def run_here(rows, *arguments):
        write_table(tmp_path / "reports/run.csv", rows)
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *arguments])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_here


def said(rows, run):
    """The lines below the table."""
    code, out, _ = run(rows, "--claims")
    assert code == 0
    return [line for line in out.splitlines() if line.startswith("- ")]


def test_every_verdict_is_printed_and_no_failure(run):
    assert run(example(), "--claims") == (0, TABLE, "")
    assert run(example(), "--claims", "reports/run.csv") == (0, TABLE, "")


def test_a_verdict_that_does_not_stand_with_the_others_is_named(run):
    lines = said(example(hvt_wide={"top1": 82.7}, hvt_deep={"top1": 82.95}, vit_avg={"top1": 82.0}), run)
    assert (
        "- each interval is 95 % by itself, and there are 5; with 5 % for any error among all of them (Holm), "
        "undecided would be: equal MACs (hvt_deep, vit_token)"
    ) in lines


def test_what_is_undecided_for_one_reason_is_one_line(run):
    lines = said([Row({**row, "top1_rounds": row["top1_rounds"][:3]}) for row in example()], run)
    assert lines[0] == (
        "- undecided: equal MACs (hvt_wide, vit_token), equal MACs (hvt_deep, vit_token), mean or token: HVT "
        "(hvt_half, hvt_half_token), mean or token: ViT (vit_avg, vit_token), half the MACs (hvt_half, vit_token): "
        "3 seeds on a side, and an interval takes 4: raise `rounds`"
    )
    assert not any(line.startswith("- each interval") for line in lines)


def test_a_run_with_no_pair_says_what_it_lacks_of_each_claim(run):
    lines = said([trained("vit", 80.0, **VIT)], run)
    assert [line.split(": no row")[0] for line in lines[:4]] == [
        "- not judged: equal MACs",
        "- not judged: mean or token: HVT",
        "- not judged: mean or token: ViT",
        "- not judged: half the MACs",
    ]
    assert not any(line.startswith("- interval") for line in lines)


def test_a_round_that_is_not_there_yet_leaves_its_cells_empty(run):
    rows = [trained("vit", 80.0, (0.0, 0.1), **VIT), trained("hvt", 81.0, (), **HVT | {"total_train_macs": None})]
    _, out, _ = run(rows, "--claims")
    line = next(line for line in out.splitlines() if line.startswith("half the MACs"))
    assert line.split() == "half the MACs hvt vit 80.05 ± 0.07 > -1.8 9.0 / 16.7 M = 0.54 undecided".split()
    assert out.startswith(
        "--- data fashion_mnist:subset=20000, 28 px, float32, recipe small, 8 epochs, 0 to 2 seeds ---"
    )


def test_two_data_sets_are_two_tables_and_what_they_reach_is_said(run):
    rows = [
        *example(),
        *(Row({**row, "data": "imagefolder:path=/data", "point_id": f"{row['point_id']}2"}) for row in example()),
    ]
    _, out, _ = run(rows, "--claims")
    assert [line for line in out.splitlines() if line.startswith("---") and "data" in line] == [
        f"--- data {data}, 28 px, float32, recipe small, 8 epochs, 5 seeds ---"
        for data in ("fashion_mnist:subset=20000", "imagefolder:path=/data")
    ]
    assert out.splitlines()[-1] == (
        "- this is of these images, this recipe and these networks; the paper's claims are of ImageNet and CIFAR-100 "
        "at 224 px, after 300 epochs"
    )


def test_markdown_has_a_heading_and_a_table(run):
    _, out, _ = run(example(), "--claims", "--format", "markdown")
    assert out.startswith("## data fashion_mnist:subset=20000, 28 px")
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 7
    assert {line.count("|") for line in table} == {12}


def test_csv_has_a_line_a_pair_and_one_for_a_claim_without(run):
    _, out, _ = run(example()[:3], "--claims", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [(line["claim"], line["verdict"]) for line in lines] == [
        ("mean or token: ViT", "undecided"),
        ("half the MACs", "undecided"),
        ("equal MACs", ""),
        ("mean or token: HVT", ""),
    ]
    assert lines[1]["a_top1_rounds"] == "80.7 81 80.9 81.1 80.8"
    assert (lines[1]["claimed_above"], lines[1]["macs_ratio"]) == ("-1.8", "0.539101")
    assert lines[3]["reason"] == "no row is of an HVT that pools, read by a class token"


def test_json_has_the_numbers_and_what_they_do_not_say(run):
    _, out, _ = run(example(), "--claims", "--format", "json")
    found = json.loads(out)
    assert list(found) == ["confidence", "claims", "remarks"]
    first = found["claims"][0]
    assert (first["a"], first["b"], first["verdict"], first["stands"]) == ("hvt_wide", "vit_token", "supported", True)
    assert first["difference"] == pytest.approx(2.9)
    assert "seeds change weights" in found["remarks"][3]


def test_json_has_null_for_what_is_no_number(run):
    seeds = (math.nan, 85.0, 86.0, 85.0, 84.0)
    rows = example(hvt_wide={"top1": 85.0, "top1_rounds": seeds, "top1_spread": math.nan})
    rows[4] = Row({**rows[4], "top1": math.nan})
    _, out, _ = run(rows, "--claims", "--format", "json")
    first = json.loads(out, parse_constant=pytest.fail)["claims"][0]
    assert (first["a_top1"], first["a_top1_rounds"][:2], first["difference"]) == (None, [None, 85.0], None)
    assert (first["low"], first["p_value"], first["stands"]) == (None, None, None)
    _, out, _ = run(rows, "--claims")
    line = next(line for line in out.splitlines() if line.startswith("equal MACs"))
    numbers = "nan 82.70 ± 0.16 > 0 16.7 / 16.7 M = 1.00 8.0 / 8.0 T"
    assert line.split() == f"equal MACs hvt_wide vit_token {numbers} undecided".split()
    assert "and there are 4; with" in out


def test_a_better_b_that_was_passed_over_is_a_line(run):
    near = trained("vit_near", 75.0, **VIT | {"embed_dim": 60, "macs": 16_553_000})
    assert said([*example(), near], run)[0] == (
        "- passed over: equal MACs (hvt_deep, vit_near): A against vit_token, at 0.99 x the MACs, would be undecided; "
        "it has more top-1, 82.70, but vit_near has the nearer MACs"
    )


def test_remarks_name_the_table_where_there_are_several(run):
    short = [{**row, "data": "cifar10", "point_id": f"{row['point_id']}2"} for row in example()]
    rows = [*example(), *(Row({**row, "top1_rounds": row["top1_rounds"][:3]}) for row in short)]
    lines = said(rows, run)
    assert lines[0].startswith("- undecided: equal MACs (hvt_wide, vit_token; data cifar10), equal MACs (hvt_deep,")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--claims", "--all"], "--all is about printed numbers, and --claims about a run; leave one of them out"),
        (["--claims", "--accuracy", "my.csv"],
         "--accuracy is about printed numbers, and --claims about a run; leave one of them out"),
        (["--claims", "none.csv"], "none.csv: there is no such file; `hvt-bench sweep` writes one"),
        (["--claims", "--format", "yml"], "--format: unknown format 'yml'; known: csv, json, markdown, table"),
        (["--claims"], "reports/run.csv: no row has a top1; say `measure: [complexity, accuracy]` in the sweep file, "
                       "as sweeps/accuracy.yaml does, and sweep again"),
    ],
)  # fmt: skip
def test_a_wrong_request_names_the_next_move(run, arguments, sentence):
    untrained = [trained("vit", 80.0, (), **VIT | {"data": None, "recipe": None})]
    assert run(untrained, *arguments) == (2, "", f"error: {sentence}\n")


def test_an_unknown_format_is_said_before_the_run_is_read(tmp_path):
    with pytest.raises(RequestError, match=r"^--format: unknown format 'yml'"):
        describe_claims(tmp_path / "none.csv", "yml")
