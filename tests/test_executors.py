import os
import signal
import time

import pytest

from hvt_bench.errors import RequestError, WorkerCrashedError, WorkerTimeoutError
from hvt_bench.executors import EXECUTORS, make_executor


def double(number):
    return 2 * number


def pid_and(number):
    return os.getpid(), number


def misbehave(how):
    if how == "raise":
        raise ValueError("no such number")
    if how == "raise unpicklable":
        raise UnpicklableError(lambda: None)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "hang":
        time.sleep(600)
    return how


class UnpicklableError(Exception):
    def __init__(self, function):
        super().__init__("holds a function")
        self.function = function


@pytest.fixture(scope="module")
def process():
    return make_executor("process")


@pytest.mark.parametrize("name", EXECUTORS)
def test_maps_in_order(name):
    outcomes = list(make_executor(name).map(double, [1, 2, 3]))
    assert [(o.item, o.value, o.error) for o in outcomes] == [(1, 2, None), (2, 4, None), (3, 6, None)]


@pytest.mark.parametrize("name", EXECUTORS)
def test_an_exception_is_an_outcome_and_the_map_goes_on(name):
    outcomes = list(make_executor(name).map(misbehave, ["raise", "well"]))
    assert isinstance(outcomes[0].error, ValueError)
    assert str(outcomes[0].error) == "no such number"
    assert outcomes[1].value == "well"


def test_inline_stays_in_this_process():
    (outcome,) = make_executor("inline").map(pid_and, [1])
    assert outcome.value == (os.getpid(), 1)


def test_each_item_has_a_process_of_its_own(process):
    pids = [outcome.value[0] for outcome in process.map(pid_and, [1, 2, 3])]
    assert len({*pids, os.getpid()}) == 4


def test_items_are_asked_for_one_at_a_time(process):
    asked = []

    def items():
        for number in range(3):
            asked.append(number)
            yield number

    for seen, _ in enumerate(process.map(double, items()), start=1):
        assert len(asked) == seen


def test_a_death_is_an_outcome_that_names_the_signal(process):
    dead, well = process.map(misbehave, ["die", "well"])
    assert isinstance(dead.error, WorkerCrashedError)
    assert str(dead.error) == "the worker was ended by SIGKILL; the system may have run out of memory"
    assert well.value == "well"


def test_an_early_exit_is_an_outcome_that_names_the_code(process):
    (outcome,) = process.map(misbehave, ["exit"])
    assert isinstance(outcome.error, WorkerCrashedError)
    assert str(outcome.error) == "the worker ended with exit code 3 and no answer"


def test_a_hang_is_ended_at_its_limit(process):
    hung, well = process.map(misbehave, ["hang", "well"], timeout_s=lambda how: 0.2 if how == "hang" else None)
    assert isinstance(hung.error, WorkerTimeoutError)
    assert str(hung.error) == "ran longer than its limit of 0.2 s and was ended"
    assert well.value == "well"


def test_an_exception_that_cannot_travel_keeps_its_words(process):
    (outcome,) = process.map(misbehave, ["raise unpicklable"])
    assert isinstance(outcome.error, RuntimeError)
    assert str(outcome.error) == "UnpicklableError: holds a function"


def test_an_unknown_executor_names_the_nearest():
    with pytest.raises(RequestError, match="unknown executor 'proces'; did you mean 'process'"):
        make_executor("proces")
