"""What several test files share."""

import functools
import importlib
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hvt_bench.environment import Environment
from hvt_bench.row import Sample
from tests.outside_networks import MODULE

ENVIRONMENT = Environment(
    device_name="Test CPU",
    driver_version=None,
    torch_version="9.9.9",
    cuda_version=None,
    cpu_name="Test CPU",
    hvt_bench_version="0.0.0",
    git_commit=None,
    hostname="testhost",
)


def describe(device):
    """Stand in for Environment.measure."""
    return ENVIRONMENT


def fake_measure(visit):
    """Stand in for measure_round: a time that depends on depth and round, and no clock."""
    base = float(visit.point.config.depth)
    return Sample(
        point_id=visit.point.point_id,
        round=visit.round,
        values={
            "memory": {"weights_mib": 10.0, "peak_memory_mib": 20.0 + visit.round},
            "latency": {"pass_ms": [base, base + 1, base + 2 + visit.round], "block_img_s": [100.0]},
        },
        started_at="2026-01-31T12:00:00Z",
        seconds=1.0,
    )


@pytest.fixture(scope="session")
def repository():
    """The folder with README.md, sweeps/ and reports/."""
    return Path(__file__).parent.parent


class FakeDriver:
    """An NVML that answers by the name of its function; what it has no answer for is not supported."""

    def __init__(self, monkeypatch):
        import pynvml

        self.answers = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid}
        self.not_supported = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self.struct = SimpleNamespace
        for name in dir(pynvml):
            if name.startswith(("nvmlInit", "nvmlDeviceGet", "nvmlSystemGet")):
                monkeypatch.setattr(pynvml, name, functools.partial(self._answer, name))
        properties = lambda device: SimpleNamespace(uuid=f"uuid-of-{device}")  # noqa: E731
        monkeypatch.setattr(torch.cuda, "get_device_properties", properties)

    def missing(self):
        import pynvml

        def fail():
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

        self.answers["nvmlInit"] = fail

    def _answer(self, name, *arguments):
        if name not in self.answers:
            raise self.not_supported
        return self.answers[name](*arguments)


@pytest.fixture
def nvml(monkeypatch):
    """A driver without hardware, which knows every device and nothing else until it is given answers."""
    return FakeDriver(monkeypatch)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of networks, which lies in the current folder."""
    name = f"nets_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(name, None)


def pytest_configure():
    torch.set_num_threads(1)  # small networks: threads that wait for each other on a busy machine cost up to 20x


# Each counts all networks that anybody published: in one process, one after the other, these are counted once.
COUNTS_ALL = ("test_docs.py", "test_reproduce.py", "test_claims.py")


def turn_of(item):
    """What goes first: the tests that share counts while no worker steals, then the long ones, so that none is last."""
    return item.path.name not in COUNTS_ALL, "slow" not in item.keywords


def pytest_collection_modifyitems(items):
    items.sort(key=turn_of)
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
