import pytest
import torch

from hvt_bench.errors import RequestError
from hvt_bench.executors.base import Place
from hvt_bench.places import (
    counter_places,
    cpu_places,
    gpu_places,
    gpus_of,
    on_any_gpu,
    started_by_torchrun,
    trained_together,
)
from hvt_bench.sweep import Sweep
from tests.test_accuracy import point
from tests.test_run import make_sweep


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_gpu_is_a_place_that_sees_it_alone(three_gpus):
    assert gpu_places("cuda:2, cuda") == (
        Place("cuda:2", {"CUDA_VISIBLE_DEVICES": "2"}),
        Place("cuda:0", {"CUDA_VISIBLE_DEVICES": "0"}),
    )


def test_gpus_are_counted_among_those_that_are_visible_here(three_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-8b1c,6")
    seen = [place.environment["CUDA_VISIBLE_DEVICES"] for place in gpu_places("cuda:0,cuda:1")]
    assert seen == ["4", "GPU-8b1c"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "--devices: name GPUs, such as cuda:0,cuda:1"),
        ("cuda:0,cpu", "--devices cpu: is for GPUs, such as cuda:0,cuda:1; take --device cpu"),
        ("cuda,cuda:0", "--devices: cuda:0 stands there twice; one GPU takes one point at a time"),
        ("cuda:3", "device 'cuda:3': PyTorch finds 3 CUDA devices here; take cpu, or auto"),
        ("cuda;1", "unknown device 'cuda;1'; known: auto, cpu, cuda, cuda:N, mps"),
    ],
)
def test_what_is_no_list_of_gpus_is_refused(three_gpus, text, sentence):
    with pytest.raises(RequestError) as refused:
        gpu_places(text)
    assert str(refused.value) == sentence


def test_several_gpus_are_one_place_where_they_train_together(three_gpus):
    assert gpu_places("cuda:2,cuda:0", 2) == (Place("cuda:2+cuda:0", {"CUDA_VISIBLE_DEVICES": "2,0"}),)
    for number in (2, 0):
        with pytest.raises(RequestError) as refused:
            gpu_places("cuda:0,cuda:1,cuda:2", number)
        assert str(refused.value) == (
            f"--gpus-per-point {number}: 3 GPUs of --devices cannot be shared out so; give a number that divides them"
        )


def test_processes_train_together_where_something_is_trained():
    sweep = make_sweep()
    assert trained_together(sweep, 1) is sweep
    with pytest.raises(RequestError) as refused:
        trained_together(sweep, 2)
    assert str(refused.value) == (
        "--gpus-per-point 2 trains a network on several GPUs, and this sweep trains none: a pass is timed on one; "
        "leave it out, or add accuracy to measure"
    )
    training = Sweep("s", (point(),), ("accuracy",))  # 50 images a step
    assert trained_together(training, 2).processes == 2
    with pytest.raises(RequestError, match="batch_size 50 cannot be shared out equally among 4 processes"):
        trained_together(training, 4)


def test_torchrun_says_which_process_this_is(monkeypatch):
    assert started_by_torchrun() == (0, 1)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert started_by_torchrun() == (1, 4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(RequestError, match=r"^torchrun on 2 machines: a network is trained on the GPUs of one$"):
        started_by_torchrun()


def test_torchrun_takes_the_first_gpus():
    assert gpus_of(make_sweep(device="cuda:0"), 2) == "cuda:0,cuda:1"
    assert gpus_of(make_sweep(), 2) is None


def test_a_point_is_the_same_on_one_gpu_and_on_any():
    sweep = make_sweep(device="cuda:0")
    moved = on_any_gpu(sweep)
    assert [point.device for point in moved.points] == ["cuda", "cuda"]
    assert [point.point_id for point in moved.points] == [point.point_id for point in sweep.points]
    assert make_sweep(device="cuda:1").points[0].point_id != sweep.points[0].point_id


def test_an_invalid_cell_stays_as_it_is():
    from hvt_bench.point import InvalidCell

    cell = InvalidCell(model="m", axis=None, asked={"device": "cuda:0"}, reason="no")
    assert on_any_gpu(Sweep("s", (cell,), ())).cells == (cell,)


def test_points_of_a_cpu_run_side_by_side_where_asked():
    assert cpu_places(3, make_sweep()) == (Place(), Place(), Place())
    with pytest.raises(RequestError, match="--jobs 0: give a whole number, 1 or more"):
        cpu_places(0, make_sweep())
    with pytest.raises(RequestError, match="this sweep has some of cuda:0; for GPUs: --devices"):
        cpu_places(2, make_sweep(device="cuda:0"))


def test_there_is_a_counter_per_core_and_no_end_of_memory():
    assert 1 <= len(counter_places()) <= 16
