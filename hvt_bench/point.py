"""Point: one network and how to measure it. InvalidCell: what was asked for where no such network exists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, SerializeAsAny, model_validator

from hvt_bench.errors import ConfigError, ProtocolError
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.models.config import Attention, ModelConfig
from hvt_bench.records import Column, Record, columns_of
from hvt_bench.training.data import Data, check_fits
from hvt_bench.training.recipes import TrainingRecipe

SWEEPABLE = (
    "device", "dtype", "batch_size", "max_batch", "mode", "attention", "compile", "checkpointing", "num_threads",
)  # fmt: skip
"""Fields of the protocol that may be an axis, as any field of a config may."""

MAX_BATCH_SIZE = 1_000_000
MIN_TIME_S = 2.0

ANY_GPU = "cuda"
"""The device of a point that any one of several GPUs may take."""

Dtype = Literal["float32", "tf32", "float16", "bfloat16", "amp_float16", "amp_bfloat16"]
Mode = Literal["infer", "train"]
AttentionPath = Literal["sdpa", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "sdpa_math", "eager"]


_HALF: tuple[Dtype, ...] = ("float16", "bfloat16", "amp_float16", "amp_bfloat16")
_KERNEL_FORMATS: dict[AttentionPath, dict[str, tuple[Dtype, ...]]] = {  # torch.nn.attention.SDPBackend
    "sdpa_flash": {"cpu": ("float32", *_HALF), "cuda": _HALF},
    "sdpa_efficient": {"cuda": ("float32", "tf32", *_HALF)},
    "sdpa_cudnn": {"cuda": _HALF},
}


class Protocol(Record):
    """How a network is measured."""

    device: Annotated[
        str,
        Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$"),
        Column("where the network ran: `cpu`, `cuda:0`, `mps`; `cuda`: on any of several GPUs, which `ran_on` names"),
    ]
    dtype: Annotated[
        Dtype,
        Column(
            "number format of weights and images. `float32`: IEEE everywhere; `tf32`: float32 whose products and "
            "convolutions round to TF32; `amp_*`: float32 weights under autocast"
        ),
    ] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE), Column("images of one pass", "", "batch size")]
    max_batch: Annotated[bool, Column("whether `batch_size` is the largest that fits, found by trying")] = False
    mode: Annotated[
        Mode,
        Column("a pass is, in `infer`, a forward pass; in `train`, a training step: forward, backward, AdamW"),
    ] = "infer"
    attention: Annotated[
        AttentionPath,
        Column(
            "`sdpa`: PyTorch's fused attention; `sdpa_flash`, `sdpa_efficient`, `sdpa_cudnn`, `sdpa_math`: that kernel "
            "of it and no other; `eager`: its two products written out. Where a sweep file gives none, or `auto`: "
            "`sdpa`, or `eager` where a network has no other"
        ),
    ] = "sdpa"
    compile: Annotated[bool, Column("whether the network went through torch.compile")] = False
    checkpointing: Annotated[
        bool, Column("whether a training step computes each block again instead of keeping its activations")
    ] = False
    num_threads: Annotated[
        int, Field(ge=1, le=4096, default_factory=torch.get_num_threads), Column("CPU threads of one operator, pinned")
    ]
    warmup_s: Annotated[float, Field(ge=0, le=3600), Column("warm-up before timing, at least", "s")]
    warmup_passes: Annotated[int, Field(ge=1, le=1_000_000), Column("passes of the warm-up, at least")] = 3
    min_time_s: Annotated[float, Field(gt=0, le=3600), Column("timed passes of one round, at least", "s")] = MIN_TIME_S
    max_time_s: Annotated[
        float, Field(gt=0, le=86_400), Column("timed passes of one round end here, stable or not", "s")
    ] = 4.0
    stable_pct: Annotated[
        float,
        Field(gt=0, le=100),
        Column("passes are stable once the medians of their first and second half are at most so far apart", "%"),
    ] = 1.0
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    """Rounds asked for; the column `rounds` says how many there are."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Time limit of one round, in seconds; a round past it is ended and becomes a row with status `timeout`."""

    @model_validator(mode="after")
    def _check_times(self) -> Protocol:
        if self.max_time_s < self.min_time_s:
            raise ValueError(f"max_time_s {self.max_time_s:g} is less than min_time_s {self.min_time_s:g}")
        return self


class Point(Protocol):
    """One network and how to measure it; the unit of work is one round of it."""

    model: Annotated[
        str, Column("variant as written in the sweep file, a mapping's `name`, else `family:key=value,...`")
    ]
    axis: Annotated[str | None, Column("axis on which the point lies; empty at the centre, which all axes share")] = (
        None
    )
    config: SerializeAsAny[ModelConfig]
    data: Data | None = None
    """What it is trained and evaluated on, where accuracy is measured; and `recipe`, how."""
    recipe: TrainingRecipe | None = None

    @property
    def kind_id(self) -> str:
        """Short hash of all but the batch size: of points of one kind, a larger batch takes more memory."""
        return self.model_copy(update={"batch_size": 1}).point_id

    @cached_property
    def point_id(self) -> str:
        """Short hash of the model's name, its config and everything that changes what a round measures.

        Of a checkpoint it knows the name and not the content: weights change neither cost, nor time, nor memory.
        """
        left_out = {"axis", "rounds", "timeout_s", "data", "recipe"} | ({"batch_size"} if self.max_batch else set())
        asked = self.model_dump(mode="json", exclude=left_out)
        if self.device == ANY_GPU:
            asked["device"] = f"{ANY_GPU}:0"  # the same point, whether one GPU may take it or several
        if self.config.checkpoint is None:
            del asked["config"]["checkpoint"]  # runs of hvt-bench 0.2 know their points by ids without it
        if self.data is not None and self.recipe is not None:  # else as before there were any
            asked |= {"data": self.data.identity, "recipe": self.recipe.identity}
        return _short_hash(asked | {"family": self.config.family})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy that is another point, with an id of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("point_id", None)
        return copied

    @property
    def model_attention(self) -> Attention:
        """The attention that the network is built with; which kernel of `sdpa` runs is said when it runs."""
        return "eager" if self.attention == "eager" else "sdpa"

    def check(self) -> None:
        """Raise ProtocolError where no device of this kind, or no such network, can be measured like this."""
        try:
            self.config.check_attention(self.model_attention, self.mode == "train")
        except ConfigError as error:
            raise ProtocolError(str(error), "attention") from None
        kind, formats = self.device.partition(":")[0], _KERNEL_FORMATS.get(self.attention, {})
        if self.checkpointing and self.mode == "infer":
            raise ProtocolError(
                "checkpointing saves memory in training and does nothing in a forward pass; add mode: train",
                "checkpointing",
            )
        if self.dtype == "tf32" and kind != "cuda":
            raise ProtocolError(f"tf32 is a mode of CUDA's tensor cores; on {kind} take float32", "dtype")
        if formats and kind not in formats:
            raise ProtocolError(f"{self.attention} is no kernel of {kind}; take sdpa, sdpa_math or eager", "attention")
        if formats and self.dtype not in formats[kind]:
            sentence = f"{self.attention} takes no {self.dtype} on {kind}; take {' or '.join(formats[kind])}"
            raise ProtocolError(sentence, "dtype")

        if self.data is not None:
            self._check_training(self.data)

    def _check_training(self, data: Data) -> None:
        """Raise ProtocolError where the network cannot be trained on `data`, or not like this."""
        if self.dtype in ("float16", "bfloat16"):
            raise ProtocolError(
                f"accuracy is that of float32 weights, and {self.dtype} rounds them after each step; take "
                f"amp_{self.dtype}",
                "dtype",
            )
        if self.compile:
            raise ProtocolError("accuracy is not trained compiled; leave compile out, or accuracy", "compile")
        try:
            check_fits(self.config, data)
        except ConfigError as error:
            raise ProtocolError(str(error), "data") from None

    def columns(self) -> dict[str, Any]:
        """Return the part of a row that is known before anything is measured."""
        own = {name: getattr(self, name) for name in columns_of(Point)}
        if self.data is not None and self.recipe is not None:
            own |= {"data": str(self.data), "recipe": str(self.recipe)}
        config = self.config.columns(self.model, CONFIG_COLUMNS)
        return {"point_id": self.point_id, "family": self.config.family, **config, **own}


class InvalidCell(Record):
    """What was asked for where no such network exists, and why."""

    model: str
    axis: str | None
    asked: dict[str, Any]
    reason: str
    key: str | None = None
    """The key of the protocol that stands in the way, if one does."""

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
