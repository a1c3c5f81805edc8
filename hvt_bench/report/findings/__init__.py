"""What the rows say, in sentences; where the rounds do not decide something, the sentence says that.

A ratio of times has the interval of analysis/judge.py (Welch, from the medians of rounds), a difference of accuracies
that of analysis/trained.py (Welch, from seeds), an exponent that of analysis/fit.py. What is counted is exact
and has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvt_bench.analysis.fit import Fits
from hvt_bench.analysis.pick import Baseline
from hvt_bench.report.findings.accuracy import accuracies, trainings
from hvt_bench.report.findings.along import for_free, growth
from hvt_bench.report.findings.pairs import memory, not_held, pairs, savings, untimed
from hvt_bench.report.findings.whole import between, lost, noise
from hvt_bench.report.findings.words import Finding
from hvt_bench.row import Row


def find(rows: Sequence[Row], fits: Fits | None, baseline: str) -> list[Finding]:
    """Return what `rows` say, the most important first; `baseline` is the model to hold the others against, if any."""
    held = pairs(rows, Baseline(rows, baseline)) if baseline else []
    return [
        *savings(held),
        *accuracies(held),
        *untimed(held),
        *memory(held),
        *not_held(rows, held),
        *between(rows),
        *for_free(rows),
        *(growth(fits) if fits else ()),
        *noise(rows),
        *trainings(rows),
        *lost(rows),
    ]
