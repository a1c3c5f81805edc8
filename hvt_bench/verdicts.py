"""What makes a measured row doubtful: what was seen, the likely cause, and what to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hvt_bench.errors import plural
from hvt_bench.models import yaml_text
from hvt_bench.point import SWEEPABLE

NOISY_PCT = 10.0  # between rounds; pyperf calls a deviation of 10 % of the mean unstable
OTHER_LOAD_PCT = 5.0  # of the cores
LOW_CPU_SHARE_PCT = 60.0
SLOW_FIRST = 1.05  # times the slowest of the other rounds
COARSE = 100  # steps of the clock are a pass that it can time to 1 %
LAUNCH_BOUND = 0.7  # of a pass is all that the device works

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Warning_:  # noqa: N801 - `Warning` is Python's own
    """One kind of doubt. `badness` is 0 where there is none; `seen` is said of the worst row."""

    badness: Callable[[Values], float]
    seen: Callable[[Values], str]
    advice: str
    """The likely cause; what to try."""


def _over(name: str, most: float) -> Callable[[Values], float]:
    def badness(row: Values) -> float:
        value = row.get(name)
        return value if value is not None and value > most else 0.0

    return badness


def _slow_first(row: Values) -> float:
    first, *others = row.get("latency_ms_rounds") or (0.0,)
    slower = first / max(others) if len(others) > 1 else 0.0
    return slower if slower > SLOW_FIRST else 0.0


def _low_share(row: Values) -> float:
    share = row.get("cpu_share_pct")
    return 100 - share if row.get("device") == "cpu" and share is not None and share < LOW_CPU_SHARE_PCT else 0.0


def _coarse(row: Values) -> float:
    steps = (row.get("latency_ms") or 0.0) / (row.get("resolution_ms") or float("inf"))
    return COARSE / steps if 0 < steps < COARSE else 0.0


def _idle(row: Values) -> float:
    device, host = row.get("device_latency_ms"), row.get("latency_ms")
    return 1 - device / host if device is not None and host and device < LAUNCH_BOUND * host else 0.0


WARNINGS = {
    "noisy": Warning_(
        _over("latency_spread_pct", NOISY_PCT),
        lambda row: f"its rounds are {row['latency_spread_pct']:.0f} % apart",
        "Other work on the machine, or clocks that change; close other programs, raise rounds or min_time_s",
    ),
    "not_converged": Warning_(
        lambda row: float(row.get("converged") is False),
        lambda row: f"passes were not stable to {row['stable_pct']:g} % after {row['max_time_s']:g} s",
        "A machine that speeds up or slows down; raise max_time_s or warmup_s",
    ),
    "throttled": Warning_(
        lambda row: float(bool(row.get("throttle_reasons"))),
        lambda row: f"the GPU was held back: {row['throttle_reasons']}",
        "Heat or a power limit; cool the card, lock its clocks (nvidia-smi -lgc), or say so beside the number",
    ),
    "other_load": Warning_(
        _over("other_load_pct", OTHER_LOAD_PCT),
        lambda row: f"other processes took {row['other_load_pct']:.0f} % of the cores",
        "Close them, or measure where nothing else runs",
    ),
    "side_by_side": Warning_(
        _over("side_by_side", 1),  # no column: only the samples know
        lambda row: "it was timed while other points ran on the same cores",
        "They disturb each other; compare no times with a run of one at a time, or measure without --jobs",
    ),
    "low_cpu_share": Warning_(
        _low_share,
        lambda row: f"this process had {row['cpu_share_pct']:.0f} % of its {row['num_threads']} cores",
        "A limit on CPU time, other load, or a network too small for its threads; lower num_threads, raise batch_size",
    ),
    "slow_first_round": Warning_(
        _slow_first,
        lambda row: f"its first round took {_slow_first(row):.2f} x the slowest of the others",
        "Files not yet in memory, or clocks that rise; raise warmup_s, or measure again with --fresh",
    ),
    "coarse_clock": Warning_(
        _coarse,
        lambda row: f"a pass of {row['latency_ms']:.3g} ms is few steps of a clock of {row['resolution_ms']:.2g} ms",
        "Raise batch_size",
    ),
    "launch_bound": Warning_(
        _idle,
        lambda row: f"the device works {100 * (1 - _idle(row)):.0f} % of a pass",
        "The host cannot launch fast enough; raise batch_size, or compile: true",
    ),
    "alloc_retries": Warning_(
        _over("alloc_retries", 0),
        lambda row: f"the allocator had to free memory and try again {row['alloc_retries']} times",
        "Memory is all but full, which costs time; take a smaller batch_size",
    ),
}


def warnings_of(row: Values) -> tuple[str, ...]:
    """Return the names of the warnings that a row deserves."""
    return tuple(name for name, warning in WARNINGS.items() if warning.badness(row))


def summary(rows: Sequence[Values]) -> list[str]:
    """Return a line for each kind of warning among `rows`: how many, the worst, its likely cause, what to try."""
    timed = [row for row in rows if row["latency_ms"] is not None]
    varying = [name for name in SWEEPABLE if len({row.get(name) for row in timed}) > 1]
    lines = []
    for name, warning in WARNINGS.items():
        doubtful = [row for row in timed if name in (row["warnings"] or ())]
        if doubtful:
            worst = max(doubtful, key=warning.badness)
            many = f"{len(doubtful)} of {len(timed)} points, the worst " if len(timed) > 1 else ""
            lines.append(f"{name}: {many}{_label(worst, varying)}: {warning.seen(worst)}. {warning.advice}.")
    return [*_mixed(timed), *lines]


def _mixed(rows: Sequence[Values]) -> list[str]:
    """Say so where what a table calls one device were several kinds, as the nodes of a cluster can have."""
    lines = []
    for device in dict.fromkeys(row.get("device") for row in rows):
        names = Counter(row["device_name"] for row in rows if row.get("device") == device and row.get("device_name"))
        if len(names) > 1:
            kinds = ", ".join(f"{plural(points, 'point')} on {name}" for name, points in names.most_common())
            advice = "Their times do not compare; let all run on one kind, by `constraint` under slurm"
            lines.append(f"mixed: '{device}' is not the same everywhere: {kinds}. {advice}.")
    return lines


def _label(row: Values, varying: Sequence[str]) -> str:
    """Name a point by its model, its place on its axis, what else varies, and its id."""
    axis = [row["axis"]] if row["axis"] and row["axis"] in row else []
    places = [f" {name}={yaml_text(row[name])}" for name in dict.fromkeys([*axis, *varying])]
    return f"{row['model']}{''.join(places)} ({row['point_id']})"
