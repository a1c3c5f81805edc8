"""JSON schemas of the files people write, for editors: completion, and red lines under mistakes.

They are made from the records that read the files, so that a key or a value which these take is one that an editor
offers. What only the whole file can tell, an image that the patch does not divide say, is left to `--dry-run`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hvt_bench.cards import READS
from hvt_bench.cluster import SlurmSection
from hvt_bench.errors import RequestError, unknown
from hvt_bench.gate.changes import COSTS
from hvt_bench.gate.load import QUANTITIES
from hvt_bench.models import FAMILIES, VARIANTS
from hvt_bench.point import SWEEPABLE, Protocol
from hvt_bench.records import Column, Record, columns_of
from hvt_bench.sweep_file import SweepFile
from hvt_bench.training.data import Data
from hvt_bench.training.recipes import RECIPES, TrainingRecipe

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"  # the latest that yaml-language-server and PyCharm read in full
_OUTSIDE_KEYS: dict[str, Schema] = {  # of a mapping with `target`, beside the keyword arguments
    "input_shapes": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}},
        "description": "shape of each input, without the batch",
    },
    "operators": {"type": "object", "description": "what an operator of its own costs: a rule, or `free`"},
}
_TARGET = r"^(?!(?:%s)(?::|$))[\w.-]+:"


def describe(kind: str) -> str:
    """Return the schema of `sweep` or `budgets` files as JSON. Raises RequestError for another kind."""
    if kind not in SCHEMAS:
        raise RequestError(unknown("kind of file", kind, SCHEMAS))
    return json.dumps({"$schema": _DRAFT, **SCHEMAS[kind]()}, indent=2)


def sweep_schema() -> Schema:
    """Return the schema of a sweep file."""
    fields = _fields()
    axes = fields | {key: _protocol()[key] for key in SWEEPABLE}
    values = {key: {"type": "array", "minItems": 1, "items": _unnamed(schema)} for key, schema in axes.items()}
    for key, schema in values.items():
        schema["description"] = axes[key].get("description", "")
    whole = SweepFile.model_json_schema()
    whole["title"] = "sweep file of hvt-bench"
    whole["properties"] |= {
        "models": {"type": "array", "minItems": 1, "items": _model()},
        "axes": {"type": "object", "properties": values, "description": "one at a time around each model"},
        "grid": {"type": "object", "properties": values, "description": "a full product"},
        "protocol": _closed(_protocol()),
        "data": _closed(_properties(Data)) | {"required": ["name"]},
        "recipe": _recipe(),
        "slurm": SlurmSection.model_json_schema()
        | {"title": "", "description": "what a task asks a Slurm cluster for"},
    }
    known = {"propertyNames": {"enum": [*axes]}}  # only an outside network can take keys that nobody here knows
    outside = {"anyOf": [{"type": "string", "pattern": _outside()}, {"type": "object", "required": ["target"]}]}
    return whole | {
        "if": {"properties": {"models": {"contains": outside}}},
        "else": {"properties": {"axes": known, "grid": known}},
    }


def budgets_schema() -> Schema:
    """Return the schema of a budgets file."""
    amount: Schema = {
        "anyOf": [
            {"type": "number"},
            {"type": "string", "pattern": r"^\s*(<=\s*)?\d"},
            {"type": "object", "required": ["max"], "additionalProperties": False, "properties": {"max": {}}},
        ]
    }
    quantities = {name: amount for name in QUANTITIES if name != "seq_lens"}
    module = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": dict.fromkeys(COSTS, amount),
    }
    reads = {key: schema for key, schema in _protocol().items() if key in READS}
    entry: Schema = {
        "type": "object",
        "minProperties": 1,
        "properties": {
            **quantities,
            "seq_lens": {"type": "array", "items": {"type": "integer"}},
            "model": _model(),
            "protocol": _closed(reads),
        },
        "additionalProperties": module,
    }
    models = {
        "type": "object",
        "minProperties": 1,
        "properties": {name: {"$ref": "#/definitions/entry"} for name in VARIANTS},
        "additionalProperties": {"$ref": "#/definitions/entry"},
    }
    return {
        "title": "budgets file of hvt-bench",
        "type": "object",
        "required": ["budgets"],
        "additionalProperties": False,
        "properties": {"budgets": models},
        "definitions": {"entry": entry},
    }


SCHEMAS: dict[str, Callable[[], Schema]] = {"sweep": sweep_schema, "budgets": budgets_schema}


def _outside() -> str:
    """Return a pattern of `timm:NAME` and `package.module:factory`, which `hvt:depth=10` is not."""
    return _TARGET % "|".join([*VARIANTS, *FAMILIES])


def _model() -> Schema:
    """Return the schema of a model: a name, a name with changes behind a colon, or a mapping."""
    heads: dict[str, Schema] = {
        "family": {"enum": [*FAMILIES], "description": "a family, with its usual fields"},
        "variant": {"enum": [*VARIANTS], "description": "a row of a paper"},
        "target": {"type": "string", "pattern": ":", "description": "timm:NAME or package.module:factory"},
    }
    fields = {"name": {"type": "string", "description": "what tables and figures call it"}, **_fields()}
    ours = {
        "type": "object",
        "properties": {**heads, **fields},
        "oneOf": [{"required": ["family"]}, {"required": ["variant"]}],
        "additionalProperties": False,
    }
    outside = {
        "type": "object",
        "properties": {"target": heads["target"], "name": fields["name"], **_OUTSIDE_KEYS},
        "required": ["target"],
        "not": {"anyOf": [{"required": ["family"]}, {"required": ["variant"]}]},
    }
    return {"anyOf": [{"enum": [*VARIANTS, *FAMILIES]}, {"type": "string", "pattern": ":"}, ours, outside]}


def _recipe() -> Schema:
    """Return the schema of a recipe: a name, or a mapping with changes."""
    names: Schema = {"enum": [*RECIPES]}
    return {"anyOf": [names, _closed(_properties(TrainingRecipe) | {"name": names})]}


def _closed(properties: Schema) -> Schema:
    """Return the schema of a mapping that takes these keys and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _fields() -> dict[str, Schema]:
    """Return the fields of all families; one of several kinds takes the values of each."""
    found: dict[str, list[Schema]] = {}
    docs: dict[str, Column] = {}
    for family in FAMILIES.values():
        docs |= columns_of(family)
        for key, schema in _properties(family).items():
            if schema not in found.setdefault(key, []):
                found[key].append(schema)
    return {key: _documented(key, _either(schemas), docs) for key, schemas in found.items()}


def _protocol() -> dict[str, Schema]:
    """Return the keys of the protocol as a person writes them: the machine's and the network's own choice are words."""
    keys = _properties(Protocol)
    keys["device"] = {"type": "string", "pattern": r"^(auto|cpu|mps|cuda(:\d+)?)$"}
    for key in ("batch_size", "attention"):
        keys[key] = _either([{"enum": ["auto"]}, keys[key]])
    return {key: _documented(key, schema, columns_of(Protocol)) for key, schema in keys.items()}


def _properties(record: type[Record]) -> dict[str, Schema]:
    """Return the fields of a record without their defaults, which a variant or the machine may replace."""
    dropped = ("default", "title")
    properties: Mapping[str, Schema] = record.model_json_schema()["properties"]
    return {
        key: {name: part for name, part in schema.items() if name not in dropped} for key, schema in properties.items()
    }


def _either(schemas: Iterable[Schema]) -> Schema:
    alternatives = [*schemas]
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _documented(key: str, schema: Schema, columns: Mapping[str, Column]) -> Schema:
    return schema | {"description": columns[key].doc} if key in columns else schema


def _unnamed(schema: Schema) -> Schema:
    return {name: part for name, part in schema.items() if name != "description"}
