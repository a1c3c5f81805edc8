"""AdamW, which weights it decays, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from hvt_bench.training.recipes import TrainingRecipe

_TABLES = ("pos_embed", "cls_token", "dist_token")


def make_optimizer(network: nn.Module, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """Return AdamW: biases, norms, position tables, class tokens and what the network names itself do not decay.

    `no_weight_decay` is timm's way of naming them; the rule is that of timm and DeiT.
    """
    own: Any = getattr(network, "no_weight_decay", set)
    named = set(own())
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and name.rpartition(".")[2] not in _TABLES and name not in named
            groups[decays].append(weight)
    return torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": recipe.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=recipe.lr,
    )


def learning_rate(recipe: TrainingRecipe, step: int, steps_per_epoch: int) -> float:
    """Return that of a step, counted from 0: a linear rise, then a cosine, both by step where timm goes by epoch."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    along = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * along)) / 2
