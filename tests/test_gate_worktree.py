"""A checkout that is gone afterwards, however the process ends that made it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hvt_bench.errors import HvtBenchError
from hvt_bench.gate.worktree import worktree
from tests.test_gate_revision import git

HOLDS = """\
import signal, time
from pathlib import Path
from hvt_bench.gate.worktree import worktree

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
with worktree(Path.cwd(), "HEAD") as tree:
    print(tree, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A repository with one file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    Path("a.txt").write_text("a\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    yield tmp_path
    assert trees() == {tmp_path}


def trees():
    return {Path(line.split()[0]) for line in git("worktree", "list").splitlines()}


@pytest.fixture
def holder(top):
    """Another process that has a checkout, and its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    tree = Path(process.stdout.readline().strip())
    assert (tree / "a.txt").exists()
    yield process, tree
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_is_gone_when_a_signal_ends_the_process(holder, number):
    process, tree = holder
    process.send_signal(number)
    process.wait(60)
    assert process.returncode == -number
    assert not tree.parent.exists()


def test_that_of_a_process_that_was_killed_is_gone_at_the_next_run(holder, top):
    process, tree = holder
    with worktree(top, "HEAD") as other:
        assert trees() == {top, tree, other}  # that of a process that lives is left alone
    process.kill()
    process.wait()
    with worktree(top, "HEAD") as other:
        assert trees() == {top, other}
    assert not tree.parent.exists()


def test_what_only_has_such_a_name_is_left_alone(top, tmp_path_factory):
    mine = tmp_path_factory.mktemp("hvt-bench-") / "tree"
    git("worktree", "add", "--detach", str(mine))
    with worktree(top, "HEAD") as other:
        assert trees() == {top, mine, other}
    git("worktree", "remove", str(mine))


def test_a_signal_that_comes_while_it_is_removed_waits(top, monkeypatch):
    said = []
    monkeypatch.setattr(
        "hvt_bench.gate.worktree._remove", lambda *_: said.append("removing") or signal.raise_signal(15)
    )
    monkeypatch.setattr("hvt_bench.gate.worktree.git", lambda *_, **__: "")
    before = signal.signal(signal.SIGTERM, lambda *_: said.append("told"))
    try:
        with pytest.raises(HvtBenchError, match="stopped"), worktree(top, "HEAD") as other:
            said.append("counting")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert said == ["counting", "removing", "told"]
    (other.parent / ".held-by-hvt-bench").unlink()
    other.parent.rmdir()
