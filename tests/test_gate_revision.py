"""What models cost at another revision: a repository of a user's own, with a network that changes."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hvt_bench.errors import RequestError
from hvt_bench.gate import there
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.gate.render import Report, render
from hvt_bench.gate.revision import before_and_notes, check_against, count_at
from hvt_bench.models import VARIANTS

NETS = """\
from torch import nn


def make(width=WIDTH):
    return nn.Sequential(nn.Conv2d(3, width, 16, 16), nn.Flatten(2), nn.Linear(196, 10))
"""
LATER = """

def later():
    return make()
"""


def git(*arguments):
    return subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A repository whose module is 8 wide at its first commit and 16 wide in the working tree, uncommitted."""
    name = f"nets_{tmp_path.name}".replace("-", "_")
    top = tmp_path / "repository"
    package = top / "code"
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    (package / f"{name}.py").write_text(NETS.replace("WIDTH", "8"))
    git("init", "--quiet", str(top))
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    git("tag", "v1")
    (package / f"{name}.py").write_text(NETS.replace("WIDTH", "16") + LATER)
    yield name
    sys.modules.pop(name, None)
    assert git("worktree", "list").count("\n") == 1
    assert git("status", "--short") == f" M {name}.py\n"


@pytest.mark.slow
def test_a_change_is_found_without_a_budgets_file(nets):
    verdicts = check_against([f"{nets}:make", f"{nets}:later", "deit_tiny", f"{nets}:make:width=3"], "v1")
    new = verdicts[1]
    assert [verdict.ok for verdict in verdicts] == [False, True, True, True]
    text = render(Report(verdicts, base="v1")).splitlines()
    assert f"BROKEN  {nets}:make" in text[3]
    assert "macs 2,439,808, budget 1,219,904: +1,219,904 (+100.00 %)" in text[3]
    assert text[4] == "        0: macs 1,204,224 -> 2,408,448 (+1,204,224)"
    assert text[-1] == "2 of 4 models cost what they cost at v1; 1 new since"
    assert new.note.startswith("new since v1: macs 2,439,808; params 14,274; activations 3,296; ")
    assert f"{nets}:later: unknown name 'later'" in new.note
    assert "| `deit_tiny` | macs | 1,253,683,200 | 1,253,683,200 | 1,253,683,200 |  |" in render(
        Report(verdicts, base="v1"), "markdown"
    )


@pytest.mark.slow
def test_a_model_that_no_revision_can_have_is_not_new(nets, tmp_path):
    (tmp_path / "repository" / ".git" / "info" / "exclude").write_text("made_*.py\next/\n")
    name = f"made_{nets}"
    Path(f"{name}.py").write_text(NETS.replace("WIDTH", "8"))
    git("init", "--quiet", "ext")
    Path("ext", f"sub_{nets}.py").write_text(NETS.replace("WIDTH", "8"))
    ignored, inside = check_against([f"{name}:make", f"ext.sub_{nets}:make"], "v1")
    assert f"code/{name}.py is ignored by git, so no revision has it" in ignored.error
    assert f"code/ext/sub_{nets}.py is in a submodule, whose files --base does not check out" in inside.error
    assert render(Report([ignored, inside], base="v1")).endswith("0 of 2 models cost what they cost at v1")


@pytest.mark.slow
def test_with_a_budgets_file_budgets_decide_and_the_revision_is_what_was_before(nets, tmp_path):
    path = tmp_path / "budgets.yaml"
    path.write_text(
        f"budgets:\n  {nets}:make: {{macs: {{max: 3M}}, params: 1}}\n  {nets}:later: {{macs: {{max: 3M}}}}\n"
    )
    budgets = load_budgets(path)
    before, notes = before_and_notes(budgets, "v1")
    verdicts = check_budgets(budgets, before=before, notes=notes)
    assert [verdict.ok for verdict in verdicts] == [False, True]
    assert notes.keys() == {f"{nets}:later"}
    assert [change.describe() for change in verdicts[0].changes()] == ["0: params 6,152 -> 12,304 (+6,152)"]
    told = render(Report(verdicts, path, "v1"), "markdown")
    assert f"| `{nets}:make` | macs | max 3M | 1,219,904 | 2,439,808 | +1,219,904 (+100.00 %) |" in told


def test_a_model_that_was_broken_there_is_no_new_one(nets, tmp_path):
    (tmp_path / "repository" / "code" / "bad.py").write_text("1 / 0\n")
    told = {
        spec: there._count(spec, False) for spec in ("bad:make", "nowhere:make", f"{nets}:make:height=3", "hvt_s_9")
    }
    (tmp_path / "repository" / "code" / "bad.py").unlink()
    assert {spec: found["new"] for spec, found in told.items()} == {
        "bad:make": False,
        "nowhere:make": True,
        f"{nets}:make:height=3": True,
        "hvt_s_9": True,
    }
    assert told["bad:make"]["error"].startswith("bad:make cannot be imported: ZeroDivisionError")


def test_code_that_is_that_of_now_is_refused(nets, tmp_path, monkeypatch):
    """As with a package whose import is bent to the working tree, as some editable installs do."""
    code = tmp_path / "repository" / "code" / f"{nets}.py"
    monkeypatch.setitem(sys.modules, nets, SimpleNamespace(__file__=str(code)))
    tree = tmp_path / "tree"
    there._refuse_code_of_now(tmp_path / "repository", tree)  # the revision has no such file
    (tree / "code").mkdir(parents=True)
    (tree / "code" / code.name).touch()
    with pytest.raises(
        SystemExit, match=f"module '{nets}' was loaded from .*{nets}.py, and not as the revision has it"
    ):
        there._refuse_code_of_now(tmp_path / "repository", tree)


def test_where_there_is_no_revision_to_be_had(nets, tmp_path, monkeypatch):
    for revision in ("nowhere", "--all"):
        with pytest.raises(RequestError, match=f"--base {revision}: "):
            count_at(revision, {"deit_tiny": "deit_tiny"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="is in no git repository"):
        count_at("v1", {"deit_tiny": "deit_tiny"})
    monkeypatch.chdir(tmp_path / "repository" / "code")


@pytest.mark.slow
def test_the_own_variants_of_this_project_are_those_of_the_revision(repository, monkeypatch):
    if not (repository / ".git").exists():
        pytest.skip("needs the repository, not only its files")
    monkeypatch.chdir(repository)
    found = count_at("HEAD", {name: name for name in ("deit_tiny", "nothing_like_it")})
    assert found["deit_tiny"].modules[""][0] == 1253683200
    assert found["nothing_like_it"].new
    assert "deit_tiny" in VARIANTS
