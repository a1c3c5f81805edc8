"""Fronts of a report: of accuracy one for each data set and recipe, and none of what took another training."""

from hvt_bench.report.fronts import fronts
from tests.rows import row

UNTIMED = {"latency_ms": None, "params": 10**6}


def trained(model, macs, top1, data="digits", recipe="small"):
    return row(model=model, macs=macs, top1=top1, total_train_macs=macs, data=data, recipe=recipe, **UNTIMED)


def test_accuracies_on_other_data_or_by_another_recipe_have_fronts_of_their_own():
    rows = [
        trained("a", 1, 80.0), trained("b", 2, 90.0), trained("worse", 3, 85.0),
        trained("a", 1, 60.0, data="cifar10"), trained("b", 2, 70.0, data="cifar10"),
    ]  # fmt: skip
    found = [(front.cost, front.among, [line[0] for line in front.lines]) for front in fronts(rows, ())]
    of_both = [(3, ["a", "b"]), (2, ["a", "b"])]
    assert found == [(cost, *each) for cost in ("macs", "total_train_macs") for each in of_both]
    assert "data" in fronts(rows, ())[0].heads


def test_a_network_of_which_a_training_ended_badly_is_on_no_front():
    rows = [trained("a", 2, 80.0), trained("b", 3, 90.0), {**trained("lost", 1, 99.0), "status": "error"}]
    assert [[line[0] for line in front.lines] for front in fronts(rows, ())] == [["a", "b"]] * 2


def test_without_accuracy_params_are_what_is_bought():
    rows = [row(macs=macs, params=macs, model=str(macs), latency_ms=None) for macs in (1, 2)]
    assert [(front.cost, front.gain) for front in fronts(rows, ())] == [("macs", "params")]
