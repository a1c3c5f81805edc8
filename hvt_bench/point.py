"""Point: one network and how to measure it. InvalidCell: what was asked for where no such network exists."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny

from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.models.config import Attention, ModelConfig
from hvt_bench.records import Column, Record, columns_of

SWEEPABLE = ("device", "dtype", "batch_size", "attention", "checkpointing")
"""Fields of the protocol that may be an axis, as any field of a config may."""

Dtype = Literal["float32", "float16", "bfloat16"]


class Protocol(Record):
    """How a network is measured."""

    device: Annotated[
        str, Field(pattern=r"^(cpu|mps|cuda:\d+)$"), Column("where the network ran: `cpu`, `cuda:0`, `mps`")
    ]
    dtype: Annotated[Dtype, Column("number format of weights and images")] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=1_000_000), Column("images of one forward pass", "", "batch size")]
    attention: Annotated[
        Attention, Column("`sdpa`: PyTorch's fused attention; `eager`: its two products written out")
    ] = "sdpa"
    checkpointing: Annotated[
        bool, Column("whether a training step computes each block again instead of keeping its activations")
    ] = False
    warmup_s: Annotated[float, Field(ge=0, le=3600), Column("warm-up before timing, at least; 3 passes too", "s")]
    min_time_s: Annotated[float, Field(gt=0, le=3600), Column("timed passes of one round, at least", "s")] = 2.0
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    """Rounds asked for; the column `rounds` says how many there are."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Time limit of one round, in seconds; a round past it is ended and becomes a row with status `timeout`."""


class Point(Protocol):
    """One network and how to measure it; the unit of work is one round of it."""

    model: Annotated[
        str, Column("variant as written in the sweep file, a mapping's `name`, else `family:key=value,...`")
    ]
    axis: Annotated[str | None, Column("axis on which the point lies; empty at the centre, which all axes share")] = (
        None
    )
    config: SerializeAsAny[ModelConfig]

    @property
    def point_id(self) -> str:
        """Short hash of the model's name, its config and everything that changes what a round measures."""
        asked = self.model_dump(mode="json", exclude={"axis", "rounds", "timeout_s"})
        return _short_hash(asked | {"family": self.config.family})

    def columns(self) -> dict[str, Any]:
        """Return the part of a row that is known before anything is measured."""
        own = {name: getattr(self, name) for name in columns_of(Point)}
        config = self.config.columns(self.model, CONFIG_COLUMNS)
        return {"point_id": self.point_id, "family": self.config.family, **config, **own}


class InvalidCell(Record):
    """What was asked for where no such network exists, and why."""

    model: str
    axis: str | None
    asked: dict[str, Any]
    reason: str

    @property
    def point_id(self) -> str:
        """Short hash of what was asked."""
        return _short_hash({"model": self.model, "asked": self.asked})

    def columns(self) -> dict[str, Any]:
        """Return the row of this cell."""
        return {
            **self.asked,
            "point_id": self.point_id,
            "model": self.model,
            "axis": self.axis,
            "status": "invalid",
            "error": self.reason,
        }


def _short_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
