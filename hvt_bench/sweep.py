"""Sweep: what a sweep file asks for. `load_sweep` turns the file into cells, and its mistakes into sentences."""

from __future__ import annotations

import itertools
import math
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hvt_bench.cluster import SlurmSection
from hvt_bench.errors import ConfigError, FieldError, ProtocolError, unknown
from hvt_bench.executors.base import Executor
from hvt_bench.executors.inline import InlineExecutor
from hvt_bench.metrics import METRICS
from hvt_bench.models import CONFIG_COLUMNS, override
from hvt_bench.models.config import ModelConfig
from hvt_bench.outside import OutsideCode, variations
from hvt_bench.point import SWEEPABLE, InvalidCell, Point
from hvt_bench.settle import settle_attention
from hvt_bench.sweep_file import (
    SweepFile,
    check_sections,
    parse_models,
    parse_training,
    settle_protocol,
    slurm_section,
    validate,
)
from hvt_bench.yaml_file import Place, YamlFile, load_yaml

MAX_CELLS = 100_000

Cell = Point | InvalidCell


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep file, each once, and what to measure of them."""

    name: str
    cells: tuple[Cell, ...]
    metrics: tuple[str, ...]
    duplicates: int = 0
    """Cells that several axes asked for and that are measured once."""
    slurm: SlurmSection = field(default_factory=SlurmSection)
    share: tuple[int, int] | None = None
    """Which of how many shares of the points this is; None for all of them."""
    processes: int = 1
    """How many train one network together, on a GPU each."""

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The cells that can be measured, and that are of this share.

        Shares are alike in size and, since points are dealt out in shuffled order, much alike in cost; they depend on
        the name of the sweep and the number of points alone, so that every machine deals alike.
        """
        points = [cell for cell in self.cells if isinstance(cell, Point)]
        if self.share is None:
            return tuple(points)
        number, of = self.share
        order = list(range(len(points)))
        random.Random(zlib.crc32(self.name.encode())).shuffle(order)
        return tuple(points[place] for place in sorted(order[number - 1 :: of]))

    @property
    def invalid(self) -> tuple[InvalidCell, ...]:
        """The cells that cannot."""
        return tuple(cell for cell in self.cells if isinstance(cell, InvalidCell))


def load_sweep(
    path: str | Path,
    device: str | None = None,
    executor: Executor | None = None,
    slurm: Mapping[str, Any] | None = None,
) -> Sweep:
    """Read a sweep file; `device` replaces the one it names.

    `executor` says where the code of outside networks is asked what it takes: in this process, if none is given. The
    devices are those of this machine, or, where `slurm` is given, those of a cluster's nodes; its keys go over the
    file's.
    Raises FileError, naming file, line, key and value, where something cannot be meant; RequestError where this
    machine lacks the device.
    """
    file = load_yaml(Path(path))
    asked = validate(file)
    section = slurm_section(file, asked, slurm or {})
    nodes = None if slurm is None else section
    check_sections(file, asked)
    models = parse_models(file, asked)
    outside = OutsideCode(executor or InlineExecutor())
    _check_models(file, models, outside)
    if device and (kind := next((s for s in ("axes", "grid") if "device" in getattr(asked, s)), None)):
        raise file.error((kind, "device"), "the file compares devices; leave --device out, or this line")
    settled = settle_protocol(file, ("protocol",), asked.protocol | ({"device": device} if device else {}), nodes)
    _check_axes(file, asked, models, settled, outside, nodes)
    found = _cells(file, asked, models, settled, parse_training(file, asked), outside, nodes)
    cells: dict[str, Cell] = {}
    for cell in found:
        cells.setdefault(cell.point_id, cell)
    metrics = tuple(metric for metric in METRICS if metric in asked.measure)
    sweep = Sweep(asked.name, tuple(cells.values()), metrics, len(found) - len(cells), section)
    if not sweep.points:
        first = sweep.invalid[0]
        sections = {"protocol": asked.protocol, "axes": asked.axes, "grid": asked.grid}
        blamed = next((name for name, keys in sections.items() if first.key in keys), None)
        place: Place = (blamed, first.key) if blamed and first.key else ("models",)
        done = "measured" if first.key else "built"
        if len(cells) == 1:
            raise file.error(place, f"the only cell cannot be {done}: {first.reason}")
        raise file.error(place, f"none of the {len(cells):,} cells can be {done}; the first: {first.reason}")
    return sweep


def _check_models(file: YamlFile, models: Mapping[str, ModelConfig], outside: OutsideCode) -> None:
    outside.ask(models.values())
    for index, config in enumerate(models.values()):
        try:
            outside.check(config)
        except ConfigError as error:
            raise file.error(("models", index), str(error)) from None


def _check_axes(
    file: YamlFile,
    asked: SweepFile,
    models: Mapping[str, ModelConfig],
    protocol: dict[str, Any],
    outside: OutsideCode,
    nodes: SlurmSection | None,
) -> None:
    """Refuse an axis that no model has, and a value that no model can take whatever its other fields are."""
    swept = {key: values for key, values in (asked.axes | asked.grid).items() if key not in SWEEPABLE}
    changes = [{key: value} for key, values in swept.items() for value in values]
    outside.ask(changed for config in models.values() for changed in variations(config, changes))
    for section in ("axes", "grid"):
        for key, values in getattr(asked, section).items():
            takers = [config for config in models.values() if outside.takes(config, key, values)]
            if not takers and key not in SWEEPABLE:
                raise file.error((section, key), _nobody_takes(key, values[0], models, outside))
            for index, value in enumerate(values):
                place = (section, key, index)
                if value in values[:index]:
                    raise file.error(place, f"{key}: {value!r} stands here twice")
                if key in SWEEPABLE:
                    settle_protocol(file, place, protocol | {key: value}, nodes)
                else:
                    _check_value(file, place, takers, key, value, outside)
    combinations = math.prod(len(values) for values in asked.grid.values())
    most = len(models) * combinations * (1 + sum(len(values) for values in asked.axes.values()))
    if most > MAX_CELLS:
        raise file.error(("grid",), f"the grid and the axes make {most:,} cells, more than {MAX_CELLS:,}; take fewer")


def _nobody_takes(key: str, value: Any, models: Mapping[str, ModelConfig], outside: OutsideCode) -> str:
    """Say that `key` is no axis.

    In the words of a family that has another field in its place, or of an outside network where there are no others.
    """
    known = {name for config in models.values() if not config.outside for name in type(config).model_fields}
    instead = [config for config in models.values() if key in config.instead]
    if known and not instead:
        return unknown("axis", key, known | set(SWEEPABLE))
    try:
        outside.check(override(instead[0] if instead else next(iter(models.values())), **{key: value}))
    except ConfigError as error:
        return str(error)
    return unknown("axis", key, SWEEPABLE)


def _check_value(
    file: YamlFile, place: Place, takers: Sequence[ModelConfig], key: str, value: Any, outside: OutsideCode
) -> None:
    refused = []
    for config in takers:
        try:
            outside.check(override(config, **{key: value}))
        except FieldError as error:
            refused.append(error)
            continue
        except ConfigError:
            pass
        return
    raise file.error(place, str(refused[0]))


def _cells(
    file: YamlFile,
    asked: SweepFile,
    models: Mapping[str, ModelConfig],
    protocol: dict[str, Any],
    training: Mapping[str, Any],
    outside: OutsideCode,
    nodes: SlurmSection | None,
) -> list[Cell]:
    """Return, for each model and each combination of the grid, the centre and then the points of every axis.

    The centre comes first, so that a value which the centre has anyway is the centre, whichever axis names it.
    """
    cells: list[Cell] = []
    for name, config in models.items():
        places = list(_places(asked, config, outside))
        outside.ask(variations(config, (_built(changes) for changes, _ in places)))
        cells += [
            _cell(file, name, config, protocol, training, changes, axis, outside, nodes) for changes, axis in places
        ]
    return cells


def _places(asked: SweepFile, config: ModelConfig, outside: OutsideCode) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield what differs from `config` and from the protocol at each of its cells, and the axis.

    An axis in whose place the network has another one gives cells too, so that their rows say so.
    """
    own = {*SWEEPABLE, *config.instead}
    axes, grid = (
        {key: values for key, values in section.items() if key in own or outside.takes(config, key, values)}
        for section in (asked.axes, asked.grid)
    )
    for combination in itertools.product(*grid.values()):
        centre = dict(zip(grid, combination, strict=True))
        yield centre, None
        for key, values in axes.items():
            for value in values:
                yield centre | {key: value}, key


def _built(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if key not in SWEEPABLE}


def _cell(
    file: YamlFile,
    name: str,
    config: ModelConfig,
    protocol: dict[str, Any],
    training: Mapping[str, Any],
    changes: dict[str, Any],
    axis: str | None,
    outside: OutsideCode,
    nodes: SlurmSection | None,
) -> Cell:
    measured = {key: value for key, value in changes.items() if key in SWEEPABLE}
    settled = settle_protocol(file, ("axes",), protocol | measured, nodes) if measured else protocol
    known: dict[str, Any] = {"family": config.family, "device": settled["device"]}
    try:
        changed = override(config, **_built(changes))
    except ConfigError as error:
        known |= config.columns(name, CONFIG_COLUMNS) | _built(changes)
        return InvalidCell(model=name, axis=axis, asked=known, reason=str(error))
    point = Point(model=name, axis=axis, config=changed, **settle_attention(settled, changed), **training)
    try:
        outside.check(changed)
        point.check()
    except ConfigError as error:
        known |= {key: value for key, value in point.columns().items() if key not in ("point_id", "model", "axis")}
        blamed = error.key if isinstance(error, ProtocolError) else None
        return InvalidCell(model=name, axis=axis, asked=known, reason=str(error), key=blamed)
    return point
