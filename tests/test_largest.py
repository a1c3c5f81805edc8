import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.largest import batches_to_try, largest_batch
from hvt_bench.models import parse_model
from hvt_bench.point import MAX_BATCH_SIZE, Point
from hvt_bench.row import Sample

POINT = Point(
    model="m", config=parse_model("hvt"), device="cpu", batch_size=7, max_batch=True, warmup_s=0.0, num_threads=1
)


def tried(statuses, otherwise):
    """Return an attempt that ends with a status for some batch sizes, and what it was asked."""
    asked = []

    def attempt(point):
        asked.append(point.batch_size)
        status = statuses.get(point.batch_size, otherwise(point.batch_size))
        error = None if status == "ok" else f"ended with {status}"
        values = {"memory": {}}
        return Sample(
            point_id=point.point_id, round=0, values=values, status=status, error=error, started_at="", seconds=1.0
        )

    return attempt, asked


def fits(most):
    return tried({}, lambda batch_size: "ok" if batch_size <= most else "oom")


def test_batches_are_doubled_and_then_halved():
    attempt, asked = fits(11)
    assert largest_batch(POINT, attempt) == 11
    assert asked == [1, 2, 4, 8, 16, 12, 10, 11, 11]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(1, MAX_BATCH_SIZE))
def test_the_largest_batch_that_fits_is_found_and_only_that_one_is_tried_twice(most):
    attempt, asked = fits(most)
    assert largest_batch(POINT, attempt) == most
    assert len(set(asked)) == len(asked) - 1 <= 41
    assert asked[-1] == most
    assert max(asked) <= MAX_BATCH_SIZE


def test_a_batch_that_does_not_fit_again_is_made_smaller_until_one_does():
    asked = []

    def attempt(point):
        asked.append(point.batch_size)
        room = 100 if len(asked) < 15 else 95  # something else began to take memory
        status = "ok" if point.batch_size <= room else "oom"
        return Sample(point_id="x", round=0, values={}, status=status, started_at="", seconds=1.0)

    assert largest_batch(POINT, attempt) == 93
    assert asked[-3:] == [100, 96, 93]


def test_a_network_that_does_not_fit_at_all_is_out_of_memory():
    attempt, asked = fits(0)
    found = largest_batch(POINT, attempt)
    assert (found.status, found.error, found.values, asked) == ("oom", "ended with oom", {}, [1])


@pytest.mark.parametrize("status", ["timeout", "crashed", "error"])
def test_a_failure_that_is_not_of_memory_says_nothing_of_larger_batches(status):
    attempt, asked = tried({8: status}, lambda _: "ok")
    found = largest_batch(POINT, attempt)
    assert found.status == status
    assert found.error == f"looking for the largest batch: batch_size 4 fits, batch_size 8 ended with {status}"
    assert asked == [1, 2, 4, 8]


def test_there_is_an_end_to_batches():
    search = batches_to_try(most=100)
    asked = [next(search)]
    asked += [search.send(True) for _ in range(8)]
    with pytest.raises(StopIteration):
        search.send(True)
    assert asked == [1, 2, 4, 8, 16, 32, 64, 100, 100]
