"""designs: what is varied of a network, and the values that it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from hvt_bench.errors import ConfigError, FieldError, RequestError, unknown
from hvt_bench.models import FAMILIES, make_config, override, parse_fields, yaml_text
from hvt_bench.models.config import HEAD_WIDTH, ModelConfig

MOST = 20_000_000  # combinations of one search: some seconds
MOST_BATCHES = 200_000  # sets of them, product.Batch: some 20 s

_SPAN = re.compile(r"(?P<first>[\d.]+)\.\.(?P<last>[\d.]+?)(:(?P<step>[\d.]+))?")
_GROWTH = 4  # an embedding, a depth: up to so many times that of the target; patches: down to such a part
_IMAGE_GROWTH = 2
_STAGES = 6
_OF_STAGES = ("patch_size", "embed_dim", "num_heads")  # in a family of stages, of the first


def _widths(base: Mapping[str, Any]) -> list[int]:
    """Widths from that of the base, by one head."""
    width, heads = base["embed_dim"], base.get("num_heads")
    return list(range(width, _GROWTH * width + 1, width // heads if heads else HEAD_WIDTH))


def _sizes(base: Mapping[str, Any], patches: Sequence[int]) -> list[int]:
    """Sizes of the image from that of the base, that one of the patches divides."""
    first = base["img_size"]
    return [size for size in range(first, _IMAGE_GROWTH * first + 1) if any(size % side == 0 for side in patches)]


def _patches(base: Mapping[str, Any], sizes: Sequence[int]) -> list[int]:
    """Patches from that of the base down, that divide one of the images."""
    largest = base["patch_size"]
    sides = range(largest, -(-largest // _GROWTH) - 1, -1)
    return [side for side in sides if any(size % side == 0 for size in sizes)]


USUAL: dict[str, Callable[[Mapping[str, Any]], Sequence[int]]] = {
    "embed_dim": _widths,
    "depth": lambda base: range(base["depth"], _GROWTH * base["depth"] + 1),
    "img_size": lambda base: _sizes(base, [base["patch_size"]]),
    "patch_size": lambda base: _patches(base, [base["img_size"]]),
    "pool_stages": lambda _: range(_STAGES + 1),
}
"""Values of a dimension where none are given: from that of the base on, what makes a network larger."""


def _usual(name: str, base: Mapping[str, Any], names: Sequence[str], given: Mapping[str, Sequence[Any]]) -> list[int]:
    """Return the values of USUAL; an image and its patch that are both varied make pairs, whichever fit."""
    if name == "patch_size" and "img_size" in names:
        return _patches(base, given.get("img_size") or _sizes(base, [1]))
    if name == "img_size" and "patch_size" in names:
        return _sizes(base, given.get("patch_size") or _usual("patch_size", base, names, given))
    return list(USUAL[name](base))


def base_for(target: ModelConfig, family: str) -> ModelConfig:
    """Return the network of `family` that has the sizes of `target`: its numbers, where the family has those fields.

    Another field is the target's where both families have the same default, else the family's own choice: the head of
    an HVT reads the mean of the tokens, whatever that of a DeiT reads. Widths, heads and patches of stages, as MViT has
    them, are not those of equal blocks, so they are the family's own too. Raises RequestError where there is no such
    family or no such network.
    """
    if family not in FAMILIES:
        raise RequestError(f"--family: {unknown('family', family, FAMILIES)}")
    own = FAMILIES[family].model_fields
    known = type(target).model_fields
    staged = family != target.family and "stage_depths" in (own.keys() ^ known.keys())
    shared = {
        name: value
        for name in known.keys() - {"checkpoint"} - set(_OF_STAGES if staged else ())  # no other has these weights
        for value in [getattr(target, name)]
        if name in own and (type(value) in (int, float) or family == target.family or _agree(own[name], known[name]))
    }
    return make_config(family, shared)


def usual_dimensions(base: ModelConfig) -> list[str]:
    """Return what is varied of a family where nothing else is asked for: what it has of USUAL."""
    return [name for name in USUAL if name in base.fields()]


def parse_values(base: ModelConfig, vary: Sequence[str], given: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each dimension in `vary`: those `given` as `depth=12..24:4` or `depth=12,18`, else USUAL's.

    Raises RequestError where a dimension is no field of the family, has no values, or has one that no network can take.
    """
    fields = base.fields()
    spelt = dict(_split(text) for text in given)
    for name in (*vary, *spelt):
        if name not in fields:
            raise RequestError(f"family {base.family}: {unknown('dimension', name, fields)}")
    names = tuple(dict.fromkeys((*vary, *spelt)))
    given_values = {name: _values(name, text) for name, text in spelt.items()}
    values: dict[str, tuple[Any, ...]] = {}
    for name in names:
        if name not in spelt and name not in USUAL:
            raise RequestError(
                f"{name} has no usual values: give some, such as --values {name}=A,B or {name}=A..B:STEP"
            )
        found = given_values.get(name) or _usual(name, fields, names, given_values)
        values[name] = tuple(dict.fromkeys(found))
        for value in values[name]:
            try:
                override(base, **{name: value})
            except FieldError as error:
                raise RequestError(f"--values {name}: {error}") from None
            except ConfigError:
                pass  # in this combination
    _check_number(values, MOST)
    _check_number({name: found for name, found in values.items() if name not in base.arrays}, MOST_BATCHES)
    return values


def _check_number(values: Mapping[str, Sequence[Any]], most: int) -> None:
    number = math.prod(map(len, values.values()))
    if number > most:
        sizes = " x ".join(f"{len(found)} {name}" for name, found in values.items())
        raise RequestError(
            f"{number:,} combinations ({sizes}) are more than {most:,}; narrow them with --values or --vary"
        )


def design_name(config: ModelConfig) -> str:
    """Return what `parse_model` reads as this network: `hvt:embed_dim=192,pool_stages=4`."""
    changes = config.fields()
    for name in tuple(changes):
        fewer = {key: value for key, value in changes.items() if key != name}
        if _makes(config, fewer):
            changes = fewer  # a default, or it follows from the others, as the number of heads from the width
    text = ",".join(f"{name}={yaml_text(value)}" for name, value in changes.items())
    return f"{config.family}:{text}" if text else config.family


def _makes(config: ModelConfig, changes: Mapping[str, Any]) -> bool:
    try:
        return make_config(config.family, changes) == config
    except ConfigError:
        return False


def _agree(own: FieldInfo, other: FieldInfo) -> bool:
    return bool(own.default == other.default)


def _split(text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise RequestError(f"--values '{text}' is not of the form KEY=A..B:STEP or KEY=A,B,C, such as depth=12..24:4")
    return name.strip(), values.strip()


def _values(name: str, text: str) -> list[Any]:
    span = _SPAN.fullmatch(text)
    if not span:
        return [parse_fields([f"{name}={value.strip()}"])[name] for value in text.split(",")]
    first, last, step = (parse_fields([f"{name}={span[part] or 1}"])[name] for part in ("first", "last", "step"))
    if not all(isinstance(number, int | float) for number in (first, last, step)) or step <= 0 or last < first:
        raise RequestError(f"--values {name}={text}: give numbers that ascend, and a step above 0, such as 12..24:4")
    number = math.floor((last - first) / step + 1e-9) + 1  # so that 2..4:0.1 ends at 4
    return [first + place * step for place in range(min(number, MOST + 1))]
