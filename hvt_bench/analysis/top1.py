"""top1: the accuracy of the network of a row, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from hvt_bench.analysis.rebuild import config_of, named
from hvt_bench.analysis.trained import seeds_of
from hvt_bench.models.config import ModelConfig
from hvt_bench.published import SYSTEMS, published
from hvt_bench.row import Row, csv_text

Source = Literal["measured", "own", "printed"]

IMAGENET = "ImageNet-1k"
_CLASSES = 1000
_QUOTED = "comparison row"  # of a table: the number of another system, as that one or a third printed it


class Top1(NamedTuple):
    """A top-1 in percent. Only those of the same data and recipe, or of the same system, can be compared."""

    percent: float
    source: Source
    data: str = ""
    """What it was measured on; empty where nobody says."""

    recipe: str = ""
    """How the network was trained, if that was here."""

    spread: float | None = None
    """Standard deviation between seeds, in points; None of one seed, and where it was not measured here."""

    network: str = ""
    """What the source calls it, where that is a name of ours."""

    system: str = ""
    """Whose printed number it is: `DeiT-III`; empty where it is not printed. Systems differ in how they train."""

    others: tuple[float, ...] = ()
    """What the same system prints elsewhere of this network, where that differs."""


@lru_cache(maxsize=1)
def printed() -> dict[ModelConfig, tuple[Top1, ...]]:
    """Return the printed top-1 on ImageNet-1k of the networks that we build, one of each system: its first.

    What a system quotes of others is left out.
    """
    found: dict[ModelConfig, dict[str, Top1]] = {}
    for key in SYSTEMS:
        for line in published(key):
            if not line.network or not line.top1 or line.dataset != IMAGENET or line.variant == _QUOTED:
                continue
            config = named(line.network)
            if config is None or getattr(config, "num_classes", None) != _CLASSES:
                continue
            top1 = Top1(float(line.top1), "printed", IMAGENET, network=line.network, system=line.system)
            of_network = found.setdefault(config, {})
            first = of_network.setdefault(line.system, top1)
            if top1.percent not in (first.percent, *first.others):
                of_network[line.system] = first._replace(others=(*first.others, top1.percent))
    return {config: tuple(of_network.values()) for config, of_network in found.items()}


def top1_of(row: Row, own: Mapping[str, float]) -> tuple[Top1, ...]:
    """Return the top-1 of a row: measured, else a person's own by the name of its network, else each that is printed.

    `own` are percents by name: that of a centre, as in the column `model`, or any that stands for the network. Those
    of a network of as many classes as ImageNet-1k are taken to be on it; of others nobody says.
    """
    measured, spread = row["top1"], row["top1_spread"]
    if isinstance(measured, int | float):
        data, recipe = csv_text(row["data"]), csv_text(row["recipe"])
        known = float(spread) if isinstance(spread, int | float) and len(seeds_of(row)) != 1 else None
        return (Top1(float(measured), "measured", data, recipe, known),)
    data = IMAGENET if row["num_classes"] in (_CLASSES, None) else ""
    if row["axis"] is None and str(row["model"]) in own:
        return (Top1(own[str(row["model"])], "own", data),)
    config = config_of(row)
    if config is None:
        return ()
    found = _by_config(tuple(own.items())).get(config)
    return (found._replace(data=data),) if found else printed().get(config, ())


def not_found(rows: Sequence[Row], own: Mapping[str, float]) -> list[str]:
    """Names of a person's own accuracies that no row is of."""
    models = {str(row["model"]) for row in rows if row["axis"] is None}
    configs = {config_of(row) for row in rows} - {None}
    return [name for name in own if name not in models and named(name) not in configs]


@lru_cache(maxsize=4)
def _by_config(own: tuple[tuple[str, float], ...]) -> dict[ModelConfig, Top1]:
    return {config: Top1(percent, "own", network=name) for name, percent in own if (config := named(name)) is not None}
