"""What the driver of an NVIDIA GPU says of it, through NVML; what it does not say is None, and never an error."""

from __future__ import annotations

import os
from typing import Any

import torch

CLOCK_EVENTS = {  # https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlClocksEventReasons.html
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""What holds the clocks of a GPU back, by bit. Left out are 0x001 and 0x002: idle, and clocks that somebody set."""

_POLICIES = {0: "sw_power_cap", 1: "sw_thermal_slowdown"}
"""Of `nvmlPerfPolicyType_t`, by the clock event that stands for the same."""
_SM, _MEMORY = 1, 2  # of `nvmlClockType_t`
_CORE = 0  # of `nvmlTemperatureSensors_t`


def driver_version() -> str | None:
    """Return the version of the driver, such as `570.86.15`."""
    version: str | None = _ask("nvmlSystemGetDriverVersion")
    return version


class Gpu:
    """One GPU, found by its UUID: NVML numbers GPUs otherwise than PyTorch, and passes over CUDA_VISIBLE_DEVICES."""

    def __init__(self, device: str) -> None:
        """Find `device`, such as `cuda:0`; initialises CUDA."""
        uuid = torch.cuda.get_device_properties(device).uuid
        self._handle = _ask("nvmlDeviceGetHandleByUUID", f"GPU-{uuid}")

    def clock_mhz(self) -> int | None:
        """Clock of the multiprocessors now."""
        found: int | None = self._ask("nvmlDeviceGetClockInfo", _SM)
        return found

    def memory_clock_mhz(self) -> int | None:
        """Clock of the memory now."""
        found: int | None = self._ask("nvmlDeviceGetClockInfo", _MEMORY)
        return found

    def temperature_c(self) -> int | None:
        """Temperature of the chip now."""
        found: int | None = self._ask("nvmlDeviceGetTemperature", _CORE)
        return found

    def power_limit_w(self) -> float | None:
        """Power that the GPU may draw, the lowest of the limits that hold."""
        milliwatts = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        return None if milliwatts is None else milliwatts / 1e3

    def clock_events(self) -> frozenset[str] | None:
        """Names in CLOCK_EVENTS of what lowers the clocks now."""
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        return None if bits is None else frozenset(name for bit, name in CLOCK_EVENTS.items() if bits & bit)

    def lowered_s(self) -> dict[str, float]:
        """Seconds, since the driver was loaded, in which the clocks were lowered, by clock event; what it counts."""
        found = {name: self._ask("nvmlDeviceGetViolationStatus", policy) for policy, name in _POLICIES.items()}
        return {name: status.violationTime / 1e9 for name, status in found.items() if status is not None}

    def energy_mj(self) -> int | None:
        """Energy, in millijoules, that the board took since the driver was loaded."""
        found: int | None = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return found

    def process_memory_mib(self) -> float | None:
        """Memory that this process holds: CUDA's context and the kernels too. Call it with CUDA initialised.

        In a container NVML may know the process by another number; then it is the only one there is, or unknown.
        """
        found = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        ours = [process for process in found if process.pid == os.getpid()] or found
        if len(ours) != 1 or ours[0].usedGpuMemory is None:
            return None
        return float(ours[0].usedGpuMemory / 2**20)

    def _ask(self, function: str, *arguments: object) -> Any:
        return None if self._handle is None else _ask(function, self._handle, *arguments)


def _ask(function: str, *arguments: object) -> Any:
    """Call a function of NVML; None where the driver does not support it, or where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()  # which NVML only counts after the first time
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError:
        return None
