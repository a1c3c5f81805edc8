"""Asked: what a person may ask of figures; each figure takes what it understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hvt_bench.errors import RequestError, unknown
from hvt_bench.row import COLUMNS, Row

NUMBERS = tuple(name for name, column in COLUMNS.items() if column.kind in (int, float) and not column.many)
"""Columns that can be drawn along an axis."""


@dataclass(frozen=True)
class Asked:
    """What was asked for; what was not is empty, and each figure has its own usual choice then."""

    metrics: tuple[str, ...] = ()
    """Columns of NUMBERS."""
    hue: str = "model"
    """Column whose values have a colour each."""
    baseline: str = ""
    """Model, or point_id, that others are held against."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """A person's own top-1 in percent, by the name of the model."""

    @property
    def pair(self) -> tuple[str, str]:
        """Cost and what it is set against: the first two metrics asked for; one alone is set against MACs."""
        metrics = [name for name in self.metrics[:2] if len(self.metrics) > 1 or name != "macs"] or ["latency_ms"]
        return (metrics[0], metrics[1]) if len(metrics) > 1 else ("macs", metrics[0])

    def check(self, rows: Sequence[Row]) -> None:
        """Raise RequestError where a metric or the hue is no column that can be drawn, or is in no row."""
        for name in self.metrics:
            if name not in NUMBERS:
                what = "is no number" if name in COLUMNS else unknown("metric", name, NUMBERS)
                raise RequestError(f"--metric {name}: {what}")
            if all(row[name] is None for row in rows):
                raise RequestError(f"--metric {name}: no row has it; `measure` in the sweep file says what is measured")
        if self.hue not in COLUMNS:
            raise RequestError(f"--hue: {unknown('column', self.hue, COLUMNS)}")
        if self.hue != "model" and all(row[self.hue] is None for row in rows):
            raise RequestError(f"--hue {self.hue}: no row has it")


NOTHING = Asked()
