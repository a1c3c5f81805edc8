"""product: every network that some values of its fields make, thousands of them at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from hvt_bench.errors import ConfigError
from hvt_bench.models import override
from hvt_bench.models.config import ModelConfig

_EXACT = 2**52  # whole numbers up to here, and their sums, are exact in float64
_MOST_ASKED = 200  # combinations that are asked why they are no network

Changes = dict[str, Any]
Array: TypeAlias = "np.ndarray[tuple[int], np.dtype[Any]]"


@dataclass(frozen=True)
class Batch:
    """Networks of one family that differ in fields of `ModelConfig.arrays` only."""

    places: Array
    """Of each, where it stands in the product of all values, (n,)."""
    made: type[ModelConfig]
    shared: Mapping[str, Any]
    """The fields that all have in common."""
    columns: Mapping[str, Array]
    """The others, each (n,) of float64."""

    def numbers(self, form: Callable[[ModelConfig], Any]) -> Array:
        """Return what a closed form gives for each network, (n,): exact in float64, else of Python's numbers."""
        found = self._each(form(self._config(self.columns)))
        if found.size and found.max() >= _EXACT:  # no part of a sum was larger, as none is negative
            found = self._each(form(self._config({name: _exactly(column) for name, column in self.columns.items()})))
        return found

    def only(self, those: Any) -> Batch:
        """Return the networks where `those`, (n,) or one for all, is true."""
        those = self._each(those).astype(bool)
        columns = {name: column[those] for name, column in self.columns.items()}
        return Batch(self.places[those], self.made, self.shared, columns)

    def existing(self) -> Batch:
        """Return those that are networks."""
        return self.only(self._config(self.columns).exists())

    def without_effect(self) -> tuple[str, ...]:
        """Return the fields that change nothing in these networks."""
        return self._config(self.columns).without_effect()

    def _config(self, columns: Mapping[str, Any]) -> ModelConfig:
        return self.made.model_construct(**self.shared, **columns)

    def _each(self, found: Any) -> Array:
        return found if np.ndim(found) else np.full(len(self.places), found)


@np.vectorize(otypes=[object])
def _exactly(number: float) -> int | float:
    return int(number) if number.is_integer() else number


@dataclass
class Designs:
    """The designs that `values` of the fields of `base` make, all of them together; iterating makes them."""

    base: ModelConfig
    values: Mapping[str, Sequence[Any]]
    invalid: int = field(default=0, init=False)
    """Of those made so far, combinations that are no network."""
    repeated: int = field(default=0, init=False)
    """Of those made so far, combinations that are the network of an earlier one."""

    def __len__(self) -> int:
        return math.prod(self._shape)

    def __iter__(self) -> Iterator[tuple[Changes, ModelConfig]]:
        """Yield the changes to the base and the network, of each combination that is one; each network once.

        Of those that differ only in fields without effect, it is the first.
        """
        return map(self.at, sorted(place for batch in self.batches() for place in batch.places.tolist()))

    def at(self, place: int) -> tuple[Changes, ModelConfig]:
        """Return what stands at a place of the product of all values: the changes to the base, and the network."""
        changes = {name: self.values[name][index] for name, index in self._indices(place).items()}
        return changes, self._made.model_validate(self._made.merge(self.base.fields(), changes))

    def batches(self) -> Iterator[Batch]:
        """Yield the networks, each once, those together that differ in fields of numbers only."""
        self.invalid = self.repeated = 0
        together = math.prod(len(self.values[name]) for name in self._along)
        for batch in self._existing():
            self.invalid += together - len(batch.places)
            idle = [name for name in batch.without_effect() if name in self.values]
            if idle:
                indices = self._indices(batch.places)
                first = batch.only(np.logical_and.reduce([indices[name] == 0 for name in idle]))
                self.repeated += len(batch.places) - len(first.places)
                batch = first
            if len(batch.places):
                yield batch

    def why_invalid(self) -> str:
        """Say why combinations are no network, of all or some hundred of them the most frequent reason; empty if none.

        The sentence is that about the first of them.
        """
        lost = np.ones(len(self), bool)
        for batch in self._existing():
            lost[batch.places] = False
        places = np.flatnonzero(lost)
        reasons: dict[str, list[str]] = {}
        for place in places[:: len(places) // _MOST_ASKED + 1].tolist():
            try:
                override(self.base, **{name: self.values[name][index] for name, index in self._indices(place).items()})
            except ConfigError as error:
                reasons.setdefault(re.sub(r"\d+", "", str(error)), []).append(str(error))
        return max(reasons.values(), key=len)[0] if reasons else ""

    def _existing(self) -> Iterator[Batch]:
        """Yield the networks of each choice of the fields that are no numbers; some may have none."""
        grid = self._grid
        others = [name for name in self.values if name not in self._along]
        for chosen in itertools.product(*(range(len(self.values[name])) for name in others)):
            changes = {name: self.values[name][index] for name, index in zip(others, chosen, strict=True)}
            shared = self._made.merge(self.base.fields(), changes)
            start = sum(index * self._strides[name] for name, index in zip(others, chosen, strict=True))
            yield Batch(
                grid.places + start,
                self._made,
                {name: value for name, value in shared.items() if name not in grid.columns},
                grid.columns,
            ).existing()

    @property
    def _made(self) -> type[ModelConfig]:
        return type(self.base)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return tuple(map(len, self.values.values()))

    @cached_property
    def _strides(self) -> dict[str, int]:
        """How far apart neighbours of a dimension stand in the product of all values."""
        return {name: math.prod(self._shape[place + 1 :]) for place, name in enumerate(self.values)}

    @cached_property
    def _along(self) -> list[str]:
        return [name for name in self.values if name in self._made.arrays]

    def _indices(self, places: Any) -> dict[str, Any]:
        return {name: places // self._strides[name] % len(self.values[name]) for name in self.values}

    @cached_property
    def _grid(self) -> Batch:
        """All combinations of the dimensions along which networks are taken together, that may be networks."""
        shape = tuple(len(self.values[name]) for name in self._along)
        indices = dict(zip(self._along, np.indices(shape).reshape(len(shape), math.prod(shape)), strict=True))
        places = np.zeros(math.prod(shape), int)
        sound = np.ones(math.prod(shape), bool)
        columns: dict[str, Array] = {}
        for name, index in indices.items():
            places += index * self._strides[name]
            merged = [self._merged(name, value) for value in self.values[name]]
            sound &= np.array([fields is not None for fields in merged])[index]
            fields = self.base.fields()
            for key in (name, *self._following(name, merged)):
                columns[key] = np.array([(found or fields)[key] for found in merged], float)[index]
        return Batch(places, self._made, self.base.fields(), columns).only(sound)

    def _merged(self, name: str, value: Any) -> dict[str, Any] | None:
        """Return all fields where one is changed, as any that follows it; None where nothing can follow."""
        fields = self.base.fields()
        try:
            return self._made.merge(fields, {key: fields[key] for key in self.values} | {name: value})
        except ConfigError:
            return None

    def _following(self, name: str, merged: Sequence[Mapping[str, Any] | None]) -> list[str]:
        fields = self.base.fields()
        return [key for key in fields if key != name and any(found and found[key] != fields[key] for found in merged)]
