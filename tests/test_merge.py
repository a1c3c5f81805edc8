import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.errors import FileError, RequestError, WorkerCrashedError, WorkerTimeoutError
from hvt_bench.journal import read_journal
from hvt_bench.merge import merge
from hvt_bench.output import journal_of
from hvt_bench.run import Started, run_sweep
from hvt_bench.sweep import Sweep
from hvt_bench.table import read_table
from tests.conftest import ENVIRONMENT, fake_measure
from tests.test_run import ScriptedExecutor, fits, go, make_sweep, stable, visits_of

DEPTHS = range(1, 8)


def shared(path, number, of, **options):
    """Measure a share; return where."""
    own = path.with_name(f"share-{number}.csv")
    measure = options.pop("measure", fake_measure)
    describe = options.pop("describe", lambda device: ENVIRONMENT)
    go(replace(make_sweep(DEPTHS, **options), share=(number, of)), own, measure, describe=describe)
    return own


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.csv"


@settings(derandomize=True, database=None, deadline=None)
@given(st.integers(0, 60), st.integers(1, 12))
def test_shares_are_all_points_each_once_and_alike_in_size(points, of):
    sweep = Sweep("s", make_sweep(range(1, points + 1)).points if points else (), ("latency",))
    shares = [replace(sweep, share=(number, of)).points for number in range(1, of + 1)]
    assert sorted(point.config.depth for share in shares for point in share) == list(range(1, points + 1))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_does_not_depend_on_the_machine():
    here, there = (
        [
            [point.config.depth for point in replace(make_sweep(DEPTHS, num_threads=n), share=(k, 3)).points]
            for k in (1, 2, 3)
        ]
        for n in (1, 64)
    )
    assert here == there
    assert here[0] != sorted(DEPTHS)[::3]  # dealt out in shuffled order: an axis goes from cheap to dear


def test_shares_make_the_table_that_one_run_makes(path):
    go(make_sweep(DEPTHS), whole := path.with_name("whole.csv"))
    merged = merge(path, [shared(path, number, 3) for number in (3, 1, 2)])
    assert stable(path) == stable(whole)
    assert (merged.files, merged.empty, merged.missing_shares, merged.conflicts) == (3, 0, (), ())
    assert [row["point_id"] for row in merged.rows] == [row["point_id"] for row in read_table(whole)]
    events = go(make_sweep(DEPTHS), path)
    assert events[0] == Started(points=7, points_done=7, invalid=0, rounds=0, moved=())
    assert stable(path) == stable(whole)


def test_what_is_missing_is_said_and_measured_by_the_whole_sweep(path):
    merged = merge(path, [shared(path, 1, 3), shared(path, 2, 3)])
    assert (merged.empty, merged.missing_shares) == (2, ("3/3",))
    assert len(visits_of(go(make_sweep(DEPTHS), path))) == 4
    go(make_sweep(DEPTHS), whole := path.with_name("whole.csv"))
    assert stable(path) == stable(whole)


def test_merging_again_takes_what_has_come_since(path):
    first, second = shared(path, 1, 2), shared(path, 2, 2)
    merge(path, [first])
    for _ in range(2):
        merged = merge(path, [first, second, path])
        assert (len(merged.rows), merged.conflicts, merged.missing_shares) == (7, (), ())
    before = journal_of(path).read_bytes()
    merge(path, [first, second])
    assert journal_of(path).read_bytes() == before


def test_a_round_that_went_well_wins_over_one_that_did_not(path):
    failed = shared(
        path, 1, 1, measure=lambda visit: fake_measure(visit).model_copy(update={"status": "oom", "error": "no"})
    )
    failed.rename(path.with_name("failed.csv"))
    journal_of(failed).rename(journal_of(path.with_name("failed.csv")))
    well = shared(path, 1, 1)
    for files in itertools.permutations([path.with_name("failed.csv"), well]):
        out = path.with_name(f"{files[0].stem}-first.csv")
        merged = merge(out, files)
        assert {row["status"] for row in merged.rows} == {"ok"}
        assert merged.conflicts == ()


def failing(depths, moment):
    """Fail the rounds of points of these depths, at a moment."""

    def measure(visit):
        sample = fake_measure(visit).model_copy(update={"started_at": f"2026-01-31T{moment}Z"})
        if visit.point.config.depth not in depths:
            return sample
        return sample.model_copy(update={"status": "oom", "error": "no room", "values": {}})

    return measure


@pytest.mark.parametrize("depths", [(2,), DEPTHS])
def test_a_round_that_failed_later_than_it_went_well_is_said(path, depths):
    one, other = path.with_name("one.csv"), path.with_name("other.csv")
    go(make_sweep(DEPTHS), one, failing((), "12:00:00"))
    go(make_sweep(DEPTHS), other, failing(depths, "13:00:00"))
    ids = [point.point_id for point in make_sweep(DEPTHS).points if point.config.depth in depths]
    for files in ([one, other], [other, one]):
        merged = merge(out := path.with_name(f"{files[0].stem}-first.csv"), files)
        assert {row["status"] for row in merged.rows} == {"ok"}
        assert stable(out) == stable(one)
        (said,) = merged.conflicts
        rounds = "1 round" if len(depths) == 1 else "7 rounds"
        assert said.startswith(f"{rounds} went well in {one} and failed later in {other}: round 0 of ")
        assert said.endswith(f"; what {one} has was kept")
        assert sum(f"round 0 of {point_id} (m), oom" in said for point_id in ids) == min(3, len(ids))
        assert ("; and 4 more;" in said) == (len(ids) > 3)


def test_rounds_of_different_largest_batches_are_not_of_one_row(path):
    sweep, files = make_sweep((2, 4), max_batch=True), [path.with_name("one.csv"), path.with_name("other.csv")]
    go(sweep, files[0], fits(8, []))
    go(replace(sweep, cells=sweep.cells[:1]), files[1], fits(5, []))
    (point_id, _) = [point.point_id for point in sweep.points]
    for order, (kept, left) in ((files, (8, 5)), (files[::-1], (5, 8))):
        merged = merge(out := path.with_name(f"{order[0].stem}-first.csv"), order)
        assert merged.conflicts == (
            f"1 point of {order[1]} had another largest batch_size in {order[0]}, {point_id} (m): {left}, kept {kept}; "
            f"what {order[1]} has of that was left out",
        )
        assert sorted((row["depth"], row["batch_size"], row["rounds"]) for row in read_table(out)) == [
            (2, kept, 2),
            (4, 8, 2),
        ]
        assert visits_of(go(sweep, out, fits(8, []))) == []
        estimates = {(row["depth"], row["batch_size"]): row["estimated_memory_mib"] for row in read_table(out)}
        own = read_table(order[0])[0]
        assert estimates[2, kept] == own["estimated_memory_mib"]


def test_a_largest_batch_that_was_looked_for_anew_takes_the_place_of_the_one_that_failed(path):
    sweep, one = make_sweep((2,), max_batch=True), path.with_name("share.csv")

    def tight(visit):
        return fits(8, [])(visit) if visit.metrics == ("memory",) else fits(0, [])(visit)

    go(sweep, one, tight)
    assert [row["batch_size"] for row in merge(path, [one]).rows] == [8]
    go(sweep, one, fits(5, []), retry=["oom"])
    merged = merge(path, [one])
    assert [(row["batch_size"], row["status"], row["rounds"]) for row in merged.rows] == [(5, "ok", 2)]
    assert len(merged.conflicts) == 1


def test_a_round_that_two_have_and_that_differs_is_said_and_the_first_stays(path):
    slower = lambda visit: fake_measure(visit.__class__(visit.point, visit.round + 5, visit.metrics)).model_copy(  # noqa: E731
        update={"round": visit.round}
    )
    one = shared(path, 1, 1)
    go(make_sweep(DEPTHS), other := path.with_name("other.csv"), slower)
    merged = merge(path, [one, other])
    assert merged.conflicts == (f"14 rounds of {other} are in {one} too, and differ: those of {one} were kept",)
    assert stable(path) == stable(one)


def only(*metrics, moment="12:00:00", extra=0.0):
    """Measure just these metrics, at a moment."""

    def measure(visit):
        sample = fake_measure(visit)
        values = {name: found for name, found in sample.values.items() if name in metrics}
        if "memory" in values:
            values["memory"] = values["memory"] | {"peak_memory_mib": 30.0 + extra}
        return sample.model_copy(update={"values": values, "started_at": f"2026-01-31T{moment}Z"})

    return measure


def test_a_metric_that_a_share_measured_later_comes_in(path):
    one = shared(path, 1, 1, metrics=("memory",), measure=only("memory"))
    merge(path, [one])
    both = ("memory", "latency")
    shared(path, 1, 1, metrics=both, measure=only(*both, moment="13:00:00", extra=5.0))
    for _ in range(2):
        merged = merge(path, [one])
        assert merged.conflicts == ()
        assert [row["latency_ms"] for row in merged.rows] == [row["latency_ms"] for row in read_table(one)]
        assert None not in [row["latency_ms"] for row in merged.rows]
        assert {row["peak_memory_mib"] for row in merged.rows} == {35.0}


def test_what_two_files_measured_of_one_round_is_united(path):
    files = [path.with_name(f"{metric}.csv") for metric in ("memory", "latency")]
    for file in files:
        go(make_sweep(DEPTHS, metrics=(file.stem,)), file, only(file.stem))
    for order in (files, files[::-1]):
        merged = merge(out := path.with_name(f"{order[0].stem}-first.csv"), order)
        assert merged.conflicts == ()
        assert all(row["latency_ms"] and row["peak_memory_mib"] and row["rounds"] == 2 for row in read_table(out))


def test_of_two_failures_the_later_stays_and_is_not_asked_for_again(path, monkeypatch):
    one, sweep = path.with_name("share.csv"), make_sweep((2,), rounds=1)
    moments = iter(f"2026-01-31T12:00:{second:02}Z" for second in range(60))
    monkeypatch.setattr("hvt_bench.visits.utc_text", lambda _: next(moments))
    go(sweep, one, executor=ScriptedExecutor({(2, 0): WorkerCrashedError("gone")}))
    events = run_sweep(sweep, ScriptedExecutor({}), one, describe=lambda _: ENVIRONMENT, retry=("crashed",))
    next(events)
    events.close()  # asked for, and not come to
    merge(path, [one])
    assert len(read_journal(journal_of(path)).again) == 1
    go(sweep, one, executor=ScriptedExecutor({(2, 0): WorkerTimeoutError("long")}))  # goes on with what was asked for
    for order in ([one], [path, one]):
        merged = merge(path, order)
        assert [(row["status"], row["error"]) for row in merged.rows] == [("timeout", "long")]
        assert merged.conflicts == ()
        assert read_journal(journal_of(path)).again == set()


def test_what_is_of_another_sweep_machine_or_version_is_refused(path):
    one = shared(path, 1, 2)
    go(make_sweep(DEPTHS, name="t"), other := path.with_name("other.csv"))
    with pytest.raises(
        FileError, match=r"other\.csv: is of the sweep 't', and .*share-1\.csv of 's'; give files of one"
    ):
        merge(path, [one, other])
    newer = ENVIRONMENT.model_copy(update={"torch_version": "10.0.0", "hostname": "elsewhere"})
    two = shared(path, 2, 2, describe=lambda device: newer)
    with pytest.raises(RequestError, match=r"different machines or versions: torch_version 9\.9\.9 and 10\.0\.0; keep"):
        merge(path, [one, two])
    assert not path.exists()


def test_a_machine_of_the_same_kind_is_the_same(path):
    one = shared(path, 1, 2)
    two = shared(path, 2, 2, describe=lambda device: ENVIRONMENT.model_copy(update={"hostname": "node7"}))
    rows = merge(path, [one, two]).rows
    assert {row["hostname"] for row in rows} == {"testhost", "node7"}
    assert {row["hostname"] for row in read_table(path)} == {"testhost", "node7"}
    assert {found.hostname for found in read_journal(journal_of(path)).found_in.values()} == {"testhost", "node7"}


def test_other_numbers_of_threads_are_other_points_and_refused(path):
    files = [shared(path, number, 2, num_threads=number) for number in (1, 2)]
    with pytest.raises(RequestError, match="different num_threads, 1 and 2: give num_threads under protocol"):
        merge(path, files)


def test_files_that_are_no_shares_are_refused(path, tmp_path):
    with pytest.raises(FileError, match="there is no such file; merge reads the journal beside each CSV"):
        merge(path, [tmp_path / "no.csv"])
    path.write_text("my,own,notes\n")
    with pytest.raises(FileError, match="stands there without a journal; give another name"):
        merge(path, [shared(path, 1, 1)])
    assert path.read_text() == "my,own,notes\n"
