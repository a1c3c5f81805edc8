"""Speed and memory of hvt-bench itself: `make bench`. Ratios within one run; no absolute times of a noisy machine."""

from __future__ import annotations

import sys

from tests.benchmarks import bookkeeping, counting, estimate, figures, gate, insight, repeatability, show, startup

BENCHMARKS = {
    "startup": startup.run,
    "show": show.run,
    "counting": counting.run,
    "estimate": estimate.run,
    "gate": gate.run,
    "insight": insight.run,
    "figures": figures.run,
    "bookkeeping": bookkeeping.run,
    "repeatability": repeatability.run,
}


def main() -> int:
    """Run the benchmarks named on the command line, or all; exit 1 if one missed its target."""
    names = sys.argv[1:] or list(BENCHMARKS)
    kept = [BENCHMARKS[name]() for name in names]
    return 0 if all(kept) else 1


sys.exit(main())
