"""compare: the points of two CSVs side by side, each with a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from hvt_bench.analysis.judge import CONFIDENCE, MARGIN_PCT, MIN_ROUNDS, Judgement, Verdict, judge
from hvt_bench.errors import RequestError, plural, unknown
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.point import SWEEPABLE, Point
from hvt_bench.records import columns_of
from hvt_bench.row import Row, Value, csv_text

_MACHINE = ("device", "num_threads")  # can be swept, and belong to the machine all the same
WHAT = (
    "model",
    "family",
    *CONFIG_COLUMNS,
    "model_kwargs",
    *(name for name in SWEEPABLE if name not in _MACHINE),
    "data",
    "recipe",
)
"""What is measured: points alike in these, on one kind of device, are the same point."""

HOW = tuple(name for name in columns_of(Point) if name not in (*WHAT, "axis"))
"""How it is measured; tells points apart only where rows of one file differ in nothing else."""

MUST_AGREE = (
    *(name for name in HOW if name != "device"),  # an index: what is cuda:0 here can be cuda:1 there
    "device_name", "power_limit_w", "driver_version", "torch_version", "cuda_version", "cudnn_version",
    "fp32_precision", "cudnn_benchmark", "cpu_name", "hvt_bench_version",
)  # fmt: skip
"""Where these differ, so may the times, whatever was changed; another version of hvt-bench may measure otherwise."""

NOTED = ("git_commit", "hostname")
"""What may well differ between two files that are worth comparing, and is said."""

ROUNDS = "latency_ms_rounds"
SHOWN = 3  # different values of one column, in a message
_NO_VALUE = object()  # None is a value

Description = tuple[tuple[str, Value], ...]  # of a point: columns and their values


@dataclass(frozen=True)
class Compared:
    """A point that both files have, and what became of it."""

    model: str
    varies: str
    """What tells the point from the others of its model: `depth=6`."""
    old_rounds: int
    new_rounds: int
    found: Judgement
    reason: str | None
    """Why the verdict is UNSURE, where that is not the noise."""
    old_warnings: tuple[str, ...] = ()
    """What makes the old rounds doubtful, by the column `warnings`; the verdict does not know of it."""
    new_warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotCompared:
    """A point that could not be compared, and why."""

    model: str
    varies: str
    reason: str
    lost: bool = False
    """Whether the old file has its rounds and the new one does not: it failed there, or was left out."""


@dataclass(frozen=True)
class Difference:
    """A column in which points of the two files differ that were compared."""

    column: str
    pairs: tuple[tuple[Value, Value], ...]
    """Of old and new values, the most frequent first."""

    def __str__(self) -> str:
        """Spell it: `torch_version 2.14.0 -> 2.15.0`."""
        spelt = [f"{csv_text(old) or 'unknown'} -> {csv_text(new) or 'unknown'}" for old, new in self.pairs]
        more = len(spelt) - SHOWN
        return f"{self.column} {', '.join(spelt[:SHOWN])}" + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class Comparison:
    """The points of two files: those of the old one, those that only the new one has, cells that are no points."""

    points: tuple[Compared | NotCompared, ...]
    forced: tuple[Difference, ...]
    """Why these files should not have been compared."""
    noted: tuple[Difference, ...]
    confidence: float
    margin_pct: float

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The points that both files have with rounds."""
        return tuple(point for point in self.points if isinstance(point, Compared))

    @property
    def not_compared(self) -> tuple[NotCompared, ...]:
        """The other points."""
        return tuple(point for point in self.points if isinstance(point, NotCompared))

    @property
    def lost(self) -> tuple[NotCompared, ...]:
        """The points that were measured and no longer are."""
        return tuple(point for point in self.not_compared if point.lost)

    def counts(self) -> Counter[str]:
        """How many points have each verdict."""
        return Counter(point.found.verdict for point in self.compared)


def compare(
    old: Sequence[Row],
    new: Sequence[Row],
    names: tuple[str, str] = ("the old file", "the new file"),
    *,
    confidence: float = CONFIDENCE,
    margin_pct: float = MARGIN_PCT,
    force: bool = False,
) -> Comparison:
    """Judge each point of `old` and `new`, which messages call by `names`, by its `latency_ms_rounds`.

    Points are the same where WHAT and the kind of device are; `point_id` also holds details of the machine. Raises
    RequestError where an option is out of range, no point can be compared, or, unless `force`, points were measured
    on different devices or versions, or by different protocols (MUST_AGREE).
    """
    _check_options(confidence, margin_pct)
    valid = [row for row in old if row["status"] != "invalid"], [row for row in new if row["status"] != "invalid"]
    swept = tuple(name for name in HOW if name in _swept(valid[0]) | _swept(valid[1]))
    sides = _by_description(valid[0], names[0], swept), _by_description(valid[1], names[1], swept)
    points: list[Compared | NotCompared] = []
    pairs: list[tuple[Row, Row]] = []
    described = list(dict.fromkeys((*sides[0], *sides[1])))
    for key, (model, varies) in zip(described, _labels(described), strict=True):
        before, after = (side.get(key) for side in sides)
        obstacle = _obstacle(before, after, names)
        if obstacle is None and before is not None and after is not None:
            pairs.append((before, after))
            points.append(_judged(model, varies, pairs[-1], names, confidence, margin_pct))
        else:
            lost = before is not None and _unfit(before) is None and (after is None or _unfit(after) is not None)
            points.append(NotCompared(model, varies, str(obstacle), lost))
    if not pairs:
        raise RequestError(_nothing_to_compare(sides, points, names))
    points += _invalid(old, new, names)
    forced = _differences(pairs, MUST_AGREE)
    if forced and not force:
        raise RequestError(
            f"{names[0]} -> {names[1]}: not measured alike: {'; '.join(map(str, forced))}; "
            "measure both alike, or give --force to compare them all the same"
        )
    return Comparison(tuple(points), forced, _differences(pairs, NOTED), confidence, margin_pct)


def _judged(
    model: str, varies: str, pair: tuple[Row, Row], names: tuple[str, str], confidence: float, margin_pct: float
) -> Compared:
    old, new = map(_rounds, pair)
    few = [
        f"{plural(len(side), 'round')} in {name}"
        for side, name in zip((old, new), names, strict=True)
        if len(side) < MIN_ROUNDS
    ]
    reason = f"{' and '.join(few)}; an interval needs {MIN_ROUNDS}: raise `rounds`" if few else None
    found = judge(old, new, confidence, margin_pct)
    return Compared(model, varies, len(old), len(new), found, reason, *map(_warnings, pair))


def _check_options(confidence: float, margin_pct: float) -> None:
    if not 0 < confidence < 1:
        raise RequestError(f"--confidence {confidence:g}: give a number between 0 and 1, such as {CONFIDENCE:g}")
    if not 0 <= margin_pct <= 100:
        raise RequestError(f"--margin {margin_pct:g}: give percent from 0 to 100, such as {MARGIN_PCT:g}")


def verdicts_in(text: str) -> tuple[Verdict, ...]:
    """Read the verdicts of `--fail-on`: `slower,unsure`. Raises RequestError for what is none."""
    known = {verdict.lower(): verdict for verdict in get_args(Verdict)}
    asked = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise RequestError(f"--fail-on: {unknown('verdict', name, known)}")
    return tuple(known[name] for name in dict.fromkeys(asked))


# --- which points are the same --------------------------------------------------------------------------------------


def _describe(row: Row, swept: Iterable[str]) -> Description:
    kind = str(row["device"] or "").partition(":")[0]
    values = {name: row[name] for name in WHAT} | {"device": kind} | {name: row[name] for name in swept}
    return tuple(values.items())


def _swept(rows: Sequence[Row]) -> set[str]:
    """Return the columns of HOW in which rows differ that are otherwise alike."""
    alike: dict[Description, list[Row]] = {}
    for row in rows:
        alike.setdefault(_describe(row, ()), []).append(row)
    return {name for name in HOW if any(len({row[name] for row in group}) > 1 for group in alike.values())}


def _by_description(rows: Sequence[Row], name: str, swept: Iterable[str]) -> dict[Description, Row]:
    found: dict[Description, Row] = {}
    for row in rows:
        key = _describe(row, swept)
        if key in found:
            raise RequestError(
                f"{name}: the rows {found[key]['point_id']} and {row['point_id']} describe the same point of "
                f"{row['model']}; keep one of them"
            )
        found[key] = row
    return found


def _labels(described: Sequence[Description]) -> list[tuple[str, str]]:
    """Name each point: its model, and what tells it from the others of that model, such as `depth=6`.

    A value that more than half of the points of a model share goes without saying.
    """
    of_model: dict[str, list[dict[str, Value]]] = {}
    for key in described:
        point = dict(key)
        of_model.setdefault(str(point["model"]), []).append(point)
    usual = {model: _usual(points) for model, points in of_model.items()}
    labels = []
    for key in described:
        point = dict(key)
        model = str(point["model"])
        told = [name for name, value in usual[model].items() if point[name] != value]
        labels.append((model, " ".join(f"{name}={csv_text(point[name]) or 'none'}" for name in told)))
    return labels


def _usual(points: Sequence[Mapping[str, Value]]) -> dict[str, object]:
    """Return the columns that tell `points` apart, each with the value that more than half of them share.

    A column that only follows others, as the number of heads follows the embedding width, is left out.
    """
    usual: dict[str, object] = {}
    kinds = 1
    for name in points[0]:
        found = len({tuple(point[other] for other in (*usual, name)) for point in points})
        if found > kinds:
            value, number = Counter(point[name] for point in points).most_common(1)[0]
            usual[name] = value if 2 * number > len(points) else _NO_VALUE
            kinds = found
    return usual


# --- what stands in the way -----------------------------------------------------------------------------------------


def _obstacle(old: Row | None, new: Row | None, names: tuple[str, str]) -> str | None:
    """Say why the rows of a point cannot be compared; None if they can."""
    if old is None or new is None:
        return f"only in {names[1] if old is None else names[0]}"
    reasons = [f"{why} in {name}" for row, name in zip((old, new), names, strict=True) if (why := _unfit(row))]
    return "; ".join(reasons) or None


def _unfit(row: Row) -> str | None:
    if row["status"] != "ok":
        return str(row["status"])
    rounds = _rounds(row)
    if not rounds:
        return f"no {ROUNDS}"
    if not all(math.isfinite(ms) and ms > 0 for ms in rounds):
        return f"{ROUNDS} {csv_text(rounds)}"
    return None


def _rounds(row: Row) -> tuple[float, ...]:
    value = row[ROUNDS]
    return tuple(map(float, value)) if isinstance(value, tuple) else ()


def _invalid(old: Sequence[Row], new: Sequence[Row], names: tuple[str, str]) -> list[NotCompared]:
    """Return the cells that are no points, each with the reason that its row gives."""
    found: dict[tuple[str, str], list[str]] = {}
    for rows, name in zip((old, new), names, strict=True):
        for row in rows:
            if row["status"] == "invalid":
                found.setdefault((str(row["model"]), str(row["error"])), []).append(name)
    return [
        NotCompared(model, "", f"invalid in {' and '.join(dict.fromkeys(where))}: {error}")
        for (model, error), where in found.items()
    ]


def _warnings(row: Row) -> tuple[str, ...]:
    value = row["warnings"]
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _differences(pairs: Sequence[tuple[Row, Row]], columns: Iterable[str]) -> tuple[Difference, ...]:
    found = []
    for name in columns:
        differing = Counter((old[name], new[name]) for old, new in pairs if old[name] != new[name])
        if differing:
            found.append(Difference(name, tuple(pair for pair, _ in differing.most_common())))
    return tuple(found)


def _nothing_to_compare(
    sides: tuple[Mapping[Description, Row], Mapping[Description, Row]],
    points: Sequence[Compared | NotCompared],
    names: tuple[str, str],
) -> str:
    """Say why no point of the two files can be compared."""
    for side, name in zip(sides, names, strict=True):
        if not side:
            return f"{name} has no points; name a CSV that `hvt-bench sweep` wrote"
    both = [key for key in sides[0] if key in sides[1]]
    if both:
        reasons = Counter(point.reason for point in points if isinstance(point, NotCompared))
        told = ", ".join(f"{number:,} x {reason}" for reason, number in reasons.most_common())
        advice = "`measure: [latency]` fills it" if ROUNDS in told else "see `error` in the CSV"
        return f"{names[0]} -> {names[1]}: no point can be compared: {told}; {advice}"
    old, new = ([dict(key) for key in side] for side in sides)
    apart = [
        f"{column} is {_some(a)} in {names[0]} and {_some(b)} in {names[1]}"
        for column in old[0]
        if not (a := {point[column] for point in old}) & (b := {point[column] for point in new})
    ]
    why = "; ".join(apart) or "no row of one agrees with a row of the other in everything that describes a point"
    return f"{names[0]} -> {names[1]}: no point is in both: {why}; compare two runs of the same sweep file"


def _some(values: Iterable[Value]) -> str:
    texts = sorted(csv_text(value) or "empty" for value in values)
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")
