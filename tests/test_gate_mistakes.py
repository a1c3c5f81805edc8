"""What a gate is for: twenty mistakes of real refactorings are found, ten harmless changes are not.

Each changes a few lines of a small vision transformer, as a person would. Budgets are those that `check --init` writes
(macs, params, activations, exact), with the modules beside them.
"""

import pytest

from hvt_bench.gate.changes import modules_of
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.gate.recorded import path_of, read_record
from hvt_bench.gate.update import write_first
from hvt_bench.metrics.complexity import _count_config

SOURCE = """\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.dim = num_heads, dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio, drop):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, int(dim * mlp_ratio)), nn.GELU(), nn.Linear(int(dim * mlp_ratio), dim))
        self.drop = nn.Dropout(drop)

    def forward(self, x):
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class Net(nn.Module):
    def __init__(self, dim=48, depth=4, num_heads=3, mlp_ratio=2.7, patch=8, size=64, classes=10, drop=0.1):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        self.blocks = nn.ModuleList([Block(dim, num_heads, mlp_ratio, drop) for _ in range(depth)])
        self.pool_after = 1
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.pool_after:
                x = F.max_pool1d(x.transpose(1, 2), 3, 2, 1).transpose(1, 2)
        return self.head(self.norm(x)[:, 0])
"""

EAGER = "((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1) @ v"

# name: what is replaced, by what, the budgets that catch it, and what the report names
MISTAKES = {
    "a block added": ("depth=4", "depth=5", "macs params activations", "blocks.4: new"),
    "a block lost": ("range(depth)", "range(1, depth)", "macs params activations", "blocks.3: gone"),
    "heads doubled": ("num_heads=3", "num_heads=6", "activations", "blocks.0-1.attn (its own): activations"),
    "qkv bias lost": ("3 * dim)", "3 * dim, bias=False)", "params", "blocks.0-3.attn.qkv: params"),
    "projection bias lost": (
        "nn.Linear(dim, dim)",
        "nn.Linear(dim, dim, False)",
        "params",
        "blocks.0-3.attn.proj: params",
    ),
    "mlp width rounded to a multiple of 8": (
        "int(dim * mlp_ratio)",
        "-(-int(dim * mlp_ratio) // 8) * 8",
        "macs params activations",
        "blocks.0-1.mlp.0: macs",
    ),
    "mlp ratio of another paper": (
        "mlp_ratio=2.7",
        "mlp_ratio=4",
        "macs params activations",
        "blocks.0-3.mlp.2: params",
    ),
    "resolution changed within": (
        "x = self.patch_embed(x).flatten",
        "x = self.patch_embed(F.interpolate(x, (72, 72))).flatten",
        "",
        "Attempting to broadcast",
    ),
    "resolution and positions changed": (
        "        x = self.patch_embed(x).flatten(2).transpose(1, 2)\n",
        "        x = self.patch_embed(F.interpolate(x, (56, 56))).flatten(2).transpose(1, 2)\n"
        "        x = F.pad(x, (0, 0, 0, 15))\n",
        "macs activations",
        "patch_embed: macs",
    ),
    "pooling one block later": ("self.pool_after = 1", "self.pool_after = 2", "macs activations", "blocks.2.attn"),
    "pooling lost": ("i == self.pool_after", "i == -self.pool_after", "macs activations", "blocks.2-3.attn"),
    "a module called twice": ("x = block(x)", "x = block(block(x))", "macs activations", "blocks.0-1.mlp.0: macs"),
    "classifier for other classes": ("classes=10", "classes=1000", "macs params activations", "head: params"),
    "class token lost": (
        "x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed",
        "x = x + self.pos_embed[:, 1:]",
        "macs activations",
        "blocks.0-1.attn",
    ),
    "class token and its position lost": (
        "        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))\n"
        "        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))\n",
        "        self.cls_token = torch.zeros(1, 1, dim)\n"
        "        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))\n",
        "params",
        "the network (its own): params",
    ),
    "attention over the heads": (
        "scaled_dot_product_attention(q, k, v)",
        "scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)",
        "macs activations",
        "blocks.0-1.attn (its own): macs",
    ),
    "attention left out": (
        "F.scaled_dot_product_attention(q, k, v)",
        "v",
        "macs activations",
        "blocks.0-1.attn (its own)",
    ),
    "an operator without a rule": (
        "F.scaled_dot_product_attention(q, k, v)",
        "torch.linalg.solve(q.transpose(-2, -1) @ k, v.transpose(-2, -1)).transpose(-2, -1)",
        "",
        "aten::linalg_solve",
    ),
    "patch stride changed": (
        "nn.Conv2d(3, dim, patch, patch)",
        "nn.Conv2d(3, dim, patch, patch // 2, 0)",
        "",
        "Attempting to broadcast",
    ),
    "patch kernel changed": (
        "nn.Conv2d(3, dim, patch, patch)",
        "nn.Conv2d(3, dim, patch - 1, patch)",
        "macs params",
        "patch_embed: macs",
    ),
    "head reads every token": ("self.norm(x)[:, 0]", "self.norm(x)", "macs activations", "head: macs"),
    "a layer normalisation lost": (
        "self.norm = nn.LayerNorm(dim)",
        "self.norm = nn.Identity()",
        "params",
        "norm: params",
    ),
    "weights of blocks shared": (
        "nn.ModuleList([Block(dim, num_heads, mlp_ratio, drop) for _ in range(depth)])",
        "nn.ModuleList([Block(dim, num_heads, mlp_ratio, drop)] * depth)",
        "params",
        "blocks.1-3: gone",
    ),
}

HARMLESS = {
    "a variable renamed": [("pool_after", "pool_behind")],
    "a module renamed": [("self.head", "self.classifier")],
    "sdpa to eager": [("F.scaled_dot_product_attention(q, k, v)", EAGER)],
    "another dropout rate": [("drop=0.1", "drop=0.5")],
    "no dropout": [("self.drop = nn.Dropout(drop)", "self.drop = nn.Identity()")],
    "other initialisation": [
        ("        self.norm = nn", "        nn.init.trunc_normal_(self.pos_embed, std=0.02)\n        self.norm = nn")
    ],
    "modules in another order": [
        ("        self.norm1 = nn.LayerNorm(dim)\n", ""),
        ("        self.drop = nn", "        self.norm1 = nn.LayerNorm(dim)\n        self.drop = nn"),
    ],
    "a list of blocks becomes a sequence": [("nn.ModuleList([Block", "nn.Sequential(*[Block")],
    "q, k, v by chunk": [
        (
            "q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)",
            "q, k, v = (y.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))",
        )
    ],
    "another activation": [("nn.GELU()", "nn.SiLU()")],
    "normalisation with another epsilon": [("nn.LayerNorm(dim)", "nn.LayerNorm(dim, 1e-6)")],
}


MODEL = "{name}:Net:input_shapes=[[3, 64, 64]]"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The text of the first budgets of the network, and what its modules cost."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "vit_first.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_first(folder / "budgets.yaml", [MODEL.format(name="vit_first")])
    (costs,) = read_record(path_of(folder / "budgets.yaml")).values()
    return (folder / "budgets.yaml").read_text(), costs


@pytest.fixture
def check(first, tmp_path, monkeypatch):
    """Say how a changed network stands against the first budgets."""
    monkeypatch.chdir(tmp_path)
    names = iter(range(100))
    budgets, costs = first
    path = tmp_path / "budgets.yaml"

    def verdict(*replacements):
        source = SOURCE
        for old, new in replacements:
            assert old in source, old
            source = source.replace(old, new)
        name = f"vit_{tmp_path.name.replace('-', '_')}_{next(names)}"
        (tmp_path / f"{name}.py").write_text(source)
        path.write_text(budgets.replace("vit_first", name))
        (found,) = check_budgets(load_budgets(path), before={MODEL.format(name=name): costs})
        return found

    yield verdict
    _count_config.cache_clear()


def test_the_network_keeps_its_own_budgets(check):
    assert check().ok


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught_and_its_module_named(check, mistake):
    old, new, quantities, named = MISTAKES[mistake]
    verdict = check((old, new))
    assert not verdict.ok
    assert " ".join(finding.item.quantity for finding in verdict.broken) == quantities
    told = verdict.error or "\n".join(change.describe() for change in verdict.changes())
    assert named in told


@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_is_not_flagged(check, change):
    verdict = check(*HARMLESS[change])
    assert verdict.ok, (verdict.error, verdict.broken)


def test_the_table_is_as_long_as_it_says():
    assert len(MISTAKES) >= 20
    assert len(HARMLESS) >= 10


def test_the_record_is_of_the_network(check):
    verdict = check()
    kept = {path: cost for path, cost in modules_of(verdict.counted).items() if any(cost)}
    assert kept == verdict.before
