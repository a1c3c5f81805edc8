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


def test_unknown_takes_any_iterable_once_and_any_value():
    assert unknown("family", 7, (name for name in ("vit", "hvt"))) == "unknown family '7'; known: hvt, vit"


def test_unknown_prefers_the_nearest_of_several():
    assert unknown("model", "hvt_s_11", ["hvt_s_0", "hvt_s_1", "vit_tiny"]).endswith("did you mean 'hvt_s_1'?")
