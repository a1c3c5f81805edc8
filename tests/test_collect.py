import pytest

from hvt_bench.collect import collect
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from hvt_bench.row import Sample
from tests.conftest import ENVIRONMENT

START = {"sweep": "s", "started_at": "2026-01-31T12:00:00Z", "environments": {"cpu": ENVIRONMENT.model_dump()}}
POINT = Point(model="hvt_s_1", config=parse_model("hvt_s_1"), device="cpu", batch_size=2, warmup_s=0.5, rounds=2)
COUNT = {"params": 3, "macs": 4_000_000_000, "fvcore_flops": None, "activations": 5, "seq_lens": [196, 97]}


def sample(number, status="ok", error=None, **values):
    return Sample(
        point_id=POINT.point_id,
        round=number,
        values=values,
        status=status,
        error=error,
        started_at=f"2026-01-31T12:00:0{number or 0}Z",
        seconds=1.5,
    )


def latency(*pass_ms):
    return {"pass_ms": list(pass_ms), "block_img_s": [10.0, 30.0, 20.0]}


def row_of(*samples):
    return collect(POINT.columns(), samples, ENVIRONMENT)


def test_a_row_sums_up_the_rounds():
    row = row_of(
        sample(None, complexity=COUNT),
        sample(0, latency=latency(10.0, 20.0, 30.0), memory={"weights_mib": 1.0, "peak_memory_mib": 5.0}),
        sample(1, latency=latency(22.0), memory={"weights_mib": 1.0, "peak_memory_mib": 7.0}),
    )
    assert row["latency_ms"] == 21.0  # median of the medians 20 and 22
    assert row["latency_samples"] == 4
    assert row["latency_ms_p05"] == pytest.approx(11.5)
    assert row["latency_ms_p95"] == pytest.approx(28.8)
    assert row["latency_spread_pct"] == pytest.approx(100 * 2 / 21)
    assert row["throughput_img_s"] == 20.0
    assert row["peak_memory_mib"] == 7.0
    assert row["macs_per_s"] == pytest.approx(4e9 * 2 / 0.021)
    assert row["rounds"] == 2
    assert row["seconds"] == 4.5
    assert row["started_at"] == "2026-01-31T12:00:00Z"
    assert row["status"] == "ok"
    assert row["error"] is None
    assert row["torch_version"] == "9.9.9"


def test_the_state_of_the_machine_is_in_the_row_though_nobody_asks_for_it():
    seen = {"images": 5, "wall_s": 2.0, "process_cpu_s": 1.0, "busy_cpu_s": 3.0, "cores": 2, "num_threads": 1}
    row = collect(POINT.columns(), [sample(0, latency=latency(1.0, 2.0), conditions=seen)], None)
    assert (row["other_load_pct"], row["cpu_share_pct"], row["energy_mj_per_img"]) == (50.0, 50.0, None)


def test_what_was_measured_before_a_failure_stays():
    row = row_of(
        sample(None, complexity=COUNT),
        sample(0, latency=latency(10.0)),
        sample(1, "oom", "no room", memory={"weights_mib": 1.0, "peak_memory_mib": 7.0}),
    )
    assert (row["status"], row["error"], row["rounds"]) == ("oom", "no room", 1)
    assert row["macs"] == 4_000_000_000
    assert row["latency_ms"] == 10.0
    assert row["latency_spread_pct"] is None
    assert row["peak_memory_mib"] == 7.0


def test_unmeasured_is_none_and_never_zero():
    row = row_of(sample(None, "error", "two books disagree"))
    assert row["status"] == "error"
    assert [row[name] for name in ("macs", "latency_ms", "rounds", "peak_memory_mib", "macs_per_s")] == [None] * 5
