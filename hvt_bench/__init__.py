"""Scalability and FLOPs analysis of hierarchical vision transformers against ViT and DeiT.

The public names below are loaded on first use, so that `import hvt_bench` costs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvt_bench.metrics.complexity import Complexity, count
    from hvt_bench.models import create_model, parse_model
    from hvt_bench.run import run_sweep
    from hvt_bench.sweep import load_sweep
    from hvt_bench.table import read_table

__version__ = "0.2.0"

__all__ = ["Complexity", "count", "create_model", "load_sweep", "parse_model", "read_table", "run_sweep"]

_HOME = {
    "Complexity": "hvt_bench.metrics.complexity",
    "count": "hvt_bench.metrics.complexity",
    "create_model": "hvt_bench.models",
    "load_sweep": "hvt_bench.sweep",
    "parse_model": "hvt_bench.models",
    "read_table": "hvt_bench.table",
    "run_sweep": "hvt_bench.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hvt_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
