"""The log of a sweep: what its workers printed, beside the CSV."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hvt_bench.row import Sample


class Log:
    """Appends to a file that is made once there is something to keep. It is a help, so a full disk does not matter."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def keep(self, key: str, model: str, sample: Sample, output: str) -> Sample:
        """Keep what the worker of a sample printed, if it did; return the sample, whose error then says where that is.

        `key` names the visit: `POINT_ID.ROUND.ATTEMPT`.
        """
        if self._path is None or not output.strip():
            return sample
        found = sample.status if sample.error is None else f"{sample.status}: {sample.error}"
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"== {sample.started_at} {key} {model}, {sample.seconds:g} s, {found}\n{output.rstrip()}\n")
        if sample.error is None:
            return sample
        return sample.model_copy(update={"error": f"{sample.error}; its output: {self._path.name}, {key}"})
