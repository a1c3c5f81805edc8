import socket
import subprocess
import sys

import pytest
import torch

import hvt_bench
from hvt_bench import environment
from hvt_bench.environment import Environment, resolve_device
from hvt_bench.errors import RequestError
from hvt_bench.records import columns_of


@pytest.fixture
def gpus(monkeypatch):
    """Make this machine one with some number of GPUs."""

    def pretend(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "init", lambda: pytest.fail("CUDA was started"))

    return pretend


@pytest.mark.parametrize(
    ("number", "wanted", "found"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda:0"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda:0"),
        (1, "cuda:0", "cuda:0"),
        (8, "auto", "cuda:0"),
        (8, "cuda", "cuda:0"),
        (8, "cuda:7", "cuda:7"),
        (8, "cuda:07", "cuda:7"),
    ],
)
def test_a_device_is_found(gpus, number, wanted, found):
    gpus(number)
    assert resolve_device(wanted) == found


@pytest.mark.parametrize(
    ("number", "wanted", "sentence"),
    [
        (0, "cuda", "device 'cuda': PyTorch finds no CUDA device here; take cpu, or auto"),
        (0, "cuda:0", "device 'cuda:0': PyTorch finds no CUDA device here; take cpu, or auto"),
        (1, "cuda:1", "device 'cuda:1': PyTorch finds 1 CUDA device here; take cpu, or auto"),
        (2, "cuda:2", "device 'cuda:2': PyTorch finds 2 CUDA devices here; take cpu, or auto"),
        *(
            (2, wanted, f"unknown device '{wanted}'; known: auto, cpu, cuda, cuda:N, mps")
            for wanted in (
                "gpu",
                "",
                "CUDA",
                "cuda:x",
                "cuda:-1",
                "cuda:1:0",
                "cuda: 1",
                "cpu:0",
                "xpu",
                "tpu:1",
                "cuda:²",
            )
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused(gpus, number, wanted, sentence):
    gpus(number)
    with pytest.raises(RequestError) as caught:
        resolve_device(wanted)
    assert str(caught.value) == sentence


def test_a_colon_without_a_number_is_refused(gpus):
    gpus(1)
    with pytest.raises(RequestError, match="unknown device 'cuda:'"):
        resolve_device("cuda:")


def test_metal_is_taken_where_it_is_and_refused_elsewhere(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == "mps"
    assert resolve_device("auto") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RequestError, match="no Metal GPU"):
        resolve_device("mps")


def test_asking_for_devices_does_not_start_cuda():
    code = [
        "import torch",
        "from hvt_bench.environment import resolve_device",
        "resolve_device('auto')",
        "print(torch.cuda.is_initialized())",
    ]
    answer = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_the_environment_of_a_cpu(gpus):
    gpus(0)
    found = Environment.measure("cpu")
    assert found.device_name == found.cpu_name != ""
    assert found.driver_version is None
    assert found.cuda_version is None
    assert found.cudnn_version is None
    assert found.torch_version == torch.__version__
    assert found.hvt_bench_version == hvt_bench.__version__
    assert found.hostname == socket.gethostname()
    assert found == Environment.measure("cpu")


def test_the_environment_of_a_gpu(gpus, nvml, monkeypatch):
    gpus(2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Big GPU at {device}")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    nvml.answers["nvmlSystemGetDriverVersion"] = lambda: "999.9"
    found = Environment.measure("cuda:1")
    assert found.device_name == "Big GPU at cuda:1"
    assert found.driver_version == "999.9"
    assert found.cudnn_version == "9.10.2"
    assert found.cuda_version == torch.version.cuda
    assert found.cpu_name != found.device_name


def test_a_gpu_whose_driver_and_libraries_say_nothing_has_an_environment(gpus, nvml, monkeypatch):
    gpus(1)
    nvml.missing()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: None)
    found = Environment.measure("cuda:0")
    assert (found.driver_version, found.cudnn_version) == (None, None)


@pytest.mark.gpu
def test_the_environment_of_a_real_gpu():
    found = Environment.measure("cuda:0")
    assert found.device_name == torch.cuda.get_device_name(0)
    assert found.driver_version
    assert found.cuda_version == torch.version.cuda
    assert found.cudnn_version.startswith("9.")


def test_every_field_is_a_column():
    assert list(columns_of(Environment)) == list(Environment.model_fields)


def test_what_must_agree_for_two_rounds_to_stand_in_one_row():
    here = Environment.measure("cpu")
    for field in Environment.model_fields:
        there = here.model_copy(update={field: "other"})
        assert here.comparable(there) is (field not in ("device_name", "torch_version", "hvt_bench_version")), field
        assert there.comparable(here) is here.comparable(there)
    assert here.comparable(here)


@pytest.mark.parametrize(
    ("there", "alike"), [("0.2.1", True), ("0.2.10.dev3", True), ("0.20.0", False), ("1.2.0", False)]
)
def test_versions_alike_in_their_first_two_numbers_measure_alike(there, alike):
    here = Environment.measure("cpu").model_copy(update={"hvt_bench_version": "0.2.0"})
    assert here.comparable(here.model_copy(update={"hvt_bench_version": there})) is alike


def test_the_processor_is_named_as_linux_does(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast: CPU @ 3 GHz\nmodel name\t: Other\n")
    monkeypatch.setattr(environment, "Path", lambda _: info)
    assert environment._cpu_name() == "Fast: CPU @ 3 GHz"


@pytest.mark.parametrize("content", [None, "processor : 0\nFeatures : fp\n"])
def test_a_processor_without_a_model_name_has_a_name_all_the_same(monkeypatch, tmp_path, content):
    info = tmp_path / "cpuinfo"
    if content is not None:
        info.write_text(content)
    monkeypatch.setattr(environment, "Path", lambda _: info)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert environment._cpu_name() == "aarch64"


@pytest.fixture
def tool(monkeypatch):
    """Put a scripted answer in the place of an outside program; None: it is not installed."""

    def scripted(answers):
        monkeypatch.setattr("shutil.which", lambda name: None if answers is None else f"/bin/{name}")

        def run(command, **_):
            found = next(text for key, text in answers.items() if key in command)
            return subprocess.CompletedProcess(command, 0, stdout=found, stderr="")

        monkeypatch.setattr(subprocess, "run", run)

    return scripted


@pytest.mark.parametrize(
    ("answers", "commit"),
    [
        ({"rev-parse": "abc123\n", "status": ""}, "abc123"),
        ({"rev-parse": "abc123\n", "status": " M hvt_bench/cli.py\n"}, "abc123+"),
        ({"rev-parse": "", "status": ""}, None),
        (None, None),
    ],
    ids=["clean", "changed", "no commit yet", "no git"],
)
def test_the_commit_says_whether_the_code_was_changed(tool, monkeypatch, tmp_path, answers, commit):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "hvt_bench" / "environment.py"))
    tool(answers)
    assert environment._git_commit() == commit


def test_outside_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "hvt_bench" / "environment.py"))
    assert environment._git_commit() is None
