"""FAMILIES and VARIANTS: every network that has a name here, and how to get one from text or a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from torch import nn

from hvt_bench.errors import ConfigError, FieldError, unknown
from hvt_bench.models.config import Attention, ModelConfig
from hvt_bench.models.dynamicvit import DYNAMICVIT_VARIANTS, DynamicViTConfig
from hvt_bench.models.external import TARGET, ExternalConfig
from hvt_bench.models.external import yaml_text as yaml_text
from hvt_bench.models.hvt import HVT_VARIANTS, HVTConfig
from hvt_bench.models.mvit import MVIT_VARIANTS, MViTConfig
from hvt_bench.models.patchdiv import PATCHDIV_VARIANTS, PatchDivConfig
from hvt_bench.models.vit import DEIT_VARIANTS, SCALING_VARIANTS, VIT_VARIANTS, ViTConfig
from hvt_bench.models.vitgan import DISCRIMINATOR_VARIANTS, GENERATOR_VARIANTS, DiscriminatorConfig, GeneratorConfig
from hvt_bench.records import Column, columns_of, explain
from hvt_bench.yaml_file import surprising

FAMILIES: dict[str, type[ModelConfig]] = {
    "vit": ViTConfig,
    "hvt": HVTConfig,
    "mvit": MViTConfig,
    "dynamicvit": DynamicViTConfig,
    "patchdiv": PatchDivConfig,
    "vitgan_generator": GeneratorConfig,
    "vitgan_discriminator": DiscriminatorConfig,
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("vit", fields) for name, fields in VIT_VARIANTS.items()},
    **{name: ("vit", fields) for name, fields in DEIT_VARIANTS.items()},
    **{name: ("vit", fields) for name, fields in SCALING_VARIANTS.items()},
    **{name: ("hvt", fields) for name, fields in HVT_VARIANTS.items()},
    **{name: ("mvit", fields) for name, fields in MVIT_VARIANTS.items()},
    **{name: ("dynamicvit", fields) for name, fields in DYNAMICVIT_VARIANTS.items()},
    **{name: ("patchdiv", fields) for name, fields in PATCHDIV_VARIANTS.items()},
    **{name: ("vitgan_generator", fields) for name, fields in GENERATOR_VARIANTS.items()},
    **{name: ("vitgan_discriminator", fields) for name, fields in DISCRIMINATOR_VARIANTS.items()},
}

CONFIG_COLUMNS: dict[str, Column] = {
    name: column for family in FAMILIES.values() for name, column in columns_of(family).items()
}

_HEADS = ("family", "variant", "target")  # the keys of a mapping that say what is built


def create_model(name: str, *, attention: Attention | None = None, **overrides: Any) -> nn.Module:
    """Build a network from a name as `parse_model` reads it, some fields changed, in training mode.

    Weights are random, or those of a file (`checkpoint="weights.pth"`). Attention is fused where the network has that,
    unless `attention` says otherwise. Raises ConfigError where no such network exists.
    """
    config = override(parse_model(name), **overrides)
    if attention is None:
        return config.build_loaded(config.usual_attention(training=False))
    if attention not in get_args(Attention):
        raise ConfigError(unknown("attention", attention, get_args(Attention)))
    config.check_attention(attention, training=False)
    return config.build_loaded(attention)


def parse_model(model: str | Mapping[str, Any]) -> ModelConfig:
    """Turn what a person writes into a config.

    Text is a variant, a family, `timm:NAME` or `package.module:factory`, with changes behind a colon: `hvt_s_1`,
    `hvt:depth=10,embed_dim=192`, `timm:vit_tiny_patch16_224:depth=6`. A mapping names its `family`, `variant` or
    `target` and gives fields; its `name`, a label for tables, is not part of the network. Nothing is imported yet.
    Raises ConfigError where no such network exists.
    """
    if isinstance(model, str):
        name, text = _head_and_changes(model)
        return make_config(name, parse_fields(_assignments(text)) if text else {})
    if not isinstance(model, Mapping):
        raise ConfigError(f"a model is a name or a mapping, not {model!r}")
    fields = {key: value for key, value in model.items() if key != "name"}
    heads = [key for key in _HEADS if key in fields]
    if len(heads) != 1:
        raise ConfigError("a model written as a mapping needs one of 'family', 'variant' and 'target', and only one")
    head = fields.pop(heads[0])
    if heads == ["target"]:
        if not isinstance(head, str) or not TARGET.fullmatch(head):
            raise ConfigError(f"target: {head!r} does not fit: should be timm:NAME or package.module:factory")
        return _external(head, fields)
    table = FAMILIES if heads == ["family"] else VARIANTS
    if not isinstance(head, str) or head not in table:
        raise ConfigError(unknown(heads[0], head, table))
    return make_config(head, fields)


def model_name(model: str | Mapping[str, Any]) -> str:
    """Return what the column `model` says: the text as written, a mapping's `name`, else `family:key=value,...`."""
    if isinstance(model, str):
        return model
    if "name" in model:
        return str(model["name"])
    fields = {key: value for key, value in model.items() if key not in _HEADS}
    text = ",".join(f"{key}={yaml_text(value)}" for key, value in fields.items())
    head = next(model[key] for key in _HEADS if key in model)
    return f"{head}:{text}" if text else str(head)


def make_config(name: str, changes: Mapping[str, Any]) -> ModelConfig:
    """Return the config of a variant, a family or a target `name` with `changes` to its fields.

    Raises ConfigError where no such network exists.
    """
    if name in VARIANTS:
        family, fields = VARIANTS[name]
    elif name in FAMILIES:
        family, fields = name, {}
    elif TARGET.fullmatch(name):
        return _external(name, changes)
    else:
        raise ConfigError(unknown("model", name, [*VARIANTS, *FAMILIES]))
    return _validate(FAMILIES[family], _defaults(FAMILIES[family]) | fields, changes)


def override(config: ModelConfig, /, **changes: Any) -> ModelConfig:
    """Return `config` with some fields changed. Raises ConfigError where no such network exists."""
    if not changes:
        return config
    base = {key: getattr(config, key) for key in type(config).model_fields}
    return _validate(type(config), base, changes)


def parse_fields(assignments: list[str]) -> dict[str, Any]:
    """Read `key=value` texts; a value is written as in YAML: `18`, `true`, `avg`. Raises ConfigError."""
    fields = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not re.fullmatch(r"\w+", key.strip()):
            raise ConfigError(f"'{assignment}' is not of the form key=value, such as depth=18")
        if key.strip() in fields:
            raise ConfigError(f"'{key.strip()}' is given twice")
        try:
            fields[key.strip()] = yaml.safe_load(value)
        except Exception:  # PyYAML answers some values with ValueError, KeyError and others
            raise ConfigError(f"'{assignment}': the value cannot be read") from None
        if surprise := surprising(value.strip(), fields[key.strip()]):
            raise ConfigError(f"'{assignment}': {surprise}")
    return fields


def _head_and_changes(text: str) -> tuple[str, str]:
    """Cut `name:key=value,...` at its colon, the second one where the name itself is a target."""
    target = TARGET.match(text)
    if target and target[0].partition(":")[0] not in {*VARIANTS, *FAMILIES} and text[target.end() :][:1] in ("", ":"):
        return target[0], text[target.end() + 1 :]
    name, _, changes = text.partition(":")
    return name, changes


def _assignments(text: str) -> list[str]:
    """Cut at the commas, other than those in brackets."""
    found: list[str] = []
    for piece in text.split(","):
        if found and sum(map(found[-1].count, "[{")) > sum(map(found[-1].count, "]}")):
            found[-1] += f",{piece}"
        else:
            found.append(piece)
    return found


def _external(target: str, changes: Mapping[str, Any]) -> ModelConfig:
    return _validate(ExternalConfig, _defaults(ExternalConfig) | {"target": target}, changes)


def _defaults(config_class: type[ModelConfig]) -> dict[str, Any]:
    return {key: field.default for key, field in config_class.model_fields.items()}


def _validate(config_class: type[ModelConfig], base: Mapping[str, Any], changes: Mapping[str, Any]) -> ModelConfig:
    for key, other in config_class.instead.items():
        if key in changes:
            raise FieldError(f"family {config_class.family} has no {key}: give {other}")
    try:
        return config_class.model_validate(config_class.merge(base, changes))
    except ValidationError as error:
        found = explain(error, config_class.model_fields)
        text = "; ".join(sentence for _, sentence in found)
        if any(place for place, _ in found):
            raise FieldError(f"family {config_class.family}: {text}") from None
        raise ConfigError(text) from None
