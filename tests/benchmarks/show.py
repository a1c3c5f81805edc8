"""What `hvt-bench show vit_22b` takes, 22 billion parameters, against importing what it cannot do without."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

REPEATS = 5
TARGET_S = 4.0
TARGET_MIB = 2048.0


def run() -> bool:
    """Print the difference and the memory; True if both keep their targets."""
    imports = [sys.executable, "-c", "import torch, fvcore.nn"]
    show = [sys.executable, "-m", "hvt_bench", "show", "vit_22b"]
    _seconds(imports), _seconds(show)  # fill the file cache
    more_s = statistics.median(_seconds(show) - _seconds(imports) for _ in range(REPEATS))
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"show: vit_22b takes {more_s:.1f} s more than importing torch and fvcore (target: at most {TARGET_S:.0f}), "
        f"at most {peak_mib:.0f} MiB (target: {TARGET_MIB:.0f})"
    )
    return more_s <= TARGET_S and peak_mib <= TARGET_MIB


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start
