"""What a measurement was made on and with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Annotated, Self

import torch

from hvt_bench import __version__
from hvt_bench.errors import RequestError
from hvt_bench.nvml import driver_version
from hvt_bench.records import Column, Record

COMPARABLE = ("device_name", "torch_version", "hvt_bench_version")
"""Rounds measured where these are the same may stand in one row; of hvt-bench, where its method is the same."""


class Environment(Record):
    """The machine and the versions."""

    device_name: Annotated[str | None, Column("name of the device that was measured")]
    driver_version: Annotated[str | None, Column("version of the GPU driver; empty on CPU")]
    torch_version: Annotated[str, Column("version of PyTorch")]
    cuda_version: Annotated[str | None, Column("CUDA version PyTorch was built with; empty on CPU")]
    cudnn_version: Annotated[str | None, Column("version of cuDNN; empty on CPU")] = None  # older journals lack it
    cpu_name: Annotated[str | None, Column("name of the processor")]
    hvt_bench_version: Annotated[str, Column("version of hvt-bench")]
    git_commit: Annotated[str | None, Column("commit of hvt-bench, `+` if changed; empty if installed from a wheel")]
    hostname: Annotated[str | None, Column("name of the machine")]

    @classmethod
    def measure(cls, device: str) -> Self:
        """Describe this machine and `device`; initialises CUDA if that is the device."""
        on_gpu = device.startswith("cuda")
        return cls(
            device_name=torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
            driver_version=driver_version() if on_gpu else None,
            torch_version=torch.__version__,
            cuda_version=torch.version.cuda if on_gpu else None,
            cudnn_version=_cudnn_version() if on_gpu else None,
            cpu_name=_cpu_name(),
            hvt_bench_version=__version__,
            git_commit=_git_commit(),
            hostname=socket.gethostname(),
        )

    @classmethod
    def elsewhere(cls) -> Self:
        """Describe a machine that shares this installation and that nobody has seen yet, as a node of a cluster."""
        return cls(
            device_name=None,
            driver_version=None,
            torch_version=torch.__version__,
            cuda_version=None,
            cpu_name=None,
            hvt_bench_version=__version__,
            git_commit=_git_commit(),
            hostname=None,
        )

    def comparable(self, other: Environment) -> bool:
        """Say whether rounds measured here and there may stand in one row."""
        return not self.differences(other)

    def differences(self, other: Environment) -> dict[str, tuple[str, str]]:
        """Return what keeps rounds measured here and there apart, by column: its values here and there, if known."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in COMPARABLE}
        return {
            name: (here, there)
            for name, (here, there) in pairs.items()
            if None not in (here, there) and here != there
            if name != "hvt_bench_version" or method_of(here) != method_of(there)
        }


def method_of(version: str) -> str:
    """Return the first two numbers of a version of hvt-bench: what is found does not change while they stay."""
    return ".".join(version.split(".")[:2])


def resolve_device(wanted: str) -> str:
    """Turn `auto`, `cuda`, `cuda:1`, `mps` or `cpu` into a device of this machine, without initialising CUDA.

    Raises RequestError where there is no such device.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # ask the driver; do not start CUDA in this process
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if gpus else "cpu"
    if wanted == "cpu":
        return wanted
    if wanted == "mps":
        if torch.backends.mps.is_available():
            return wanted
        raise RequestError("device 'mps': this machine has no Metal GPU that PyTorch can use; take cpu")
    _, _, index = wanted.partition(":")
    if not re.fullmatch(r"cuda(:[0-9]+)?", wanted):
        raise RequestError(f"unknown device '{wanted}'; known: auto, cpu, cuda, cuda:N, mps")
    if int(index or 0) >= gpus:
        found = f"{gpus} CUDA device{'s' * (gpus != 1)}" if gpus else "no CUDA device"
        raise RequestError(f"device '{wanted}': PyTorch finds {found} here; take cpu, or auto")
    return f"cuda:{int(index or 0)}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cudnn_version() -> str | None:
    """Return `9.26.0` for PyTorch's 92600."""
    number: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return None if number is None else f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _git_commit() -> str | None:
    """Return the commit of the checkout this package lies in; None outside one."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=30
        ).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "hvt_bench")
    return f"{commit}{'+' if changed else ''}" if commit else None
