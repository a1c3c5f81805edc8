"""What well-known counters say of DeiT-Ti at 224 px, called as their READMEs tell: `make counters` prints a table.

Why a counter is off is found by experiment: it also counts networks of one operation each, those of DeiT-Ti. The table
says what share of a product (MACs) it counts where that is not 1, and what it counts per element where that is not 0.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor, nn

import hvt_bench
from hvt_bench.executors.process import ProcessExecutor

TRUTH = 1_253_683_200  # MACs of DeiT-Ti
LIMIT_S = 600.0
IMAGE, TOKENS, HEADS, WEIGHTS = (1, 3, 224, 224), (1, 197, 192), (1, 3, 197, 64), (1, 3, 197, 197)

Numbers = dict[str, int]  # what the counter calls it: the number, exact


def count_hvt_bench(network: nn.Module, image: Tensor) -> Numbers:
    return {"MACs": hvt_bench.count(network, image).macs}


def count_fvcore(network: nn.Module, image: Tensor) -> Numbers:
    from fvcore.nn import FlopCountAnalysis

    return {"flops": int(FlopCountAnalysis(network, image).total())}


def count_pytorch(network: nn.Module, image: Tensor) -> Numbers:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode() as counter:
        network(image)
    return {"FLOPs": counter.get_total_flops()}


def count_deepspeed(network: nn.Module, image: Tensor) -> Numbers:
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, _ = get_model_profile(network, input_shape=tuple(image.shape), as_string=False)
    return {"MACs": macs, "flops": flops}


def count_ptflops(network: nn.Module, image: Tensor, backend: str = "pytorch") -> Numbers:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(network, tuple(image.shape[1:]), as_strings=False, backend=backend)
    return {"macs": macs}


def count_thop(network: nn.Module, image: Tensor) -> Numbers:
    from thop import profile

    macs, _ = profile(network, inputs=(image,))
    return {"macs": int(macs)}


def count_torchinfo(network: nn.Module, image: Tensor) -> Numbers:
    from torchinfo import summary

    return {"mult-adds": summary(network, input_size=tuple(image.shape)).total_mult_adds}


def count_torchprofile(network: nn.Module, image: Tensor) -> Numbers:
    from torchprofile import profile_macs

    return {"MACs": profile_macs(network, image)}


def count_calflops(network: nn.Module, image: Tensor) -> Numbers:
    from calflops import calculate_flops

    flops, macs, _ = calculate_flops(network, input_shape=tuple(image.shape), output_as_string=False)
    return {"MACs": macs, "FLOPs": flops}


COUNTERS = {  # name: (package, function, how it sees what a network does)
    "hvt-bench": ("hvt-bench", count_hvt_bench, "traced graph; executed operators"),
    "fvcore": ("fvcore", count_fvcore, "traced graph"),
    "PyTorch FlopCounterMode": ("torch", count_pytorch, "executed operators"),
    "DeepSpeed": ("deepspeed", count_deepspeed, "functions of torch replaced"),
    "ptflops": ("ptflops", count_ptflops, "hooks of modules, functions of torch replaced"),
    "ptflops backend aten": ("ptflops", partial(count_ptflops, backend="aten"), "executed operators"),
    "thop": ("thop", count_thop, "hooks of modules"),
    "torchinfo": ("torchinfo", count_torchinfo, "hooks of modules: parameters"),
    "torchprofile": ("torchprofile", count_torchprofile, "traced graph"),
    "calflops": ("calflops", count_calflops, "functions of torch replaced"),
}


class Only(nn.Module):
    """One function as a network; some counters ask for a parameter, so it has one that it does not use."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Probe(NamedTuple):
    """A network, the shape of its input, and how much it does: MACs, or elements of an operation without MACs."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    amount: int
    without: str | None = None  # the probe whose count is to be taken off


MODELS = {
    "sdpa": Probe(lambda: hvt_bench.create_model("deit_tiny"), IMAGE, TRUTH),
    "eager": Probe(lambda: hvt_bench.create_model("deit_tiny", attention="eager"), IMAGE, TRUTH),
}
PRODUCTS = {  # counted by the rule
    "Conv2d": Probe(lambda: nn.Conv2d(3, 192, 16, 16, bias=False), IMAGE, 3 * 16 * 16 * 192 * 196),
    "Linear": Probe(lambda: nn.Linear(192, 192, bias=False), TOKENS, 192 * 192 * 197),
    "sdpa": Probe(lambda: Only(lambda x: F.scaled_dot_product_attention(x, x, x)), HEADS, 2 * 3 * 197 * 197 * 64),
    "@": Probe(lambda: Only(lambda x: x @ x.transpose(-2, -1)), HEADS, 3 * 197 * 197 * 64),
}
EXTRAS = {  # free by the rule; `F.gelu` is looked up in the call, for some counters replace it
    "bias of Conv2d": Probe(lambda: nn.Conv2d(3, 192, 16, 16), IMAGE, 192 * 196, without="Conv2d"),
    "bias of Linear": Probe(lambda: nn.Linear(192, 192), TOKENS, 192 * 197, without="Linear"),
    "LayerNorm": Probe(lambda: nn.LayerNorm(192), TOKENS, 192 * 197),
    "GELU": Probe(lambda: Only(lambda x: F.gelu(x)), TOKENS, 192 * 197),
    "softmax": Probe(lambda: Only(lambda x: x.softmax(dim=-1)), WEIGHTS, 3 * 197 * 197),
    "+": Probe(lambda: Only(lambda x: x + x), TOKENS, 192 * 197),
    "scaling of q": Probe(lambda: Only(lambda x: x * 0.125), HEADS, 3 * 197 * 64),
}
HEADERS = ("counter", "its number", "printed", "as MACs", "off", "MACs if eager", "off", "why", "what it looks at")
ALIGN = ("left", "left", "right", "right", "right", "right", "right", "left", "left")


def measure(counter: str) -> list[tuple[str, ...]]:
    """Return the rows of the counter, one per number that it gives; this process is its own, and is silenced."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    package, function, looks_at = COUNTERS[counter]
    models, products, extras = (
        {name: function(probe.build().eval(), torch.randn(probe.shape)) for name, probe in probes.items()}
        for probes in (MODELS, PRODUCTS, EXTRAS)
    )
    rows = []
    for word, printed in models["sdpa"].items():
        per_mac = round(products["Conv2d"][word] / PRODUCTS["Conv2d"].amount)
        counted = {name: Fraction(products[name][word], per_mac * probe.amount) for name, probe in PRODUCTS.items()}
        added = {
            name: Fraction(extras[name][word] - (products[probe.without][word] if probe.without else 0), probe.amount)
            for name, probe in EXTRAS.items()
        }
        rows.append(
            (
                f"{counter} {importlib.metadata.version(package)}",
                f"{word} ({per_mac} per MAC)",
                f"{printed:,}",
                *_against_truth(printed / per_mac),
                *_against_truth(models["eager"][word] / per_mac),
                _why(counted, added),
                looks_at,
            )
        )
    return rows


def _against_truth(macs: float) -> tuple[str, str]:
    return f"{macs:,.0f}", f"{100 * (macs / TRUTH - 1):+.2f} %"


def _why(counted: dict[str, Fraction], added: dict[str, Fraction]) -> str:
    """Say which products are counted wrong, and what is counted per element that the rule leaves free."""
    wrong = ", ".join(f"{name} × {share}" for name, share in counted.items() if share != 1)
    extra = ", ".join(f"{name} {each}" for name, each in added.items() if each)
    return "; ".join(text for text in (wrong, f"per element: {extra}" if extra else "") if text)


def main() -> None:
    """Print the table. Each counter has a process of its own, for some replace functions of torch."""
    rows: list[tuple[str, ...]] = []
    for outcome in ProcessExecutor().map(measure, COUNTERS, timeout_s=lambda _: LIMIT_S):
        error = " ".join(f"failed: {type(outcome.error).__name__}: {outcome.error}".split())
        rows += outcome.value or [(outcome.item, error, *[""] * (len(HEADERS) - 2))]
    print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True, colalign=ALIGN))


if __name__ == "__main__":
    main()
