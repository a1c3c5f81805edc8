import inspect
import pickle

import pytest

from hvt_bench import errors
from hvt_bench.errors import (
    ConfigError,
    CountError,
    FieldError,
    FileError,
    HvtBenchError,
    RequestError,
    WorkerCrashedError,
    WorkerError,
    WorkerTimeoutError,
    plural,
    unknown,
)

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (RequestError, HvtBenchError),
        (ConfigError, RequestError),
        (FieldError, ConfigError),
        (FileError, RequestError),
        (CountError, HvtBenchError),
        (WorkerError, HvtBenchError),
        (WorkerTimeoutError, WorkerError),
        (WorkerCrashedError, WorkerError),
        (HvtBenchError, Exception),
    ],
)
def test_the_tree_is_the_one_that_the_docstring_draws(child, parent):
    assert child.__bases__ == (parent,)


def test_the_docstring_names_every_exception():
    assert CLASSES
    for found in CLASSES:
        assert found.__name__ in errors.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_the_way_between_processes(kind):
    copy = pickle.loads(pickle.dumps(kind("the sentence")))
    assert type(copy) is kind
    assert str(copy) == "the sentence"


def test_a_counting_failure_is_no_mistake_of_the_request():
    assert not issubclass(CountError, RequestError)
    assert not issubclass(WorkerError, RequestError)


def test_unknown_names_the_nearest():
    assert unknown("key", "dept", ["depth", "width"]) == "unknown key 'dept'; did you mean 'depth'?"


def test_unknown_lists_everything_in_order_when_nothing_is_near():
    assert unknown("axis", "colour", ["width", "depth"]) == "unknown axis 'colour'; known: depth, width"


def test_unknown_does_not_list_what_nobody_reads():
    names = [f"name{number}" for number in range(1200)]
    assert unknown("system", "HVT", ["hvt", "mvit", "vit"]) == "unknown system 'HVT'; did you mean 'hvt'?"
    assert unknown("model", "colour", names) == "unknown model 'colour'; none of the 1,200 known ones is near"


def test_unknown_takes_any_iterable_once_and_any_value():
    assert unknown("family", 7, (name for name in ("vit", "hvt"))) == "unknown family '7'; known: hvt, vit"


def test_unknown_names_at_most_three_the_nearest_first():
    near = unknown("model", "hvt_s_11", ["hvt_s_0", "hvt_s_1", "vit_tiny", "hvt_ti_1", "hvt_s_2"])
    assert near.endswith("did you mean 'hvt_s_1' or 'hvt_s_2' or 'hvt_s_0'?")


def test_one_is_singular():
    assert [plural(n, "point") for n in (0, 1, 2, 1200)] == ["0 points", "1 point", "2 points", "1,200 points"]
