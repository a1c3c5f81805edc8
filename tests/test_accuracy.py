import itertools

import pytest

from hvt_bench.errors import DivergedError, WorkerCrashedError
from hvt_bench.measure import Apparatus, Visit, measure_round
from hvt_bench.metrics.accuracy import Accuracy, diverged, measure_accuracy
from hvt_bench.metrics.complexity import count
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from hvt_bench.training.data import Data
from hvt_bench.training.recipes import RECIPES
from tests.conftest import ENVIRONMENT

MODEL = "hvt:img_size=8,patch_size=2,in_chans=1,num_classes=10,embed_dim=64,num_heads=2,depth=2"
RECIPE = RECIPES["small"].model_copy(update={"epochs": 2, "batch_size": 50})


def point(model=MODEL, **changes):
    fields = {"device": "cpu", "batch_size": 1, "warmup_s": 0.0, "num_threads": 1}
    training = {"data": Data(name="digits", subset=100), "recipe": RECIPE}
    return Point(model="m", config=parse_model(model), **(fields | training | changes))


def found(seed, top1, **changes):
    values = {"top5": 99.0, "losses": [2.0, 1.0], "epochs_done": 2, "train_s": 4.0, "wait_s": 1.0}
    return {"seed": seed, "top1": top1, "total_train_macs": 10**15, **values, **changes}


def test_rounds_are_summed_up():
    row = Accuracy.summarise([found(1, 82.0, train_s=8.0), found(0, 80.0, losses=[2.0, 1.5])])
    assert row.model_dump() == {
        "top1": 81.0,
        "top5": 99.0,
        "top1_spread": pytest.approx(2**0.5),
        "top1_rounds": (80.0, 82.0),
        "train_loss": 1.25,
        "epochs_done": 2,
        "train_s": 6.0,
        "train_processes": 1,
        "data_wait_pct": pytest.approx(18.75),
        "total_train_macs": 10**15,
    }


def test_one_round_has_no_spread_and_few_classes_no_top5():
    row = Accuracy.summarise([found(0, 80.0, top5=None)])
    assert (row.top1_spread, row.top5) == (None, None)


def test_a_training_that_diverged_counts_for_how_far_it_came_alone():
    lost = {"seed": 1, "diverged": True, "epochs_done": 1}
    row = Accuracy.summarise([found(0, 80.0), lost])
    assert (row.top1_rounds, row.epochs_done) == ((80.0,), 1)
    assert Accuracy.summarise([lost]) == Accuracy(epochs_done=1)
    assert diverged({"accuracy": lost})
    assert not diverged({"accuracy": found(0, 80.0)})


def test_a_round_trains_and_says_what_it_cost():
    ticks = itertools.count()
    one = measure_accuracy(point(), 0, None, clock=lambda: float(next(ticks)))
    assert (one["train_images"], one["test_images"], one["images_seen"]) == (100, 359, 200)
    assert one["total_train_macs"] == 200 * count(MODEL).train_macs
    assert one["top1"] * 359 / 100 == pytest.approx(round(one["top1"] * 359 / 100))
    assert (one["train_s"], one["wait_s"]) == (2 * 5.0, 2 * 2.0)


def test_a_round_is_a_seed_and_the_same_seed_the_same_training():
    trained = [measure_accuracy(point(), seed, None, clock=lambda: 1.0) for seed in (0, 1)]
    assert trained[0]["losses"] != trained[1]["losses"]
    assert measure_accuracy(point(), 0, None, clock=lambda: 1.0) == trained[0]


def test_a_training_runs_the_kernel_that_is_asked_for():
    with pytest.raises(RuntimeError, match=r"No available kernel|No viable backend"):
        measure_accuracy(point(attention="sdpa_efficient"), 0, None)  # which no CPU has


def test_checkpointing_changes_nothing_but_what_it_costs():
    """Blocks that are skipped at random are computed again as they were."""
    recipe = RECIPE.model_copy(update={"drop_path": 0.5})
    plain, again = (
        measure_accuracy(point(mode="train", checkpointing=checkpointing, recipe=recipe), 0, None, clock=lambda: 1.0)
        for checkpointing in (False, True)
    )
    assert again["total_train_macs"] > plain["total_train_macs"]
    assert again["losses"] == pytest.approx(plain["losses"], rel=1e-6)


# --- as a visit -----------------------------------------------------------------------------------------------------


def visited(train, **options):
    visit = Visit(point(), 3, ("accuracy",), **options)
    return measure_round(visit, Apparatus(train=train))


def test_a_visit_hands_over_its_round_and_where_the_state_is_kept(tmp_path):
    seen = []
    sample = visited(lambda p, seed, checkpoint, processes: seen.append((seed, checkpoint)) or found(seed, 80.0))
    assert (sample.status, sample.values) == ("ok", {"accuracy": found(3, 80.0)})
    assert seen == [(3, None)]
    visited(lambda p, seed, checkpoint, processes: seen.append(checkpoint) or {}, checkpoints=tmp_path)
    seen[-1].save({"progress": 1})
    assert [file.name for file in tmp_path.iterdir()] == [f"{point().point_id}.3.pt"]
    assert seen[-1].load() == {"progress": 1}


@pytest.mark.parametrize(
    ("name", "later", "known"),
    [
        ("hvt_bench_version", "0.2.7", {"progress": 1}),  # as a sweep goes on
        ("hvt_bench_version", "0.3.0", None),
        ("torch_version", "10.0.0", None),
        ("device_name", "Other CPU", None),
    ],
)
def test_a_training_goes_on_where_its_rounds_may_stand_in_one_row(tmp_path, monkeypatch, name, later, known):
    seen = []
    before = ENVIRONMENT.model_copy(update={"hvt_bench_version": "0.2.0"})
    for here in (before, before.model_copy(update={name: later})):
        monkeypatch.setattr("hvt_bench.measure.Environment.measure", lambda device, here=here: here)
        visited(lambda p, seed, checkpoint, processes: seen.append(checkpoint) or {}, checkpoints=tmp_path)
    seen[0].save({"progress": 1})
    assert seen[0].load() == {"progress": 1}
    assert seen[1].load() == known


def test_a_visit_says_how_many_processes_train_and_which_died():
    sample = visited(lambda p, seed, checkpoint, processes: found(seed, 80.0, processes=processes), processes=2)
    assert Accuracy.summarise([sample.values["accuracy"]]).train_processes == 2
    assert Accuracy.summarise([sample.values["accuracy"], found(1, 80.0)]).train_processes is None

    def crash(point, seed, checkpoint, processes):
        raise WorkerCrashedError("process 2 of 2 that train together: the system may have run out of memory")

    assert visited(crash, processes=2).status == "crashed"


def test_a_loss_that_is_not_finite_is_an_error_of_this_seed():
    def fail(point, seed, checkpoint, processes):
        raise DivergedError("the loss became nan in epoch 2 of 2", 1)

    sample = visited(fail)
    assert (sample.status, sample.error) == ("error", "the loss became nan in epoch 2 of 2")
    assert diverged(sample.values)


def test_a_damaged_file_is_an_error_in_its_own_words(tmp_path):
    from hvt_bench.errors import FileError

    def fail(point, seed, checkpoint, processes):
        raise FileError("x.gz: is damaged: get it again")

    assert visited(fail).error == "x.gz: is damaged: get it again"


def test_a_training_that_runs_out_of_memory_names_the_batch_of_its_recipe():
    def fail(point, seed, checkpoint, processes):
        raise MemoryError("Tried to allocate 2.00 GiB")

    sample = visited(fail)
    assert (sample.status, sample.error) == (
        "oom",
        "out of memory, tried to allocate 2.00 GiB; take a smaller batch_size under recipe, which is "
        f"{RECIPE.batch_size}, or give --memory-limit more MiB if the machine has them",
    )


def test_a_training_has_a_time_limit_of_its_own():
    limit_s = 3600 * RECIPE.max_hours
    assert Visit(point(), 0, ("accuracy",)).limit_s == point().timeout_s + limit_s
    assert Visit(point(), 0, ("latency",)).limit_s == point().timeout_s
    longest = Visit(point(recipe=RECIPES["deit"], timeout_s=86_400.0), 0, ("accuracy",)).limit_s
    assert longest * 1000 < 2**31  # for which poll can wait
