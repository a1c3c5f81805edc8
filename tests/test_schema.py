"""The schemas take every file of sweeps/ and refuse the mistakes that an editor can see."""

import json

import pytest
import yaml
from jsonschema import Draft7Validator

from hvt_bench.errors import RequestError
from hvt_bench.point import SWEEPABLE
from hvt_bench.schema import SCHEMAS, describe

SWEEP = {"name": "s", "models": ["hvt_s_1"]}


@pytest.fixture(scope="module")
def validators():
    found = {kind: json.loads(describe(kind)) for kind in SCHEMAS}
    for schema in found.values():
        Draft7Validator.check_schema(schema)
    return {kind: Draft7Validator(schema) for kind, schema in found.items()}


def test_every_file_of_sweeps_is_taken(validators, repository):
    taken = set()
    for path in (repository / "sweeps").glob("*.yaml"):
        kind = "budgets" if path.name.startswith("budgets") else "sweep"
        assert [*validators[kind].iter_errors(yaml.safe_load(path.read_text()))] == [], path.name
        taken.add(kind)
    assert taken == set(SCHEMAS)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ["hvt:depth=10", {"variant": "hvt_s_1", "depth": 18, "name": "deeper"}]},
        {"models": ["timm:resnet50"], "axes": {"output_stride": [8, 16]}},
        {
            "models": [{"target": "mylab.nets:make", "width": 3, "operators": {"mylib::op": "free"}}],
            "grid": {"width": [1]},
        },
        {"axes": {"batch_size": ["auto", 4], "keep_rate": [None, 0.5], "stage_depths": [[1, 2, 11, 2]]}},
        {"protocol": {"device": "cuda", "attention": "auto", "batch_size": "auto", "timeout_s": 5}},
        {"data": {"name": "digits", "subset": 100}, "recipe": {"name": "small", "epochs": 2}},
        {"recipe": "deit"},
    ],
)
def test_what_a_sweep_file_may_hold_is_taken(validators, changes):
    assert [*validators["sweep"].iter_errors(SWEEP | changes)] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"nmae": "s"},
        {"data": {"name": "digit"}},
        {"data": {"subset": 3}},
        {"recipe": "smal"},
        {"recipe": {"epoch": 3}},
        {"name": "a b"},
        {"models": []},
        {"models": ["hvt_s_9"]},
        {"models": [{"depth": 3}]},
        {"models": [{"family": "hvt", "variant": "hvt_s_1"}]},
        {"models": [{"family": "hvt", "dpeth": 3}]},
        {"models": ["hvt:depth=3"], "axes": {"dpeth": [3]}},
        {"axes": {"depth": 3}},
        {"axes": {"depth": []}},
        {"axes": {"depth": ["deep"]}},
        {"grid": {"batch_size": [0]}},
        {"axes": {"device": ["tpu"]}},
        {"measure": ["latencies"]},
        {"protocol": {"dtype": "float8"}},
        {"protocol": {"rounds": 0}},
        {"protocol": {"round": 3}},
    ],
)
def test_a_mistake_in_a_sweep_file_is_marked(validators, changes):
    assert [*validators["sweep"].iter_errors(SWEEP | changes)] != []


@pytest.mark.parametrize(
    ("budget", "taken"),
    [
        ({"macs": 2402020608, "params": "22.1M ± 1%", "seq_lens": [196, 97]}, True),
        ({"macs": {"max": "2.5G"}, "blocks.*.attn": {"macs": "<= 120M"}}, True),
        ({"model": {"variant": "hvt_s_1", "depth": 3}, "macs": "<= 0.55 x deit_small"}, True),
        ({"estimated_memory_mib": "330 ± 2%", "protocol": {"batch_size": 64, "mode": "train"}}, True),
        ({}, False),
        ({"macs": True}, False),
        ({"macs": "many"}, False),
        ({"mcas": 3}, False),
        ({"macs": {"least": 3}}, False),
        ({"blocks.*": {"seq_lens": [3]}}, False),
        ({"macs": 3, "protocol": {"rounds": 3}}, False),
        ({"macs": 3, "model": "hvt_s_9"}, False),
    ],
)
def test_budgets(validators, budget, taken):
    errors = [*validators["budgets"].iter_errors({"budgets": {"mine": budget}})]
    assert (errors == []) is taken


def test_completion_has_names_values_and_words_of_the_columns(validators):
    schema = validators["sweep"].schema
    names, _, mapping, _ = schema["properties"]["models"]["items"]["anyOf"]
    assert {"hvt_s_1", "mvit"} <= set(names["enum"])
    assert "hvt_s_1" in mapping["properties"]["variant"]["enum"]
    assert {"depth", "kv_stride", *SWEEPABLE} <= set(schema["properties"]["axes"]["properties"])
    assert (
        schema["properties"]["protocol"]["properties"]["warmup_s"]["description"] == "warm-up before timing, at least"
    )


def test_another_kind_is_refused():
    with pytest.raises(RequestError, match="unknown kind of file 'sweeps'; did you mean 'sweep'"):
        describe("sweeps")
