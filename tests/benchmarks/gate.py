"""How long a gate of 100 models takes in a fresh process, and how much memory: vit, deit and hvt, small and huge."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = 100
TARGET_S, TARGET_MIB = 30.0, 2048

_CHECK = """
import resource, sys, time
import torch, fvcore.nn
loaded = time.perf_counter()
from hvt_bench.cli import app
app(["check", sys.argv[1]], standalone_mode=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(f"{time.perf_counter() - loaded} {peak}", file=sys.stderr)
"""


def models() -> list[str]:
    """Name published variants of here, and changed ones until they are MODELS: each a network that no other is."""
    from hvt_bench.models import VARIANTS, parse_model

    bases = [name for name in VARIANTS if name.startswith(("vit_", "deit_", "hvt_", "scale_hvt_"))]
    changes = [
        "",
        *(f":img_size={size}" for size in (448, 672, 896)),
        *(f":num_classes={n}" for n in (10, 100, 21_841)),
    ]
    distinct = {parse_model(f"{name}{change}"): f"{name}{change}" for change in reversed(changes) for name in bases}
    return list(reversed(distinct.values()))[:MODELS]


def budgets() -> str:
    """Return a budgets file for all of them, which none needs to keep."""
    return "budgets:\n" + "".join(
        f"  {name}: {{macs: {{max: 999P}}, activations: {{max: 999P}}}}\n" for name in models()
    )


def run() -> bool:
    """Print time and memory; True if both keep their targets."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "budgets.yaml")
        path.write_text(budgets())
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _CHECK, str(path)], capture_output=True, text=True, check=False
        )
        whole = time.perf_counter() - start
    if done.returncode:
        print(f"gate: the check failed: {done.stderr.strip().splitlines()[-1]}")
        return False
    seconds, peak = done.stderr.split()[-2:]
    summary = done.stdout.splitlines()[-1]
    print(
        f"gate: {summary}: {whole:.1f} s (target: at most {TARGET_S:.0f}), {float(seconds):.1f} s of it after torch "
        f"and fvcore were imported; at most {int(peak):,} MiB (target: {TARGET_MIB})"
    )
    return whole <= TARGET_S and int(peak) <= TARGET_MIB
