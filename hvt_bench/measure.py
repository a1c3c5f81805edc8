"""measure_round: the only place where a network meets a stopwatch. count_point: its cost, without running it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hvt_bench.environment import Environment, method_of
from hvt_bench.errors import (
    CountError,
    DivergedError,
    HvtBenchError,
    TrainingMemoryError,
    UnsupportedError,
    WorkerCrashedError,
    WorkerError,
    WorkerMemoryError,
)
from hvt_bench.metrics.accuracy import found_of, measure_accuracy
from hvt_bench.metrics.complexity import count
from hvt_bench.metrics.conditions import Witness
from hvt_bench.metrics.estimate import estimate
from hvt_bench.metrics.latency import measure_latency
from hvt_bench.metrics.memory import MIB, MemoryMeter
from hvt_bench.metrics.part_times import measure_parts
from hvt_bench.metrics.passes import Passes, format_of_products, load_optimizer, use_precision
from hvt_bench.metrics.peak import measure_peak
from hvt_bench.metrics.stopwatch import Stopwatch, make_stopwatch
from hvt_bench.point import Point
from hvt_bench.row import Sample, Status
from hvt_bench.training.checkpoints import Checkpoint, checkpoint_path

USABLE_SHARE = 0.9  # of the memory that is free
_NO_MEMORY = (  # of PyTorch, the C++ library, oneDNN, cuBLAS and cuDNN
    "out of memory", "can't allocate memory", "bad_alloc", "enough memory", "could not create a primitive",
    "alloc_failed",
)  # fmt: skip
_NO_KERNEL = ("No available kernel", "No viable backend for scaled_dot_product_attention")  # CUDA's words and the CPU's


@dataclass(frozen=True)
class Visit:
    """One round of one point: the unit of work."""

    point: Point
    round: int
    metrics: tuple[str, ...]
    memory_limit_mib: float | None = None
    """How much address space a CPU point may take beyond what its process has; only for a process of its own."""
    attempt: int = 1
    """2 and more where the GPU was throttled in the visit before."""
    checkpoints: Path | None = None
    """Folder that keeps the state of a training after each epoch; nothing is kept if there is none."""

    processes: int = 1
    """How many train the network together, on a GPU each."""

    @property
    def limit_s(self) -> float:
        """Time limit in seconds."""
        training = self.point.recipe if "accuracy" in self.metrics else None
        return self.point.timeout_s + (3600 * training.max_hours if training else 0.0)


@dataclass(frozen=True)
class Apparatus:
    """What a round is measured with; tests put scripted parts in the place of these."""

    passes: Callable[[Point], Passes] = Passes
    stopwatch: Callable[[str], Stopwatch] = make_stopwatch
    meter: Callable[[str], MemoryMeter] = MemoryMeter
    witness: Callable[[str, int], Witness] = Witness
    train: Callable[[Point, int, Checkpoint | None, int], dict[str, Any]] = measure_accuracy


def count_point(point: Point, metrics: tuple[str, ...] = ("complexity",), executed: bool = False) -> Sample:
    """Count what the network of `point` costs, and estimate the memory of a pass if `metrics` have `memory`.

    Shapes only, so this takes no memory and no GPU. With `executed`, a network whose cost depends on its image is run
    once, on a CPU.
    """
    found: dict[str, Any] = {}
    with _sampling(point, None, found) as sample:
        if "complexity" in metrics:
            found["complexity"] = count(point.config, checkpointing=point.checkpointing, executed=executed).model_dump()
        if "memory" in metrics:
            found["estimate"] = {"estimated_memory_mib": None if point.max_batch else _estimated(point)}
    return sample()


def estimate_point(point: Point) -> Sample:
    """Estimate the memory of a pass of `point`, whose largest batch was just found."""
    found: dict[str, Any] = {}
    with _sampling(point, None, found) as sample:
        found["estimate"] = {"estimated_memory_mib": _estimated(point)}
    return sample()


def _estimated(point: Point) -> float | None:
    """Estimate in MiB; None where that cannot be done, which is no reason not to measure."""
    try:
        return estimate(point).total_mib
    except (CountError, UnsupportedError):
        return None


def measure_round(visit: Visit, apparatus: Apparatus = Apparatus()) -> Sample:
    """Build the network of a point and measure it once; what was measured before a failure stays.

    Running out of memory, or an operator that the device lacks, is a status of the sample, not an exception.
    """
    point = visit.point
    found: dict[str, Any] = {}
    with _sampling(point, visit.round, found, visit.attempt) as sample, contextlib.ExitStack() as cleanup:
        if visit.memory_limit_mib is not None and point.device == "cpu":
            _limit_address_space(visit.memory_limit_mib)
        torch.set_num_threads(point.num_threads)
        use_precision(point.dtype)
        point.config.prepare()
        if point.mode == "train":
            load_optimizer()
        if {"memory", "latency", "parts"} & {*visit.metrics}:
            _measure_passes(visit, apparatus, found, cleanup)
        if "peak" in visit.metrics:
            found["peak"] = _peak(point, apparatus.stopwatch(point.device))
        if "accuracy" in visit.metrics:
            try:
                found["accuracy"] = apparatus.train(point, visit.round, _checkpoint(visit), visit.processes)
            except DivergedError as error:
                found["accuracy"] = found_of(error, visit.round)
                raise
            except Exception as error:
                if point.recipe is None or not is_out_of_memory(error):
                    raise
                raise TrainingMemoryError(
                    _no_memory(error, point, f"batch_size under recipe, which is {point.recipe.batch_size:,}")
                ) from error
    return sample()


def measure_there(visit: Visit, measure: Callable[[Visit], Sample] = measure_round) -> Sample:
    """Measure a round on a machine that nobody has described, and describe it."""
    sample = measure(visit)
    with contextlib.suppress(Exception):  # a driver that fails has failed the round too, and the sample says how
        return sample.model_copy(update={"environment": Environment.measure(visit.point.device)})
    return sample


def _measure_passes(visit: Visit, apparatus: Apparatus, found: dict[str, Any], cleanup: contextlib.ExitStack) -> None:
    """Measure memory and time of passes of one network, which is gone afterwards."""
    point = visit.point
    meter = apparatus.meter(point.device)
    stopwatch = apparatus.stopwatch(point.device)
    passes = apparatus.passes(point)
    compile_s = _compile(passes, stopwatch, cleanup) if point.compile else None
    if "memory" in visit.metrics:
        found["memory"] = meter.measure(passes.model, passes)
    if "latency" in visit.metrics:
        witness = apparatus.witness(point.device, point.num_threads)
        seen: list[dict[str, Any]] = []
        timed = measure_latency(passes, stopwatch, point, witness.start, lambda n: seen.append(witness.stop(n)))
        found["latency"] = {**timed, "compile_s": compile_s}
        found["conditions"] = seen[0]
    if "parts" in visit.metrics:
        found["parts"] = measure_parts(passes, stopwatch, point)


def _peak(point: Point, stopwatch: Stopwatch) -> dict[str, float]:
    """Measure the peak of the device, which must not fail a point that goes well: nothing where memory is short."""
    try:
        return measure_peak(point.device, format_of_products(point.dtype), stopwatch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {}


def _checkpoint(visit: Visit) -> Checkpoint | None:
    """Return where the state of a training is kept, for a machine and versions alone whose rounds go into one row."""
    if visit.checkpoints is None:
        return None
    point, here = visit.point, Environment.measure(visit.point.device)
    identity = {
        "point_id": point.point_id,
        "seed": visit.round,
        "device_name": here.device_name,
        "torch_version": str(here.torch_version),
        "hvt_bench_version": here.hvt_bench_version,
    }
    return Checkpoint(checkpoint_path(visit.checkpoints, point.point_id, visit.round), identity, _one_training)


def _one_training(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two states are of one training; a version of hvt-bench whose method is the same goes on with it."""
    first, second = (
        {**identity, "hvt_bench_version": method_of(str(identity["hvt_bench_version"]))} for identity in (one, other)
    )
    return first == second


def _compile(passes: Passes, stopwatch: Stopwatch, cleanup: contextlib.ExitStack) -> float:
    """Make the first pass, which compiles the network, and return its seconds; nothing compiled before is found.

    What it writes is gone after `cleanup`.
    """
    from torch._inductor.async_compile import shutdown_compile_workers  # takes a second

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cleanup.enter_context(tempfile.TemporaryDirectory())
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says that a CPU machine has no CUDA
    stopwatch.synchronize()
    start = stopwatch.now()
    with warnings.catch_warnings(action="ignore"):  # compiling warns of itself: of caches, of cores it could use
        passes()
    stopwatch.synchronize()
    seconds = stopwatch.now() - start
    shutdown_compile_workers()  # they would outlive this process for a moment, and complain
    return seconds


@contextlib.contextmanager
def _sampling(
    point: Point, number: int | None, found: dict[str, Any], attempt: int = 1
) -> Iterator[Callable[[], Sample]]:
    """Turn what happens inside into a sample, which the yielded function gives afterwards."""
    started_at, start = utc_now(), time.perf_counter()
    status: Status = "ok"
    error: str | None = None
    try:
        yield lambda: Sample(
            point_id=point.point_id,
            round=number,
            attempt=attempt,
            values=found,
            status=status,
            error=error,
            started_at=started_at,
            seconds=round(time.perf_counter() - start, 3),
        )
    except Exception as failure:
        status, error = diagnose(failure, point)
        if status == "error" and multiprocessing.parent_process() is not None:
            traceback.print_exc()  # into what its worker prints


def diagnose(failure: Exception, point: Point) -> tuple[Status, str]:
    """Say what a failure means: a status, and a reason that a person can act on."""
    text = " ".join(str(failure).split())[:500] or type(failure).__name__
    if isinstance(failure, TrainingMemoryError | WorkerMemoryError):
        return "oom", text
    if isinstance(failure, WorkerCrashedError):  # one of several that train together
        return "crashed", text
    if is_out_of_memory(failure):
        return "oom", _no_memory(failure, point, "batch_size" if point.batch_size > 1 else "network or image")
    if isinstance(failure, UnsupportedError):
        return "invalid", text
    if any(sign in text for sign in _NO_KERNEL):
        kernel = f"{point.attention} cannot run {point.model} in {point.dtype} on {point.device}"
        return "invalid", f"{kernel}: PyTorch finds no such kernel for its heads; take sdpa"
    return "error", text if isinstance(failure, HvtBenchError) else f"{type(failure).__name__}: {text}"


def _no_memory(failure: BaseException, point: Point, smaller: str) -> str:
    """Say how much memory was asked for, if that is known, and what to make `smaller`."""
    asked = re.search(r"tried to allocate ([\d.]+ \w+)", str(failure), re.IGNORECASE)
    what = f"out of memory, tried to allocate {asked[1]}" if asked else "out of memory"
    more = ", or give --memory-limit more MiB if the machine has them" if point.device == "cpu" else ""
    return f"{what}; take a smaller {smaller}{more}"


def is_out_of_memory(failure: BaseException) -> bool:
    """Say whether a failure is PyTorch, oneDNN or Python running out of memory."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(failure, WorkerError):  # which says what it is
        return False
    text = str(failure).lower()
    return any(sign in text for sign in _NO_MEMORY)


def _limit_address_space(limit_mib: float) -> None:
    """Let this process allocate `limit_mib` beyond what it has, so that too much is an error and not a dead machine."""
    status = Path("/proc/self/status")
    if not status.exists():
        return  # macOS does not enforce RLIMIT_AS
    import resource

    line = next(line for line in status.read_text().splitlines() if line.startswith("VmSize:"))
    limit = int(line.split()[1]) * 1024 + int(limit_mib * MIB)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def available_memory_mib() -> float | None:
    """Return the memory that Linux could hand out now, in MiB; None elsewhere."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    line = next(line for line in info.read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) / 1024


def usable_memory_mib() -> float | None:
    """Return what a CPU point may allocate where nothing else is said: most of what Linux could hand out now."""
    free = available_memory_mib()
    return USABLE_SHARE * free if free else None


def utc_now() -> str:
    """Return the moment, such as `2026-01-31T12:00:00Z`."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """Spell a moment of UTC as in the CSV."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
