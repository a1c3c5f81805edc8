"""The fixture as other people's tests use it, in a pytest of their own."""

import subprocess
import sys

import pytest

from hvt_bench.gate.inline import FlopsBudget
from hvt_bench.models import create_model

TESTS = """\
# é: columns are counted in bytes
import pytest
from torch import nn


def test_holds(flops_budget):
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    flops_budget(model, (1, 8), macs=40, params="46", modules={"*": {"macs": {"max": 32}}})
    flops_budget("hvt_ti_1", macs="642M", activations="2.9M ± 1%")


def test_é_broken(flops_budget):
    é = "é"; flops_budget(nn.Linear(8, 4), (1, 8), params=1_000)
    flops_budget(nn.Sequential(nn.Linear(8, 4)), (1, 8),
                 macs='1.00K ± 1%',
                 modules={"0": {"macs": 1}})


def test_no_literal(flops_budget):
    flops_budget(nn.Linear(8, 4), (1, 8), macs=30 + 1)


@pytest.mark.parametrize("width", [4, 5])
def test_several(flops_budget, width):
    flops_budget(nn.Linear(8, width), (1, 8), macs=7)


def test_ceiling(flops_budget):
    flops_budget(nn.Linear(8, 4), (1, 8), macs={"max": "1K"}, params=dict(max=3))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run pytest with this plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_cost.py").write_text(TESTS)

    def pytest_run(*arguments):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "hvt_bench.pytest_plugin", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return pytest_run


@pytest.mark.slow
def test_budgets_in_tests_hold_fail_and_are_rewritten(run, tmp_path):
    code, out = run()
    assert code == 1
    assert "5 failed, 1 passed" in out
    assert (
        "E           AssertionError: Linear left its FLOPs budget:" in out or "AssertionError: Linear left its" in out
    )
    assert "params 36, budget 1,000: -964 (-96.40 %)" in out
    assert "if that is meant, --update-budgets writes the new numbers" in out
    assert "inline.py" not in out  # the traceback ends in the test

    code, out = run("--update-budgets")
    assert (code, "3 failed, 3 passed" in out) == (1, True)
    path = tmp_path / "test_cost.py"
    assert path.read_text() == TESTS.replace("params=1_000", "params=36").replace("'1.00K ± 1%'", "'32 ± 1%'").replace(
        '{"0": {"macs": 1}}', '{"0": {"macs": 32}}'
    )
    assert f"{path}:13: params 1_000 -> 36" in out
    assert f"{path}:15: macs '1.00K ± 1%' -> '32 ± 1%'" in out
    several = "test_cost.py::test_several"
    assert f"FAILED to update {path}:25: macs 7 stays broken in {several}[4], {several}[5]: one literal for" in out
    assert "params 36, budget max 3: +33" in out
    assert "macs 32, budget 31: +1" in out


@pytest.mark.slow
def test_an_update_that_leaves_a_budget_broken_fails(run, tmp_path):
    """Where the broken case runs first, and no later one breaks."""
    path = tmp_path / "test_cost.py"
    text = TESTS.partition("def test_é_broken")[0] + "@pytest" + TESTS.partition("@pytest")[2].replace("7", "32")
    path.write_text(text.partition("def test_ceiling")[0].replace("[4, 5]", "[5, 4]"))
    before = path.read_text()
    line = before.splitlines().index("    flops_budget(nn.Linear(8, width), (1, 8), macs=32)") + 1
    code, out = run("--update-budgets")
    assert (code, "3 passed" in out) == (1, True), out
    assert (
        f"FAILED to update {path}:{line}: macs 32 stays broken in test_cost.py::test_several[5]: "
        "one literal for networks that cost 40, 32" in out
    )
    assert path.read_text() == before


@pytest.mark.slow
def test_update_is_for_one_process(run):
    code, out = run("--update-budgets", "-p", "xdist", "-n", "2")
    assert code == 4
    assert "--update-budgets rewrites test files, which one process must do; add -n 0" in out


def test_a_run_of_others_costs_an_import_of_nothing():
    script = (
        "import sys, pytest; old = set(sys.modules); import hvt_bench.pytest_plugin; print(*set(sys.modules) - old)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"hvt_bench", "importlib", "typing"}
    assert {name for name in done.stdout.split() if name.startswith("hvt_bench")} == {
        "hvt_bench",
        "hvt_bench.pytest_plugin",
    }


def test_the_plugin_is_found_by_pytest(repository):
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"hvt_bench": "hvt_bench.pytest_plugin"}


def test_the_message_is_readable():
    with pytest.raises(AssertionError) as caught:
        FlopsBudget()(
            create_model("deit_tiny"), (1, 3, 224, 224), macs="1.20G ± 1%", modules={"blocks.*.attn": {"params": 1}}
        )
    assert str(caught.value).splitlines() == [
        "VisionTransformer left its FLOPs budget:",
        "  macs 1,253,683,200, budget 1.20G ± 1%: +53,683,200 (+4.47 %)",
        "  blocks.0-11.attn: params 148,224, budget 1: +148,223 (1.48e+05 times the budget)",
        "  if that is meant, --update-budgets writes the new numbers",
    ]


def test_a_relation_to_itself_is_refused():
    with pytest.raises(ValueError, match="flops_budget: hvt_s_1 is this model itself; a relation is to another one"):
        FlopsBudget()("hvt_s_1", macs="<= 1 x hvt_s_1")


def test_a_relation_counts_the_other_model_too():
    FlopsBudget()("hvt_s_1", macs="<= 0.53 x deit_small")
    with pytest.raises(AssertionError, match=r"<= 0\.52 x deit_small"):
        FlopsBudget()("hvt_s_1", macs="<= 0.52 x deit_small")


@pytest.mark.parametrize(
    ("budgets", "error", "sentence"),
    [
        ({}, TypeError, "flops_budget needs a budget; these can have one: macs, params"),
        ({"flops": 1}, TypeError, "flops_budget: unknown quantity 'flops'; known: activations"),
        ({"macs": "2.4e9"}, ValueError, "flops_budget: macs: '2.4e9' is no budget; write"),
        (
            {"modules": {"head": {"train_macs": 1}}},
            TypeError,
            "flops_budget: unknown quantity 'train_macs'; known: activations",
        ),
        ({"modules": {"head": {"macs": "<= 1 x deit_tiny"}}}, ValueError, "flops_budget: macs of head: a relation is"),
    ],
)
def test_what_is_no_budget_is_a_sentence(budgets, error, sentence):
    with pytest.raises(error) as caught:
        FlopsBudget()("deit_tiny", **budgets)
    assert str(caught.value).startswith(sentence)
