"""merge: the journals of shares of one sweep become one journal, and one CSV, as if one run had written them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvt_bench.environment import Environment
from hvt_bench.errors import FileError, RequestError, plural
from hvt_bench.files import write_whole
from hvt_bench.journal import held, in_turn, journal_line, read_journal
from hvt_bench.known import Run
from hvt_bench.output import check_writable, journal_of
from hvt_bench.row import Row, Sample
from hvt_bench.table import write_table

NAMED = 3  # rounds or points, where a sentence is about many


@dataclass(frozen=True)
class Merged:
    """What came of it."""

    rows: tuple[Row, ...]
    files: int
    empty: int
    """Points of which no file has any result."""
    missing_shares: tuple[str, ...]
    """Such as `3/8`."""
    conflicts: tuple[str, ...]
    """A sentence for each file of which rounds were left out."""


def merge(out: Path, paths: Sequence[Path]) -> Merged:
    """Write into `out`, a CSV, and its journal what the journals of the CSVs `paths` hold, and what `out` held before.

    Raises FileError where a file is not ours, of another sweep, or written by another program at the moment;
    RequestError where their rounds may not stand in one table.
    """
    check_writable(out)
    journal_path = journal_of(out)
    with in_turn(out), held(journal_path):
        before = [out] if journal_path.exists() else []
        if not before and out.exists():
            raise FileError(f"{out}: stands there without a journal; give another name, or move it away")
        others = [path for path in paths if path.resolve() != out.resolve()]
        runs = {path: _read(path) for path in dict.fromkeys([*before, *others])}
        _check(runs)
        merged, conflicts = _merge(runs)
        write_whole(journal_path, "".join(journal_line(*line) for line in merged.lines()).encode())
        write_table(out, merged.rows())
    found = {point_id for point_id, _ in merged.samples}
    points = [point_id for point_id, columns in merged.cells.items() if "status" not in columns]
    return Merged(
        merged.rows(),
        len(runs),
        sum(point_id not in found for point_id in points),
        _missing(merged),
        tuple(conflicts),
    )


def _read(path: Path) -> Run:
    run = read_journal(journal_of(path))
    if run is None:
        raise FileError(f"{journal_of(path)}: there is no such file; merge reads the journal beside each CSV")
    return run


def _check(runs: dict[Path, Run]) -> None:
    """Refuse what may not stand in one table."""
    (first, one), *others = runs.items()
    for path, run in others:
        if run.sweep != one.sweep:
            raise FileError(f"{path}: is of the sweep '{run.sweep}', and {first} of '{one.sweep}'; give files of one")
        for device in run.environments.keys() & one.environments.keys():
            here, there = _environments(one, device), _environments(run, device)
            apart = [(a, b) for b in there for a in here[:1] if not any(b.comparable(known) for known in here)]
            if apart:
                a, b = apart[0]
                words = ", ".join(f"{name} {x} and {y}" for name, (x, y) in a.differences(b).items())
                raise RequestError(
                    f"{first} and {path} are of different machines or versions: {words}; keep them apart"
                )
        threads = [{run.cells[key[0]].get("num_threads") for key in run.samples} for run in (one, run)]
        if all(threads) and threads[0].isdisjoint(threads[1]):
            words = " and ".join(" ".join(sorted(map(str, numbers))) for numbers in threads)
            raise RequestError(
                f"{first} and {path} are of different num_threads, {words}: give num_threads under protocol "
                "and measure one of them again"
            )


def _environments(run: Run, device: str) -> list[Environment]:
    found = [there for point_id, there in run.found_in.items() if run.cells[point_id]["device"] == device]
    return list({repr(there): there for there in found or [run.environments[device]]}.values())


def _merge(runs: dict[Path, Run]) -> tuple[Run, list[str]]:
    """Put the runs together; where two have the same round, `_wins` and `_united` say what stays."""
    one, *_ = runs.values()
    whole = Run(one.sweep, min(run.started_at for run in runs.values()), {})
    twice: dict[tuple[Path, Path], int] = {}
    failed_later: dict[tuple[Path, Path], list[Sample]] = {}
    origin: dict[tuple[str, int | None], Path] = {}
    runs, conflicts = _of_one_batch(runs)
    for path, run in runs.items():
        whole.environments = run.environments | whole.environments
        whole.shares |= run.shares
        visited = {point_id for point_id, _ in run.samples}
        for point_id, columns in run.cells.items():
            if point_id not in whole.cells or (point_id in visited and whole.cells[point_id].get("batch_size") is None):
                whole.cells[point_id] = columns
        for key, sample in run.samples.items():
            known = whole.samples.get(key)
            if known is not None and known.status == sample.status and _twice(known, sample):
                pair = origin[key], path
                twice[pair] = twice.get(pair, 0) + 1
            alike = known is None or run.found_in[key[0]].comparable(whole.found_in[key[0]])
            wins = known is None or _wins(sample, known)
            winner, other = (sample, known) if known is None or wins else (known, sample)
            if other is not None and _fell_off(winner, other):
                pair = (path, origin[key]) if wins else (origin[key], path)
                failed_later.setdefault(pair, []).append(other)
            whole.samples[key] = winner if other is None or not alike else _united(winner, other)
            if wins:
                whole.found_in[key[0]] = run.found_in[key[0]]
                origin[key] = path
    whole.again = {key for run in runs.values() for key in run.again if _still_asked(key, run, whole)}
    if not any(run.shares for run in runs.values()) or not all(run.shares for run in runs.values()):
        whole.shares = set()
    conflicts += [
        f"{number} rounds of {path} are in {kept} too, and differ: those of {kept} were kept"
        for (kept, path), number in twice.items()
    ]
    conflicts += [
        f"{plural(len(lost), 'round')} went well in {kept} and failed later in {path}: {_named(lost, whole)}; "
        f"what {kept} has was kept"
        for (kept, path), lost in failed_later.items()
    ]
    return whole, conflicts


def _of_one_batch(runs: dict[Path, Run]) -> tuple[dict[Path, Run], list[str]]:
    """Leave out what was found of a point at another largest batch than is kept; say of which files.

    Kept is the batch at which no round failed, then the one of the most rounds, then that of the first file.
    """
    settled: dict[str, dict[Path, int]] = {}
    for path, run in runs.items():
        for point_id, columns in run.cells.items():
            if columns.get("max_batch") and columns.get("batch_size") is not None:
                settled.setdefault(point_id, {})[path] = columns["batch_size"]
    lost: dict[tuple[Path, Path], list[str]] = {}
    drop: dict[Path, set[str]] = {path: set() for path in runs}
    for point_id, sizes in settled.items():
        if len(set(sizes.values())) == 1:
            continue
        kept = max(sizes, key=lambda path: _how_well(runs[path], point_id))
        for path, size in sizes.items():
            if size != sizes[kept]:
                drop[path].add(point_id)
                text = f"{point_id} ({runs[kept].cells[point_id]['model']}): {size}, kept {sizes[kept]}"
                lost.setdefault((kept, path), []).append(text)
    return {path: _without(run, drop[path]) for path, run in runs.items()}, [
        f"{plural(len(texts), 'point')} of {path} had another largest batch_size in {kept}, {_some(texts)}; what "
        f"{path} has of that was left out"
        for (kept, path), texts in lost.items()
    ]


def _how_well(run: Run, point_id: str) -> tuple[bool, int]:
    """Rank what a run has of a point."""
    rounds = [sample.status == "ok" for key, sample in run.samples.items() if key[0] == point_id and key[1] is not None]
    return all(rounds), sum(rounds)


def _without(run: Run, points: set[str]) -> Run:
    """Return a run without these points."""
    if not points:
        return run
    return replace(
        run,
        cells={point_id: columns for point_id, columns in run.cells.items() if point_id not in points},
        samples={key: sample for key, sample in run.samples.items() if key[0] not in points},
        again={key for key in run.again if key[0] not in points},
    )


def _fell_off(winner: Sample, other: Sample) -> bool:
    """Say whether a round that went well is kept though it failed when it was measured later."""
    return winner.status == "ok" != other.status and other.started_at > winner.started_at


def _named(samples: Sequence[Sample], run: Run) -> str:
    """Name rounds: `round 2 of 3fa04c (hvt_s_1), crashed`."""
    return _some(
        [
            f"{'the counting' if sample.round is None else f'round {sample.round}'} of {sample.point_id} "
            f"({run.cells[sample.point_id]['model']}), {sample.status}"
            for sample in samples
        ]
    )


def _some(texts: Sequence[str]) -> str:
    """Join the first few of many texts, so that they fit a line."""
    left = len(texts) - NAMED
    return "; ".join([*texts[:NAMED], *([f"and {left} more"] if left > 0 else [])])


def _same(one: Sample, other: Sample) -> bool:
    """Say whether two samples found the same: all that a counting can differ in is when it was made."""
    return one.values == other.values and one.status == other.status and (one.round is None or one.error == other.error)


def _twice(one: Sample, other: Sample) -> bool:
    """Say whether nothing tells which of two samples goes on from the other, and they differ."""
    if _same(one, other) or one.attempt != other.attempt or one.values.keys() != other.values.keys():
        return False
    return one.status == "ok" or one.started_at == other.started_at


def _wins(sample: Sample, known: Sample) -> bool:
    """Say whether a sample takes the place of what is known of its round.

    One that went well wins over a failure; then the one that measured more, or in which another attempt was made; of
    failures, and where each measured something that the other lacks, the later.
    """
    if (sample.status == "ok") != (known.status == "ok"):
        return sample.status == "ok"
    later = (sample.started_at, sample.attempt) > (known.started_at, known.attempt)
    if sample.status != "ok":
        return later
    more, fewer = sample.values.keys() - known.values.keys(), known.values.keys() - sample.values.keys()
    if more or fewer:
        return later if more and fewer else bool(more)
    return sample.attempt > known.attempt


def _united(winner: Sample, other: Sample) -> Sample:
    """Add to a round that went well what only the other sample of it measured."""
    if other.status != "ok" or winner.status != "ok" or other.values.keys() <= winner.values.keys():
        return winner
    timed = winner if "latency" in winner.values else other
    return winner.model_copy(update={"values": other.values | winner.values, "side_by_side": timed.side_by_side})


def _still_asked(key: tuple[str, int | None], run: Run, whole: Run) -> bool:
    """Say whether a failed round that `run` was asked to measure again was not measured since, by any run."""
    own, kept = run.samples.get(key), whole.samples.get(key)
    return own is None or kept is None or (kept.status != "ok" and kept.started_at == own.started_at)


def _missing(run: Run) -> tuple[str, ...]:
    of = {number for _, number in run.shares}
    return tuple(f"{part}/{n}" for n in sorted(of) for part in range(1, n + 1) if (part, n) not in run.shares)
