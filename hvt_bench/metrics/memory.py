"""How much memory a pass needs."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from torch import nn

from hvt_bench.metrics.base import Metric
from hvt_bench.nvml import Gpu
from hvt_bench.records import Column

MIB = 2**20
INEXACT = MIB  # so far off the sizes can be that Linux gives of a process


class Memory(Metric):
    """Memory of one pass that a first one went before, apart from all timing; the largest of the rounds."""

    weights_mib: Annotated[float, Column("parameters and buffers of the network", "MiB", "weights", best="low")]
    peak_memory_mib: Annotated[
        float | None,
        Column(
            "peak while a pass runs, weights included; the largest of the rounds. CUDA: of what PyTorch's allocator "
            "gave out; CPU: of what was resident and not read from files, over what was before the network was built; "
            "empty where that is less than the weights, as in a process that is not fresh",
            "MiB",
            "peak memory",
            best="low",
        ),
    ] = None
    reserved_memory_mib: Annotated[
        float | None,
        Column(
            "peak of what PyTorch's allocator took from CUDA for the pass; empty on CPU",
            "MiB",
            "reserved memory",
            best="low",
        ),
    ] = None
    process_memory_mib: Annotated[
        float | None,
        Column(
            "what the process took in all. CUDA: by NVML, right after the pass, CUDA's context and kernels included; "
            "CPU: peak of its resident size, Python and libraries included",
            "MiB",
            "memory of the process",
            best="low",
        ),
    ] = None
    alloc_retries: Annotated[
        int | None,
        Column(
            "times in the pass that the GPU was full and the allocator emptied its cache and tried again; more than 0 "
            "is at the limit; empty on CPU"
        ),
    ] = None

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `MemoryMeter.measure` gave in each round; a quantity that no round has is None."""
        known = {name: [found[name] for found in rounds if found.get(name) is not None] for name in cls.model_fields}
        return cls(**{name: max(values) for name, values in known.items() if values})


class MemoryMeter:
    """Measures from the moment it is made, so make it before the network."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = _resident() - _from_files() if device == "cpu" else 0

    def measure(self, model: nn.Module, run: Callable[[], object]) -> dict[str, float | int | None]:
        """Return the fields of Memory as this round has them; `run` makes one pass of `model`.

        A first pass, whose memory does not count, allocates what stays: workspaces of the libraries, the state of an
        optimiser. The peaks of building, casting and compiling the network are forgotten with it; on a CPU, what the
        compiler keeps resident is not.
        """
        held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
        run()
        if self._device.startswith("cuda"):
            found = self._on_cuda(run)
        elif self._device == "mps":  # not tried on hardware: Metal reports what it holds, not a peak
            run()
            found = {"peak_memory_mib": torch.mps.current_allocated_memory() / MIB}
        else:
            _reset_process_peak()
            run()
            peak = _process_peak()
            over = peak - _from_files() - self._before
            found = {
                "peak_memory_mib": over / MIB if over >= held - INEXACT else None,
                "process_memory_mib": peak / MIB,
            }
        return {"weights_mib": held / MIB, **found}

    def _on_cuda(self, run: Callable[[], object]) -> dict[str, float | int | None]:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # or what building left in the cache counts as reserved
        torch.cuda.reset_peak_memory_stats(self._device)
        retries = torch.cuda.memory_stats(self._device)["num_alloc_retries"]  # which no reset of peaks sets back
        run()
        torch.cuda.synchronize(self._device)
        return {
            "peak_memory_mib": torch.cuda.max_memory_allocated(self._device) / MIB,
            "reserved_memory_mib": torch.cuda.max_memory_reserved(self._device) / MIB,
            "process_memory_mib": Gpu(self._device).process_memory_mib(),
            "alloc_retries": torch.cuda.memory_stats(self._device)["num_alloc_retries"] - retries,
        }


def _reset_process_peak() -> None:
    """Make Linux set the peak back to the resident size now (`man 5 proc`, clear_refs); elsewhere it stays."""
    with contextlib.suppress(OSError):  # no such file, or a sandbox that does not let it be written
        Path("/proc/self/clear_refs").write_text("5")


def _process_peak() -> int:
    """Return the largest resident size of this process since the last reset, in bytes."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident() -> int:
    """Return the resident size of this process in bytes; its peak so far, where that cannot be reset."""
    now = _status("VmRSS")
    return _process_peak() if now is None or _status("VmHWM") is None else now


def _from_files() -> int:
    """Return what of the resident size are pages of files, in bytes: the code of libraries, which all processes share.

    A forked process meets it page by page as it goes, tens of MiB, which is nothing that a network needs.
    """
    return _status("RssFile") or 0


def _status(name: str) -> int | None:
    """Return a size that Linux says of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
