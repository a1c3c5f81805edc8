import json
import os
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.metrics import conditions
from hvt_bench.metrics.conditions import SLOWED, Conditions, Witness, throttled
from hvt_bench.metrics.passes import use_precision
from hvt_bench.nvml import CLOCK_EVENTS
from hvt_bench.records import columns_of

ROUND = {
    "images": 640,
    "wall_s": 2.0,
    "process_cpu_s": 3.0,
    "busy_cpu_s": 4.0,
    "cores": 4,
    "num_threads": 2,
    "fp32_precision": {"products": "ieee", "convolutions": "ieee"},
}
GPU_ROUND = ROUND | {
    "energy_mj": 1_280_000,
    "clock_mhz": [1980, 1755],
    "memory_clock_mhz": [2619, 2619],
    "temperature_c": [45, 60],
    "power_limit_w": 700.0,
    "throttle_reasons": [],
    "cudnn_benchmark": False,
}


@pytest.fixture
def moments(monkeypatch):
    """What `_Processor.now` finds, in order: (wall_s, process_s, busy_s)."""

    def script(*found):
        steps = iter([conditions._Processor(*moment) for moment in found])
        monkeypatch.setattr(conditions._Processor, "now", lambda: next(steps))

    return script


@pytest.fixture
def gpu(nvml):
    """A driver that answers everything; `gpu.now` is what it says."""
    nvml.now = {"energy": 1000, "sm": 1980, "memory": 2619, "core": 45, "bits": 0x1, "lowered_ns": {0: 0, 1: 0}}
    nvml.answers |= {
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: nvml.now["energy"],
        "nvmlDeviceGetClockInfo": lambda handle, kind: nvml.now[{1: "sm", 2: "memory"}[kind]],
        "nvmlDeviceGetTemperature": lambda handle, sensor: nvml.now["core"],
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: nvml.now["bits"],
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
        "nvmlDeviceGetViolationStatus": lambda handle, policy: nvml.struct(
            violationTime=nvml.now["lowered_ns"][policy]
        ),
    }
    return nvml


def witnessed(gpu, **later):
    witness = Witness("cuda:0", 8)
    witness.start()
    gpu.now |= later
    return witness.stop(64)


# --- one round --------------------------------------------------------------------------------------------------------


def test_on_a_cpu_time_is_set_against_work(moments, monkeypatch):
    monkeypatch.setattr(conditions, "_cores", lambda: {0, 1, 2, 3})
    moments((10.0, 1.0, 100.0), (12.0, 4.0, 104.5))
    use_precision("float32")
    witness = Witness("cpu", 2)
    witness.start()
    assert witness.stop(640) == ROUND | {"busy_cpu_s": 4.5}


def test_where_linux_does_not_say_how_busy_it_is_that_is_unknown(moments):
    moments((10.0, 1.0, None), (12.0, 4.0, None))
    witness = Witness("cpu", 2)
    witness.start()
    found = witness.stop(1)
    assert found["busy_cpu_s"] is None
    assert Conditions.summarise([found]).other_load_pct is None


def test_on_a_gpu_both_ends_and_what_grew_between_them_are_found(gpu, moments):
    moments((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    found = witnessed(gpu, energy=1_281_000, sm=1755, core=60)
    assert found["energy_mj"] == 1_280_000
    assert found["clock_mhz"] == [1980, 1755]
    assert found["memory_clock_mhz"] == [2619, 2619]
    assert found["temperature_c"] == [45, 60]
    assert found["power_limit_w"] == 700.0
    assert found["throttle_reasons"] == []
    assert found["cudnn_benchmark"] is False
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (0x4, 0x1, ["sw_power_cap"]),
        (0x1, 0x4, ["sw_power_cap"]),
        (0x20, 0x48, ["hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown"]),
    ],
)
def test_what_lowers_the_clocks_at_either_end_is_said(gpu, moments, before, after, reasons):
    moments((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    gpu.now["bits"] = before
    assert witnessed(gpu, bits=after)["throttle_reasons"] == reasons


@pytest.mark.parametrize(
    ("lowered_ns", "reasons"),
    [
        ({0: 5, 1: 7}, []),
        ({0: 5, 1: 7 + 20_000_000}, []),  # a hundredth of two seconds
        ({0: 5, 1: 7 + 20_000_001}, ["sw_thermal_slowdown"]),
        ({0: 5 + 2_000_000_000, 1: 7}, ["sw_power_cap"]),
    ],
)
def test_what_lowered_the_clocks_in_between_is_said_if_it_lasted(gpu, moments, lowered_ns, reasons):
    moments((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    gpu.now["lowered_ns"] = {0: 5, 1: 7}
    assert witnessed(gpu, lowered_ns=lowered_ns)["throttle_reasons"] == reasons


def test_a_gpu_whose_driver_is_silent_has_a_round_all_the_same(nvml, moments):
    moments((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    nvml.missing()
    nvml.now = {}
    found = witnessed(nvml)
    assert found["throttle_reasons"] is None
    assert not throttled(found)
    summary = Conditions.summarise([found])
    assert summary.energy_mj_per_img is summary.clock_mhz_start is summary.power_limit_w is None
    assert summary.cudnn_benchmark is False


def test_a_counter_that_answers_once_grew_by_nothing_known(gpu, moments):
    moments((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    witness = Witness("cuda:0", 8)
    witness.start()
    del gpu.answers["nvmlDeviceGetTotalEnergyConsumption"]
    assert witness.stop(64)["energy_mj"] is None


@pytest.mark.parametrize("reason", CLOCK_EVENTS.values())
def test_heat_and_hardware_that_protects_itself_are_measured_again(reason):
    assert throttled({"throttle_reasons": [reason, "sw_power_cap"]}) is (reason in SLOWED)
    assert set(CLOCK_EVENTS.values()) > SLOWED
    assert "sw_power_cap" not in SLOWED


@pytest.mark.parametrize("found", [{}, {"throttle_reasons": None}, {"throttle_reasons": []}])
def test_a_round_that_says_nothing_is_not_throttled(found):
    assert not throttled(found)


@pytest.mark.parametrize(("dtype", "device", "said"), [("float32", "cpu", "ieee"), ("tf32", "cuda:0", "tf32")])
def test_the_precision_of_float32_is_read_back(dtype, device, said):
    use_precision(dtype)
    assert conditions._read_precision(device) == {"products": said, "convolutions": said}
    use_precision("float32")
    assert conditions._read_precision("mps") is None


def test_a_network_that_sets_another_precision_is_found_out():
    use_precision("float32")
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    try:
        found = {"fp32_precision": conditions._read_precision("cuda:0")}
    finally:
        torch.backends.cudnn.conv.fp32_precision = before
    assert conditions._precision(found) == "products ieee, convolutions tf32"


# --- what Linux says --------------------------------------------------------------------------------------------------

STAT = """\
cpu  9000 0 0 0 0 0 0 0 0 0
cpu0 100 20 30 4000 500 6 7 8 90 0
cpu1 1000 0 0 0 0 0 0 0 0 0
cpu10 1 1 1 9999 9999 1 1 1 0 0
intr 12345 0 1
"""


def test_busy_is_user_nice_system_interrupts_and_steal_of_the_cores_we_may_use(monkeypatch, tmp_path):
    (tmp_path / "stat").write_text(STAT)
    monkeypatch.setattr(conditions, "Path", lambda _: tmp_path / "stat")
    monkeypatch.setattr(conditions, "_cores", lambda: {0, 10})
    assert conditions._busy_s() == (100 + 20 + 30 + 6 + 7 + 8 + 6) / os.sysconf("SC_CLK_TCK")


def test_without_linux_nobody_says_how_busy_the_cores_are(monkeypatch, tmp_path):
    monkeypatch.setattr(conditions, "Path", lambda _: tmp_path / "stat")
    assert conditions._busy_s() is None


def test_the_real_machine_is_seen_working():
    before = conditions._Processor.now()
    spent = time.process_time()
    while time.process_time() - spent < 0.05:
        pass
    after = conditions._Processor.now()
    assert after.process_s - before.process_s >= 0.05
    assert after.wall_s - before.wall_s >= 0.05
    assert after.busy_s is None or after.busy_s - before.busy_s >= 0.0
    assert len(conditions._cores()) >= 1


# --- summing up -------------------------------------------------------------------------------------------------------


def test_the_summary_of_one_round_on_a_cpu():
    assert Conditions.summarise([ROUND]) == Conditions(
        fp32_precision="ieee",
        other_load_pct=12.5,  # one second of the eight that four cores had
        cpu_share_pct=75.0,  # three seconds of the four that two threads had
    )


def test_the_summary_of_rounds_on_a_gpu():
    rounds = [
        GPU_ROUND,
        GPU_ROUND | {"clock_mhz": [1970, 1740], "energy_mj": 2_560_000, "throttle_reasons": ["sw_power_cap"]},
        GPU_ROUND | {"clock_mhz": [1200, 1700], "power_limit_w": 650.0, "throttle_reasons": ["board_limit"]},
    ]
    assert Conditions.summarise(rounds) == Conditions(
        energy_mj_per_img=2000.0,
        clock_mhz_start=1970,
        clock_mhz_end=1740,
        power_limit_w=650.0,
        throttle_reasons="board_limit sw_power_cap",
        fp32_precision="ieee",
        cudnn_benchmark=False,
        other_load_pct=12.5,
        cpu_share_pct=75.0,
    )


def test_the_worst_round_says_how_busy_the_machine_was():
    rounds = [ROUND, ROUND | {"busy_cpu_s": 7.0, "process_cpu_s": 1.0}, ROUND | {"busy_cpu_s": None}]
    summary = Conditions.summarise(rounds)
    assert (summary.other_load_pct, summary.cpu_share_pct) == (75.0, 25.0)


def test_counts_of_hundredths_of_a_second_say_nothing_of_a_short_round():
    assert Conditions.summarise([ROUND | {"wall_s": 0.49}]).other_load_pct is None
    assert Conditions.summarise([ROUND | {"wall_s": 0.5}]).other_load_pct == 50.0


def test_a_count_that_is_behind_our_own_is_no_load():
    assert Conditions.summarise([ROUND | {"busy_cpu_s": 2.99}]).other_load_pct == 0.0


def test_rounds_of_a_network_that_changes_the_precision_say_both():
    mixed = ROUND | {"fp32_precision": {"products": "tf32", "convolutions": "tf32"}}
    assert Conditions.summarise([ROUND, mixed]).fp32_precision == "ieee; tf32"


def test_every_field_is_a_column():
    assert list(columns_of(Conditions)) == list(Conditions.model_fields)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "wall_s": st.floats(0.001, 100),
                "process_cpu_s": st.floats(0, 1000),
                "busy_cpu_s": st.none() | st.floats(0, 1000),
                "energy_mj": st.none() | st.integers(0, 10**9),
                "clock_mhz": st.tuples(*[st.none() | st.integers(1, 3000)] * 2).map(list),
                "throttle_reasons": st.none() | st.lists(st.sampled_from(sorted(CLOCK_EVENTS.values())), unique=True),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_unknown_the_rest_is_summed_up(rounds):
    rounds = [json.loads(json.dumps(GPU_ROUND | found)) for found in rounds]
    summary = Conditions.summarise(rounds)
    assert (summary.energy_mj_per_img is None) is all(found["energy_mj"] is None for found in rounds)
    assert (summary.clock_mhz_end is None) is all(found["clock_mhz"][1] is None for found in rounds)
    assert summary.other_load_pct is None or summary.other_load_pct >= 0
    reasons = set((summary.throttle_reasons or "").split())
    assert any(map(throttled, rounds)) is bool(reasons & SLOWED)


@pytest.mark.gpu
def test_a_real_gpu_is_witnessed():
    use_precision("float32")
    witness = Witness("cuda:0", 1)
    x = torch.randn(8192, 8192, device="cuda:0")
    torch.cuda.synchronize()
    witness.start()
    for _ in range(100):
        x @ x
    torch.cuda.synchronize()
    found = witness.stop(100)
    assert found["throttle_reasons"] is not None
    assert json.loads(json.dumps(found)) == found
    summary = Conditions.summarise([found])
    assert summary.clock_mhz_start > 100
    assert summary.clock_mhz_end > 100
    assert summary.power_limit_w > 5
    assert summary.fp32_precision == "ieee"
    if summary.energy_mj_per_img is not None:
        watts = found["energy_mj"] / 1e3 / found["wall_s"]
        assert 5 < watts < 2 * summary.power_limit_w
