"""Where the time of a forward pass goes: by module, with hooks, and by operator, with PyTorch's profiler.

Both cost time themselves, so passes with nothing attached are timed beside them.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function

from hvt_bench.metrics.blocks import paths_above
from hvt_bench.metrics.passes import Passes
from hvt_bench.metrics.stopwatch import Stopwatch
from hvt_bench.point import Point

MIN_PASSES = 5
MOST_PROFILED = 50  # passes: the profiler keeps hundreds of events of each in memory
OWN = "(its own)"
_PASS = "one pass of hvt-bench"

Times = Mapping[str, float]
"""Milliseconds of one pass by module path or operator."""
T = TypeVar("T")


@dataclass(frozen=True)
class Timeline:
    """Milliseconds of one forward pass of the batch, each the median over passes."""

    parts: Times
    """By module path, with what lies in it: "" is the network, OWN what it does outside the modules asked for.

    Or by operator, as `operator_kind` calls it. A module that was not called, an operator that did not run is missing.
    """
    pass_ms: float
    """A pass with nothing attached."""
    passes: int
    """Timed with hooks or the profiler; as many or more were timed without."""


def time_modules(passes: Passes, names: Collection[str], stopwatch: Stopwatch, point: Point) -> Timeline:
    """Time the modules at the paths `names`, in passes with and without hooks by turns.

    A moment belongs to the innermost of them that is running and to those above it by their paths, as MACs do: a
    module that is shared counts where it was made, wherever it is called. A network may run otherwise with hooks:
    nn.TransformerEncoderLayer gives up its fused path for them. The pass without shows it.
    """
    hooks = Hooks(passes, names)

    def both() -> tuple[float, Times]:
        bare = stopwatch.block_s(passes, 1)
        return bare, hooks.times_of_a_pass(stopwatch)

    repeated(both, stopwatch, point.warmup_passes, point.warmup_s)
    found = repeated(both, stopwatch, MIN_PASSES, point.min_time_s)
    return _summed_up([seconds for seconds, _ in found], [times for _, times in found])


def time_operators(passes: Passes, stopwatch: Stopwatch, point: Point) -> Timeline:
    """Time the operators that Python calls, in passes under the profiler, after passes without it."""

    def bare() -> float:
        return stopwatch.block_s(passes, 1)

    repeated(bare, stopwatch, point.warmup_passes, point.warmup_s)
    seconds = repeated(bare, stopwatch, MIN_PASSES, point.min_time_s)
    return _summed_up(seconds, profile_operators(passes, min(len(seconds), MOST_PROFILED), stopwatch, point.device))


def repeated(once: Callable[[], T], stopwatch: Stopwatch, at_least: int, total_s: float) -> list[T]:
    """Return what `once` gives, called for `total_s` seconds and `at_least` so often."""
    found: list[T] = []
    first = stopwatch.now()
    while len(found) < at_least or stopwatch.now() - first < total_s:
        found.append(once())
    return found


def _summed_up(bare_s: list[float], times: list[Times]) -> Timeline:
    names = dict.fromkeys(name for single in times for name in single)
    parts = {name: statistics.median(single.get(name, 0.0) for single in times) for name in names}
    return Timeline(parts, 1e3 * statistics.median(bare_s), len(times))


class Hooks:
    """Note the moment at which the modules at some paths begin and end to run; the network, "", is one of them."""

    def __init__(self, passes: Passes, names: Collection[str]) -> None:
        self._passes = passes
        self._modules = {name: module for name, module in passes.model.named_modules() if not name or name in names}
        self._running: list[str] = []  # outermost first
        self._moments: list[tuple[str | None, Any]] = []  # who runs from this moment on, and the moment

    def times_of_a_pass(self, stopwatch: Stopwatch) -> Times:
        """Make one pass; return the milliseconds of each module that it called."""
        with self._attached(stopwatch):
            self._passes()
        stopwatch.synchronize()
        return self._times(stopwatch)

    @contextmanager
    def _attached(self, stopwatch: Stopwatch) -> Iterator[None]:
        """Keep the modules hooked, with nothing noted yet."""
        self._running.clear()
        self._moments.clear()
        handles = []
        for name, module in self._modules.items():
            handles.append(module.register_forward_pre_hook(self._begins(name, stopwatch), prepend=True))
            handles.append(module.register_forward_hook(self._ends(stopwatch)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begins(self, name: str, stopwatch: Stopwatch) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._running.append(name)
            self._moments.append((name, stopwatch.mark()))

        return hook

    def _ends(self, stopwatch: Stopwatch) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._running.pop()
            self._moments.append((self._running[-1] if self._running else None, stopwatch.mark()))

        return hook

    def _times(self, stopwatch: Stopwatch) -> Times:
        """Milliseconds of each module that was called; the device must have done the pass."""
        found: defaultdict[str, float] = defaultdict(float)
        for (name, start), (_, end) in pairwise(self._moments):
            if name is None:
                continue
            ms = 1e3 * stopwatch.between(start, end)
            if not name:
                found[OWN] += ms
            for path in {name, *paths_above(name)} & self._modules.keys():
                found[path] += ms
        return dict(found)


# --- operators ------------------------------------------------------------------------------------------------------


def profile_operators(passes: Callable[[], object], number: int, stopwatch: Stopwatch, device: str) -> list[Times]:
    """Profile `number` passes, after one that does not count; see `outermost` for what is found of each."""
    on_gpu = device.startswith("cuda")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells of its own doings on stderr
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as found:  # torch 2.11 warns without `acc_events`
        for _ in range(number + 1):
            with record_function(_PASS):
                passes()
            stopwatch.synchronize()
    ran = [event for event in found.events() or [] if event.name == _PASS and event.device_type == DeviceType.CPU]
    return [outermost(event.cpu_children, on_gpu) for event in ran[1:]]


def outermost(events: Iterable[Any], on_gpu: bool) -> Times:
    """Sum up the milliseconds of the operators that no other operator called, what they call included.

    On a GPU, those of the kernels that they started. `events` are FunctionEvents of the profiler; what stands in no
    namespace is no operator but a name that somebody gave to a part of a forward.
    """
    found: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if "::" in event.name:
            us = event.device_time_total if on_gpu else event.cpu_time_total
            found[operator_kind(event.name)] += us / 1e3
        else:
            for name, ms in outermost(event.cpu_children, on_gpu).items():
                found[name] += ms
    return dict(found)


_CONVOLUTIONS = {  # what Python calls; counting sees the operator that all of them call
    "convolution_mode", *(f"conv{kind}{dimensions}d" for kind in ("", "_transpose") for dimensions in (1, 2, 3)),
}  # fmt: skip


def operator_kind(name: str) -> str:
    """Return the name under which an operator is counted: `linear` of `aten::linear`, `convolution` of `conv2d`."""
    own = name.removeprefix("aten::").removeprefix("_")
    return "convolution" if own in _CONVOLUTIONS else own
