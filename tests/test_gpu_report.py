import re
import sys
import zipfile

import pytest
import torch

from hvt_bench.row import COLUMNS, Row
from hvt_bench.sweep import load_sweep
from hvt_bench.table import write_table
from tests import gpu_report
from tests.gpu_report import NO_GPU, SWEEP, Card, judge, make_report, summary

CARD = Card(multiprocessors=132, clock_mhz=1980.0)
SOUND = {
    "point_id": "abc",
    "model": "deit_small",
    "status": "ok",
    "device": "cuda:0",
    "device_name": "NVIDIA H100",
    "dtype": "bfloat16",
    "batch_size": 64,
    "embed_dim": 384,
    "latency_ms": 10.0,
    "latency_spread_pct": 2.0,
    "device_latency_ms": 9.5,
    "throughput_img_s": 6600.0,
    "macs_per_s": 3e13,
    "peak_memory_mib": 500.0,
    "reserved_memory_mib": 520.0,
    "process_memory_mib": 1000.0,
    "energy_mj_per_img": 80.0,  # 512 W
    "power_limit_w": 700.0,
}


def row(**changes):
    """A row that may have columns which this version lacks."""
    values = SOUND | changes
    known = Row({name: value for name, value in values.items() if name in COLUMNS})
    return {**known, **values}


def verdict(bound, *rows, card=CARD):
    (found,) = [found for found in judge(rows, card) if found.bound == bound]
    return found


def test_sound_rows_pass_every_bound():
    rows = [
        row(),
        row(point_id="float", dtype="float32", latency_ms=30.0, device_latency_ms=29.0, throughput_img_s=2150.0),
        row(point_id="one", batch_size=1, peak_memory_mib=60.0, latency_ms=2.0, throughput_img_s=520.0)
        | {"device_latency_ms": 0.5, "energy_mj_per_img": 400.0},
    ]
    words = {found.bound: found.word for found in judge(rows, CARD)}
    assert "FAIL" not in words.values()
    assert [bound for bound, word in words.items() if word == "NONE"] == [
        "estimated over measured peak memory",
        "rows whose passes became stable",
    ]


@pytest.mark.parametrize(
    ("bound", "changes", "detail"),
    [
        (
            "the device takes at most the host's time",
            {"device_latency_ms": 10.6},
            "10.6 ms of the device > 10.5 ms of the host and noise",
        ),
        (
            "blocks are at least as fast as single passes",
            {"throughput_img_s": 6000.0},
            "6080 images/s of single passes, less noise, > 6000 images/s of blocks",
        ),
        (
            "blocks are at most as fast as the device",
            {"throughput_img_s": 7100.0},
            "7100 images/s of blocks > 7074 images/s of the device and noise",
        ),
        ("reserved memory holds what was given out", {"reserved_memory_mib": 499.0}, "500 MiB given out > 499"),
        ("the process holds what was reserved", {"process_memory_mib": 519.0}, "520 MiB reserved > 519"),
        ("no faster than the card can be", {"macs_per_s": 1.1e15}, "1.1e+15 MACs/s > 1.071e+15 that it can do"),
        ("no faster than the card can be", {"macs_per_s": 4e13, "dtype": "float32"}, "that it can do in float32"),
        ("energy is that of a GPU at work", {"energy_mj_per_img": 0.08}, "0.512 W at a power limit of 700 W"),
        ("energy is that of a GPU at work", {"energy_mj_per_img": 80_000}, "5.12e+05 W at a power limit of 700 W"),
        ("every point was measured", {"status": "oom", "error": "too big"}, "oom: too big"),
    ],
)
def test_a_row_that_cannot_be_is_found_and_named(bound, changes, detail):
    assert verdict(bound, row()).word == "PASS"
    found = verdict(bound, row(), row(point_id="bad", **changes))
    assert found.word == "FAIL"
    assert found.detail.startswith("1 of 2 rows; deit_small, batch 64, ")
    assert "(bad): " in found.detail
    assert detail in found.detail


def test_a_bound_allows_the_noise_that_the_row_itself_shows():
    noisy = {"device_latency_ms": 11.9, "latency_spread_pct": 20.0}
    assert verdict("the device takes at most the host's time", row(**noisy)).word == "PASS"
    assert verdict("the device takes at most the host's time", row(device_latency_ms=11.9)).word == "FAIL"


def test_what_no_row_has_is_no_verdict():
    rows = [row(device_latency_ms=None, process_memory_mib=None, energy_mj_per_img=None)]
    for bound in (
        "the device takes at most the host's time",
        "blocks are at most as fast as the device",
        "the process holds what was reserved",
        "energy is that of a GPU at work",
        "memory grows with the batch",
    ):
        assert verdict(bound, *rows).word == "NONE"
    assert "no faster than the card can be" not in [found.bound for found in judge(rows, None)]


def test_memory_must_grow_from_batch_to_batch_of_one_network():
    small, large = row(batch_size=1, peak_memory_mib=60.0), row()
    assert verdict("memory grows with the batch", large, small).word == "PASS"
    assert verdict("memory grows with the batch", large, row(batch_size=1, depth=6)).word == "NONE"
    found = verdict("memory grows with the batch", large, row(batch_size=1, peak_memory_mib=500.0))
    assert (found.word, found.detail) == (
        "FAIL",
        "1 of 1 steps; deit_small, batch 64, bfloat16 (abc): 500 MiB, 500 at batch 1",
    )


def test_estimates_formats_and_clocks_are_said_and_not_judged():
    rows = [
        row(estimated_memory_mib=450.0, throttle_reasons="hw_slowdown sw_power_cap", remeasured=2, converged=True),
        row(estimated_memory_mib=250.0, throttle_reasons="sw_power_cap", embed_dim=192, converged=False),
        row(dtype="float32", latency_ms=8.0),
        row(dtype="float32", latency_ms=1.0, batch_size=1),
    ]
    said = {found.bound: found.detail for found in judge(rows, CARD) if found.word == "SAID"}
    assert said == {
        "estimated over measured peak memory": "0.5 to 0.9; 1 of 2 within 0.7 to 1.3",
        "time in bfloat16 over float32, batch 64": "1.25 to 1.25; 1 of 1 slower",
        "clocks lowered": "hw_slowdown in 1, sw_power_cap in 2 of 4 rows; 2 rounds measured again",
        "rows whose passes became stable": "1 of 2",
    }


def test_no_rows_at_all_are_a_failure():
    assert verdict("every point was measured").word == "FAIL"


# --- the folder -------------------------------------------------------------------------------------------------------

SMI = """\
    Product Name                          : NVIDIA H100
    Serial Number                         : 1650522003820
    GPU UUID                              : GPU-1234
    Processes
        Process ID                        : 4711
            Type                          : C
            Name                          : /home/somebody/secret.py
            Used GPU Memory               : 400 MiB
    Clocks
"""


@pytest.fixture
def commands(monkeypatch):
    """Stand in for the commands of the report: what was run, and what each does."""
    ran = []
    codes = {}

    def run(command, log):
        name = command[2] if command[0] == sys.executable else command[0]
        ran.append(" ".join(command[1:]))
        log.write_text(SMI if name == "nvidia-smi" else f"{name} ran\n")
        if "sweep" in command:
            write_table(log.with_name("run.csv"), [Row({k: v for k, v in SOUND.items() if k in COLUMNS})])
        return codes.get(name, 0)

    run.ran, run.codes = ran, codes
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return run


def test_the_report_is_a_folder_and_a_zip_of_it(commands, tmp_path):
    assert make_report(tmp_path / "gpu", commands, lambda: CARD)
    csv = tmp_path / "gpu" / "run.csv"
    assert commands.ran == [
        "-q",
        "-m pytest -m gpu",
        f"-m hvt_bench sweep sweeps/scaling_gpu.yaml --out {csv}",
        f"-m hvt_bench plot {csv}",
    ]
    names = {"nvidia-smi.txt", "plot.txt", "run.csv", "summary.md", "sweep.txt", "tests.txt", "versions.txt"}
    assert {path.name for path in (tmp_path / "gpu").iterdir()} == names
    zipped = zipfile.ZipFile(tmp_path / "gpu.zip").namelist()
    assert {name.removeprefix("gpu/") for name in zipped} - {""} == names
    assert f"torch=={torch.__version__.partition('+')[0]}" in (tmp_path / "gpu" / "versions.txt").read_text()


def test_what_names_a_card_or_other_people_is_left_out(commands, tmp_path):
    make_report(tmp_path / "gpu", commands, lambda: CARD)
    kept = (tmp_path / "gpu" / "nvidia-smi.txt").read_text()
    assert "Product Name" in kept
    assert "Clocks" in kept
    for private in ("1650522003820", "GPU-1234", "4711", "somebody", "400 MiB"):
        assert private not in kept


@pytest.mark.parametrize("name", ["pytest", "hvt_bench"])
def test_a_command_that_fails_is_said_and_the_report_is_made_all_the_same(commands, tmp_path, name):
    commands.codes[name] = 1
    assert not make_report(tmp_path / "gpu", commands, lambda: CARD)
    assert "FAIL, exit code 1" in (tmp_path / "gpu" / "summary.md").read_text()
    assert (tmp_path / "gpu.zip").exists()


def test_the_summary_says_what_it_is_of_and_how_to_send_it_back():
    rows = [row(torch_version="9.9.9", driver_version=None)]
    page = summary(rows, {"tests": 0, "sweep": 1}, judge(rows, CARD)[:2])
    assert page == (
        "# hvt-bench on NVIDIA H100\n\n"
        "- device_name: NVIDIA H100\n"
        "- torch_version: 9.9.9\n"
        "- tests: PASS\n"
        "- sweep: FAIL, exit code 1\n\n"
        "| bound | | |\n|---|---|---|\n"
        "| every point was measured | PASS | 1 rows |\n"
        "| the device takes at most the host's time | PASS | 1 rows |\n\n"
        "sweeps/scaling_gpu.yaml wrote run.csv and its journal, from which any number can be computed again. The files "
        "name the machine (`hostname`), its software and folders of it: look at them before you send them.\n\n"
        "To send it back, attach `reports/gpu.zip` to an issue of the project, or commit the folder as "
        "`reports/examples/NAME_OF_THE_GPU/` in a pull request.\n"
    )


def test_a_command_is_shown_and_written(tmp_path, capsys):
    code = gpu_report.run_and_tell([sys.executable, "-c", "print('hello'); exit(3)"], tmp_path / "log")
    assert code == 3
    assert (tmp_path / "log").read_text() == "hello\n"
    assert capsys.readouterr().out.endswith("hello\n")


def test_without_a_gpu_one_sentence_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_report.main() == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"{NO_GPU}\n")


def test_the_sweep_has_as_many_points_as_its_header_says(repository):
    head = (repository / SWEEP).read_text()
    points, rounds = map(int, re.search(r"needs CUDA; (\d+) points, (\d+) rounds", head).groups())
    sweep = load_sweep(repository / SWEEP, "cpu")
    assert len(sweep.points) == points
    assert sum(point.rounds for point in sweep.points) == rounds
    assert not sweep.invalid


@pytest.mark.gpu
def test_a_real_card_is_found():
    card = gpu_report.find_card("cuda:0")
    assert 1 <= card.multiprocessors <= 1000
    assert 300 < card.clock_mhz < 5000
