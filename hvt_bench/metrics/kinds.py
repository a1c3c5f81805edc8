"""What the MACs and the time of a network go into: patch embedding, attention products, projections, MLP and so on."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
        kind = kind_of(name)
        whole[kind] += macs
        block = block_of(name)
        if block is not None:
            blocks.setdefault(block, Counter())[kind] += macs
    stages = []
    for tokens, members in runs_of(counted.total.seq_lens or ()):
        together: Counter[str] = Counter()
        for block in members:
            together.update(blocks.get(block, Counter()))
        stages.append(Stage(tokens, len(members), together))
    return Kinds({kind: whole[kind] for kind in KINDS if whole[kind]}, tuple(stages))


def kind_of(name: str) -> str:
    """Return the kind of what a module at a path does itself."""
    return next((kind for pattern, kind in _OF_PATH if re.search(pattern, name)), "other")


def block_of(name: str) -> int | None:
    """Return the number of the block in which a module at a path lies; None outside of them."""
    found = _BLOCK.match(name)
    return int(found[1]) if found else None


def runs_of(seq_lens: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return the runs of blocks that see the same number of tokens, each as tokens and blocks: the stages."""
    runs = itertools.groupby(range(len(seq_lens)), key=lambda block: seq_lens[block])
    return [(tokens, list(run)) for tokens, run in runs]
