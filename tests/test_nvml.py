import os

import pytest
import torch

from hvt_bench.nvml import Gpu, driver_version


def test_without_a_driver_nothing_is_known_and_nothing_raises(nvml):
    nvml.missing()
    gpu = Gpu("cuda:0")
    assert driver_version() is None
    assert [
        gpu.clock_mhz(),
        gpu.memory_clock_mhz(),
        gpu.temperature_c(),
        gpu.power_limit_w(),
        gpu.clock_events(),
        gpu.energy_mj(),
        gpu.process_memory_mib(),
    ] == [None] * 7
    assert gpu.lowered_s() == {}


def test_what_the_driver_does_not_support_is_unknown_and_the_rest_is_known(nvml):
    nvml.answers["nvmlDeviceGetClockInfo"] = lambda handle, kind: {1: 1980, 2: 2619}[kind]
    gpu = Gpu("cuda:0")
    assert (gpu.clock_mhz(), gpu.memory_clock_mhz()) == (1980, 2619)
    assert gpu.energy_mj() is None
    assert gpu.clock_events() is None


def test_a_gpu_is_found_by_the_uuid_that_pytorch_says(nvml):
    nvml.answers["nvmlDeviceGetEnforcedPowerLimit"] = lambda handle: {"GPU-uuid-of-cuda:3": 700_500}[handle]
    assert Gpu("cuda:3").power_limit_w() == 700.5


def test_what_is_counted_and_measured(nvml):
    nvml.answers["nvmlSystemGetDriverVersion"] = lambda: "570.86.15"
    nvml.answers["nvmlDeviceGetTotalEnergyConsumption"] = lambda handle: 123_456
    nvml.answers["nvmlDeviceGetTemperature"] = lambda handle, sensor: {0: 61}[sensor]
    gpu = Gpu("cuda:0")
    assert (driver_version(), gpu.energy_mj(), gpu.temperature_c()) == ("570.86.15", 123_456, 61)


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, set()),
        (0x3, set()),  # idle, and clocks that somebody set: as fast as it is asked to be
        (0x4, {"sw_power_cap"}),
        (0x48, {"hw_slowdown", "hw_thermal_slowdown"}),
        (0x8000_0000_0000_0021, {"sw_thermal_slowdown"}),  # a bit that nobody knows yet
    ],
)
def test_what_lowers_the_clocks_is_named(nvml, bits, names):
    nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = lambda handle: bits
    assert Gpu("cuda:0").clock_events() == names


def test_how_long_the_clocks_were_lowered_is_in_seconds(nvml):
    def status(handle, policy):
        if policy == 1:
            raise nvml.not_supported
        return nvml.struct(referenceTime=7, violationTime=2_500_000_000)

    nvml.answers["nvmlDeviceGetViolationStatus"] = status
    assert Gpu("cuda:0").lowered_s() == {"sw_power_cap": 2.5}


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ([(os.getpid(), 3 * 2**20), (1, 2**30)], 3.0),
        ([(4_000_000, 5 * 2**20)], 5.0),  # a container: ours, by the number that it has outside
        ([(4_000_000, 5 * 2**20), (4_000_001, 2**20)], None),
        ([(os.getpid(), None)], None),
        ([], None),
    ],
    ids=["ours", "only one", "none ours", "hidden", "none"],
)
def test_the_memory_of_this_process(nvml, processes, found):
    listed = [nvml.struct(pid=pid, usedGpuMemory=used) for pid, used in processes]
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = lambda handle: listed
    assert Gpu("cuda:0").process_memory_mib() == found


def test_the_names_of_clock_events_are_those_of_nvml():
    import pynvml

    from hvt_bench.nvml import CLOCK_EVENTS

    for bit, name in CLOCK_EVENTS.items():
        theirs = "".join(part.capitalize() for part in name.split("_"))
        known = getattr(pynvml, f"nvmlClocksThrottleReason{theirs}", None)  # older packages lack the last two
        assert known in (bit, None)
    asked_for = pynvml.nvmlClocksThrottleReasonGpuIdle | pynvml.nvmlClocksThrottleReasonApplicationsClocksSetting
    assert pynvml.nvmlClocksThrottleReasonAll & ~sum(CLOCK_EVENTS) == asked_for


@pytest.mark.gpu
def test_a_real_gpu_says_what_it_is_doing():
    torch.ones(1, device="cuda:0")
    gpu = Gpu("cuda:0")
    assert driver_version()
    assert 100 < gpu.clock_mhz() < 5000
    assert 100 < gpu.memory_clock_mhz() < 20_000
    assert 0 < gpu.temperature_c() < 120
    assert 5 < gpu.power_limit_w() < 3000
    assert gpu.clock_events() is not None
    assert gpu.process_memory_mib() is None or gpu.process_memory_mib() > 10


@pytest.mark.gpu
def test_the_energy_of_a_real_gpu_grows_as_it_works():
    gpu = Gpu("cuda:0")
    before = gpu.energy_mj()
    if before is None:
        pytest.skip("this GPU counts no energy")
    x = torch.randn(8192, 8192, device="cuda:0")
    for _ in range(200):
        x @ x
    torch.cuda.synchronize()
    assert gpu.energy_mj() > before
