"""How much memory a forward pass needs."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from torch import nn

from hvt_bench.metrics.base import Metric
from hvt_bench.records import Column

MIB = 2**20


class Memory(Metric):
    """Memory of a forward pass, summed up over rounds."""

    weights_mib: Annotated[float, Column("parameters and buffers of the network", "MiB", "weights")]
    peak_memory_mib: Annotated[
        float,
        Column(
            "peak while a pass runs, weights included; the largest of the rounds. CUDA: of PyTorch's allocator; "
            "CPU: of the process, over what it held before the network was built",
            "MiB",
            "peak memory",
        ),
    ]

    @classmethod
    def summarise(cls, rounds: Sequence[Mapping[str, Any]]) -> Self:
        """Sum up what `MemoryMeter.measure` gave in each round."""
        return cls(
            weights_mib=rounds[0]["weights_mib"],
            peak_memory_mib=max(found["peak_memory_mib"] for found in rounds),
        )


class MemoryMeter:
    """Measures from the moment it is made, so make it before the network."""

    def __init__(self, device: str) -> None:
        self._device = device
        if device == "cpu":
            _reset_process_peak()
            self._baseline = _process_peak()

    def measure(self, model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
        """Return `weights_mib` and `peak_memory_mib`; `run` makes one forward pass of `model`."""
        run()  # the first pass allocates workspaces that stay
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            run()
            torch.cuda.synchronize(self._device)
            peak = torch.cuda.max_memory_allocated(self._device)
        elif self._device == "mps":  # not tried on hardware: Metal reports what it holds, not a peak
            peak = torch.mps.current_allocated_memory()
        else:
            run()
            peak = _process_peak() - self._baseline
        held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
        return {"weights_mib": held / MIB, "peak_memory_mib": peak / MIB}


def _reset_process_peak() -> None:
    """Make Linux forget the peak so far (`man 5 proc`, clear_refs); elsewhere the peak is that of the process."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def _process_peak() -> int:
    """Return the largest resident size of this process since the last reset, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
