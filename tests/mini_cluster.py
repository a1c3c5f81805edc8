"""A real Slurm of two nodes on loopback, for the tests that are marked `slurm`."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

SCRIPT = Path(__file__).parent / "mini_slurm.sh"
ROOT = Path(__file__).parent.parent


def missing(accounting=False):
    """Say why there can be no cluster here; empty if there can."""
    packages = {"slurm-wlm munge": ("slurmctld", "slurmd", "munged", "sbatch")}
    if accounting:
        packages["slurmdbd mariadb-server mariadb-client"] = ("slurmdbd", "mariadbd", "mysql_install_db", "mysqladmin")
    for names, programs in packages.items():
        for program in programs:
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
                return f"needs {program}: apt-get install {names}"
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    return "" if importlib.util.find_spec("submitit") else "needs submitit"


class MiniCluster:
    """Two nodes, n0 and n1, of four CPUs that are not there and two GPUs that are copies of /dev/null.

    With `accounting`, Slurm keeps accounts of its jobs, for `sacct`.
    """

    def __init__(self, folder, accounting=False):
        self.folder = Path(folder)
        self.watch = None
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "MINI_SLURM_PORT": str(free_ports()),
            "MINI_SLURM_CPUS": "4",
            "PYTHONPATH": str(ROOT),
        }
        if accounting:
            self.environment["MINI_SLURM_DBD"] = "1"

    def up(self):
        self.folder.mkdir(exist_ok=True)
        self.watch = self.watch or self._end_with(os.getpid())
        self._script("up", "2", "2")

    def _end_with(self, pid):
        """Bring the cluster down once a process is gone that was killed and cannot."""
        script = f"while kill -0 {pid} 2>/dev/null; do sleep 1; done; exec bash '{SCRIPT}' down '{self.folder}'"
        null = subprocess.DEVNULL
        return subprocess.Popen(
            ["bash", "-c", script], env=self.environment, stdin=null, stdout=null, stderr=null, start_new_session=True
        )

    def down(self):
        try:
            self._script("down")
        finally:
            for pid in self.processes():
                _kill(pid)
            if self.watch is not None:
                self.watch.wait(20)
            wait_for(lambda: not self.processes(), 20)

    def run(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30).stdout

    def kill_node(self, name):
        """Let a node die with all that runs on it, and say so, which the controller would find out in half a minute."""
        tasks = self.processes(f"SLURMD_NODENAME={name}\0")
        for pid in [int((self.folder / f"slurmd-{name}.pid").read_text()), *map(_parent, tasks), *tasks]:
            _kill(pid)
        self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")

    def processes(self, having=""):
        """Return the processes that have our configuration, or that run from our folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    environment = (entry / "environ").read_text(errors="replace")
                    ours = f"SLURM_CONF={self.folder}/slurm.conf\0" in environment
                    words = (entry / "cmdline").read_text(errors="replace")
                    if (ours and having in environment) or (not having and str(self.folder) in words):
                        found.append(int(entry.name))
        return found

    def _script(self, *words):
        name, *rest = words
        path = self.folder / f"{name}.log"
        with path.open("w") as log:  # no pipe, which the daemons would hold open
            command = ["bash", str(SCRIPT), name, str(self.folder), *rest]
            answer = subprocess.run(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60
            )
        assert answer.returncode == 0, path.read_text()


def free_ports():
    """Return the first of a row of ports that nobody has: controller, accounting and its database, nodes."""
    first = 26817 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # workers look at the same moment
    for base in range(first, first + 500, 40):
        if all(_is_free(port) for port in (base, base + 2, base + 3, base + 10, base + 11)):
            return base
    raise RuntimeError("no free ports")


def _is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _parent(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(condition, seconds=60):
    """Wait until `condition` gives something that is true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")
