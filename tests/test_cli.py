"""The command line as a person meets it: whole output, exit codes, files."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from hvt_bench.cli import main
from hvt_bench.journal import read_journal
from hvt_bench.metrics.stopwatch import Stopwatch
from hvt_bench.row import COLUMNS
from hvt_bench.table import read_table, write_table
from tests.conftest import describe, fake_measure
from tests.outside_networks import PICKS
from tests.rows import row as measured_row
from tests.rows import times

HEAVY = ("torch", "fvcore", "pydantic", "pandas", "matplotlib", "seaborn", "numpy", "scipy", "yaml", "tabulate")
SMALL = """\
name: small
models: [{name: tiny, family: hvt, img_size: 64, embed_dim: 64, depth: 4, num_classes: 10}]
axes: {depth: [2], img_size: [70]}
protocol: {device: cpu, rounds: 2}
"""
INVALID = "img_size 70 is not divisible by patch_size 16; the nearest sizes that work: 64 and 80"


@pytest.fixture
def run(capsys):
    """Run a command here; return exit code, stdout and stderr."""

    def run_here(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_here


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A sweep file in an empty folder, and measuring without a clock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hvt_bench.run.measure_round", fake_measure)
    monkeypatch.setattr("hvt_bench.run.Environment.measure", describe)
    import hvt_bench.run as run_module

    real = run_module.run_sweep
    monkeypatch.setattr(
        run_module, "run_sweep", lambda *a, **k: real(*a, **({"measure": fake_measure, "describe": describe} | k))
    )
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def hvt_bench(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "hvt_bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# --- sweep ----------------------------------------------------------------------------------------------------------


def test_sweep_measures_and_says_where_it_wrote(run, small):
    code, out, err = run("sweep", "small.yaml", "--executor", "inline")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "2 points, 1 invalid; 0 of 2 done, 2 to go in 4 rounds"
    assert [line.partition("; ")[2] for line in lines[1:5]] == ["0:03 left", "0:02 left", "0:01 left", ""]
    assert sorted(line.partition(";")[0].split("] ")[1] for line in lines[1:5]) == [
        "tiny depth=2: 3 ms",
        "tiny depth=2: 3 ms",
        "tiny: 5 ms",
        "tiny: 5 ms",
    ]
    assert [line.split("]")[0] for line in lines[1:5]] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert lines[5:] == ["wrote reports/run.csv: 3 rows, 2 ok, 1 invalid"]
    assert [(r["model"], r["axis"], r["status"], r["error"]) for r in read_table("reports/run.csv")] == [
        ("tiny", None, "ok", None),
        ("tiny", "depth", "ok", None),
        ("tiny", "img_size", "invalid", INVALID),
    ]
    assert sorted(os.listdir("reports")) == ["run.csv", "run.journal.jsonl"]


def test_quiet_says_what_was_written_alone(run, small):
    written = (0, "wrote reports/run.csv: 3 rows, 2 ok, 1 invalid\n", "")
    assert run("sweep", "small.yaml", "--executor", "inline", "--quiet") == written


def test_quiet_says_what_was_moved_and_why_all_the_same(run, small):
    run("sweep", "small.yaml", "--executor", "inline", "--quiet")
    code, _, err = run("sweep", "small.yaml", "--executor", "inline", "--quiet", "--fresh")
    assert code == 0
    moved = r"kept an earlier run as reports/run\.small\.\w+{}: --fresh\n"
    assert re.fullmatch(moved.format(r"\.csv") + moved.format(r"\.journal\.jsonl"), err)


def test_json_is_a_line_per_event(run, small):
    code, out, err = run("sweep", "small.yaml", "--executor", "inline", "--json")
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["started", *["counted"] * 2, *["measured"] * 4, "finished"]
    assert events[0] == {
        "event": "started", "points": 2, "points_done": 0, "invalid": 1, "rounds": 4, "moved": [], "reason": ""
    }  # fmt: skip
    assert events[-1] | {"seconds": 0} == {
        "event": "finished", "path": "reports/run.csv", "rows": 3, "statuses": {"ok": 2, "invalid": 1}, "seconds": 0
    }  # fmt: skip


def test_sweep_again_has_nothing_to_do(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    assert run("sweep", "small.yaml", "--executor", "inline") == (
        0,
        "2 points, 1 invalid; 2 of 2 done, 0 to go in 0 rounds\nwrote reports/run.csv: 3 rows, 2 ok, 1 invalid\n",
        "",
    )


def test_sweep_with_failures_exits_1_and_lists_them(run, small, monkeypatch):
    import hvt_bench.run as run_module

    def out_of_memory(visit):
        return fake_measure(visit).model_copy(update={"status": "oom", "error": "no room", "values": {}})

    real = run_module.run_sweep
    monkeypatch.setattr(run_module, "run_sweep", lambda *a, **k: real(*a, **({"measure": out_of_memory} | k)))
    code, out, err = run("sweep", "small.yaml", "--executor", "inline")
    points = {row["axis"]: row["point_id"] for row in read_table("reports/run.csv")}
    assert code == 1
    assert out.splitlines()[-1] == "wrote reports/run.csv: 3 rows, 0 ok, 1 invalid"
    assert err == (
        f"oom: tiny ({points[None]}): no room\noom: tiny depth=2 ({points['depth']}): no room\n"
        "2 points failed; --retry oom tries again\n"
    )


def test_fail_fast_stops_at_the_first_failure(run, small, monkeypatch):
    import hvt_bench.run as run_module

    def crash(visit):
        return fake_measure(visit).model_copy(update={"status": "crashed", "error": "gone", "values": {}})

    real = run_module.run_sweep
    monkeypatch.setattr(run_module, "run_sweep", lambda *a, **k: real(*a, **({"measure": crash} | k)))
    code, _, err = run("sweep", "small.yaml", "--executor", "inline", "--fail-fast")
    assert code == 1
    assert re.sub(r"\(\w{12}\)", "(ID)", err) == (
        "crashed: tiny depth=2 (ID): gone\n1 point failed; --retry crashed tries again; the same command goes on with "
        "1 other not measured yet\n"
    )


def test_a_failed_point_that_is_no_longer_asked_for_is_no_failure(run, small, monkeypatch):
    import hvt_bench.run as run_module

    def fail_shallow(visit):
        sample = fake_measure(visit)
        failed = {"status": "oom", "error": "no room"}
        return sample if visit.point.config.depth == 4 else sample.model_copy(update=failed)

    real = run_module.run_sweep
    monkeypatch.setattr(run_module, "run_sweep", lambda *a, **k: real(*a, **({"measure": fail_shallow} | k)))
    assert run("sweep", "small.yaml", "--executor", "inline")[0] == 1
    (small / "small.yaml").write_text(SMALL.replace("depth: [2], ", ""))
    code, out, err = run("sweep", "small.yaml", "--executor", "inline")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "wrote reports/run.csv: 3 rows, 1 ok, 1 invalid"


def test_dry_run_prints_the_plan_and_writes_nothing(run, small):
    assert run("sweep", "small.yaml", "--dry-run") == (
        0,
        "tiny                     centre                    1\n"
        "tiny                     depth                     1\n"
        "tiny                     img_size                  1\n"
        f"invalid: tiny: {INVALID}\n"
        "2 points (0 duplicates merged, 1 invalid); 0 of 2 done, 2 to go in 4 rounds; "
        "measures complexity, memory, latency\n"
        "macs    4.61 M in all points, an image each; the most 2.66 M: tiny batch_size=1\n"
        "memory  1 MiB estimated for the point that takes the most: tiny batch_size=1\n"
        "time    at least 10 s of passes that the protocol asks for; nothing is measured yet that says what "
        "starting a process for each, building and loading add\n",
        "",
    )
    assert os.listdir() == ["small.yaml"]


def test_dry_run_tells_what_the_same_start_would_do(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    plan = "sweep", "small.yaml", "--executor", "inline", "--dry-run"
    _, out, _ = run(*plan, "--fresh")
    assert out.startswith("moves aside what stands at reports/run.csv, and begins anew: --fresh\n")
    assert "0 of 2 done, 2 to go in 4 rounds" in out
    sentence = "error: --dry-run prints a plan for people and has no events; leave out --json\n"
    assert run(*plan, "--json") == (2, "", sentence)


def test_fresh_keeps_the_earlier_run(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    code, out, _ = run("sweep", "small.yaml", "--executor", "inline", "--fresh")
    assert code == 0
    kept = [line for line in out.splitlines() if line.startswith("kept an earlier run as reports/run.small.")]
    assert len(kept) == 2
    assert len(os.listdir("reports")) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep", "none.yaml"], "none.yaml: there is no such file"),
        (["sweep", "."], ".: is a directory; name a YAML file in it"),
        (
            ["sweep", "small.yaml", "--out", "run.txt"],
            "--out run.txt: the table is a CSV; give it a name that ends in .csv",
        ),
        (["sweep", "small.yaml", "--retry", "omo"], "--retry: unknown status 'omo'; did you mean 'oom'?"),
        (
            ["sweep", "small.yaml", "--device", "tpu"],
            "small.yaml:4: unknown device 'tpu'; known: auto, cpu, cuda, cuda:N, mps",
        ),
        (["sweep", "small.yaml", "--executor", "cloud"], "unknown executor 'cloud'; known: inline, process, slurm"),
        (
            ["sweep", "small.yaml", "--executor", "inline", "--memory-limit", "5"],
            "--memory-limit needs --executor process: it limits a process of its own",
        ),
        (
            ["sweep", "small.yaml", "--memory-limit", "-5"],
            "--memory-limit -5: give MiB, more than 0 and less than 1e+12",
        ),
        (
            ["sweep", "small.yaml", "--executor", "inline", "--jobs", "2"],
            "--jobs needs --executor process: in one process, points run one after the other",
        ),
        (
            ["sweep", "small.yaml", "--devices", "cuda:0,cuda:1", "--jobs", "2"],
            "--jobs is for points of a CPU; with --devices, each GPU takes one point at a time",
        ),
        (
            ["sweep", "small.yaml", "--devices", "cuda:0", "--device", "cpu"],
            "--device cpu and --devices cuda:0 contradict each other; give one of them",
        ),
        (
            ["sweep", "small.yaml", "--devices", "cpu,cpu"],
            "--devices cpu: is for GPUs, such as cuda:0,cuda:1; take --device cpu",
        ),
        (
            ["sweep", "small.yaml", "--gpus-per-point", "2"],
            "--gpus-per-point 2: of which? add --devices, such as cuda:0,cuda:1",
        ),
        (
            ["sweep", "small.yaml", "--quiet", "--json"],
            "--quiet and --json contradict each other; give one of them",
        ),
        (["sweep", "small.yaml", "--jobs", "0"], "--jobs 0: give a whole number, 1 or more"),
        (["show", "hvt_s_9"], "unknown model 'hvt_s_9'; did you mean 'hvt_s_4' or 'hvt_s_3' or 'hvt_s_2'?"),
        (["show", "hvt_s_1", "depth"], "'depth' is not of the form key=value, such as depth=18"),
        (["show", "hvt_s_1", "depht=1"], "family hvt: unknown key 'depht'; did you mean 'depth'?"),
        (["show", "hvt_s_1", "dtype=float16"], "'dtype' says how a pass is measured: give --time to measure passes"),
        (
            ["show", "hvt_s_1", "rounds=5", "--time"],
            "'rounds' says how a pass is measured: --time reads device, dtype, batch_size, mode, attention, compile, "
            "num_threads, warmup_s, warmup_passes, min_time_s",
        ),
        (
            ["show", "hvt_s_1", "mode=train", "device=cpu", "--time"],
            "--time: mode=train: a forward pass can be taken apart and no training step; leave it out",
        ),
        (
            ["show", "hvt_s_1", "compile=true", "device=cpu", "--time"],
            "--time: compile=true: the hooks on modules would change what is compiled; leave it out",
        ),
        (["plot", "none.csv"], "none.csv: there is no such file; `hvt-bench sweep` writes one"),
        (["table", "small.yaml"], "small.yaml:1: this is no table of hvt-bench: the column 'point_id' is missing"),
        (["check", "small.yaml"], "small.yaml:1: unknown key 'name'; known: budgets"),
    ],
)
def test_a_bad_request_is_one_sentence_and_exit_2(run, small, arguments, sentence):
    assert run(*arguments) == (2, "", f"error: {sentence}\n")
    assert os.listdir() == ["small.yaml"]


def test_an_unknown_option_is_exit_2(run):
    code, out, err = run("sweep", "x.yaml", "--frsh")
    assert (code, out) == (2, "")
    assert "No such option" in err
    assert "--frsh" in err


# --- look -----------------------------------------------------------------------------------------------------------


def test_show(run):
    code, out, err = run("show", "hvt_s_1", "depth=2", "num_classes=10")
    assert (code, err) == (0, "")
    assert (
        out
        == """\
hvt_s_1 depth=2 num_classes=10 (family hvt)
img_size=224  patch_size=16  in_chans=3  num_classes=10  embed_dim=384  depth=2  num_heads=6  mlp_ratio=4.0  \
qkv_bias=true  global_pool=avg  pool_stages=1  pool_kernel_size=3  pool_stride=2  pool=max

module         tokens         MACs     params    activations      %
-----------  --------  -----------  ---------  -------------  -----
(its own)                        0     75,264              0    0.0
patch_embed             57,802,752    295,296         75,264    9.4
blocks.0          196  376,320,000  1,811,712        983,136   61.4
blocks.1           97  178,864,896  1,774,464        428,934   29.2
norm                             0        768              0    0.0
head                         3,840      3,850             10    0.0
total                  612,991,488  3,961,354      1,487,344  100.0

macs          612,991,488 (0.61 G multiply-adds of one image)
fvcore_flops  614,302,848
activations   1,487,344
params        3,961,354 (3.96 M)
train_macs    1,781,171,712 (2,279,143,680 with activation checkpointing)
intensity     22.1 MACs a byte (1 image, float32, unfused)
count_source  shapes
"""
    )


class Ticking(Stopwatch):
    """A clock on which a millisecond passes from each mark to the next."""

    marks = 0

    def mark(self):
        self.marks += 1
        return 1e-3 * self.marks

    def now(self):
        return 1e-3 * self.marks


@pytest.fixture
def ticking(monkeypatch):
    monkeypatch.setattr("hvt_bench.timed.make_stopwatch", Ticking)
    monkeypatch.setattr("hvt_bench.timed.Environment.measure", describe)


TINY = "img_size=32 embed_dim=64 depth=2 num_classes=10 device=cpu batch_size=4 num_threads=1".split()


def test_show_with_time(run, ticking):
    assert run("show", "hvt_s_1", *TINY, "min_time_s=0.1", "warmup_s=0", "--time") == (
        0,
        """\
hvt_s_1 img_size=32 embed_dim=64 depth=2 num_classes=10 (family hvt)
img_size=32  patch_size=16  in_chans=3  num_classes=10  embed_dim=64  depth=2  num_heads=1  mlp_ratio=4.0  \
qkv_bias=true  global_pool=avg  pool_stages=1  pool_kernel_size=3  pool_stride=2  pool=max

module         tokens     MACs    params    activations      %      ms    % of time    GMACs/s
-----------  --------  -------  --------  -------------  -----  ------  -----------  ---------
(its own)                    0       256              0    0.0   6.000         54.5        0.0
patch_embed            196,608    49,216            256   44.2   1.000          9.1        0.8
blocks.0            4  198,656    50,048          2,576   44.6   1.000          9.1        0.8
blocks.1            1   49,280    49,984            641   11.1   1.000          9.1        0.2
norm                         0       128              0    0.0   1.000          9.1        0.0
head                       640       650             10    0.1   1.000          9.1        0.0
total                  445,184   150,282          3,483  100.0  11.000        100.0        0.2

time          the parts add up to 11.000 ms; a pass without hooks takes 1.000 ms
measured      device=cpu  dtype=float32  batch_size=4  attention=sdpa  num_threads=1; medians of 8 passes
device_name   Test CPU; PyTorch 9.9.9
macs          445,184 (0.00 G multiply-adds of one image)
fvcore_flops  448,704
activations   3,483
params        150,282 (0.15 M)
train_macs    1,138,944 (1,370,496 with activation checkpointing)
intensity     0.708 MACs a byte (1 image, float32, unfused)
count_source  shapes
""",
        "",
    )


def test_show_of_operators_with_time(run, ticking, monkeypatch):
    profiled = [{"linear": 4.0, "gelu": 1.0, "convolution": 0.5}]
    monkeypatch.setattr("hvt_bench.metrics.timeline.profile_operators", lambda *_: profiled)
    arguments = [*TINY, "min_time_s=0.1", "--time", "--by", "operator", "--format", "csv"]
    assert run("show", "hvt_s_1", *arguments) == (
        0,
        """\
operator,macs,activations,time_ms,time_pct,macs_per_s
linear,246400,2890,4.0,72.7273,246400000.0
gelu,0,0,1.0,18.1818,0.0
convolution,196608,256,0.5,9.09091,1572860000.0
scaled_dot_product_attention,2176,337,,,
""",
        "",
    )


@pytest.mark.slow
def test_the_profiler_says_nothing_of_its_own(tmp_path):
    arguments = [*TINY, "min_time_s=0.01", "warmup_s=0", "--time", "--by", "operator", "--format", "csv"]
    ran = hvt_bench("show", "hvt_s_1", *arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {line.split(",")[0] for line in ran.stdout.splitlines()} > {"operator", "linear", "gelu", "layer_norm"}


def test_estimate(run):
    code, out, err = run("estimate", "deit_tiny", "depth=2", "batch_size=3700", "mode=train", "dtype=amp_bfloat16")
    assert (code, err) == (0, "")
    assert (
        out
        == """\
deit_tiny depth=2 (family vit)
device=cuda:0  dtype=amp_bfloat16  batch_size=3700  mode=train  attention=sdpa  compile=false  checkpointing=false

at the peak           MiB
---------------  --------
weights               4.8
gradients             0.7
optimizer state       9.7
images            2,124.6
activations      12,581.6
estimate         14,721.4

   card  this pass
-------  -----------
 16 GiB  tight
 24 GiB  fits
 40 GiB  fits
 80 GiB  fits
141 GiB  fits

attention  as one fused kernel, without N x N weights
estimate   tensors that live at once, from shapes; no workspaces, no fragmentation, no CUDA context
fits       with 10 % of the card and 1 GiB free for these; tight: with less
"""
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["deit_tiny", "batch_sise=2"],
            "family vit: unknown key 'batch_sise'; did you mean 'batch_size' or 'patch_size'?",
        ),
        (["deit_tiny", "--format", "csv"], "--format: unknown format 'csv'; known: json, table"),
    ],
)
def test_an_estimate_of_what_cannot_be_meant_is_exit_2(run, arguments, sentence):
    assert run("estimate", *arguments) == (2, "", f"error: {sentence}\n")


def test_an_estimate_of_code_that_needs_values_is_exit_1(run, small):
    (small / "picks_of_cli.py").write_text(PICKS)
    code, out, err = run("estimate", "picks_of_cli:Picks", "input_shapes=[[4]]")
    assert (code, out) == (1, "")
    assert err.startswith("failed: the memory of picks_of_cli:Picks input_shapes=[[4]] cannot be estimated: it does ")


def test_show_of_an_outside_network(run, module):
    code, out, err = run("show", f"{module}:Net", "depth=3", "input_shapes=[[3, 32, 32]]")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [
        f"{module}:Net depth=3 input_shapes=[[3, 32, 32]] (family external)",
        f"target={module}:Net  depth=3  input_shapes=[[3, 32, 32]]",
    ]
    assert "macs          24,848 (0.00 G multiply-adds of one image)" in lines


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("Nett", "unknown name 'Nett'; did you mean 'Net'?"),
        ("Net:dept=3", "unknown keyword argument 'dept'; did you mean 'depth'?"),
    ],
)
def test_show_of_what_is_no_network_is_exit_2(run, module, model, sentence):
    target = f"{module}:{model.partition(':')[0]}"
    assert run("show", f"{module}:{model}") == (2, "", f"error: {target}: {sentence}\n")


EVALUATED = "img_size=16 patch_size=8 embed_dim=8 num_heads=2 depth=1 num_classes=6".split()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights that name the third of six classes for every image, and twelve images of the classes."""
    pytest.importorskip("timm")
    import torch
    from PIL import Image

    from hvt_bench.models import parse_model

    monkeypatch.chdir(tmp_path)
    network = parse_model("hvt:" + ",".join(EVALUATED)).build()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([1.0, 2.0, 9.0, 3.0, 4.0, 0.0]))
    torch.save({"model": network.state_dict()}, "w.pth")
    for name in "abcdef":
        (tmp_path / "photos" / "val" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20, 18), (90, 40 * number, 0)).save(f"photos/val/{name}/{number}.png")
    return ["hvt", *EVALUATED, "--checkpoint", "w.pth", "--data", "imagefolder:photos", "--device", "cpu"]


def test_evaluate(run, weights):
    assert run("evaluate", *weights, "--batch-size", 6) == (
        0,
        """\
hvt img_size=16 patch_size=8 embed_dim=8 num_heads=2 depth=1 num_classes=6 (family hvt)

            top-1 %    error    top-5 %    error  of
--------  ---------  -------  ---------  -------  ---------
measured      16.67    10.76      83.33    10.76  12 images

checkpoint     w.pth: 20 tensors, all loaded (its key 'model')
data           photos/val: 12 images of 6 classes
preprocessing  resized to 18 px (bicubic), centre of 16 px; mean 0.485 0.456 0.406, std 0.229 0.224 0.225
               as in HVT's released code, which is DeiT's
protocol       device=cpu  dtype=float32  batch_size=6  attention=sdpa  num_threads=1
error          standard error of a share of so many images
""",
        "6 of 12 images: top-1 33.33 %\n",
    )


def test_evaluate_for_programs_and_with_another_preprocessing(run, weights):
    asked = ["--crop-pct", "1", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--dtype", "bfloat16"]
    code, out, err = run("evaluate", *weights, *asked, "--format", "json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["top1"], told["images"], told["dtype"], told["printed"]) == (
        pytest.approx(100 / 6),
        12,
        "bfloat16",
        [],
    )
    assert told["preprocessing"] == {
        "resize_px": 16,
        "crop_px": 16,
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "source": "HVT's released code, which is DeiT's, but for --crop-pct, --mean, --std",
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "mnist"], "unknown data set 'mnist'; known: cifar10, cifar100, digits, fashion_mnist, imagefolder"),
        (["--format", "yaml"], "--format: unknown format 'yaml'; known: json, text"),
        (["--mean", "0.5,half"], "--mean 0.5,half: should be numbers, such as 0.485,0.456,0.406"),
        (["--std", "nan,1,1"], "--std nan,1,1: should be numbers, such as 0.485,0.456,0.406"),
        (["--device", "gpu"], "unknown device 'gpu'; known: auto, cpu, cuda, cuda:N, mps"),
        (["--dtype", "int8"], "dtype: 'int8' does not fit: should be 'float32', 'tf32', 'float16', 'bfloat16', "),
        (["batch_size=4", "--batch-size", "8"], "'batch_size' is given twice"),
        (["--data", "imagefolder:nowhere"], "nowhere: there is no such folder; an imagefolder has val/CLASS/IMAGE"),
    ],
)
def test_an_evaluation_that_cannot_be_meant_is_exit_2(run, weights, options, sentence):
    code, out, err = run("evaluate", *weights, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert "\n" not in err.rstrip("\n")


@pytest.mark.parametrize("what", ["variants", "families", "metrics", "figures", "columns"])
def test_list(run, what):
    from hvt_bench import listing

    assert run("list", what) == (0, getattr(listing, what)() + "\n", "")


def test_fit_says_how_a_run_grows(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    code, out, err = run("fit", "reports/run.csv", "--metric", "macs", "--format", "json")
    assert (code, err) == (0, "")
    (fit,) = json.loads(out)["fits"]
    assert (fit["axis"], fit["metric"], fit["x"]) == ("depth", "macs", [2, 4])
    assert run("fit", "reports/run.csv", "--metric", "time")[0] == 2


def test_match_finds_networks_of_equal_cost(run):
    arguments = ("match", "--to", "hvt_ti_1:img_size=64", "--vary", "depth", "--values", "depth=12,13")
    code, out, err = run(*arguments, "--format", "json", "--limit", 1)
    assert (code, err) == (0, "")
    assert [(found["what"], found["depth"]) for found in json.loads(out)["matches"]] == [
        ("depth alone", 12),
        ("joint 1", 12),
    ]
    assert run(*arguments, "--tolerance", "200%")[0] == 2


@pytest.mark.slow
def test_match_measures_what_it_finds(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = "deit_tiny:img_size=32,depth=2,num_classes=10"
    arguments = ("match", "--to", small, "--vary", "pool_stages", "--tolerance", "30%", "--format", "json")
    protocol = [part for key in ("device=cpu", "rounds=2") for part in ("--protocol", key)]
    code, out, err = run(*arguments, "--measure", "memory", *protocol, "--out", "kept.csv")
    assert code == 0, err
    (rival,) = json.loads(out)["rivals"]
    assert (rival["pool_stages"], rival["status"], rival["verdict"]) == (0, "ok", None)
    assert rival["peak_memory_mib_ratio"] > 0
    assert err.splitlines()[0] == "2 points, 0 invalid; 0 of 2 done, 2 to go in 4 rounds"
    again = run(*arguments, "--measure", "memory", *protocol, "--out", "kept.csv")
    assert (again[0], again[1]) == (0, out)
    assert again[2].splitlines()[0] == "2 points, 0 invalid; 2 of 2 done, 0 to go in 0 rounds"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--protocol", "rounds=3"), "--protocol says how to measure; give --measure latency too"),
        (("--out", "a.csv"), "--out says how to measure; give --measure latency too"),
        (
            ("--measure", "latency", "--out", "a.txt"),
            "--out a.txt: the table is a CSV; give it a name that ends in .csv",
        ),
        (("--measure", "latency", "--format", "xml"), "--format: unknown format 'xml'; known: csv, json, table"),
    ],
)
def test_what_match_cannot_measure_is_said(run, more, sentence):
    code, out, err = run("match", "--to", "hvt_ti_1:img_size=64", "--values", "depth=12", *more)
    assert (code, out, err) == (2, "", f"error: {sentence}\n")


def test_report_writes_a_page_beside_the_csv(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    assert run("report", "reports/run.csv") == (0, "wrote reports/run.report.html\n", "")
    assert "<title>small: hvt-bench report</title>" in Path("reports/run.report.html").read_text()
    assert run("report", "reports/run.csv", "--out", "page.html", "--baseline", "deit")[0] == 2
    assert not Path("page.html").exists()
    assert run("report", "none.csv") == (
        2,
        "",
        "error: none.csv: there is no such file; `hvt-bench sweep` writes one\n",
    )


def test_table_is_markdown(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    code, out, err = run("table", "reports/run.csv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert (
        lines[0].split()
        == (
            "| model | axis | img_size | depth | params (M) | macs (G) | train_macs (G) | latency_ms | "
            "latency_ms_p05 | latency_ms_p95 | estimated_memory_mib | status | error |"
        ).split()
    )
    assert len(lines) == 5


def test_table_picks_within_budgets(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    table = ("table", "reports/run.csv", "--format", "csv", "--columns", "depth,macs")
    code, out, err = run(*table, "--where", "depth<=4", "--where", "macs>0", "--sort", "macs", "--baseline", "tiny")
    assert (code, err) == (0, "")
    assert [line.split(",")[0] for line in out.splitlines()] == ["depth", "2", "4"]
    assert [line.split(",")[2] for line in out.splitlines()][::2] == ["macs_ratio", "1"]
    code, out, err = run(*table, "--where", "depth>4")
    assert (code, out, err) == (0, "depth,macs\n", "no row of 3 rows is left\n")
    code, out, err = run(*table, "--where", "status=invalid", "--baseline", "tiny")
    assert err == "1 row without ratios: no tiny was measured alike\n"
    assert run(*table, "--where", "depth~4")[0] == 2


def test_table_says_how_many_ratios_the_baseline_cannot_give(run, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(
        "point_id,model,axis,status,macs,latency_ms\n1,a,,ok,2000000000,5\n2,b,,oom,4000000000,\n", encoding="utf-8"
    )
    code, _, err = run("table", path, "--baseline", "b", "--columns", "macs,latency_ms")
    assert (code, err) == (0, "1 ratio missing: b has no latency_ms above 0, its status is oom\n")


def test_plot_names_what_it_wrote_and_what_it_could_not_draw(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    code, out, err = run("plot", "reports/run.csv", "scaling", "--format", "svg")
    assert (code, out, err) == (0, "wrote reports/run.scaling.svg\n", "")
    assert os.path.getsize("reports/run.scaling.svg") > 1000


# --- decide ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """old.csv and new.csv, in which depth 6 is slower, depth 18 alike, and depth 24 failed."""
    monkeypatch.chdir(tmp_path)
    old = [measured_row(depth=6), measured_row(depth=18), measured_row(depth=24, status="oom", error="no room")]
    write_table(tmp_path / "old.csv", old)
    write_table(tmp_path / "new.csv", [times(old[0], 1.1), old[1], measured_row(depth=24)])


COMPARED = """\
model    varies      old ms    new ms    ratio  interval        verdict      smallest change
-------  --------  --------  --------  -------  --------------  ---------  -----------------
hvt_s_1  depth=6         10        11    1.100  1.089 to 1.111  SLOWER                   1 %
hvt_s_1  depth=18        10        10    1.000  0.990 to 1.010  SAME                     1 %

not compared: hvt_s_1 depth=24: oom in old.csv
2 points compared: 1 SAME, 0 FASTER, 1 SLOWER, 0 UNSURE; 1 not; interval 95 %, margin 2 %
"""


def test_compare(run, two_runs):
    assert run("compare", "old.csv", "new.csv") == (0, COMPARED, "")


def test_compare_fails_on_what_it_is_told_to_fail_on(run, two_runs):
    assert run("compare", "old.csv", "new.csv", "--fail-on", "slower") == (1, COMPARED, "1 point SLOWER\n")
    assert run("compare", "old.csv", "new.csv", "--fail-on", "slower,same") == (
        1,
        COMPARED,
        "2 points SLOWER or SAME\n",
    )
    assert run("compare", "old.csv", "new.csv", "--fail-on", "faster,unsure") == (0, COMPARED, "")


def test_compare_fails_on_points_that_are_measured_no_longer(run, two_runs):
    (exit_code, _, err) = run("compare", "new.csv", "old.csv", "--fail-on", "slower")
    assert (exit_code, err) == (1, "1 point measured in new.csv and not in old.csv\n")
    assert run("compare", "new.csv", "old.csv")[0] == 0


def test_compare_with_other_bounds(run, two_runs):
    code, out, err = run(
        "compare", "old.csv", "new.csv", "--margin", "15", "--confidence", "0.9", "--fail-on", "slower"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == (
        "2 points compared: 2 SAME, 0 FASTER, 0 SLOWER, 0 UNSURE; 1 not; interval 90 %, margin 15 %"
    )


def test_compare_for_programs(run, two_runs):
    code, out, err = run("compare", "old.csv", "new.csv", "--format", "csv")
    assert (code, err) == (0, "")
    assert [line.split(",")[:4] for line in out.splitlines()] == [
        ["model", "varies", "verdict", "reason"],
        ["hvt_s_1", "depth=6", "SLOWER", ""],
        ["hvt_s_1", "depth=18", "SAME", ""],
        ["hvt_s_1", "depth=24", "", "oom in old.csv"],
    ]
    assert [
        point["verdict"] for point in json.loads(run("compare", "old.csv", "new.csv", "--format", "json")[1])["points"]
    ] == [
        "SLOWER",
        "SAME",
        None,
    ]


def test_compare_refuses_other_versions_unless_forced(run, two_runs):
    write_table(
        Path("new.csv"), [measured_row(depth=6, torch_version="9.9.8"), measured_row(depth=18, torch_version="9.9.8")]
    )
    assert run("compare", "old.csv", "new.csv") == (
        2,
        "",
        "error: old.csv -> new.csv: not measured alike: torch_version 9.9.9 -> 9.9.8; "
        "measure both alike, or give --force to compare them all the same\n",
    )
    code, out, err = run("compare", "old.csv", "new.csv", "--force")
    assert (code, err) == (0, "")
    assert "compared by force: torch_version 9.9.9 -> 9.9.8\n" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.csv", "new.csv"], "none.csv: there is no such file; `hvt-bench sweep` writes one"),
        (["old.csv", "new.csv", "--fail-on", "slow"], "--fail-on: unknown verdict 'slow'; did you mean 'slower'?"),
        (["old.csv", "new.csv", "--margin", "-1"], "--margin -1: give percent from 0 to 100, such as 2"),
        (["old.csv", "new.csv", "--confidence", "95"], "--confidence 95: give a number between 0 and 1, such as 0.95"),
        (["old.csv", "new.csv", "--format", "xml"], "--format: unknown format 'xml'; known: csv, json, table"),
        (
            ["old.csv", "other.csv"],
            "old.csv -> other.csv: no point is in both: model is hvt_s_1 in old.csv and deit_small in other.csv; "
            "compare two runs of the same sweep file",
        ),
    ],
)
def test_compare_of_what_cannot_be_compared(run, two_runs, arguments, sentence):
    write_table(Path("other.csv"), [measured_row(model="deit_small", depth=6)])
    assert run("compare", *arguments) == (2, "", f"error: {sentence}\n")


def test_compare_explains_itself(run):
    code, out, _ = run("compare", "--help")
    assert code == 0
    assert "Example: hvt-bench compare old.csv new.csv --fail-on slower" in " ".join(out.split())


# --- guard ----------------------------------------------------------------------------------------------------------


def test_check_exits_0_and_then_1_after_one_percent(run, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("budgets: {hvt_ti_1: {macs: 642299520}}\n")
    bad.write_text("budgets: {hvt_ti_1: {macs: 648722515}}\n")
    assert run("check", good) == (0, "ok      hvt_ti_1  macs 642,299,520\n1 of 1 model kept their budgets\n", "")
    assert run("check", bad) == (
        1,
        "BROKEN  hvt_ti_1  macs 642,299,520, budget 648,722,515: -6,422,995 (-0.99 %)\n"
        "0 of 1 model kept their budgets\n",
        "",
    )


def test_check_makes_a_first_budget_and_updates_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("check", "b.yaml", "--init", "hvt_ti_1")
    assert (code, err) == (0, "")
    assert out.endswith("+    activations: 2889337\nwrote b.modules.json: what falls on each module\n")
    (tmp_path / "b.yaml").write_text("budgets:\n  hvt_ti_1: {macs: 1, params: {max: 5M}}  # mine\n")
    assert run("check", "b.yaml", "--update") == (
        1,
        "--- b.yaml\n+++ b.yaml\n@@ -1,2 +1,2 @@\n budgets:\n"
        "-  hvt_ti_1: {macs: 1, params: {max: 5M}}  # mine\n"
        "+  hvt_ti_1: {macs: 642299520, params: {max: 5M}}  # mine\n",
        "left as it is: hvt_ti_1: params: now 5,735,656; a ceiling is somebody's decision: change it by hand\n",
    )
    (tmp_path / "b.yaml").write_text("budgets:\n  hvt_ti_1: {macs: 642M}\n")
    assert run("check", "b.yaml", "--update") == (0, "nothing to update\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--update", "--format", "json"], "--format and --base are for a check; --update and --init print what they"),
        (["--update", "--base", "main"], "--format and --base are for a check; --update and --init print what they"),
        (["hvt_s_1"], "'hvt_s_1': one budgets file is checked; models are named with --base REVISION"),
        (["--base", "main"], "--base main: "),
        (["--update", "--init", "hvt_s_1"], "--update is for models that the file has and --init for new ones"),
        (["--init", "hvt_s_1"], "b.yaml:2: hvt_s_1 has a budget already; --update takes new numbers on"),
        (["--init", "hvt_s_9"], "unknown model 'hvt_s_9'; did you mean"),
        (["--format", "xml"], "--format: unknown format 'xml'; known: github, json, junit, markdown, text"),
    ],
)
def test_a_check_that_cannot_be_meant_exits_2(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text("budgets:\n  hvt_s_1: {macs: 1}\n")
    code, out, err = run("check", "b.yaml", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert (tmp_path / "b.yaml").read_text() == "budgets:\n  hvt_s_1: {macs: 1}\n"


NOISY = """\
import os, subprocess, sys
from torch import nn

print("imported")


def make():
    print("made")
    sys.__stdout__.write("held on to\\n")
    os.write(1, b"raw\\n")
    subprocess.run(["echo", "child"])
    return nn.Linear(4, 4)
"""


@pytest.mark.slow
def test_what_code_of_others_prints_is_no_part_of_the_answer(tmp_path):
    """On a console of an old code page, which has no ❌."""
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "b.yaml").write_text("budgets: {'noisy:make:input_shapes=[[4]]': {macs: 16 ± 1%, params: 19}}\n")
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-m", "hvt_bench", "check", "b.yaml", "--format", "markdown"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0] == "### FLOPs budgets: 1 model broken"
    assert "| ❌ | `noisy:make:input_shapes=[[4]]` | params |" in done.stdout.decode()
    assert set(done.stderr.decode().splitlines()) == {"imported", "made", "held on to", "raw", "child"}


def test_what_a_console_cannot_show_is_a_question_mark(monkeypatch, tmp_path):
    (tmp_path / "b.yaml").write_text("budgets: {✓×: {model: hvt_ti_1, macs: 642M ± 1%}}\n")
    console = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    with pytest.raises(SystemExit):
        main(["check", str(tmp_path / "b.yaml")])
    assert console.buffer.getvalue().decode("cp1252").startswith("ok      ?×  macs 642,299,520")


# --- the whole ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [[], ["sweep"], ["show"], ["list"], ["plot"], ["table"], ["check"], ["estimate"], ["evaluate"]]
)
def test_every_command_has_help_with_an_example(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "hvt-bench " + " ".join(command or ["sweep"]) in " ".join(out.split()).replace("│", "")
    assert "Example: hvt-bench" in out or not command


def test_version(run):
    from hvt_bench import __version__

    assert run("--version") == (0, f"hvt-bench {__version__}\n", "")


def loaded_by(code):
    script = f"import sys; {code}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_help_loads_nothing_heavy():
    assert loaded_by("import hvt_bench, hvt_bench.cli, hvt_bench.__main__") == []
    # below the top, Typer itself loads pydantic, to convert arguments
    assert set(loaded_by_help("sweep")) <= {"pydantic"}
    assert loaded_by_help() == []


def loaded_by_help(*command):
    script = (
        "import sys; from hvt_bench.cli import main\n"
        f"try: main({[*command, '--help']!r})\nexcept SystemExit: pass\n"
        f"print('loaded', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_check_loads_no_plotting_and_no_pandas(tmp_path):
    (tmp_path / "b.yaml").write_text("budgets: {hvt_ti_1: {macs: 642299520}}\n")
    path = str(tmp_path / "b.yaml")
    code = f"from hvt_bench.cli import app; app(['check', {path!r}, '--format', 'markdown'], standalone_mode=False)"
    assert not {"pandas", "matplotlib", "seaborn"} & set(loaded_by(code))


def test_a_closed_pipe_is_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m hvt_bench list columns | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_drawing_process_ends_without_a_word(tmp_path):
    example = Path(__file__).parents[1] / "reports/examples/neighbours/run.csv"
    done = hvt_bench("plot", example, "breakdown", "--format", "svg", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def small_file(tmp_path, seconds=0.05):
    protocol = f"{{device: cpu, rounds: 2, warmup_s: 0.0, min_time_s: {seconds}}}"
    (tmp_path / "s.yaml").write_text(SMALL.replace("{device: cpu, rounds: 2}", protocol))


@pytest.mark.slow
def test_a_real_sweep_in_fresh_processes(tmp_path):
    small_file(tmp_path)
    done = hvt_bench("sweep", "s.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())  # of what the machine did meanwhile
    rows = read_table(tmp_path / "reports" / "run.csv")
    assert [row["status"] for row in rows] == ["ok", "ok", "invalid"]
    for row in rows[:2]:
        assert row["rounds"] == 2
        assert row["latency_ms_p05"] <= row["latency_ms"] <= row["latency_ms_p95"]
        assert row["peak_memory_mib"] > row["weights_mib"]
        assert row["macs"] > 0


# a shell that starts this in the background has Ctrl-C ignored; a terminal has not
HEEDS = partial(signal.signal, signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_sweep_goes_on(tmp_path, how):
    small_file(tmp_path, seconds=0.5)
    command = [sys.executable, "-m", "hvt_bench", "sweep", "s.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=HEEDS, **pipes) as first:
        for line in first.stdout:
            if line.startswith("[1/4]"):
                break
        first.send_signal(how)
        _, err = first.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert first.returncode == 128 + how
        assert err == "stopped; what was finished is in reports/run.csv. The same command goes on from there.\n"
    second = hvt_bench("sweep", "s.yaml", cwd=tmp_path)
    assert second.returncode == 0
    to_go = int(second.stdout.splitlines()[0].split(" in ")[1].split()[0])
    assert 1 <= to_go <= 3
    assert [row["rounds"] for row in read_table(tmp_path / "reports" / "run.csv")] == [2, 2, None]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_after_the_last_round_changes_no_exit_code(run, small, monkeypatch, how):
    import hvt_bench.progress as progress

    show, before = progress.Progress.show, signal.getsignal(how)

    def show_late(self, event):
        show(self, event)
        if isinstance(event, progress.Finished):
            signal.raise_signal(how)

    monkeypatch.setattr(progress.Progress, "show", show_late)
    code, out, err = run("sweep", "small.yaml", "--executor", "inline")
    assert (code, err) == (0, "")
    assert out.endswith("wrote reports/run.csv: 3 rows, 2 ok, 1 invalid\n")
    assert signal.getsignal(how) is before


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_says_so(tmp_path, how):
    waits = tmp_path / "run.csv"
    os.mkfifo(waits)
    command = [sys.executable, "-m", "hvt_bench", "table", "run.csv"]
    with (
        subprocess.Popen(command, cwd=tmp_path, preexec_fn=HEEDS, stderr=subprocess.PIPE, text=True) as reader,
        waits.open("w"),  # once the other side reads
    ):
        reader.send_signal(how)
        _, err = reader.communicate(timeout=60)
    assert (reader.returncode, err) == (128 + how, "stopped\n")


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path, repository):
    """The sweep of README's accuracy, shorter: killed after an epoch, and never; test_loop has more interruptions."""
    text = (repository / "sweeps" / "accuracy_smoke.yaml").read_text()
    short = text.replace("epochs: 12", "epochs: 3").replace("rounds: 2", "rounds: 1")
    assert short.count("epochs: 3") == short.count("rounds: 1") == 1
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s.yaml").write_text(short)
    assert hvt_bench("sweep", "s.yaml", cwd=tmp_path / "whole").returncode == 0
    states = tmp_path / "killed" / "reports" / "run.checkpoints"
    command = [sys.executable, "-m", "hvt_bench", "sweep", "s.yaml"]
    with subprocess.Popen(command, cwd=tmp_path / "killed", stdout=subprocess.DEVNULL) as sweep:
        while sweep.poll() is None and not list(states.glob("*.pt")):
            time.sleep(0.02)
        sweep.kill()
    assert hvt_bench("sweep", "s.yaml", cwd=tmp_path / "killed").returncode == 0
    assert not states.exists()
    one, other = (read_journal(tmp_path / folder / "reports" / "run.journal.jsonl") for folder in ("whole", "killed"))
    assert _trained(one) == _trained(other)
    assert len(_trained(one)) == 2
    assert all(row["top1"] > 20 for row in read_table(tmp_path / "killed" / "reports" / "run.csv"))


def _trained(run):
    """What each training came to, but for the time that it took."""
    found = {key: sample.values.get("accuracy") for key, sample in run.samples.items() if key[1] is not None}
    return {key: {k: v for k, v in values.items() if k not in ("train_s", "wait_s")} for key, values in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [1.2, 2.0, 3.0, 4.5])
def test_an_impatient_ctrl_c_is_one_sentence_at_any_moment(tmp_path, after_s):
    small_file(tmp_path, seconds=0.5)
    command = [sys.executable, "-m", "hvt_bench", "sweep", "s.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, preexec_fn=HEEDS, **pipes) as sweep:
        time.sleep(after_s)
        for _ in range(3):
            os.killpg(sweep.pid, signal.SIGINT)
            time.sleep(0.02)
        _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert re.fullmatch(r"stopped(; .* The same command goes on from there\.)?\n", err)


@pytest.mark.slow
def test_no_worker_outlives_a_killed_sweep(tmp_path):
    small_file(tmp_path, seconds=30)
    command = [sys.executable, "-m", "hvt_bench", "sweep", "s.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline().startswith("2 points")
        while len(_processes_in(tmp_path)) < 4:  # program, resource tracker, fork server, worker
            time.sleep(0.1)
        first.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _processes_in(tmp_path):
        time.sleep(0.2)
    assert _processes_in(tmp_path) == []


def _processes_in(folder):
    """Processes whose working directory is `folder`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                found.append(int(pid))
        except OSError:
            continue
    return found


def test_columns_of_a_written_table_are_the_header(run, small):
    run("sweep", "small.yaml", "--executor", "inline")
    assert (small / "reports" / "run.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_the_installed_command_is_there():
    assert shutil.which("hvt-bench", path=os.path.dirname(sys.executable))


@pytest.mark.slow
def test_a_sweep_of_outside_networks_goes_on_past_one_that_dies(run, module, monkeypatch):
    with open("o.yaml", "w") as file:
        file.write(
            f"name: o\nmodels: [{{target: '{module}:dies', name: dead}}, '{module}:Net']\naxes: {{depth: [3]}}\n"
            "measure: [complexity]\nprotocol: {device: cpu}\n"
        )
    code, out, err = run("sweep", "o.yaml")
    assert code == 1
    assert out.splitlines() == [
        "4 points, 0 invalid; 0 of 4 done, 4 to go in 0 rounds",
        "dead: crashed: the worker ended with exit code 7 and no answer",
        "dead depth=3: crashed: the worker ended with exit code 7 and no answer",
        "wrote reports/run.csv: 4 rows, 2 ok, 0 invalid",
    ]
    assert err.splitlines()[-1] == "2 points failed; --retry crashed tries again"


def test_executed_counts_what_depends_on_its_data(run, small):
    (small / "picks.py").write_text(PICKS)
    model = "'picks:Picks:input_shapes=[[4]]'"
    (small / "b.yaml").write_text(f"budgets: {{{model}: {{macs: 36}}}}\n")
    (small / "s.yaml").write_text(f"name: s\nmodels: [{model}]\nmeasure: [complexity]\n")
    assert run("check", "b.yaml")[0] == 1
    assert run("check", "b.yaml", "--executed") == (
        0,
        "ok      picks:Picks:input_shapes=[[4]]  macs 36\n1 of 1 model kept their budgets\n",
        "",
    )
    code, out, err = run("show", "picks:Picks", "input_shapes=[[4]]", "--executed")
    assert (code, err) == (0, "")
    assert out.endswith("count_source  executed\n")
    arguments = ["sweep", "s.yaml", "--executor", "inline"]
    assert "--executed counts one real image" in run(*arguments)[2]
    assert run(*arguments, "--executed", "--retry", "error")[0] == 0
    (row,) = read_table("reports/run.csv")
    assert (row["macs"], row["count_source"], row["status"]) == (36, "executed", "ok")
