"""kinds: what the MACs of a network go into: patch embedding, attention products, projections, MLP, pooling, head."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hvt_bench.metrics.complexity import Breakdown

KINDS = (
    "patch embedding",
    "attention products",
    "projections",
    "MLP",
    "pooling",
    "head",
    "other",
)

_BLOCK = re.compile(r"blocks\.(\d+)(?:\.|$)")
_OF_PATH: tuple[tuple[str, str], ...] = (  # the first that is found in the path of a module says its kind
    (r"^patch_embed", "patch embedding"),
    (r"^(head|head_dist|aux_head|patch_head|attn_pool)", "head"),
    (r"\.pool\w*$", "pooling"),
    (r"\.attn$|\.attn\.proj_(pre|post)$", "attention products"),  # talking heads mix N x N weights
    (r"\.attn\.\w", "projections"),
    (r"\.mlp", "MLP"),
    (r"blocks\.\d+\.proj$", "projections"),  # MViT: the shortcut, where the width doubles
)


@dataclass(frozen=True)
class Stage:
    """A run of blocks that see the same number of tokens."""

    tokens: int
    blocks: int
    macs: Mapping[str, int]
    """By kind."""


@dataclass(frozen=True)
class Kinds:
    """What the MACs of one network go into."""

    macs: Mapping[str, int]
    """By kind, those that are 0 left out; they add up to the whole."""
    stages: tuple[Stage, ...]
    """In order; empty where the network does not tell its tokens."""


def kinds_of(counted: Breakdown) -> Kinds:
    """Sort the MACs of a network by kind, and those of its blocks by stage."""
    own: dict[str, int] = {name: cost.macs for name, cost in counted.modules.items()}
    for name, cost in counted.modules.items():
        if name:
            own[name.rpartition(".")[0]] -= cost.macs
    whole: Counter[str] = Counter()
    blocks: dict[int, Counter[str]] = {}
    for name, macs in own.items():
        if not macs:
            continue
        kind = _kind(name)
        whole[kind] += macs
        if found := _BLOCK.match(name):
            blocks.setdefault(int(found[1]), Counter())[kind] += macs
    lens = counted.total.seq_lens or ()
    stages = []
    for tokens, run in itertools.groupby(range(len(lens)), key=lambda block: lens[block]):
        members = list(run)
        together: Counter[str] = Counter()
        for block in members:
            together.update(blocks.get(block, Counter()))
        stages.append(Stage(tokens, len(members), together))
    return Kinds({kind: whole[kind] for kind in KINDS if whole[kind]}, tuple(stages))


def _kind(name: str) -> str:
    return next((kind for pattern, kind in _OF_PATH if re.search(pattern, name)), "other")
