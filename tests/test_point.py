import pickle

import pytest
from pydantic import ValidationError

from hvt_bench.errors import ProtocolError
from hvt_bench.models import parse_model
from hvt_bench.point import InvalidCell, Point
from hvt_bench.training.data import Data
from hvt_bench.training.recipes import RECIPES


def point(**changes):
    fields = {
        "model": "hvt_s_1",
        "config": parse_model("hvt_s_1"),
        "device": "cpu",
        "batch_size": 1,
        "warmup_s": 0.5,
        "num_threads": 2,
    }
    return Point(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"config": parse_model("hvt_s_2")},
        {"device": "cuda:0"},
        {"dtype": "bfloat16"},
        {"batch_size": 2},
        {"attention": "eager"},
        {"mode": "train"},
        {"mode": "train", "checkpointing": True},
        {"compile": True},
        {"max_batch": True},
        {"num_threads": 3},
        {"warmup_passes": 4},
        {"max_time_s": 7.0},
        {"stable_pct": 2.0},
        {"warmup_s": 1.0},
        {"min_time_s": 3.0},
    ],
)
def test_the_id_knows_the_network_and_the_protocol(changes):
    assert point(**changes).point_id != point().point_id


@pytest.mark.parametrize("changes", [{"axis": "depth"}, {"rounds": 9}, {"timeout_s": 1.0}])
def test_the_id_ignores_what_changes_no_round(changes):
    assert point(**changes).point_id == point().point_id


def test_the_id_of_a_largest_batch_does_not_change_when_it_is_found():
    assert point(max_batch=True, batch_size=1).point_id == point(max_batch=True, batch_size=96).point_id


def test_the_id_is_the_same_on_every_machine_and_day():
    assert point().point_id == "bac2f486cb5e"


TRAINED = {"data": Data(name="fashion_mnist"), "recipe": RECIPES["small"]}


def test_the_id_knows_data_and_recipe_where_something_is_trained():
    trained = point(**TRAINED)
    others = [
        point(),
        point(**(TRAINED | {"data": Data(name="digits")})),
        point(**(TRAINED | {"data": Data(name="fashion_mnist", subset=9)})),
        point(**(TRAINED | {"data": Data(name="imagefolder", path="a")})),
        point(**(TRAINED | {"data": Data(name="imagefolder", path="b")})),
        point(**(TRAINED | {"recipe": RECIPES["deit"]})),
        point(**(TRAINED | {"recipe": RECIPES["small"].model_copy(update={"epochs": 9})})),
    ]
    assert len({p.point_id for p in (trained, *others)}) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"data": Data(name="fashion_mnist", path="elsewhere")},  # files with a published checksum
        {"data": Data(name="fashion_mnist", workers=3)},
        {"recipe": RECIPES["small"].model_copy(update={"max_hours": 1.0})},
    ],
)
def test_the_id_ignores_what_changes_no_training(changes):
    assert point(**(TRAINED | changes)).point_id == point(**TRAINED).point_id


def test_a_row_says_data_and_recipe_only_where_something_is_trained():
    assert {"data", "recipe"} & point().columns().keys() == set()
    columns = point(**TRAINED).columns()
    assert (columns["data"], columns["recipe"]) == ("fashion_mnist", "small")


@pytest.mark.parametrize(
    ("changes", "key", "sentence"),
    [
        ({"dtype": "bfloat16"}, "dtype", "take amp_bfloat16"),
        ({"compile": True}, "compile", "leave compile out, or accuracy"),
    ],
)
def test_what_cannot_be_trained_like_this_is_refused(changes, key, sentence):
    fits = parse_model("hvt:img_size=28,patch_size=4,in_chans=1,num_classes=10")
    point(config=fits, **TRAINED).check()
    with pytest.raises(ProtocolError, match=sentence) as caught:
        point(config=fits, **(TRAINED | changes)).check()
    assert caught.value.key == key


def test_the_id_tells_families_with_equal_fields_apart():
    assert point(config=parse_model("vit")).point_id != point(config=parse_model("hvt")).point_id


def test_columns_hold_config_and_protocol():
    columns = point(axis="depth").columns()
    assert columns["family"] == "hvt"
    assert columns["pool_stages"] == 1
    assert columns["axis"] == "depth"
    assert columns["min_time_s"] == 2.0
    assert "config" not in columns
    assert "rounds" not in columns


def test_a_point_survives_pickling():
    assert pickle.loads(pickle.dumps(point())) == point()


@pytest.mark.parametrize("changes", [{"device": "gpu"}, {"dtype": "float8"}, {"batch_size": 0}, {"rounds": True}])
def test_a_wrong_protocol_is_refused(changes):
    with pytest.raises(ValidationError):
        point(**changes)


def test_an_invalid_cell_is_a_row_with_its_reason():
    cell = InvalidCell(model="m", axis="img_size", asked={"img_size": 225}, reason="does not divide")
    assert cell.columns() == {
        "img_size": 225,
        "point_id": cell.point_id,
        "model": "m",
        "axis": "img_size",
        "status": "invalid",
        "error": "does not divide",
    }
    assert cell.point_id != InvalidCell(model="m", axis=None, asked={"img_size": 226}, reason="").point_id
