"""A module of networks, and of what passes for networks, as a user might have them."""

MODULE = """
import os

import torch
from torch import nn

SCALE = torch.tensor([0.5])


class Net(nn.Module):
    def __init__(self, depth=2, width=8, in_chans=3, num_classes=10, qkv_bias=True):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, width, 4, 4)
        self.blocks = nn.Sequential(*[nn.Linear(width, width, bias=qkv_bias) for _ in range(depth)])
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return {"logits": self.head(self.blocks(self.stem(images * SCALE).mean((2, 3))))}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(6, 2)

    def forward(self, one, other):
        return self.left(one), self.right(other)


class DiesRunning(Net):
    def forward(self, images):
        os._exit(7)


def any_keyword(**keywords):
    return Net(**keywords)


def reads_values(depth=2):
    assert [x.item() for x in torch.linspace(0, 1, depth)][-1] == 1
    return Net(depth)


def own_depth(**keywords):
    return Net(depth=3, **keywords)


def named_and_any(colour=1, **keywords):
    return Net(**keywords)


def asks(check):
    values = torch.tensor([1, 1, 2])
    (torch.unique if check == "unique" else torch.bincount)(values)
    return torch.nn.Linear(224, 1, bias=False)


def fails(depth=2):
    raise ValueError("no\\n  good")


def leaves(depth=2):
    raise SystemExit(2)


def dies(depth=2):
    os._exit(7)


def dies_deep(depth=2):
    return Net(depth) if depth < 4 else os._exit(7)


def number(depth=2):
    return depth


def exhausts(depth=2):
    raise MemoryError


net = nn.Linear(1, 1)
"""

# its second layer takes the rows that the data choose
PICKS = """
from torch import nn


class Picks(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        return self.two(self.one(x)[x[:, 0] > -1e9])
"""
