"""How fast designs are counted by shapes alone, against fvcore on the real network and a real image."""

from __future__ import annotations

import itertools
import resource
import time
import warnings
from collections.abc import Sequence

import torch

from hvt_bench.errors import ConfigError
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.rules import COUNTED_OPS
from hvt_bench.models import make_config
from hvt_bench.models.config import ModelConfig

PLAIN_EVERY = 20  # the plain way is slow: every so many designs
TARGET_PER_S = 10.0


def designs() -> list[ModelConfig]:
    """Return a fixed mixed grid: both families, 160 to 512 px, depth 6 to 48."""
    found = []
    for depth, img_size, embed_dim, extra in itertools.product(
        (6, 12, 24, 48), (160, 224, 320, 512), (192, 384, 768), (None, 0, 1, 2, 4)
    ):
        family = "vit" if extra is None else "hvt"
        stages = {} if extra is None else {"pool_stages": extra}
        try:
            found.append(make_config(family, {"depth": depth, "img_size": img_size, "embed_dim": embed_dim, **stages}))
        except ConfigError:
            continue
    return found


def run() -> bool:
    """Print designs per second, ratio and memory; True if all counts agree and the target is kept."""
    chosen = designs()
    before = _peak_mib()
    start = time.perf_counter()
    ours = [count(config).macs for config in chosen]
    per_s = len(chosen) / (time.perf_counter() - start)
    grown = _peak_mib() - before
    some = chosen[::PLAIN_EVERY]
    start = time.perf_counter()
    differ = differing(some, ours[::PLAIN_EVERY])
    plain_per_s = len(some) / (time.perf_counter() - start)
    print(
        f"counting: {len(chosen)} designs, both books and training: {per_s:.1f} a second "
        f"(target: {TARGET_PER_S:.0f}), {per_s / plain_per_s:.0f} x as many as fvcore on real networks; "
        f"peak memory grew by {grown:.0f} MiB; {len(some) - len(differ)} of {len(some)} counts agree"
    )
    return not differ and per_s >= TARGET_PER_S


def differing(configs: Sequence[ModelConfig], macs: Sequence[int]) -> list[ModelConfig]:
    """Return those of `configs` for which fvcore, on a real network, does not find `macs`."""
    return [config for config, expected in zip(configs, macs, strict=True) if _plain(config) != expected]


def _plain(config: ModelConfig) -> int:
    """Count as a user of fvcore would, with our rules but a real network and a real image."""
    from fvcore.nn import FlopCountAnalysis

    model = config.build().eval()
    analysis = FlopCountAnalysis(model, torch.randn(config.input_shapes(1)[0]))
    analysis.clear_op_handles().set_op_handle(**COUNTED_OPS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return int(analysis.total())


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
