"""Another git revision, checked out into a folder of its own that is gone afterwards, however this process ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hvt_bench.errors import HvtBenchError, RequestError

_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_PREFIX, _TREE, _HELD = "hvt-bench-", "tree", ".held-by-hvt-bench"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def worktree(top: Path, commit: str) -> Iterator[Path]:
    """Check a commit of the repository at `top` out; remove what an earlier process that was killed left there.

    Raises RequestError where git refuses.
    """
    _remove_stale(top)
    with _ending_late() as allow:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        try:
            with (made / _HELD).open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)  # until this process ends, even if it is killed
                allow(True)
                add = ["-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--detach", "--force"]
                git("-C", str(top), *add, str(made / _TREE), commit, otherwise="the revision cannot be checked out")
                yield made / _TREE
        finally:
            allow(False)
            _remove(top, made)


def git(*arguments: str, otherwise: str) -> str:
    """Return what git prints. Raises RequestError, which begins with `otherwise`, where it fails."""
    try:
        done = subprocess.run(["git", *arguments], env=environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RequestError("--base needs git, which is not installed") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [""])[-1]
        raise RequestError(f"{otherwise}{f' ({said})' if said else ''}")
    return done.stdout.strip()


def says(*arguments: str) -> str:
    """Return what git prints; nothing where it fails."""
    try:
        return git(*arguments, otherwise="")
    except RequestError:
        return ""


def environment() -> dict[str, str]:
    """Return the environment without what git tells its hooks: the repository is that of the current folder."""
    return {key: value for key, value in os.environ.items() if key not in _OF_HOOKS}


def _remove_stale(top: Path) -> None:
    """Remove the checkouts of processes that are no more."""
    listed = says("-C", str(top), "worktree", "list", "--porcelain")
    trees = [Path(line.removeprefix("worktree ")) for line in listed.splitlines() if line.startswith("worktree ")]
    for made in [tree.parent for tree in trees if tree.name == _TREE and tree.parent.name.startswith(_PREFIX)]:
        with suppress(OSError):
            if not made.exists():
                _remove(top, made)
                continue
            with (made / _HELD).open("r+") as held:  # nobody's folder that has the same name has this file, too
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(top, made)


def _remove(top: Path, made: Path) -> None:
    arguments = ["-C", str(top), "worktree", "remove", "--force", "--force", str(made / _TREE)]
    # in a session of its own: a second Ctrl-C is not for it
    subprocess.run(["git", *arguments], env=environment(), capture_output=True, check=False, start_new_session=True)
    shutil.rmtree(made, ignore_errors=True)


class _Ended(BaseException):
    """A signal came that ends this process."""


@contextmanager
def _ending_late() -> Iterator[Callable[[bool], None]]:
    """Let signals that end the process interrupt only while it is allowed, and answer them after that as before."""
    came: list[int] = []
    allowed = False

    def allow(now: bool) -> None:
        nonlocal allowed
        allowed = now
        if allowed and came:
            raise _Ended

    def note(number: int, _: object) -> None:
        came.append(number)
        allow(allowed)

    held = [number for number in _ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        held = []  # signals are not for it
    before = {number: signal.signal(number, note) for number in held}
    try:
        yield allow
    except _Ended:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
            raise HvtBenchError("stopped")
