"""Networks of equal cost: the paper's claim, and what is said of a search."""

import csv
import io
import json
from dataclasses import replace

import pytest

from hvt_bench.analysis.match import match, parse_percent, recount
from hvt_bench.analysis.render_match import render_match
from hvt_bench.errors import CountError, RequestError
from hvt_bench.metrics.complexity import count
from hvt_bench.models import make_config, parse_model


@pytest.fixture(scope="module")
def paper():
    return match("deit_tiny", "hvt", ["embed_dim", "pool_stages"], tolerance_pct=12)


def test_scale_hvt_ti_4_comes_out_against_deit_ti(paper):
    """The paper calls 1.39 against 1.25 GMACs comparable, at 3.9 x the params."""
    found = next(match for match in paper.joint if "scale_hvt_ti_4" in match.variants)
    assert found.changes == {"embed_dim": 384, "pool_stages": 4}
    assert (found.cost, paper.target.cost) == (1_393_640_448, 1_253_683_200)
    assert (found.params, paper.target.params) == (22_118_632, 5_717_416)
    assert found.ratios == {"embed_dim": 2.0}
    assert found.within
    assert not any("scale_hvt_ti_4" in m.variants for m in match("deit_tiny", "hvt", ["embed_dim"]).joint)


@pytest.mark.slow
def test_scale_hvt_ti_4_comes_out_of_all_five_dimensions():
    found = match("deit_tiny", "hvt", ["embed_dim", "depth", "img_size", "patch_size", "pool_stages"], (), 12)
    assert found.designs > 100_000
    text = render_match(found, limit=1)
    assert [line for line in text.splitlines() if "hvt_s_4, scale_hvt_ti_4 = hvt:pool_stages=4" in line]


def test_what_is_found_is_within_the_tolerance_and_ranked(paper):
    assert all(abs(match.cost_ratio - 1) <= 0.12 for match in paper.joint)
    assert [match.rank for match in paper.joint] == sorted(match.rank for match in paper.joint)
    assert paper.joint[0].params_ratio == max(match.params_ratio for match in paper.joint)
    assert (paper.designs, paper.invalid) == (70, 0)


def test_every_design_within_the_tolerance_is_found():
    """Against counting each by fvcore."""
    found = match("deit_tiny", "hvt", [], ["embed_dim=192..320:64", "pool_stages=0,1,2"], 15)
    counted = {
        (width, stages): count(make_config("hvt_ti_1", {"embed_dim": width, "pool_stages": stages})).macs
        for width in (192, 256, 320)
        for stages in (0, 1, 2)
    }
    target = count("deit_tiny").macs
    inside = {key for key, macs in counted.items() if abs(macs / target - 1) <= 0.15}
    assert inside
    assert {tuple(match.changes.values()) for match in found.joint} == inside


def test_among_equal_params_the_larger_along_a_dimension_comes_first():
    """Heads cost nothing; a field that USUAL has no values of may be varied too."""
    found = match("deit_tiny", "hvt", [], ["num_heads=1,3,2", "depth=25"])
    assert [match.changes["num_heads"] for match in found.joint] == [3, 2, 1]
    assert found.joint[0].ratios == {"num_heads": 1.0, "depth": 25 / 12}


def test_a_smaller_patch_is_more(paper):
    fine, coarse = (replace(paper.joint[0], ratios={"patch_size": ratio}) for ratio in (0.5, 1.0))
    assert fine.rank < coarse.rank


def test_a_dimension_that_never_gets_there_shows_the_nearest(paper):
    (nearest,) = match("deit_tiny", "hvt", ["embed_dim"], tolerance_pct=2).alone["embed_dim"]
    assert nearest.changes == {"embed_dim": 256}
    assert not nearest.within
    assert nearest.cost_ratio == pytest.approx(0.881, abs=1e-3)


def test_params_may_be_what_is_equal():
    found = match("deit_small", "hvt", ["pool_stages"], tolerance_pct=0.2, metric="params")
    assert found.target.cost == 22_050_664
    assert {match.changes["pool_stages"] for match in found.joint} == {0, 1}


def test_estimated_memory_may_be_what_is_equal():
    small = "deit_tiny:img_size=64,depth=2,num_classes=10"
    found = match(small, "hvt", ["depth"], [], 20, "estimated_memory_mib", batch_size=8)
    assert found.joint
    assert all(abs(match.cost_ratio - 1) <= 0.2 for match in found.joint)
    train = match(small, "hvt", [], ["depth=2"], 99, "estimated_memory_mib", batch_size=8, mode="train")
    assert train.target.cost > 2 * found.target.cost
    assert "memory (MiB)" in render_match(found)


def test_a_target_of_others_is_counted():
    pytest.importorskip("timm")
    found = match("timm:vit_tiny_patch16_224:depth=2", "hvt", [], ["depth=1,2,4"], 50)
    assert found.target.params == count("timm:vit_tiny_patch16_224:depth=2").params


def test_a_target_whose_sizes_are_not_known_says_where_the_search_begins():
    pytest.importorskip("timm")
    text = render_match(match("timm:vit_tiny_patch16_224:depth=2", "hvt", ["embed_dim"]))
    (said,) = [line for line in text.splitlines() if line.startswith("begins at")]
    assert said == (
        "begins at  embed_dim 384, the usual of family hvt: that of timm:vit_tiny_patch16_224:depth=2 cannot be read; "
        "--values embed_dim=192..384:64 searches below that"
    )
    wider = match("timm:vit_tiny_patch16_224:depth=2", "hvt", [], ["embed_dim=192..384:64"])
    assert "begins at" not in render_match(wider)
    assert "begins at" not in render_match(match("deit_tiny", "hvt", ["embed_dim", "depth"]), limit=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("deit_tiny", "hvd", ["depth"]), "--family: unknown family 'hvd'; did you mean 'hvt'"),
        (("deit_tiny", "hvt", ["depth"], [], 2, "flops"), "--metric: unknown metric 'flops'; known: "),
        (
            ("deit_tiny", "hvt", ["depth"], [], 2, "estimated_memory_mib", 64, "trian"),
            "--mode: unknown mode 'trian'; did you mean 'train'?",
        ),
        (
            ("deit_tiny", "hvt", ["depth", "embed_dim"], [], 2, "estimated_memory_mib"),
            "--metric estimated_memory_mib: 370 designs, each of whose memory takes about 0.1 s to estimate, are more "
            "than 300; narrow them with --values or --vary",
        ),
    ],
)
def test_what_cannot_be_searched_is_a_sentence(arguments, sentence):
    with pytest.raises(RequestError) as caught:
        match(*arguments)
    assert str(caught.value).startswith(sentence)


def test_a_family_without_closed_form_is_refused(monkeypatch):
    monkeypatch.setattr("hvt_bench.models.hvt.HVTConfig.closed_form_params", lambda self: None)
    with pytest.raises(RequestError, match=r"^family hvt has no closed form .*; families that have: vit, hvt, mvit, "):
        match("deit_tiny", "hvt", ["depth"])


@pytest.mark.parametrize("family", ["mvit", "dynamicvit", "patchdiv", "vit"])
def test_every_family_can_be_searched_along_what_it_has(family):
    found = match("deit_tiny:img_size=64,depth=3", family, [], ["embed_dim=96..192:96"], 60)
    seen = [match for _, match in found.shown(3)]
    assert {match.config.family for match in seen} == {family}
    assert all(recount(match) == match.cost for match in seen)


def test_what_is_varied_by_itself_is_what_the_family_has():
    found = match("deit_tiny:img_size=32", "mvit", [], tolerance_pct=50)
    assert list(found.values) == ["embed_dim", "img_size", "patch_size"]
    assert (found.base.patch_size, found.base.embed_dim, found.base.img_size) == (4, 96, 32)


def test_a_closed_form_that_is_wrong_is_noticed(paper, monkeypatch):
    assert recount(paper.joint[0]) == paper.joint[0].cost
    monkeypatch.setattr("hvt_bench.models.hvt.HVTConfig.closed_form_macs", lambda self: 7)
    with pytest.raises(CountError, match="the closed form says 7 MACs"):
        recount(paper.joint[0])


@pytest.mark.parametrize(("text", "percent"), [("2%", 2.0), ("12 %", 12.0), ("0.5", 0.5), ("0", 0.0), (".5%", 0.5)])
def test_a_tolerance_is_percent(text, percent):
    assert parse_percent(text) == percent


@pytest.mark.parametrize("text", ["", "%", "-1", "100%", "two", "1e1", "nan"])
def test_another_tolerance_is_refused(text):
    with pytest.raises(RequestError, match="give percent from 0 to below 100, such as 2%"):
        parse_percent(text)


def test_a_table():
    found = match("deit_tiny", "hvt", [], ["embed_dim=192,256,384", "pool_stages=1,4"], 12)
    assert (
        render_match(found, limit=1)
        == """\
what                        model                                          embed_dim    pool_stages    MACs (G)    params (M)    macs ratio    params ratio
--------------------------  -------------------------------------------  -----------  -------------  ----------  ------------  ------------  --------------
target                      deit_tiny                                            192                       1.25          5.72         1.000            1.00
embed_dim alone             hvt:embed_dim=256                                    256              1        1.10         10.01         0.881            1.75
pool_stages alone, nearest  hvt_ti_1 = hvt:embed_dim=192                         192              1        0.64          5.74         0.512            1.00
joint 1                     hvt_s_4, scale_hvt_ti_4 = hvt:pool_stages=4          384              4        1.39         22.12         1.112            3.87

varied     embed_dim 192, 256, 384; pool_stages 1, 4; the rest as hvt:embed_dim=192
searched   6 designs, 0 more combinations are no network; 2 designs within 12 % of the target, the best 1 above, and published variants
ranked     by params, then by each dimension that the target has, in this order; a smaller patch is more
counted    what is shown, by fvcore and by PyTorch's FlopCounterMode; the search is by closed form"""  # noqa: E501
    )


def test_a_network_that_two_combinations_make_comes_once():
    found = match("deit_tiny", "hvt", [], ["pool_stages=0,1", "pool=max,avg"], 5)
    assert [match.changes for match in found.joint] == [{"pool_stages": 0, "pool": "max"}]
    assert (found.designs, found.invalid, found.repeated) == (3, 0, 1)
    assert (
        "searched   3 designs, 0 more combinations are no network, 1 the network of another (a field without effect); "
        "1 design within 5 % of the target"
    ) in render_match(found)


@pytest.mark.parametrize(
    ("values", "searched", "why"),
    [
        (["embed_dim=192,100"], "1 design, 1 more combination is", "embed_dim 100 is no multiple of the head width 64"),
        (
            ["embed_dim=192,256", "num_heads=3,5,7"],
            "1 design, 5 more combinations are",
            "embed_dim 192 is not divisible",
        ),
        (["patch_size=15", "depth=6,12"], "0 designs, 2 more combinations are", "img_size 224 is not divisible by"),
    ],
)
def test_it_says_why_combinations_are_no_network(values, searched, why):
    lines = render_match(match("deit_tiny", "hvt", [], values)).splitlines()
    assert [line.partition(" no network;")[0] for line in lines if line.startswith("searched")] == [
        f"searched   {searched}"
    ]
    (said,) = [line for line in lines if line.startswith("no network")]
    assert said.startswith(f"no network {why}")


def test_where_params_are_equal_the_ratio_of_macs_stands_beside():
    header, _, target, alone, *_ = render_match(
        match("deit_tiny", "hvt", [], ["pool_stages=1"], 2, "params")
    ).splitlines()
    assert header.endswith("params ratio    macs ratio")
    assert target.split()[-2:] == ["1.000", "1.00"]
    assert alone.split()[-2:] == ["1.003", "0.51"]


def test_csv_and_json_hold_the_same(paper):
    records = list(csv.DictReader(io.StringIO(render_match(paper, "csv"))))
    said = json.loads(render_match(paper, "json"))
    assert [record["model"] for record in records] == [found["model"] for found in said["matches"]]
    best = said["matches"][2]
    assert (best["what"], best["embed_dim"], best["embed_dim_ratio"], best["within"]) == ("joint 1", 384, 2.0, True)
    assert parse_model(best["model"]).closed_form_macs() == best["macs"]
    assert (said["within"], said["designs"], said["base"]) == (len(paper.joint), 70, "hvt:embed_dim=192")


def test_only_the_best_are_shown_and_published_variants(paper):
    said = json.loads(render_match(paper, "json", limit=1))["matches"]
    assert [found["what"] for found in said] == [
        "embed_dim alone",
        "pool_stages alone",
        "joint 1",
        "joint 3",
        "joint 7",
    ]
    assert said[-1]["variants"] == ["hvt_ti_0"]


@pytest.mark.parametrize(("form", "limit", "text"), [("xml", 1, "unknown format"), ("table", 0, "--limit 0: give 1")])
def test_what_cannot_be_shown_is_a_sentence(paper, form, limit, text):
    with pytest.raises(RequestError, match=text):
        render_match(paper, form, limit)
