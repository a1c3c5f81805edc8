"""The largest batch that fits: batches are tried, each in a process of its own, until one more image is too many."""

from __future__ import annotations

from collections.abc import Callable, Generator

from hvt_bench.point import MAX_BATCH_SIZE, Point
from hvt_bench.row import Sample

SMALLER = 31 / 32  # of a batch that did not fit again is tried next


def largest_batch(point: Point, attempt: Callable[[Point], Sample]) -> int | Sample:
    """Return the largest batch size with which `attempt` does not run out of memory, or the sample of a failure.

    `attempt` makes a pass. Where it fails in another way than by memory, nothing is known of larger batches.
    """
    search = batches_to_try()
    batch_size, fits = next(search), 0
    while True:
        sample = attempt(point.model_copy(update={"batch_size": batch_size}))
        if sample.status not in ("ok", "oom"):
            known = f"batch_size {fits} fits, " if fits else ""
            error = f"looking for the largest batch: {known}batch_size {batch_size} {sample.error}"
            return sample.model_copy(update={"error": error, "values": {}})
        if sample.status == "ok":
            fits = max(fits, batch_size)
        try:
            batch_size = search.send(sample.status == "ok")
        except StopIteration as ended:
            return ended.value or sample.model_copy(update={"values": {}})


def batches_to_try(most: int = MAX_BATCH_SIZE) -> Generator[int, bool, int]:
    """Yield batch sizes, each after being sent whether the one before fits; return the largest that does, else 0.

    It is found to one image, and then tried again: at the edge a batch can fit once and not twice.
    """
    fits, batch_size = 0, 1
    while fits < most and (yield batch_size):
        fits = batch_size
        batch_size = min(2 * fits, most)
    too_many = batch_size
    while too_many - fits > 1:
        batch_size = (fits + too_many) // 2
        if (yield batch_size):
            fits = batch_size
        else:
            too_many = batch_size
    while fits and not (yield fits):
        fits = min(fits - 1, int(SMALLER * fits))
    return fits
