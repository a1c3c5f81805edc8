"""README's five minutes, as a new user lives them: a fresh repository with a model of its own."""

import re
import subprocess
import sys

import pytest

from hvt_bench.cli import main
from hvt_bench.gate.inline import FlopsBudget
from tests.test_docs import commands_of, matches


@pytest.fixture
def section(repository):
    """The part of README that shows it."""
    return re.search(r"## Guard your model in five minutes\n(.*?)\n### ", (repository / "README.md").read_text(), re.S)[
        1
    ]


@pytest.mark.slow
def test_the_five_minutes_of_readme(section, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylab").mkdir()
    nets = tmp_path / "mylab" / "nets.py"
    nets.write_text(re.search(r"```python\n(.*?)```", section, re.S)[1])
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch", "main"], check=True)
    codes = []
    for step, (command, shown) in enumerate(commands_of(section)):
        if step == 2:
            subprocess.run([*git, "add", "mylab", "budgets.yaml", "budgets.modules.json"], check=True)
            subprocess.run([*git, "commit", "--quiet", "--message", "first"], check=True)
            nets.write_text(nets.read_text().replace("4 * width", "3 * width"))
            forget()
        with pytest.raises(SystemExit) as ended:
            main(command.split()[1:])
        printed = capsys.readouterr()
        assert matches(shown, printed.out), f"$ {command}\nREADME shows\n{shown}\nit prints\n{printed.out}{printed.err}"
        codes.append(ended.value.code or 0)
    assert codes == [0, 0, 1, 1]
    forget()


def forget():
    """Let go of what an earlier process of the user would not know."""
    from hvt_bench.metrics.complexity import _count_config

    _count_config.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def test_the_fixture_of_readme_holds(section, repository):
    readme = (repository / "README.md").read_text()
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", section, re.S)[1], namespace)
    exec(re.search(r"```python\n(def test_cost.*?)```", readme, re.S)[1], namespace)
    namespace["test_cost"](FlopsBudget())
