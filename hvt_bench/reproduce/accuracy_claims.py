"""ACCURACY_CLAIMS: what Pan et al. claim of accuracy, as two sides that a run can have.

A side is known by the fields of its networks and not by a name, so that any run which has both is judged: its own
shapes, its own images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hvt_bench.analysis.series import NETWORK
from hvt_bench.row import Row

SETTING = ("data", "recipe", "img_size", "in_chans", "num_classes", "dtype", "checkpoint")
"""Columns in which the sides of every claim agree."""

SHAPE = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias")


@dataclass(frozen=True)
class Side:
    """The networks that a side of a claim is about."""

    words: str
    fits: Callable[[Row], bool]


@dataclass(frozen=True)
class AccuracyClaim:
    """A claim that the top-1 of one side is more than so much above that of the other."""

    key: str
    text: str
    """In quotation marks where it is the paper's."""
    source: str
    a: Side
    b: Side
    alike: tuple[str, ...] = ()
    """Columns in which A and B agree, beside SETTING."""
    least_macs: float = 0.0
    """MACs of A over those of B, at least; and `most_macs`."""
    most_macs: float = math.inf
    above: float = 0.0
    """Points of top-1: claimed is that A - B is more."""

    @property
    def bounded(self) -> bool:
        """Whether it is of certain MACs."""
        return (self.least_macs, self.most_macs) != (0.0, math.inf)


def _pools(row: Row) -> bool:
    """Whether it is an HVT that pools as published."""
    never = row["pool_stages"] == 0 and row["blocks_per_stage"] is None
    return row["family"] == "hvt" and not never and row["pool"] == "max"


def _plain(row: Row) -> bool:
    """Whether it is a ViT, or the HVT that never pools, which is one."""
    return (row["family"] == "vit" and not row["distilled"]) or (row["family"] == "hvt" and row["pool_stages"] == 0)


def _reads(global_pool: str, kind: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: kind(row) and row["global_pool"] == global_pool


_PAPER = "arXiv 2103.10619"
_MORE = '"the average pooled visual tokens contain more discriminative information than the single class token"'
_COMPARABLE = 1.12  # Figure 1 calls 1.39 and 1.25 GFLOPs comparable: 11 % more
_HALF = 0.45, 0.6  # HVT-S-1 has 0.52 x the FLOPs of DeiT-S; of fewer blocks, the one before the pooling is more

_HVT = Side("an HVT that pools, read by the mean of its tokens", _reads("avg", _pools))
_HVT_TOKEN = Side("an HVT that pools, read by a class token", _reads("token", _pools))
_VIT = Side("a ViT, read by its class token", _reads("token", _plain))
_VIT_AVG = Side("a ViT, read by the mean of its tokens", _reads("avg", _plain))

ACCURACY_CLAIMS = (
    AccuracyClaim(
        "equal MACs",
        '"With comparable FLOPs, our HVT outperforms the competitive baselines on ImageNet and CIFAR-100 datasets"',
        f"{_PAPER}, abstract; in Figure 1, Scale HVT-Ti-4 has 3.03 points more than DeiT-Ti, at 1.39 and 1.25 GFLOPs",
        _HVT,
        _VIT,
        least_macs=1 / _COMPARABLE,
        most_macs=_COMPARABLE,
    ),
    AccuracyClaim(
        "mean or token: HVT",
        _MORE,
        f"{_PAPER}, abstract",
        _HVT,
        _HVT_TOKEN,
        alike=tuple(name for name in NETWORK if name != "global_pool"),
    ),
    AccuracyClaim(
        "mean or token: ViT",
        _MORE,
        f"{_PAPER}, abstract; a control that never pools, as HVT-S-0 does not: 80.39 % on ImageNet, DeiT-S 79.8 %",
        _VIT_AVG,
        _VIT,
        alike=SHAPE,
    ),
    AccuracyClaim(
        "half the MACs",
        "on ImageNet, HVT-S-1 has 78.00 % where DeiT-S has 79.8 %, at 0.52 x the FLOPs: half of them for 1.8 points",
        "our sentence; HVT's released README, main results, and arXiv 2012.12877, Table 5; where errors are fewer than "
        "ImageNet's 20 %, 1.8 points are a larger part of them",
        _HVT,
        _VIT,
        alike=SHAPE,
        least_macs=_HALF[0],
        most_macs=_HALF[1],
        above=-1.8,
    ),
)
