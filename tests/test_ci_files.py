"""The action, the hook and the workflow: valid for what reads them, and doing what they say."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ACTION = ".github/actions/check/action.yml"
SCHEMAS = {ACTION: "vendor.github-actions", ".github/workflows/ci.yml": "vendor.github-workflows"}


@pytest.mark.parametrize(("path", "schema"), SCHEMAS.items())
def test_github_can_read_them(repository, path, schema):
    """By the schemas that come with check-jsonschema: no network."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, repository / path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_workflow_is_looked_at(repository):
    found = {str(path.relative_to(repository)) for path in (repository / ".github").rglob("*.yml")}
    assert found == set(SCHEMAS)


def test_pre_commit_can_read_the_hook(repository):
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", repository / ".pre-commit-hooks.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_hook_runs_the_command(repository, tmp_path, monkeypatch, capsys):
    from hvt_bench.cli import main

    (hook,) = yaml.safe_load((repository / ".pre-commit-hooks.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "budgets.yaml").write_text("budgets: {hvt_ti_1: {macs: 1}}\n")
    program, *arguments = [*hook["entry"].split(), *hook["args"]]
    assert program == "hvt-bench"
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert "BROKEN  hvt_ti_1" in capsys.readouterr().out


@pytest.fixture
def act(repository, tmp_path):
    """Run the steps of the action in an empty folder, by bash, with a Python that only writes down its arguments."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash, as the action does")
    action = yaml.safe_load((repository / ACTION).read_text())
    program = tmp_path / "python"
    program.write_text(
        f'#!{sys.executable}\nimport sys, json; print(json.dumps(sys.argv[1:])); sys.exit("check" in sys.argv)\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "python with spaces").symlink_to(program)

    def run(**given):
        inputs = {name: given.get(name, found["default"]) for name, found in action["inputs"].items()}
        inputs["python"] = str(tmp_path / "python with spaces")
        summary = tmp_path / "summary.md"
        done = []
        for step in action["runs"]["steps"]:
            environment = {key: inputs[value.split(".")[1].strip(" }")] for key, value in step["env"].items()}
            environment |= {
                "GITHUB_STEP_SUMMARY": str(summary),
                "GITHUB_ACTION_PATH": str(Path(repository, ACTION).parent),
            }
            command = [
                bash,
                "--noprofile",
                "--norc",
                "-eo",
                "pipefail",
                "-c",
                step["run"],
            ]  # as GitHub runs `shell: bash`
            done.append(
                subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
            )
            if done[-1].returncode:
                break
        return done, summary.read_text()

    return run


def test_the_action_checks_and_writes_a_summary(act):
    (install, check), summary = act()
    assert install.stdout == '["-m", "hvt_bench", "--version"]\n'
    assert (check.returncode, check.stdout) == (
        1,
        '["-m", "hvt_bench", "check", "budgets.yaml", "--format", "github"]\n',
    )
    assert summary == '["-m", "hvt_bench", "check", "budgets.yaml", "--format", "markdown"]\n'


def test_inputs_of_the_action_are_arguments_and_never_code(act):
    (_, check), _ = act(budgets='a.b:c "$(id)" `id`', base="main; id", format="text")
    assert check.stdout == (
        '["-m", "hvt_bench", "check", "a.b:c", "\\"$(id)\\"", "`id`", "--base", "main; id", "--format", "text"]\n'
    )


def test_models_for_the_action_stand_on_one_line_or_on_several(act):
    (_, check), _ = act(budgets="hvt_ti_1\nmylab:Net vit_tiny\n", base="main", format="text")
    assert check.stdout == (
        '["-m", "hvt_bench", "check", "hvt_ti_1", "mylab:Net", "vit_tiny", "--base", "main", "--format", "text"]\n'
    )
