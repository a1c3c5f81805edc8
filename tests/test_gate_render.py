"""What the gate says to CI, read back by what reads it there."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from hvt_bench.errors import RequestError
from hvt_bench.gate.changes import modules_of
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.gate.render import Report, render
from hvt_bench.metrics.complexity import breakdown

TEXT = """\
budgets:
  deit_tiny:
    macs: 1.25G ± 1%
    params: 5717417
    blocks.*.atn: {macs: 1}
  hvt_ti_1: {macs: 642299520}
  nowhere.at:all: {macs: 1}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    path = folder / "budgets.yaml"
    path.write_text(TEXT)
    before = {"deit_tiny": modules_of(breakdown("deit_tiny:qkv_bias=false"))}
    return Report(check_budgets(load_budgets(path), before=before), Path("ci/budgets.yaml"))


def test_text_names_the_modules_that_changed(report):
    assert render(report).splitlines() == [
        "ok      hvt_ti_1        macs 642,299,520",
        "BROKEN  deit_tiny       params 5,717,416, budget 5,717,417: -1 (-0.00 %); blocks.*.atn: macs: no module is "
        "called 'blocks.*.atn'; did you mean 'blocks.0-11.attn' or 'blocks.0-11.attn.qkv' or 'blocks.0-11.attn.proj'?; "
        "macs 1,253,683,200",
        "        blocks.0-11.attn.qkv: params 110,592 -> 111,168 (+576 in each of 12, +6,912 in all)",
        "BROKEN  nowhere.at:all  nowhere.at:all: there is no module 'nowhere' in the current folder or among the "
        "installed packages",
        "1 of 3 models kept their budgets",
    ]


def test_annotations_of_github_are_read_back_whole(report):
    """As the runner does (actions/runner, src/Runner.Common/ActionCommand.cs)."""
    *commands, summary = render(report, "github").splitlines()
    assert summary == "1 of 3 models kept their budgets"
    found = []
    for command in commands:
        properties, message = re.fullmatch(r"::error ([^:]*)::(.*)", command).groups()
        found.append((dict(pair.split("=", 1) for pair in properties.split(",")), unquote(message)))
    assert [(keys["file"], keys["line"]) for keys, _ in found] == [("ci/budgets.yaml", line) for line in "457"]
    assert [unquote(keys["title"]) for keys, _ in found] == [
        f"{model} left its FLOPs budget" for model in ("deit_tiny", "deit_tiny", "nowhere.at:all")
    ]
    assert found[0][1].splitlines() == [
        "params 5,717,416, budget 5,717,417: -1 (-0.00 %)",
        "blocks.0-11.attn.qkv: params 110,592 -> 111,168 (+576 in each of 12, +6,912 in all)",
    ]


def test_the_file_of_an_annotation_is_told_from_the_top_of_the_repository(report, tmp_path, monkeypatch):
    top = tmp_path / "top"
    (top / "ci").mkdir(parents=True)
    monkeypatch.chdir(top / "ci")
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)

    def file_of(path):
        return re.search("file=([^,]*),", render(Report(report.verdicts, Path(path)), "github"))[1]

    assert file_of("b.yaml") == "b.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert (file_of("b.yaml"), file_of("/b.yaml")) == ("top/ci/b.yaml", "/b.yaml")
    (top / ".git").touch()  # as in a worktree
    assert (file_of("b.yaml"), file_of("../b.yaml"), file_of(top / "b.yaml")) == ("ci/b.yaml", "b.yaml", "b.yaml")


def test_a_model_that_nothing_holds_is_told_as_new(report):
    new = replace(report.verdicts[1], new=True, note="new since v1: macs 642,299,520")
    told = Report([new], base="v1")
    assert render(told) == (
        "new     hvt_ti_1  macs 642,299,520; new since v1: macs 642,299,520\n"
        "0 of 1 model cost what they cost at v1; 1 new since"
    )
    assert render(told, "github").splitlines()[0] == (
        "::warning title=hvt_ti_1 is new%2C and held to nothing::new since v1: macs 642,299,520"
    )
    assert "| `hvt_ti_1` | new since v1: macs 642,299,520 |" in render(told, "markdown")
    assert json.loads(render(told, "json"))["models"][0]["new"]
    case = ElementTree.fromstring(render(told, "junit"))[0][0]
    assert [(child.tag, child.text) for child in case] == [("system-out", new.note)]


def test_junit_has_a_case_for_each_model(report):
    root = ElementTree.fromstring(render(report, "junit"))
    (suite,) = root
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors")] == ["3", "1", "1"]
    assert [(case.get("name"), case.get("line"), [child.tag for child in case]) for case in suite] == [
        ("deit_tiny", "2", ["failure"]),
        ("hvt_ti_1", "6", []),
        ("nowhere.at:all", "7", ["error"]),
    ]
    assert suite[0][0].get("message").startswith("params 5,717,416, budget 5,717,417: -1")
    assert "blocks.0-11.attn.qkv: params" in suite[0][0].text


def test_junit_is_xml_whatever_a_network_says(report):
    verdict = report.verdicts[2]
    said = type(verdict)(verdict.entry, error="\x1b[31m<no> & \ud800 \x00")
    root = ElementTree.fromstring(render(Report([said], Path("b.yaml")), "junit"))
    assert root[0][0][0].get("message") == "?[31m<no> & ? ?"


def test_json_is_for_programs(report):
    told = json.loads(render(report, "json"))
    assert (told["ok"], told["budgets"]) == (False, "ci/budgets.yaml")
    tiny, ti, nowhere = told["models"]
    assert [tiny["ok"], ti["ok"], nowhere["ok"]] == [False, True, False]
    assert [(f["quantity"], f["measured"], f["budget"], f["ok"]) for f in tiny["findings"]] == [
        ("macs", 1253683200, "1.25G ± 1%", True),
        ("params", 5717416, "5,717,417", False),
        ("macs", None, "1", False),
    ]
    assert tiny["changes"] == [
        {
            "path": "blocks.0-11.attn.qkv",
            "quantity": "params",
            "before": 110592,
            "after": 111168,
            "modules": 12,
            "own": False,
            "difference": 6912,
        }
    ]
    assert "no module 'nowhere'" in nowhere["error"]


def test_markdown_has_before_after_and_a_folded_table_of_modules(report):
    assert render(report, "markdown").splitlines() == [
        "### FLOPs budgets: 2 models broken",
        "",
        "|  | model |  | budget | recorded | now | change |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        "| ❌ | `deit_tiny` | params | 5,717,417 | 5,710,504 | 5,717,416 | +6,912 (+0.12 %) |",
        "| ❌ | `deit_tiny` | blocks.*.atn: macs: no module is called 'blocks.*.atn'; did you mean 'blocks.0-11.attn' "
        "or 'blocks.0-11.attn.qkv' or 'blocks.0-11.attn.proj'? | 1 |  |  |  |",
        "| ❌ | `nowhere.at:all` | nowhere.at:all: there is no module 'nowhere' in the current folder or among the "
        "installed packages |  |  |  |  |",
        "",
        "<details><summary>unchanged</summary>",
        "",
        "|  | model |  | budget | recorded | now | change |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        "|  | `deit_tiny` | macs | 1.25G ± 1% | 1,253,683,200 | 1,253,683,200 |  |",
        "|  | `hvt_ti_1` | macs | 642,299,520 |  | 642,299,520 |  |",
        "",
        "</details>",
        "",
        "<details><summary>deit_tiny: modules that changed</summary>",
        "",
        "| module | times |  | before | now | change in all |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
        "| `blocks.0-11.attn.qkv` | 12 | params | 110,592 | 111,168 | +6,912 |",
        "",
        "</details>",
        "",
        "1 of 3 models kept their budgets",
    ]


def test_a_format_that_there_is_not(report):
    with pytest.raises(
        RequestError, match="--format: unknown format 'xml'; known: github, json, junit, markdown, text"
    ):
        render(report, "xml")
