"""The keys of a sweep file, section by section: what each may hold, and a mistake in it as a sentence with its line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from hvt_bench.cluster import SlurmSection
from hvt_bench.errors import ConfigError, FileError, RequestError, unknown
from hvt_bench.models import VARIANTS, make_config, model_name, parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Protocol
from hvt_bench.records import Record, explain
from hvt_bench.settle import settle
from hvt_bench.training.data import DEFAULT as DEFAULT_DATA
from hvt_bench.training.data import Data, parse_data
from hvt_bench.training.recipes import DEFAULT as DEFAULT_RECIPE
from hvt_bench.training.recipes import TrainingRecipe, parse_recipe
from hvt_bench.yaml_file import Place, YamlFile

Parsed = TypeVar("Parsed", bound=Record)
Metric = Literal["complexity", "memory", "latency", "parts", "peak", "accuracy"]


class SweepFile(Record):
    """The keys of a sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    models: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)]
    axes: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    measure: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("complexity", "memory", "latency")
    protocol: dict[str, Any] = Field(default_factory=dict)
    slurm: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] | None = None
    recipe: str | dict[str, Any] | None = None


def validate(file: YamlFile) -> SweepFile:
    """Return the keys of a file; raises FileError, as all do here, at the line of the first mistake."""
    try:
        return SweepFile.model_validate_json(json.dumps(file.data))
    except ValidationError as error:
        raise _first_error(file, error, SweepFile.model_fields) from None


def check_sections(file: YamlFile, asked: SweepFile) -> None:
    """Refuse sections that contradict one another, and keys that no protocol has."""
    both = asked.axes.keys() & asked.grid.keys()
    if both:
        key = sorted(both)[0]
        raise file.error(("grid", key), f"'{key}' stands under axes and under grid; keep one of them")
    batch_size = "swept" if "batch_size" in asked.grid else asked.protocol.get("batch_size", "auto")
    if "device" in asked.axes | asked.grid and batch_size == "auto":
        section = "axes" if "device" in asked.axes else "grid"
        sentence = "batch_size is auto, which differs from device to device; give one under protocol"
        raise file.error((section, "device"), sentence)
    if asked.protocol.get("max_batch") is True and "batch_size" in asked.protocol | asked.axes | asked.grid:
        raise file.error(("protocol", "max_batch"), "max_batch finds the batch size; leave batch_size out")
    for key in asked.protocol:
        if key not in Protocol.model_fields:
            raise file.error(("protocol", key), unknown("key", key, Protocol.model_fields))


def parse_models(file: YamlFile, asked: SweepFile) -> dict[str, ModelConfig]:
    """Return the networks that are swept, each by its name."""
    models: dict[str, ModelConfig] = {}
    for index, model in enumerate(asked.models):
        try:
            config = parse_model(model)
        except ConfigError as error:
            raise file.error(("models", index), str(error)) from None
        name = model_name(model)
        if name in VARIANTS and config != make_config(name, {}):
            raise file.error(("models", index), f"the name '{name}' is that of another network; take a name of its own")
        if name in models:
            raise file.error(("models", index), f"the model '{name}' stands here twice; give one of them a name")
        models[name] = config
    return models


def parse_training(file: YamlFile, asked: SweepFile) -> dict[str, Any]:
    """Return the fields of a point that say what it is trained on, and how; none where nothing is trained."""
    if "accuracy" not in asked.measure:
        for key in ("data", "recipe"):
            if getattr(asked, key) is not None:
                raise file.error((key,), f"{key} is for accuracy, which is not measured; add accuracy to measure")
        return {}
    data, recipe = asked.data or {"name": DEFAULT_DATA}, asked.recipe or DEFAULT_RECIPE
    return {
        "data": _parsed(file, "data", Data, partial(parse_data, data)),
        "recipe": _parsed(file, "recipe", TrainingRecipe, partial(parse_recipe, recipe)),
    }


def slurm_section(file: YamlFile, asked: SweepFile, options: Mapping[str, Any]) -> SlurmSection:
    """Return the section `slurm`, with `options` over its keys; raises RequestError where a mistake is in those."""
    try:
        section = SlurmSection.model_validate_json(json.dumps(asked.slurm))
    except ValidationError as error:
        raise _first_error(file, error, SlurmSection.model_fields, ("slurm",)) from None
    try:
        return SlurmSection.model_validate_json(json.dumps(section.model_dump(exclude_unset=True) | dict(options)))
    except ValidationError as error:
        raise RequestError(f"--slurm: {explain(error, SlurmSection.model_fields)[0][1]}") from None


def settle_protocol(
    file: YamlFile, place: Place, protocol: Mapping[str, Any], nodes: SlurmSection | None
) -> dict[str, Any]:
    """Settle the protocol of a sweep file; a mistake is at `place`."""
    try:
        return settle(protocol, nodes)
    except RequestError as error:
        raise file.error((*place, "device"), str(error)) from None
    except ValidationError as error:
        raise _first_error(file, error, Protocol.model_fields, place) from None


def _parsed(file: YamlFile, key: str, kind: type[Parsed], parse: Callable[[], Parsed]) -> Parsed:
    """Return what a section of the file gives; a mistake is at its line, or, where it is left out, at `measure`."""
    try:
        return parse()
    except ValidationError as error:
        raise _first_error(file, error, kind.model_fields, (key,)) from None
    except RequestError as error:
        raise file.error((key,) if key in file.data else ("measure",), str(error)) from None


def _first_error(file: YamlFile, error: ValidationError, known: Mapping[str, object], above: Place = ()) -> FileError:
    place, sentence = explain(error, known)[0]
    if place and place[0] == "models" and place[-1] in ("str", "dict[str,any]"):
        place, sentence = (
            place[:2],
            "a model is a name, such as hvt_s_1, or a mapping with a family, a variant or a target",
        )
    return file.error(above + place, sentence)
