"""What papers, released code and others have printed of their networks, one CSV a system.

The columns up to `location` are as printed, digits and all; a number that a table prints once for several of our lines
(params of Scaling ViT, for two resolutions) stands in the first. Ours, behind them:

    ours         the variant that is the network, empty where we do not build it
    overrides    its fields that differ, `img_size=384 keep_rate=0.9`
    convention   how the source counts, a key of `reproduce.conventions.CONVENTIONS`
    cause        of a number that differs: `params:` or `flops:` and a cause that `reproduce.cells` can check
    reason       why the row is out of scope, or what the cause says in words
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal, get_args

Quantity = Literal["params", "flops"]

SYSTEMS = (
    "hvt",
    "vit",
    "deit",
    "deit_iii",
    "torchvision",
    "timm",
    "dynamicvit",
    "mvit",
    "mvitv2",
    "scaling_vit",
    "vitgan",
    "patchdiv",
)


@dataclass(frozen=True)
class Printed:
    """One row of a table somewhere; every field is text as printed, and empty where nothing is."""

    key: str
    """Which of SYSTEMS."""
    system: str
    model: str
    variant: str
    dataset: str
    resolution: str
    patch: str
    depth: str
    width: str
    heads: str
    pool_stages: str
    params_m: str
    flops_g: str
    top1: str
    top5: str
    throughput: str
    source: str
    location: str
    ours: str
    overrides: str
    convention: str
    cause: str
    reason: str

    @property
    def network(self) -> str:
        """Our network as a person writes it, `hvt_s_1:num_classes=100`; empty where we do not build it."""
        return ":".join(filter(None, (self.ours, self.overrides.replace(" ", ","))))

    def cell(self, quantity: Quantity) -> str:
        """Return what is printed of a quantity: params in millions, FLOPs in billions."""
        return self.params_m if quantity == "params" else self.flops_g

    @property
    def cells(self) -> tuple[Quantity, ...]:
        """The quantities that are printed."""
        return tuple(quantity for quantity in get_args(Quantity) if self.cell(quantity))


@lru_cache
def published(key: str) -> tuple[Printed, ...]:
    """Return the rows of one of SYSTEMS, in the order of their sources."""
    text = files(__name__).joinpath(f"{key}.csv").read_text("utf-8")
    return tuple(Printed(key=key, **row) for row in csv.DictReader(io.StringIO(text)))
