"""`make gpu-report`: everything that a person with a GPU can find out for us, in one folder to send back.

Runs the tests that need a GPU and the sweep `sweeps/scaling_gpu.yaml`, holds its rows against bounds that no sound
measurement can miss, and writes reports/gpu/ and reports/gpu.zip. Exit code 1 where something failed, 2 without CUDA.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

from hvt_bench.environment import resolve_device
from hvt_bench.errors import FileError, RequestError
from hvt_bench.models import CONFIG_COLUMNS
from hvt_bench.point import SWEEPABLE
from hvt_bench.table import read_table

Row = Mapping[str, Any]

FOLDER = Path("reports/gpu")
SWEEP = "sweeps/scaling_gpu.yaml"
NO_GPU = "gpu-report needs a CUDA device and PyTorch finds none here; `make sweep` measures on a CPU"

LEAST_NOISE_PCT = 5.0  # what a bound on times allows a row whose rounds agree better than this
ESTIMATE_BAND = (0.7, 1.3)  # of estimated to measured peak memory: workspaces of the kernels are not estimated
MACS_PER_CLOCK = {
    # Of one multiprocessor, the most of any card. CUDA Programming Guide, "Arithmetic Instructions": 128 float32
    # multiply-adds without tensor cores. H100's and B200's data sheets, 16 bits, dense: 989 TFLOP/s of 132 at 1.83 GHz,
    # 2,250 of 148 at 1.97 GHz, so about 2,050 and 3,900 MACs. Cards of before have less: this finds float32 that runs
    # as TF32 and times that are too short by a factor, not by a few percent.
    "float32": 128,
    "tensor cores": 4096,
}


@dataclass(frozen=True)
class Card:
    """What bounds the speed of a GPU: its multiprocessors and their highest clock."""

    multiprocessors: int
    clock_mhz: float

    def macs_per_s(self, dtype: str) -> float:
        per_clock = MACS_PER_CLOCK["float32" if dtype == "float32" else "tensor cores"]
        return self.multiprocessors * self.clock_mhz * 1e6 * per_clock


@dataclass(frozen=True)
class Verdict:
    """What a bound says of the rows: PASS, FAIL, SAID where it only reports, NONE where no row has the columns."""

    bound: str
    word: str
    detail: str


# --- the bounds -------------------------------------------------------------------------------------------------------


def judge(rows: Sequence[Row], card: Card | None = None) -> list[Verdict]:
    """Hold rows against every bound; `card` is the GPU that they were measured on, where it is known."""
    return [
        _every_point(rows),
        *(_bound(rows, name, columns, wrong) for name, columns, wrong in _of_each_row()),
        *([_speed(rows, card)] if card else []),
        _memory_grows(rows),
        _estimates(rows),
        _formats(rows),
        _throttling(rows),
        _convergence(rows),
    ]


def _of_each_row() -> list[tuple[str, tuple[str, ...], Callable[[Row], str]]]:
    """Bounds on one row: a name, the columns it needs, and a function that says what is wrong; empty if nothing."""

    def device_latency(row: Row) -> str:
        most = row["latency_ms"] * (1 + _noise(row))
        return _above(row["device_latency_ms"], most, "ms of the device", "ms of the host and noise")

    def throughput_from_below(row: Row) -> str:
        least = 1e3 * row["batch_size"] / row["latency_ms"] * (1 - _noise(row))
        return _above(least, row["throughput_img_s"], "images/s of single passes, less noise,", "images/s of blocks")

    def throughput_from_above(row: Row) -> str:
        most = 1e3 * row["batch_size"] / row["device_latency_ms"] * (1 + _noise(row))
        return _above(row["throughput_img_s"], most, "images/s of blocks", "images/s of the device and noise")

    def reserved(row: Row) -> str:
        return _above(row["peak_memory_mib"], row["reserved_memory_mib"], "MiB given out", "MiB reserved")

    def process(row: Row) -> str:
        return _above(row["reserved_memory_mib"], row["process_memory_mib"], "MiB reserved", "MiB of the process")

    def power(row: Row) -> str:
        watts = row["energy_mj_per_img"] * row["batch_size"] / row["latency_ms"]
        least, most = 0.01 * row["power_limit_w"], 1.3 * row["power_limit_w"]
        return "" if least <= watts <= most else f"{watts:.4g} W at a power limit of {row['power_limit_w']:g} W"

    return [
        ("the device takes at most the host's time", ("latency_ms", "device_latency_ms"), device_latency),
        ("blocks are at least as fast as single passes", ("latency_ms", "throughput_img_s"), throughput_from_below),
        ("blocks are at most as fast as the device", ("device_latency_ms", "throughput_img_s"), throughput_from_above),
        ("reserved memory holds what was given out", ("peak_memory_mib", "reserved_memory_mib"), reserved),
        ("the process holds what was reserved", ("reserved_memory_mib", "process_memory_mib"), process),
        ("energy is that of a GPU at work", ("energy_mj_per_img", "power_limit_w", "latency_ms"), power),
    ]


def _speed(rows: Sequence[Row], card: Card) -> Verdict:
    def wrong(row: Row) -> str:
        return _above(row["macs_per_s"], card.macs_per_s(row["dtype"]), "MACs/s", f"that it can do in {row['dtype']}")

    return _bound(rows, "no faster than the card can be", ("macs_per_s",), wrong)


def _bound(rows: Sequence[Row], name: str, columns: Sequence[str], wrong: Callable[[Row], str]) -> Verdict:
    having = _having(rows, *columns)
    if not having:
        return Verdict(name, "NONE", f"no row has {' and '.join(columns)}")
    found = [f"{_name(row)}: {what}" for row in having if (what := wrong(row))]
    if found:
        return Verdict(name, "FAIL", f"{len(found)} of {len(having)} rows; {'; '.join(found[:3])}")
    return Verdict(name, "PASS", f"{len(having)} rows")


def _every_point(rows: Sequence[Row]) -> Verdict:
    failed = [row for row in rows if row["status"] not in ("ok", "invalid")]
    if not rows or failed:
        reasons = [f"{_name(row)}: {row['status']}: {row['error']}" for row in failed[:3]]
        return Verdict("every point was measured", "FAIL", "; ".join([f"{len(failed)} of {len(rows)} rows", *reasons]))
    return Verdict("every point was measured", "PASS", f"{len(rows)} rows")


def _memory_grows(rows: Sequence[Row]) -> Verdict:
    alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    fields = ["model", *(name for name in (*CONFIG_COLUMNS, *SWEEPABLE) if name != "batch_size")]
    for row in _having(rows, "peak_memory_mib", "batch_size"):
        alike[tuple(row[name] for name in fields)].append(row)
    steps = [
        (less, more)
        for group in alike.values()
        for less, more in pairwise(sorted(group, key=lambda row: row["batch_size"]))
    ]
    name = "memory grows with the batch"
    if not steps:
        return Verdict(name, "NONE", "no network was measured at two batch sizes")
    wrong = [
        f"{_name(more)}: {more['peak_memory_mib']:.4g} MiB, {less['peak_memory_mib']:.4g} at batch {less['batch_size']}"
        for less, more in steps
        if more["peak_memory_mib"] <= less["peak_memory_mib"]
    ]
    if wrong:
        return Verdict(name, "FAIL", f"{len(wrong)} of {len(steps)} steps; {'; '.join(wrong[:3])}")
    return Verdict(name, "PASS", f"{len(steps)} steps")


def _estimates(rows: Sequence[Row]) -> Verdict:
    having = _having(rows, "estimated_memory_mib", "peak_memory_mib")
    ratios = [row["estimated_memory_mib"] / row["peak_memory_mib"] for row in having]
    low, high = ESTIMATE_BAND
    inside = sum(low <= ratio <= high for ratio in ratios)
    return _said("estimated over measured peak memory", ratios, f"{inside} of {len(ratios)} within {low} to {high}")


def _formats(rows: Sequence[Row]) -> Verdict:
    """Compare the formats at batch 64, where the GPU and not the launching of kernels takes the time."""
    fields = ["model", *(name for name in (*CONFIG_COLUMNS, *SWEEPABLE) if name != "dtype")]
    times: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for row in _having(rows, "latency_ms", "dtype"):
        if row["batch_size"] == 64:
            times[tuple(row[name] for name in fields)][row["dtype"]] = row["latency_ms"]
    ratios = [found["bfloat16"] / found["float32"] for found in times.values() if {"bfloat16", "float32"} <= {*found}]
    slower = sum(ratio > 1 for ratio in ratios)
    return _said("time in bfloat16 over float32, batch 64", ratios, f"{slower} of {len(ratios)} slower")


def _throttling(rows: Sequence[Row]) -> Verdict:
    timed = _having(rows, "latency_ms")
    reasons: dict[str, int] = defaultdict(int)
    for row in timed:
        for reason in str(row["throttle_reasons"] or "").split():
            reasons[reason] += 1
    again = sum(row.get("remeasured") or 0 for row in timed)
    said = ", ".join(f"{reason} in {count}" for reason, count in sorted(reasons.items())) or "none"
    return Verdict("clocks lowered", "SAID", f"{said} of {len(timed)} rows; {again} rounds measured again")


def _convergence(rows: Sequence[Row]) -> Verdict:
    known = _having(rows, "converged")
    if not known:
        return Verdict("rows whose passes became stable", "NONE", "no row has converged")
    stable = sum(row["converged"] for row in known)
    return Verdict("rows whose passes became stable", "SAID", f"{stable} of {len(known)}")


def _said(name: str, ratios: Sequence[float], more: str) -> Verdict:
    if not ratios:
        return Verdict(name, "NONE", "no row has both")
    return Verdict(name, "SAID", f"{min(ratios):.3g} to {max(ratios):.3g}; {more}")


def _having(rows: Iterable[Row], *columns: str) -> list[Row]:
    """Rows with a value in every one of `columns`; a version of hvt-bench may lack some."""
    return [row for row in rows if all(row.get(name) is not None for name in columns)]


def _noise(row: Row) -> float:
    return max(LEAST_NOISE_PCT, row["latency_spread_pct"] or 0.0) / 100


def _above(value: float, most: float, of_value: str, of_most: str) -> str:
    return f"{value:.4g} {of_value} > {most:.4g} {of_most}" if value > most else ""


def _name(row: Row) -> str:
    return f"{row['model']}, batch {row['batch_size']}, {row['dtype']} ({row['point_id']})"


# --- the folder -------------------------------------------------------------------------------------------------------


def make_report(folder: Path, run: Callable[[Sequence[str], Path], int], find_card: Callable[[], Card | None]) -> bool:
    """Fill `folder` and zip it; return whether all is well.

    `run` runs a command, writes what it says to a file and returns its exit code. `find_card` is called after the
    sweep, since it starts CUDA in this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.txt").write_text(_versions())
    if shutil.which("nvidia-smi"):
        run(["nvidia-smi", "-q"], folder / "nvidia-smi.txt")
        _forget_numbers(folder / "nvidia-smi.txt")
    csv = folder / "run.csv"
    python = [sys.executable, "-m"]
    steps = {
        "tests": run([*python, "pytest", "-m", "gpu"], folder / "tests.txt"),
        "sweep": run([*python, "hvt_bench", "sweep", SWEEP, "--out", str(csv)], folder / "sweep.txt"),
        "figures": run([*python, "hvt_bench", "plot", str(csv)], folder / "plot.txt"),
    }
    try:
        rows: Sequence[Row] = read_table(csv)
    except FileError:
        rows = ()
    verdicts = judge(rows, find_card())
    (folder / "summary.md").write_text(summary(rows, steps, verdicts))
    shutil.make_archive(str(folder), "zip", folder.parent, folder.name)
    return not any(steps.values()) and all(verdict.word != "FAIL" for verdict in verdicts)


def summary(rows: Sequence[Row], steps: Mapping[str, int], verdicts: Sequence[Verdict]) -> str:
    """Return the page that a reader begins with."""
    machine = rows[0] if rows else {}
    names = ("device_name", "driver_version", "torch_version", "cuda_version", "hvt_bench_version", "git_commit")
    lines = [
        f"# hvt-bench on {machine.get('device_name') or 'a GPU'}",
        "",
        *(f"- {name}: {machine[name]}" for name in names if machine.get(name)),
        *(f"- {step}: {'PASS' if code == 0 else f'FAIL, exit code {code}'}" for step, code in steps.items()),
        "",
        "| bound | | |",
        "|---|---|---|",
        *(f"| {verdict.bound} | {verdict.word} | {verdict.detail} |" for verdict in verdicts),
        "",
        f"{SWEEP} wrote run.csv and its journal, from which any number can be computed again. The files name the "
        "machine (`hostname`), its software and folders of it: look at them before you send them.",
        "",
        "To send it back, attach `reports/gpu.zip` to an issue of the project, or commit the folder as "
        "`reports/examples/NAME_OF_THE_GPU/` in a pull request.",
    ]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    packages = {(found.metadata["Name"], found.version) for found in metadata.distributions()}
    return "\n".join(
        [f"Python {platform.python_version()}", platform.platform(), *(f"{a}=={b}" for a, b in sorted(packages)), ""]
    )


def _forget_numbers(path: Path) -> None:
    """Leave out what tells one card from another, and what else runs on it."""
    private = re.compile(r"Serial|UUID|^\s*(Processes|Process ID|Type|Name|Used GPU Memory)\s*:")
    kept = [line for line in path.read_text().splitlines() if not private.search(line)]
    path.write_text("\n".join(kept) + "\n")


def run_and_tell(command: Sequence[str], log: Path) -> int:
    """Run a command, show what it says and write it to `log`; return its exit code."""
    print(f"$ {' '.join(command)}", flush=True)
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    return process.returncode


def find_card(device: str) -> Card:
    """Ask PyTorch what bounds the GPU."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    return Card(properties.multi_processor_count, properties.clock_rate / 1e3)


def main() -> int:
    """Make the report of this machine; exit 0 if all is well, 1 if something failed, 2 if there is no GPU."""
    try:
        device = resolve_device("cuda")
    except RequestError:
        print(NO_GPU, file=sys.stderr)
        return 2
    well = make_report(FOLDER, run_and_tell, lambda: find_card(device))
    print((FOLDER / "summary.md").read_text())
    print(f"wrote {FOLDER}.zip")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
