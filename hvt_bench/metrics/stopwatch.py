"""The seam between timing and a device: what is the time, is the work done, how long did the device take.

Everything else about timing is tested with a scripted stopwatch in the place of these.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch

Pass = Callable[..., object]
"""Makes one pass without waiting for the device; takes an optional `mark`, called as each phase ends."""

RESOLUTION_TRIES = 1000
SPIN_HZ = 2.0e9  # about the clock of a GPU
QUEUE_MARGINS = (2.0, 4.0, 8.0)  # the device is kept busy so many times as long as the host takes to queue a pass


class Stopwatch:
    """Times a device that works while the host waits: a CPU."""

    def __init__(self, device: str) -> None:
        self._device = device

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self._device == "mps":
            torch.mps.synchronize()

    def now(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()

    @property
    def resolution_s(self) -> float:
        """The smallest difference that was seen between two moments, in seconds."""
        moments = [self.now() for _ in range(RESOLUTION_TRIES)]
        return min((b - a for a, b in itertools.pairwise(moments) if b > a), default=0.0)

    def mark(self) -> Any:
        """Return a moment in the work of the device, for `between`."""
        return self.now()

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one `mark` to another; the device must have passed both."""
        return float(end - start)

    def block_s(self, run: Pass, passes: int) -> float:
        """Seconds that `passes` passes take one after another, none of them waited for but the last."""
        self.synchronize()
        start = self.mark()
        for _ in range(passes):
            run()
        self.synchronize()
        return self.between(start, self.mark())

    def recorded(self, run: Pass, graph: bool) -> tuple[str, Callable[[int], float]] | None:
        """Return how passes can be made without the host in their way, and seconds of so many; None on this device.

        `graph` says whether a graph may be tried.
        """
        return None


class CudaStopwatch(Stopwatch):
    """Times a CUDA device, which works while the host queues: by events in its own queue."""

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        torch.cuda.synchronize(self._device)

    def mark(self) -> torch.cuda.Event:
        """Return an event that the device passes once it has done what was queued so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one event to another."""
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def block_s(self, run: Pass, passes: int) -> float:
        """Seconds between an event before and an event after `passes` passes."""
        self.synchronize()
        start = self.mark()
        for _ in range(passes):
            run()
        return self.between(start, self.mark())

    def recorded(self, run: Pass, graph: bool) -> tuple[str, Callable[[int], float]] | None:
        """Replay a CUDA graph of a pass, if one can be captured; else queue each pass behind a spinning kernel."""
        replay = self._captured(run) if graph else None
        if replay is not None:
            return "graph", lambda passes: self.block_s(replay, passes)
        return "queue", lambda passes: sum(self._queued_s(run) for _ in range(passes))

    def _captured(self, run: Pass) -> Callable[[], None] | None:
        """Capture one pass; None where it does something that a graph cannot hold, or its memory does not suffice."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device):
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):  # libraries make their workspaces for this stream
                    run()
                torch.cuda.current_stream().wait_stream(side)
                with torch.cuda.graph(graph, stream=side):
                    run()
        except RuntimeError:
            self.synchronize()
            return None
        return graph.replay

    def _queued_s(self, run: Pass) -> float:
        """Seconds that the device takes for a pass which was queued whole while the device was spinning.

        Its queue holds about a thousand launches: of a pass of more, the rest is queued as it goes.
        """
        self.synchronize()
        start = self.now()
        run()
        host_s = self.now() - start
        self.synchronize()
        for margin in QUEUE_MARGINS:
            with torch.cuda.device(self._device):
                torch.cuda._sleep(int(margin * host_s * SPIN_HZ))
            before = self.mark()
            run()
            in_time = not before.query()  # the device was still spinning when all was queued
            seconds = self.between(before, self.mark())
            if in_time:
                break
        return seconds


def make_stopwatch(device: str) -> Stopwatch:
    """Return the stopwatch of a device."""
    return CudaStopwatch(device) if device.startswith("cuda") else Stopwatch(device)
