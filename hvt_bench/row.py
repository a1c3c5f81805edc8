"""COLUMNS, the one CSV header; Row, a line under it; Sample, what one visit to a point found."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, NoReturn

from hvt_bench.environment import Environment
from hvt_bench.metrics import FINDINGS, METRICS
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.point import Point
from hvt_bench.records import Column, Record, columns_of
from hvt_bench.verdicts import WARNINGS

Status = Literal["ok", "invalid", "oom", "timeout", "crashed", "error"]
Value = int | float | bool | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None

_CONFIG = dict(CONFIG_COLUMNS)
_CHECKPOINT = _CONFIG.pop("checkpoint")
_POINT = columns_of(Point)
_NUM_THREADS = _POINT.pop("num_threads")
_ENVIRONMENT = columns_of(Environment)
_ENVIRONMENT_TO_CPU = {
    name: _ENVIRONMENT.pop(name) for name in [*_ENVIRONMENT][: [*_ENVIRONMENT].index("cpu_name") + 1]
}
_LATENCY = columns_of(METRICS["latency"])
_LATENCY_SAMPLES = {
    name: _LATENCY.pop(name) for name in ("latency_ms", "latency_ms_p05", "latency_ms_p95", "latency_samples")
}
_MEMORY = columns_of(METRICS["memory"])
_ALLOC_RETRIES = _MEMORY.pop("alloc_retries")

COLUMNS: dict[str, Column] = {
    "point_id": Column("short hash of the network and of how it was measured", label="point"),
    "sweep": Column("the `name` of the sweep file", label="sweep"),
    "model": _POINT.pop("model"),
    "axis": _POINT.pop("axis"),
    "family": Column("code that built the network", label="family"),
    **_CONFIG,
    "model_kwargs": Column("what an outside network was given that has no column: `key=value; ...`", label="arguments"),
    "checkpoint": _CHECKPOINT,
    **_POINT,
    **columns_of(METRICS["complexity"]),
    "arithmetic_intensity": Column(
        "unfused: batch_size · macs / (bytes of a number in products · (params + 2 · batch_size · activations))",
        "MACs/byte",
        "arithmetic intensity",
        float,
    ),
    **_LATENCY_SAMPLES,
    "rounds": Column("finished rounds, each in a process of its own", label="rounds", kind=int),
    "remeasured": Column("rounds that were measured again since the GPU was throttled", label="remeasured", kind=int),
    **_LATENCY,
    "macs_per_s": Column(
        "macs · batch_size / latency; in training, train_macs", "1/s", "MACs per second", float, best="high"
    ),
    **columns_of(METRICS["peak"]),
    "mfu_pct": Column(
        "macs_per_s over peak_macs_per_s: model FLOPs utilisation, of the peak that was measured and not a data "
        "sheet's",
        "%",
        "share of the peak",
        float,
        best="high",
    ),
    **columns_of(METRICS["parts"]),
    **_MEMORY,
    **columns_of(FINDINGS["estimate"]),
    "alloc_retries": _ALLOC_RETRIES,
    **columns_of(FINDINGS["conditions"]),
    **columns_of(METRICS["accuracy"]),
    "data": Column(
        "what was trained and evaluated on: `subset` training images, and the published test images, or, with "
        "`val_fraction` and of digits, images held out of the training ones",
        label="data",
    ),
    "recipe": Column("how it was trained: a recipe, and what was changed of it", label="recipe"),
    "ran_on": Column("GPUs that took its rounds, of those given by `--devices`", label="ran on", many=True),
    **_ENVIRONMENT_TO_CPU,
    "num_threads": _NUM_THREADS,
    **_ENVIRONMENT,
    "status": Column("`ok`, `invalid`, `oom`, `timeout`, `crashed` or `error`", label="status"),
    "error": Column("why the status is not `ok`", label="error"),
    "warnings": Column(
        f"what makes the times doubtful: {', '.join(f'`{name}`' for name in WARNINGS)}", label="warnings", many=True
    ),
    "started_at": Column("when the point was first visited, UTC", label="started at"),
    "seconds": Column("time spent on the point, all rounds together", "s", "time spent", float),
}


_EMPTY: dict[str, Value] = dict.fromkeys(COLUMNS)


class Row(dict[str, Value]):
    """One line of the CSV: every key of COLUMNS; None is not measured or not applicable. It does not change.

    A dict, since figures of 10,000 rows read some 5,000,000 values: a method of Python's own takes twice as long.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(_EMPTY)
        super().update(values)
        if len(self) != len(_EMPTY):
            strange = values.keys() - COLUMNS.keys()
            raise KeyError(f"no such columns: {', '.join(sorted(strange))}")

    def _fixed(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a row does not change; Row({**row, ...}) makes another")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _fixed

    def __reduce__(self) -> tuple[type[Row], tuple[dict[str, Value]]]:
        return Row, (dict(self),)

    @cached_property
    def line(self) -> str:
        """The row as a line of CSV; spelling it takes as long as all else that is done with it."""
        return csv_line([value if type(value) in _SPELT_ALIKE else csv_text(value) for value in self.values()])

    def __repr__(self) -> str:
        known = ", ".join(f"{name}={value!r}" for name, value in self.items() if value is not None)
        return f"Row({known})"


_SPELT_ALIKE = (str, int, type(None))
"""Types of values that a line of CSV spells as csv_text does."""


def csv_line(texts: Iterable[Value]) -> str:
    """Return a line of CSV, its end included."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(texts)
    return line.getvalue()


def csv_text(value: Value) -> str:
    """Spell a value: integers exact, floats to six significant digits, lists space-separated, unknown empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return " ".join(map(csv_text, value))
    return str(value)


class Sample(Record):
    """What one visit to a point found: one round of measuring, or, where `round` is None, the counting."""

    point_id: str
    round: int | None
    attempt: int = 1
    """2 and more where a round was measured again because the GPU was throttled."""
    values: dict[str, Any]
    """By metric: what its `measure` gave."""
    status: Status = "ok"
    error: str | None = None
    started_at: str
    seconds: float
    ran_on: str | None = None
    """Which of several GPUs took it."""
    side_by_side: int | None = None
    """Of what was timed on cores that others of the sweep used meanwhile: how many of them there were, with it."""
    environment: Environment | None = None
    """Where it was found, if that is not where the program runs: on a node of a cluster, say."""

    def entry(self) -> dict[str, Any]:
        """Return what the journal keeps of it."""
        unknown = {name for name in ("side_by_side", "environment") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=unknown)
