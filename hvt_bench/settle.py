"""How a point is measured where nothing else is asked for: what depends on the machine, and on the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvt_bench.cluster import SlurmSection
from hvt_bench.environment import resolve_device
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import MIN_TIME_S, Protocol

CAP = 2.0  # times min_time_s is the usual max_time_s


def settle(protocol: Mapping[str, Any], nodes: SlurmSection | None = None) -> dict[str, Any]:
    """Fill in what depends on the machine, on the `nodes` of a cluster if given, and the device; check every value.

    Raises RequestError where this machine lacks the device, ValidationError where a value does not fit.
    """
    wanted = str(protocol.get("device", "auto"))
    if nodes is None:
        device = resolve_device(wanted)
    else:
        device, protocol = nodes.device(wanted), {"num_threads": nodes.cpus_per_task, **protocol}
    on_gpu = device != "cpu"
    usual = {"warmup_s": 1.0, "warmup_passes": 10} if on_gpu else {"warmup_s": 0.5, "warmup_passes": 3}
    settled = {**usual, **protocol, "device": device}
    if isinstance(least := settled.get("min_time_s", MIN_TIME_S), int | float):
        settled.setdefault("max_time_s", CAP * least)
    if settled.get("batch_size", "auto") == "auto":
        settled["batch_size"] = 64 if on_gpu else 1
    if settled.get("attention") == "auto":
        del settled["attention"]  # `settle_attention` knows the network
    Protocol.model_validate(settled)
    return settled


def settle_attention(settled: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Fill in the attention where none is asked for: the fused one, or, where the network has none, `eager`."""
    return {"attention": config.usual_attention(settled.get("mode") == "train"), **settled}
