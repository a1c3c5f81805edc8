"""judge_claims: what the trainings of a run say of ACCURACY_CLAIMS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from hvt_bench.analysis.trained import MIN_SEEDS, seeds_of
from hvt_bench.analysis.welch import holm, welch
from hvt_bench.errors import RequestError, plural
from hvt_bench.reproduce.accuracy_claims import ACCURACY_CLAIMS, SETTING, AccuracyClaim
from hvt_bench.row import Row, csv_text

Verdict = Literal["supported", "contradicted", "undecided"]
CONFIDENCE = 0.95

HEADING = ("data", "img_size", "dtype", "recipe")
"""Columns in which all pairs of one table agree; names need be unique only within one."""

SHOWN = 3  # columns, in a message


class Interval(NamedTuple):
    """What the seeds of two sides say; see Judged."""

    verdict: Verdict
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Better:
    """A row that could be the B of a pair, has more top-1 than the one that is, and was passed over by its MACs."""

    name: str
    top1: float
    macs_ratio: float | None
    """MACs of A over those of this row."""
    verdict: Verdict
    """What the pair would be with it."""


@dataclass(frozen=True)
class Judged:
    """A claim, two rows that are its sides, and what their seeds say of it.

    The interval is Welch's of A - B, the difference of the means of top-1 over seeds. The verdict is `supported` if it
    lies above what is claimed, `contradicted` if it lies below, else `undecided`, always so without an interval.

    The sides are not paired by seed: a seed draws other weights for another network, and of what is drawn alike, the
    order of the images, Welch's interval is too wide if it makes sides go up and down together, not too narrow.
    """

    claim: AccuracyClaim
    a: Row
    b: Row
    a_name: str
    b_name: str
    better: Better | None = None
    """The best B that has more top-1 than this one, where there is one."""
    verdict: Verdict = "undecided"
    reason: str = ""
    """Why there is no interval; empty where there is one."""
    low: float | None = None
    """Lower end of the interval of A - B, in points of top-1."""
    high: float | None = None
    p_value: float | None = None
    """Chance of a difference this far from what is claimed, on either side, were the true one just that."""
    stands: bool | None = None
    """Whether the verdict is decided, and stands together with the others of the run by Holm's correction."""

    @property
    def difference(self) -> float | None:
        """A - B, in points of top-1."""
        a, b = _top1(self.a), _top1(self.b)
        return None if a is None or b is None else a - b

    def ratio(self, column: str) -> float | None:
        """Return A / B of a cost; None where one has none."""
        return _ratio(self.a, self.b, column)


@dataclass(frozen=True)
class Missing:
    """A claim for which the run has no two sides, and what it lacks."""

    claim: AccuracyClaim
    reason: str


@dataclass(frozen=True)
class ClaimsJudged:
    """What a run says of all claims."""

    judged: tuple[Judged, ...]
    missing: tuple[Missing, ...]


def judge_claims(rows: Sequence[Row], name: str) -> ClaimsJudged:
    """Judge ACCURACY_CLAIMS by the rows of a run, which messages call `name`.

    Each A is held against the B whose MACs are nearest. Of rows of one point_id the last counts. Raises
    RequestError where no row has a top-1.
    """
    valid = [row for row in {row["point_id"]: row for row in rows}.values() if row["status"] != "invalid"]
    if all(row["top1"] is None for row in valid):
        raise RequestError(f"{name}: {_nothing_trained(valid)}")
    judged: list[Judged] = []
    missing: list[Missing] = []
    for claim in ACCURACY_CLAIMS:
        pairs = _pairs(claim, valid)
        judged += [_judge_best(claim, a, others, valid) for a, others in pairs]
        missing += [] if pairs else [Missing(claim, _lacks(claim, valid))]
    return ClaimsJudged(_together(judged), tuple(missing))


def judge_seeds(a: Sequence[float], b: Sequence[float], above: float) -> Interval | None:
    """Judge, by the top-1 of two seeds at least on each side, whether A - B is above so many points.

    None where neither side varies, so that there is no interval.
    """
    found = welch(b, a)
    if found.error == 0:
        return None
    half = found.half_width(CONFIDENCE)
    low, high = found.difference - half, found.difference + half
    verdict: Verdict = "supported" if low > above else "contradicted" if high < above else "undecided"
    return Interval(verdict, low, high, found.p_value(above))


def _nothing_trained(rows: Sequence[Row]) -> str:
    asked = [row for row in rows if row["data"] is not None]
    failed = [row for row in asked if row["status"] != "ok"]
    if failed:
        first = failed[0]
        return (
            f"no row has a top1: {first['model']} has status {first['status']} ({first['error']}); "
            f"mend that, and sweep again with --retry {first['status']}"
        )
    if asked:
        return "no row has a top1 yet; the same `hvt-bench sweep` goes on with the trainings"
    return (
        "no row has a top1; say `measure: [complexity, accuracy]` in the sweep file, as sweeps/accuracy.yaml does, and "
        "sweep again"
    )


# --- which rows are the sides -----------------------------------------------------------------------------------------


def _pairs(claim: AccuracyClaim, rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    """Return each A of a claim with all that can be its B, that of nearest MACs first."""
    others = [row for row in rows if claim.b.fits(row)]
    pairs = []
    for a in filter(claim.a.fits, rows):
        held = [b for b in others if not _differ(claim, a, b) and _within(claim, a, b)]
        if held:
            pairs.append((a, sorted(held, key=lambda b: _apart(a, b))))
    return pairs


def _differ(claim: AccuracyClaim, a: Row, b: Row) -> list[str]:
    """Return the columns in which two rows differ and must not."""
    return [name for name in dict.fromkeys((*SETTING, *claim.alike)) if a[name] != b[name]]


def _within(claim: AccuracyClaim, a: Row, b: Row) -> bool:
    ratio = _ratio(a, b, "macs")
    return not claim.bounded or (ratio is not None and claim.least_macs <= ratio <= claim.most_macs)


def _ratio(a: Row, b: Row, column: str) -> float | None:
    ours, theirs = a[column], b[column]
    return ours / theirs if isinstance(ours, int) and isinstance(theirs, int) and theirs else None


def _apart(a: Row, b: Row) -> float:
    ratio = _ratio(a, b, "macs")
    return abs(math.log(ratio)) if ratio else math.inf


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Name a row by its model, its place on its axis, and, where that is not enough, its id."""
    axis = str(row["axis"] or "")
    name = f"{row['model']} {axis}={csv_text(row[axis])}" if axis in row else str(row["model"])
    alike = [other for other in rows if (other["model"], other["axis"]) == (row["model"], row["axis"])]
    return name if sum(other.get(axis) == row.get(axis) for other in alike) == 1 else f"{name} ({row['point_id']})"


def _lacks(claim: AccuracyClaim, rows: Sequence[Row]) -> str:
    """Say which point a run lacks for a claim."""
    sides = [[row for row in rows if side.fits(row)] for side in (claim.a, claim.b)]
    absent = [side.words for side, found in zip((claim.a, claim.b), sides, strict=True) if not found]
    if absent:
        return f"no row is of {' and none of '.join(absent)}"
    a, b = min(((a, b) for a in sides[0] for b in sides[1]), key=lambda pair: _far(claim, *pair))
    names, differing = (_name(a, rows), _name(b, rows)), _differ(claim, a, b)
    if differing:
        told = [f"{name} ({csv_text(a[name]) or 'none'}, {csv_text(b[name]) or 'none'})" for name in differing[:SHOWN]]
        more = f" and {plural(len(differing) - SHOWN, 'more column')}" if len(differing) > SHOWN else ""
        return f"the nearest two, {names[0]} and {names[1]}, differ in {', '.join(told)}{more}"
    ratio = _ratio(a, b, "macs")
    if ratio is None:
        return f"{names[0]} or {names[1]} has no macs; measure complexity too"
    return (
        f"the nearest two, {names[0]} and {names[1]}, are at {ratio:.2f} x the MACs, and the claim is of "
        f"{claim.least_macs:.2f} to {claim.most_macs:.2f} x; `hvt-bench match` finds networks by cost"
    )


def _far(claim: AccuracyClaim, a: Row, b: Row) -> tuple[int, float]:
    """How many columns differ, and how many times the MACs of A are too many or too few."""
    ratio = _ratio(a, b, "macs")
    times = max(claim.least_macs / ratio, ratio / claim.most_macs) if ratio else math.inf
    return len(_differ(claim, a, b)), times


# --- the verdict ------------------------------------------------------------------------------------------------------


def _judge_best(claim: AccuracyClaim, a: Row, others: Sequence[Row], rows: Sequence[Row]) -> Judged:
    """Judge A against the first of `others`, and say which of them has the most top-1, if that is another."""
    under = [row for row in rows if all(row[name] == a[name] for name in HEADING)]
    held, *rest = [_judge(Judged(claim, a, b, _name(a, under), _name(b, under))) for b in others]
    most = max(rest, key=lambda pair: _known_top1(pair.b), default=held)
    if _known_top1(most.b) <= _known_top1(held.b):
        return held
    return replace(held, better=Better(most.b_name, _known_top1(most.b), most.ratio("macs"), most.verdict))


def _top1(row: Row) -> float | None:
    found = row["top1"]
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _known_top1(row: Row) -> float:
    found = _top1(row)
    return -math.inf if found is None else found


def _judge(pair: Judged) -> Judged:
    reason = _unfit(pair.a, pair.a_name) or _unfit(pair.b, pair.b_name) or _uneven(pair)
    if reason:
        return replace(pair, reason=reason)
    found = judge_seeds(seeds_of(pair.a), seeds_of(pair.b), pair.claim.above)
    if found is None:
        return replace(
            pair, reason="on both sides all seeds have the same top-1, so nothing says how far seeds are apart"
        )
    return replace(pair, **found._asdict())


def _unfit(row: Row, name: str) -> str:
    """Say why the seeds of a row are not to be judged by: one that went wrong is no seed to leave out."""
    if row["status"] != "ok":
        return f"{name} has status {row['status']} ({row['error']}), and the seeds that went well are not all seeds"
    if not seeds_of(row):
        return f"{name} has no seed yet; the same `hvt-bench sweep` goes on"
    odd = [seed for seed in seeds_of(row) if not math.isfinite(seed)]
    if odd:
        return f"{name} has a top-1 of {odd[0]:g} among its seeds, and the seeds that went well are not all seeds"
    return ""


def _uneven(pair: Judged) -> str:
    a, b = len(seeds_of(pair.a)), len(seeds_of(pair.b))
    epochs = pair.a["epochs_done"], pair.b["epochs_done"]
    if epochs[0] != epochs[1]:
        return f"{pair.a_name} was trained for {epochs[0]} epochs, {pair.b_name} for {epochs[1]}"
    if a != b:
        return f"{pair.a_name} has {plural(a, 'seed')} and {pair.b_name} {b}; the same `hvt-bench sweep` goes on"
    return f"{plural(a, 'seed')} on a side, and an interval takes {MIN_SEEDS}: raise `rounds`" if a < MIN_SEEDS else ""


def _together(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Say of each verdict that has an interval whether it stands with all the others."""
    p_values = {place: each.p_value for place, each in enumerate(judged) if each.p_value is not None}
    stand = dict(zip(p_values, holm(list(p_values.values()), 1 - CONFIDENCE), strict=True))
    return tuple(replace(each, stands=stand.get(place)) for place, each in enumerate(judged))
