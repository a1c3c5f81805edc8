from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from hvt_bench.errors import ConfigError
from hvt_bench.metrics import METRICS
from hvt_bench.models import FAMILIES, parse_model
from hvt_bench.point import Point
from hvt_bench.records import Column, Record, columns_of, explain


class Thing(Record):
    size: Annotated[int, Field(ge=1), Column("how big", "px", "size of the thing")] = 1
    share: Annotated[float | None, Column("how much of it")] = None
    shape: Annotated[Literal["round", "square"], Column("what it looks like")] = "round"
    lens: Annotated[tuple[int, ...] | None, Column("lengths")] = None
    names: Annotated[tuple[Annotated[str, Field(min_length=2)], ...], Field(max_length=2), Column("names")] = ()
    flag: Annotated[bool, Column("yes or no")] = False
    hidden: int = 3

    @model_validator(mode="after")
    def _check(self):
        if self.size == 13:
            raise ValueError("13 brings bad luck; take 12")
        return self


class BigThing(Thing):
    weight: Annotated[float, Column("how heavy", "kg")] = 0.0


def sentences(**fields):
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(fields)
    return explain(caught.value, Thing.model_fields)


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Thing().size = 2


def test_equal_records_are_equal_keys():
    assert {Thing(size=2): "a"}[Thing(size=2)] == "a"
    assert Thing(size=2) != Thing(size=3)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"size": "two"}, "size: 'two' does not fit: should be a whole number"),
        ({"size": "2"}, "size: '2' does not fit: should be a whole number; YAML reads 2 as text, so write 2"),
        (
            {"size": "2.4e9"},
            "size: '2.4e9' does not fit: should be a whole number; YAML reads 2.4e9 as text, so write 2400000000",
        ),
        ({"share": "1e-3"}, "share: '1e-3' does not fit: should be a number; YAML reads 1e-3 as text, so write 0.001"),
        ({"lens": 3}, "lens: 3 does not fit: should be a list, such as [a, b]"),
        ({"size": 2.0}, "size: 2.0 does not fit: should be a whole number"),
        ({"size": True}, "size: True does not fit: should be a whole number"),
        ({"size": 0}, "size: 0 does not fit: should be greater than or equal to 1"),
        ({"size": None}, "size: None does not fit: should be a whole number"),
        ({"flag": 1}, "flag: 1 does not fit: should be true or false"),
        ({"flag": "true"}, "flag: 'true' does not fit: should be true or false"),
        ({"shape": "flat"}, "shape: 'flat' does not fit: should be 'round' or 'square'"),
        ({"siez": 2}, "unknown key 'siez'; did you mean 'size'?"),
        ({"size": 13}, "13 brings bad luck; take 12"),
        ({"names": ("ab", 1)}, "names: 1 does not fit: should be text; put it in quotes if it is meant"),
        ({"names": ("ab",) * 3}, "names: ('ab', 'ab', 'ab') does not fit: should have 2 entries at most"),
    ],
)
def test_a_wrong_field_becomes_one_sentence(fields, sentence):
    assert [text for _, text in sentences(**fields)] == [sentence]


def test_a_whole_number_is_a_number():
    assert Thing(share=4).share == 4.0
    assert isinstance(Thing(share=4).share, float)


def test_the_place_of_a_wrong_field_is_its_key_and_that_of_a_combination_is_empty():
    assert [place for place, _ in sentences(size=0, shape="flat")] == [("size",), ("shape",)]
    assert [place for place, _ in sentences(size=13)] == [()]


def test_a_missing_field_is_named():
    class Needs(Record):
        size: int

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert explain(caught.value, Needs.model_fields) == [(("size",), "'size' is missing")]


def test_a_key_that_is_no_text_is_one_sentence():
    ((_, text),) = explain(_refusal({1: 2}), Thing.model_fields)
    assert "should be strings" in text


def _refusal(fields):
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(fields)
    return caught.value


def test_columns_carry_their_kind_and_stand_in_order_of_declaration():
    columns = columns_of(Thing)
    assert list(columns) == ["size", "share", "shape", "lens", "names", "flag"]
    assert {name: (column.kind, column.many) for name, column in columns.items()} == {
        "size": (int, False),
        "share": (float, False),
        "shape": (str, False),
        "lens": (int, True),
        "names": (str, True),
        "flag": (bool, False),
    }


def test_a_column_has_a_label_even_where_none_is_written():
    assert columns_of(Thing)["size"] == Column("how big", "px", "size of the thing", int)
    assert columns_of(METRICS["memory"])["peak_memory_mib"].label == "peak memory"
    assert columns_of(METRICS["latency"])["latency_samples"].label == "latency samples"


def test_a_heir_has_the_columns_of_its_parent_first():
    assert list(columns_of(BigThing)) == [*columns_of(Thing), "weight"]


@pytest.mark.parametrize("record", [Point, *FAMILIES.values(), *METRICS.values()], ids=lambda record: record.__name__)
def test_every_column_says_what_it_is(record):
    for name, column in columns_of(record).items():
        assert column.doc, name
        assert column.label, name
        assert column.kind in (int, float, str, bool), name


def test_a_column_means_the_same_in_every_family():
    seen = {}
    for family in FAMILIES.values():
        for name, column in columns_of(family).items():
            assert seen.setdefault(name, column) == column


def test_every_field_of_a_family_is_a_column():
    for family in FAMILIES.values():
        assert list(columns_of(family)) == list(family.model_fields)


def test_a_list_without_brackets_is_told_how_lists_are_written():
    with pytest.raises(ConfigError) as caught:
        parse_model({"family": "mvit", "stage_depths": "1,2"})
    assert str(caught.value) == (
        "family mvit: stage_depths: '1,2' does not fit: should be a list, such as [a, b]; write [1,2], on a command "
        "line in quotes"
    )
