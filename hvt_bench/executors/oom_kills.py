"""Which deaths of workers were the kernel's doing, because memory ran out: what Linux counts says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")
OF_MACHINE = Path("/proc/vmstat")
_NO_LIMIT = 1 << 60  # cgroup v1 gives the largest multiple of a page where there is none


class OomKills:
    """Counts the processes that the kernel ended, in the cgroup of this one or, where there is none, on the machine."""

    def __init__(self) -> None:
        self._file, self.limit_mib = _counter()
        """What the cgroup may take, in MiB; None where nothing or nobody says."""
        self._known = self._count()

    def forget(self) -> None:
        """Leave out those so far."""
        self._known = self._count()

    def explain_one(self) -> bool:
        """Say whether there is one that explained no death yet, and let it explain this one."""
        if self._count() <= self._known:
            return False
        self._known += 1
        return True

    def _count(self) -> int:
        with contextlib.suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", self._file.read_text(), re.MULTILINE):
                return int(found[1])
        return 0


def _counter() -> tuple[Path, float | None]:
    """Return the file that has the count, and the limit of what it counts in MiB."""
    for count, limit in _files():
        if count.is_file():
            with contextlib.suppress(OSError, ValueError):  # `max`: there is none
                found = int(limit.read_text())
                return count, found / 2**20 if found < _NO_LIMIT else None
            return count, None
    return OF_MACHINE, None


def _files() -> Iterator[tuple[Path, Path]]:
    """Yield where the count of this process's cgroup and its limit may stand; a container sees its own as the root."""
    with contextlib.suppress(OSError):
        for line in OF_PROCESS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for above in (path.lstrip("/"), ""):
                if controllers == "memory":
                    folder = CGROUPS / "memory" / above
                    yield folder / "memory.oom_control", folder / "memory.limit_in_bytes"
                elif not controllers:
                    folder = CGROUPS / above
                    yield folder / "memory.events", folder / "memory.max"
