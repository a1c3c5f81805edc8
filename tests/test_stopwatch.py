import pytest
import torch

from hvt_bench.metrics.stopwatch import CudaStopwatch, Stopwatch, make_stopwatch


def test_each_device_has_its_stopwatch():
    assert type(make_stopwatch("cpu")) is type(make_stopwatch("mps")) is Stopwatch
    assert type(make_stopwatch("cuda:1")) is CudaStopwatch


def test_the_stopwatch_of_a_cpu_goes_forward():
    stopwatch = Stopwatch("cpu")
    stopwatch.synchronize()
    assert stopwatch.now() <= stopwatch.now()
    assert 0 < stopwatch.resolution_s < 1e-3
    assert stopwatch.between(stopwatch.mark(), stopwatch.mark()) >= 0


def test_a_block_is_so_many_passes():
    made = []
    assert Stopwatch("cpu").block_s(lambda: made.append(1), 7) > 0
    assert len(made) == 7


def test_a_cpu_has_no_time_of_its_own_apart_from_that_of_the_host():
    assert Stopwatch("cpu").recorded(lambda: None, graph=True) is None


@pytest.fixture
def product():
    """A stopwatch of a GPU, and a product of matrices that takes it a while."""
    x = torch.randn(4096, 4096, device="cuda:0")
    out = torch.empty_like(x)

    def run(mark=lambda: None):
        torch.mm(x, x, out=out)

    return CudaStopwatch("cuda:0"), run


@pytest.mark.gpu
def test_a_gpu_is_waited_for(product):
    stopwatch, run = product
    stopwatch.synchronize()
    for _ in range(50):
        run()
    done = stopwatch.mark()
    assert not done.query()
    stopwatch.synchronize()
    assert done.query()


@pytest.mark.gpu
def test_a_block_of_a_gpu_takes_as_long_as_its_passes(product):
    stopwatch, run = product
    run()
    one, ten = stopwatch.block_s(run, 10), stopwatch.block_s(run, 100)
    assert 5 < ten / one < 20


@pytest.mark.gpu
@pytest.mark.parametrize("graph", [True, False])
def test_the_time_of_a_gpu_is_not_above_that_of_the_host(product, graph):
    stopwatch, run = product
    run()
    source, seconds = stopwatch.recorded(run, graph)
    assert source == ("graph" if graph else "queue")
    assert seconds(10) / 10 < 1.2 * stopwatch.block_s(run, 10) / 10


@pytest.mark.gpu
def test_what_a_graph_cannot_hold_is_queued():
    x = torch.ones(8, device="cuda:0")
    source, seconds = CudaStopwatch("cuda:0").recorded(lambda mark=None: x.sum().item(), graph=True)
    assert source == "queue"
    assert seconds(3) > 0
