"""A budgets file, read: for each model what is built, and what it may cost. Nothing is imported or built yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvt_bench.cards import READS, estimated_point
from hvt_bench.errors import ConfigError, RequestError, unknown
from hvt_bench.gate.changes import COSTS
from hvt_bench.gate.forms import Budget, Form, Relation, parse_budget, parse_lengths
from hvt_bench.gate.patterns import check_pattern
from hvt_bench.models import parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Point
from hvt_bench.yaml_file import Place, YamlFile, load_yaml

QUANTITIES = ("macs", "params", "activations", "train_macs", "fvcore_flops", "seq_lens", "estimated_memory_mib")
"""Of a whole model; those of a module are COSTS."""

_KEYS = ("model", "protocol")
_RELATED = tuple(name for name in QUANTITIES if name not in ("seq_lens", "estimated_memory_mib"))


@dataclass(frozen=True)
class Item:
    """One budget of a model."""

    quantity: str
    budget: Form
    pattern: str = ""
    """Of the modules that it is for; empty for the whole model."""
    place: Place = ()
    line: int | None = None


@dataclass(frozen=True)
class Entry:
    """One model, and what it may cost."""

    name: str
    config: ModelConfig
    items: tuple[Item, ...]
    spec: str | Mapping[str, Any]
    """The model as written: what `parse_model` reads."""
    point: Point | None = None
    """The pass whose memory is estimated, if that has a budget."""
    line: int | None = None


@dataclass(frozen=True)
class Budgets:
    """A budgets file."""

    file: YamlFile
    entries: tuple[Entry, ...]


def load_budgets(path: str | Path) -> Budgets:
    """Read a budgets file. Raises FileError, naming file, line, key and value, for what cannot be one."""
    return read_budgets(load_yaml(Path(path), empty=True))


def read_budgets(file: YamlFile) -> Budgets:
    """Take a YAML file for a budgets file. Raises FileError where it cannot be one."""
    for key in file.data:
        if key != "budgets":
            raise file.error((key,), unknown("key", key, ["budgets"]))
    models = file.data.get("budgets")
    if not isinstance(models, dict) or not models:
        first = f"; hvt-bench check {file.path} --init MODEL adds the first" if not models else ""
        raise file.error(("budgets",), _no_mapping("budgets", models) + first)
    return Budgets(file, tuple(_entry(file, name, body) for name, body in models.items()))


def _entry(file: YamlFile, name: str, body: object) -> Entry:
    place: Place = ("budgets", name)
    if not isinstance(body, dict) or not body:
        raise file.error(place, _no_mapping(name, body))
    own = {key: value for key, value in body.items() if not _is_of_modules(value)}
    spec = own.get("model", name)
    try:
        config = parse_model(spec)
    except ConfigError as error:
        raise file.error((*place, "model") if "model" in own else place, str(error)) from None
    items = tuple(_items(file, place, body))
    if not items:
        raise file.error(place, f"{name} has no budget; these can have one: {', '.join(QUANTITIES)}")
    return Entry(name, config, items, spec, _point(file, place, config, own, items), file.lines[place])


def _items(file: YamlFile, place: Place, body: Mapping[str, Any]) -> Iterator[Item]:
    for key, value in body.items():
        here = (*place, key)
        if key in QUANTITIES and not _is_of_modules(value):
            yield _item(file, here, key, value)
        elif key in _KEYS and not _is_of_modules(value):
            continue
        elif isinstance(value, dict) and value:
            try:
                check_pattern(key)
            except ValueError as error:
                raise file.error(here, str(error)) from None
            for quantity, budget in value.items():
                if quantity not in COSTS:
                    what = f"'{quantity}' cannot have a budget in a module; these can: {', '.join(COSTS)}"
                    raise file.error((*here, quantity), what)
                yield _item(file, (*here, quantity), quantity, budget, key)
        else:
            names = ", ".join(QUANTITIES)
            modules = "; budgets of a module stand below its path, such as blocks.*.attn: {macs: 120M}"
            raise file.error(here, f"'{key}' cannot have a budget; these can: {names}{modules}")


def _item(file: YamlFile, place: Place, quantity: str, value: object, pattern: str = "") -> Item:
    memory = quantity == "estimated_memory_mib"
    try:
        form = parse_lengths(value) if quantity == "seq_lens" else parse_budget(value, whole=not memory)
        if isinstance(form, Relation) and (pattern or quantity not in _RELATED):
            raise ValueError(f"a relation is of {', '.join(_RELATED)} of whole models")
        if isinstance(form, Budget) and form.exact and memory:
            raise ValueError("an estimate needs a tolerance or a ceiling, such as 330 ± 2% or {max: 350}")
    except ValueError as error:
        raise file.error(place, f"{quantity}: {error}") from None
    return Item(quantity, form, pattern, place, file.lines[place])


def _point(
    file: YamlFile, place: Place, config: ModelConfig, body: Mapping[str, Any], items: tuple[Item, ...]
) -> Point | None:
    """Return the pass whose memory has a budget."""
    protocol, here = body.get("protocol", {}), (*place, "protocol")
    if not any(item.quantity == "estimated_memory_mib" for item in items):
        if "protocol" in body:
            raise file.error(here, "protocol says which pass estimated_memory_mib is of, which has no budget here")
        return None
    if not isinstance(protocol, dict):
        raise file.error(here, _no_mapping("protocol", protocol))
    for key in protocol:
        if key not in READS:
            raise file.error((*here, key), f"protocol: {unknown('key', key, READS)}")
    try:
        return estimated_point(str(place[-1]), config, protocol)
    except RequestError as error:
        raise file.error(here, f"protocol: {error}") from None


def _is_of_modules(value: object) -> bool:
    """Say whether a value holds budgets of modules, whatever the key: a module may be called `model`."""
    return isinstance(value, dict) and bool(value) and value.keys() <= set(COSTS)


def _no_mapping(key: str, value: object) -> str:
    demand = "should not be empty" if value in ({}, None) else "should be a mapping of 'key: value' lines"
    return f"{key}: {value!r} does not fit: {demand}"
