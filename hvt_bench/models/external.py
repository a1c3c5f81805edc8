"""Networks that are not ours: `timm:NAME`, and `package.module:factory`, a function or class that makes one.

Importing a module runs its code. Nothing is imported before a network is to be built, and no weights are downloaded.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import nn

from hvt_bench.errors import ConfigError, FieldError, HvtBenchError, unknown
from hvt_bench.models.config import Attention, ModelConfig
from hvt_bench.records import Column

TARGET = re.compile(r"timm:[^:=,]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
IN_CHANS, IMG_SIZE = 3, 224  # of networks that say neither

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_WEIGHTS = ("pretrained", "checkpoint_path")  # keyword arguments of timm.create_model
_REFUSED_KEYWORD = re.compile(r"got (an unexpected|multiple values for)(?: keyword)? argument '(\w+)'")


class ExternalConfig(ModelConfig):
    """What to call, and with which keyword arguments."""

    family: ClassVar[str] = "external"
    outside: ClassVar[bool] = True

    target: str
    kwargs: tuple[tuple[str, str], ...] = ()
    """Keyword arguments by name, each value as JSON: hashable, and 1 differs from true."""
    shapes: tuple[tuple[int, ...], ...] | None = None
    """`input_shapes` in YAML: of each tensor that `forward` takes, without the batch."""
    operators: tuple[tuple[str, str], ...] = ()
    """What operators of its own cost: `namespace::name` is `free`, or counted by the rule at an import path."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments as the target gets them."""
        return {key: json.loads(text) for key, text in self.kwargs}

    def fields(self) -> dict[str, Any]:
        """Return the target and everything that a person gave beside it."""
        shapes = {"input_shapes": [list(shape) for shape in self.shapes]} if self.shapes is not None else {}
        weights = {"checkpoint": self.checkpoint} if self.checkpoint is not None else {}
        return {"target": self.target, **self.arguments, **weights, **shapes, **dict(self.operators)}

    def columns(self, model: str, known: Mapping[str, Column]) -> dict[str, Any]:
        """Fill the columns of a square input, and those that have a keyword's name and kind.

        Everything else that was given is text in `model_kwargs`.
        """
        fields = self.fields()
        if model.startswith(self.target):
            del fields["target"]
        filled = {key: value for key, value in fields.items() if key in known and _fits(value, known[key])}
        rest = "; ".join(f"{key}={yaml_text(value)}" for key, value in fields.items() if key not in filled)
        image = [shape[1:] for shape in self.input_shapes(1) if len(shape) == 4 and shape[2] == shape[3]]
        seen = {"in_chans": image[0][0], "img_size": image[0][1]} if len(image) == 1 else {}
        return seen | filled | {"model_kwargs": rest or None}

    @classmethod
    def merge(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Take every change but those of our own keys for a keyword argument. Raises FieldError."""
        fields, kwargs = dict(base), dict(base["kwargs"])
        for key, value in changes.items():
            if key == "input_shapes":
                fields["shapes"] = _shapes(value)
            elif key == "operators":
                fields["operators"] = _operators(value)
            elif key == "checkpoint":
                fields["checkpoint"] = value
            else:
                kwargs[key] = _argument(base["target"], key, value)
        return fields | {"kwargs": tuple(sorted(kwargs.items()))}

    def check_attention(self, attention: Attention, training: bool) -> None:
        """Raise ConfigError where the attention is to be written out: it is not ours to write."""
        if attention != "sdpa":
            raise ConfigError(f"{self.target} brings its own attention; '{attention}' is for the families here")

    def prepare(self) -> None:
        """Import what makes the network. Raises ConfigError."""
        self._factory()

    def build(self, attention: Attention = "sdpa") -> nn.Module:
        """Call the target. Raises ConfigError if no network comes of it, FieldError if it takes no such keyword."""
        self.check_attention(attention, training=False)
        factory, arguments = self._factory(), self.arguments
        taken = _keywords(factory)
        if taken is not None and (strange := [key for key in arguments if key not in taken]):
            raise _no_keyword(self.target, strange[0], taken)
        given = ", ".join(f"{key}={yaml_text(value)}" for key, value in arguments.items())
        with _running(f"{self.target} refuses {given or 'a call without arguments'}"):
            try:
                network = factory(**arguments)
            except TypeError as error:
                refused = _REFUSED_KEYWORD.search(str(error))
                if refused is None or refused[2] not in arguments:
                    raise
                if refused[1] == "multiple values for":
                    raise FieldError(f"{self.target} sets {refused[2]} itself; leave it out") from None
                rest = {key: value for key, value in arguments.items() if key != refused[2]}
                raise _no_keyword(self.target, refused[2], _keywords_behind(factory, rest)) from None
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{self.target} returned a {type(network).__name__}; a network is a torch.nn.Module")
        return network

    def build_on_meta(self, attention: Attention = "sdpa") -> nn.Module:
        """Build on `meta`, or, where the constructor reads values of tensors, on the CPU."""
        self.prepare()  # or tensors that the module makes for itself would be on `meta` for good
        try:
            return super().build_on_meta(attention)
        except ConfigError as error:
            if "meta" not in str(error.__cause__).lower():
                raise
        with torch.random.fork_rng(devices=[]):
            return self.build(attention)

    def input_shapes(self, batch_size: int) -> tuple[tuple[int, ...], ...]:
        """`input_shapes` as given, else one image: by the arguments, by timm's settings, else 3 x 224 x 224."""
        if self.shapes is not None:
            return tuple((batch_size, *shape) for shape in self.shapes)
        arguments = self.arguments
        channels, *size = self._default_shape()
        if type(arguments.get("in_chans")) is int:
            channels = arguments["in_chans"]
        if type(arguments.get("img_size")) is int:
            size = [arguments["img_size"]] * 2
        elif isinstance(arguments.get("img_size"), list):
            size = arguments["img_size"]
        return ((batch_size, channels, *size),)

    def settings(self) -> dict[str, Any] | None:
        """Return what timm says of the images of the network (`input_size`, `crop_pct`, `mean`, ...), if it is timm's.

        Raises ConfigError where timm is missing.
        """
        if not self.target.startswith("timm:"):
            return None
        settings = _timm().get_pretrained_cfg(self.target.removeprefix("timm:"))
        return None if settings is None else settings.to_dict()

    def _default_shape(self) -> tuple[int, ...]:
        settings = self.settings()
        if settings is not None and settings.get("input_size"):
            return tuple(settings["input_size"])
        return (IN_CHANS, IMG_SIZE, IMG_SIZE)

    def _factory(self) -> Callable[..., object]:
        module, _, path = self.target.partition(":")
        return _timm_factory(path) if module == "timm" else imported(self.target)


def yaml_text(value: object) -> str:
    """Return a value as YAML spells it: `true`, not `True`; lists and mappings in one line."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# --- what a person gives --------------------------------------------------------------------------------------------


def _argument(target: str, key: str, value: object) -> str:
    if target.startswith("timm:") and key in _WEIGHTS:
        raise FieldError(
            f"{target}: {key} cannot be given: weights are random here, or those of a file (checkpoint: FILE), "
            "and none are downloaded"
        )
    if not isinstance(key, str) or not _is_plain(value):
        raise FieldError(
            f"{target}: {key}: {value!r} cannot be passed on; a keyword argument is text, a finite number, "
            "true, false, null, or a list of these"
        )
    return json.dumps(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))


def _shapes(value: object) -> tuple[tuple[int, ...], ...] | None:
    if value is None:
        return None
    shapes = value if isinstance(value, list | tuple) else ()
    if not shapes or not all(isinstance(shape, list | tuple) and all(map(_is_size, shape)) for shape in shapes):
        raise FieldError(
            f"input_shapes: {value!r} does not fit: should be the shape of each input without the batch, "
            "such as [[3, 256, 192]]"
        )
    return tuple(map(tuple, shapes))


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 1


def _operators(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise FieldError(f"operators: {value!r} does not fit: should be a mapping, such as {{mylib::op: free}}")
    for name, cost in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w+::\w+", name):
            raise FieldError(f"operators: {name!r} does not fit: should be namespace::name, such as mylib::op")
        if not isinstance(cost, str) or not (cost == "free" or _IMPORT_PATH.fullmatch(cost)):
            raise FieldError(f"operators: {name}: {cost!r} does not fit: should be free, or package.module:rule")
    return tuple(sorted(value.items()))


def _fits(value: object, column: Column) -> bool:
    return type(value) is column.kind or (column.kind is float and type(value) is int)


# --- code that is not ours ------------------------------------------------------------------------------------------


@contextmanager
def _running(what: str) -> Iterator[None]:
    """Run code of others, modules of the current folder importable as under `python -m`.

    What it raises, SystemExit included, becomes a ConfigError that says `what` went wrong, in one line.
    """
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    except (HvtBenchError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:500]
        raise ConfigError(f"{what}: {type(error).__name__}: {text}") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def imported(target: str) -> Callable[..., object]:
    """Import what `package.module:name` names, and can be called. Raises ConfigError."""
    module, _, path = target.partition(":")
    with _running(f"{target} cannot be imported"):
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            places = "in the current folder or among the installed packages"
            raise ConfigError(f"{target}: there is no module '{error.name}' {places}") from None
        for name in path.split("."):
            if not hasattr(found, name):
                public = [known for known in dir(found) if not known.startswith("_")]
                raise ConfigError(f"{target}: {unknown('name', name, public)}")
            found = getattr(found, name)
    if not callable(found) or isinstance(found, nn.Module):
        kind = type(found).__name__
        raise ConfigError(f"{target} is a {kind}; name a function or a class")
    return found


def _timm() -> ModuleType:
    with _running("timm cannot be imported"):
        try:
            return importlib.import_module("timm")
        except ModuleNotFoundError as error:
            if error.name != "timm":
                raise
            raise ConfigError("a model written as timm:NAME needs timm: pip install 'hvt-bench[timm]'") from None


def _timm_factory(name: str) -> Callable[..., object]:
    timm = _timm()
    with suppress(RuntimeError):  # there is no such tag
        if timm.is_model(name):
            timm.get_pretrained_cfg(name)
            return partial(timm.create_model, name, pretrained=False)
    raise ConfigError(unknown("timm model", name, [*timm.list_models(), *timm.list_pretrained()]))


def _keywords(factory: Callable[..., object]) -> list[str] | None:
    """Return the keywords that `factory` takes; None where it takes any, or does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _keywords_behind(factory: Callable[..., object], arguments: Mapping[str, Any]) -> list[str]:
    """Return the keywords that `factory` names, and those of the class whose network it makes, if that is found out."""
    with suppress(Exception), torch.device("meta"):
        own = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_KEYWORD]
        return [*own, *(_keywords(type(factory(**arguments))) or [])]
    return []


def _no_keyword(target: str, key: str, taken: Iterable[str]) -> FieldError:
    others = [name for name in taken if name != key]
    text = unknown("keyword argument", key, others) if others else f"takes no keyword argument '{key}'"
    hint = "; input_shapes feeds it another image" if key == "img_size" else ""
    return FieldError(f"{target}: {text}{hint}")
