"""Rows as a sweep finds them, for tests of what reads rows."""

from hvt_bench.row import Row
from tests.conftest import ENVIRONMENT

STEADY = (10.0, 10.1, 9.9, 10.0, 10.0)
POINT = {
    "model": "hvt_s_1",
    "family": "hvt",
    "img_size": 224,
    "embed_dim": 384,
    "depth": 12,
    "num_heads": 6,
    "mlp_ratio": 4.0,
    "pool_stages": 1,
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 1,
    "mode": "infer",
    "num_threads": 2,
    "warmup_s": 0.5,
    "min_time_s": 2.0,
    "status": "ok",
    "latency_ms_rounds": STEADY,
} | ENVIRONMENT.model_dump()


def row(**changes):
    values = POINT | changes
    return Row({"point_id": "/".join(str(value) for value in changes.values()) or "centre"} | values)


def times(row, factor):
    """The same row, its rounds so many times as long."""
    return Row({**row, "latency_ms_rounds": tuple(factor * ms for ms in row["latency_ms_rounds"])})
