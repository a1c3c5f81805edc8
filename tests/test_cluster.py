import signal

import pytest
from pydantic import ValidationError
from typer import Exit

from hvt_bench.cli import main
from hvt_bench.cli.cluster import read_share, read_slurm
from hvt_bench.cli.measure import _follow
from hvt_bench.cluster import SlurmSection
from hvt_bench.errors import FileError, RequestError
from hvt_bench.events import Noted
from hvt_bench.progress import Watcher
from hvt_bench.sweep import load_sweep

SWEEP = """name: s
models: [hvt_ti_1]
axes: {depth: [6, 12]}
protocol: {device: DEVICE}
slurm:
  partition: gpu
  mem_gb: 16
"""


@pytest.fixture
def file(tmp_path):
    def write(text=SWEEP, device="cuda"):
        path = tmp_path / "s.yaml"
        path.write_text(text.replace("DEVICE", device))
        return path

    return write


def test_a_section_becomes_the_words_of_submitit():
    section = SlurmSection(
        partition="gpu", account="lab", qos="high", constraint="a100", time_min=90, mem_gb=1.5, cpus_per_task=8,
        gpus_per_task=2, exclusive=True, tasks_at_once=10, sbatch={"reservation": "r1"},
    )  # fmt: skip
    asked = {
        "partition": "gpu", "account": "lab", "qos": "high", "constraint": "a100", "time": 90, "mem": "1536M",
        "cpus_per_task": 8, "exclusive": True, "array_parallelism": 10, "additional_parameters": {"reservation": "r1"},
    }  # fmt: skip
    assert section.parameters("cpu") == asked
    assert section.parameters("cuda:0") == asked | {"gpus_per_node": 2}
    assert SlurmSection().parameters("cuda:0")["gpus_per_node"] == 1


@pytest.mark.parametrize("value", ["gpu\nrm -rf x", "", "a\tb", "a\x00"])
def test_what_would_leave_its_line_of_the_batch_script_is_refused(value):
    with pytest.raises(ValidationError, match="is no word of Slurm"):
        SlurmSection(partition=value)
    with pytest.raises(ValidationError, match="is no word of Slurm"):
        SlurmSection(sbatch={value: 1})


def test_points_of_a_cluster_are_of_its_nodes(file):
    plan = load_sweep(file(), slurm={"cpus_per_task": 6, "partition": "big"})
    assert {(point.device, point.num_threads, point.batch_size) for point in plan.points} == {("cuda:0", 6, 64)}
    assert (plan.slurm.partition, plan.slurm.mem_gb) == ("big", 16.0)
    (cpu, *_) = load_sweep(file(), "cpu", slurm={}).points
    assert (cpu.device, cpu.num_threads) == ("cpu", 1)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("auto", "device 'auto': what the nodes have is not known here; write cuda or cpu, or give --device"),
        ("cuda:1", "device 'cuda:1': each task has one GPU, cuda, or none, cpu"),
        ("mps", "device 'mps': each task has one GPU, cuda, or none, cpu"),
    ],
)
def test_a_device_that_a_task_cannot_have_is_refused(file, device, sentence):
    with pytest.raises(FileError) as caught:
        load_sweep(file(device=device), slurm={})
    assert str(caught.value) == f"{file(device=device)}:4: {sentence}"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("  partiton: gpu", "8: unknown key 'partiton'; did you mean 'partition'?"),
        ("  time_min: soon", "8: time_min: 'soon' does not fit: should be a whole number"),
        ("  exclusive: maybe", "8: exclusive: 'maybe' does not fit: should be true or false"),
        ('  account: "a\\nb"', "8: 'a\\nb' is no word of Slurm: it is empty, or has a line end or a control character"),
    ],
)
def test_a_mistake_in_the_section_is_named_with_its_line(file, line, sentence):
    with pytest.raises(FileError) as caught:
        load_sweep(file(f"{SWEEP}{line}\n", "cpu"))
    assert str(caught.value) == f"{file(f'{SWEEP}{line}' + chr(10), 'cpu')}:{sentence}"


def test_options_are_read_as_in_a_sweep_file():
    assert read_slurm(["partition=gpu", "mem_gb=3.5", "exclusive=true", "sbatch={nice: 10}"], 7) == {
        "partition": "gpu", "mem_gb": 3.5, "exclusive": True, "sbatch": {"nice": 10}, "points_per_task": 7,
    }  # fmt: skip
    for option in ("partition", "partition="):
        with pytest.raises(RequestError, match="write KEY=VALUE, such as partition=gpu"):
            read_slurm([option], None)
    with pytest.raises(RequestError, match=r"--slurm a=\[: '\[' cannot be read"):
        read_slurm(["a=["], None)


def test_a_mistake_in_an_option_is_named(file):
    with pytest.raises(RequestError, match=r"--slurm: unknown key 'partiton'; did you mean 'partition'\?"):
        load_sweep(file(), slurm={"partiton": "gpu"})


def test_a_share_is_read():
    assert read_share(None) is None
    assert read_share("2/8") == (2, 8)
    for text in ("0/8", "9/8", "2", "2/", "a/b", "-1/2"):
        with pytest.raises(RequestError, match="give a share and how many there are, such as 1/8 to 8/8"):
            read_share(text)


ALONE = "--slurm and --points-per-task say what a task of a Slurm job is; add --executor slurm"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--slurm", "partition=gpu"], ALONE),
        (["--points-per-task", "3"], ALONE),
        (
            ["--executor", "slurm", "--jobs", "2"],
            "--jobs is for one machine; on a cluster each task has a GPU, or cores, of its own",
        ),
        (
            ["--executor", "slurm"],
            "--executor slurm: there is no sbatch here; start it on a login node of a Slurm cluster, "
            "or give each machine its part by --shard",
        ),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_meant_are_refused(file, capsys, monkeypatch, options, sentence, tmp_path):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(file()), "--out", str(tmp_path / "run.csv"), *options])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert not (tmp_path / "run.csv").exists()


def test_the_plan_of_a_share_is_of_its_points(file, capsys, tmp_path):
    for share, points in (("1/2", 1), ("2/2", 1), ("1/1", 2)):
        main_quietly("sweep", str(file(device="cpu")), "--dry-run", "--shard", share)
        assert f"0 of {points} done, {points} to go in {3 * points} rounds" in capsys.readouterr().out


def main_quietly(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


def test_ctrl_c_says_what_goes_on_and_how_to_end_it(capsys, tmp_path):
    def events():
        yield Noted("hello")
        raise KeyboardInterrupt

    goes_on = "Slurm goes on (job 7: 2 running, 5 waiting)."
    with pytest.raises(Exit) as ended:
        _follow(Watcher(print, lambda _: None), tmp_path / "run.csv", events(), lambda: goes_on)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err.splitlines()[-1] == goes_on
