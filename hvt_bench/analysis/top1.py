"""top1: the accuracy of the network of a row, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from hvt_bench.analysis.rebuild import config_of, named
from hvt_bench.models.config import ModelConfig
from hvt_bench.published import SYSTEMS, published
from hvt_bench.row import Row

Source = Literal["measured", "own", "printed"]

_DATASET, _CLASSES = "ImageNet-1k", 1000


class Top1(NamedTuple):
    """A top-1 in percent."""

    percent: float
    source: Source
    network: str = ""
    """What the source calls it, where that is a name of ours."""

    system: str = ""
    """Whose printed number it is: `DeiT-III`; empty where it is not printed. Systems differ in how they train."""


@lru_cache(maxsize=1)
def printed() -> dict[ModelConfig, Top1]:
    """Return the printed top-1 on ImageNet-1k of the networks that we build; of several, that of the first source."""
    found: dict[ModelConfig, Top1] = {}
    for key in SYSTEMS:
        for line in published(key):
            config = named(line.network) if line.network and line.top1 and line.dataset == _DATASET else None
            if config is not None and getattr(config, "num_classes", None) == _CLASSES:
                found.setdefault(config, Top1(float(line.top1), "printed", line.network, line.system))
    return found


def top1_of(row: Row, own: Mapping[str, float]) -> Top1 | None:
    """Return the top-1 of a row: measured, else a person's own by the name of its network, else printed.

    `own` are percents by name: that of a centre, as in the column `model`, or any that stands for the network.
    """
    measured = row.get("top1")  # a column once accuracy is measured
    if isinstance(measured, int | float):
        return Top1(float(measured), "measured")
    if row["axis"] is None and str(row["model"]) in own:
        return Top1(own[str(row["model"])], "own")
    config = config_of(row)
    return None if config is None else _by_config(tuple(own.items())).get(config) or printed().get(config)


def not_found(rows: Sequence[Row], own: Mapping[str, float]) -> list[str]:
    """Names of a person's own accuracies that no row is of."""
    models = {str(row["model"]) for row in rows if row["axis"] is None}
    configs = {config_of(row) for row in rows} - {None}
    return [name for name in own if name not in models and named(name) not in configs]


@lru_cache(maxsize=4)
def _by_config(own: tuple[tuple[str, float], ...]) -> dict[ModelConfig, Top1]:
    return {config: Top1(percent, "own", name) for name, percent in own if (config := named(name)) is not None}
