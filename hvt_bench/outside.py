"""What the code of outside networks says to their configs, and whether a checkpoint fits: only trying tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hvt_bench.errors import ConfigError, FieldError, WorkerCrashedError
from hvt_bench.executors.base import Executor
from hvt_bench.models import override
from hvt_bench.models.config import ModelConfig

LIMIT_S = 300.0  # for all configs of one target; they are built without weights


class OutsideCode:
    """Asks in workers, and remembers the answers; a config that crashes or hangs its worker is not refused here."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._refusals: dict[ModelConfig, ConfigError | None] = {}

    def ask(self, configs: Iterable[ModelConfig]) -> None:
        """Let the networks be built once, and loaded; those of our own families are sure to be built."""
        of_target: dict[str, list[ModelConfig]] = {}
        for config in dict.fromkeys(configs):
            if (config.outside or config.checkpoint is not None) and config not in self._refusals:
                of_target.setdefault(config.fields().get("target", config.family), []).append(config)
        self._ask([tuple(group) for group in of_target.values()])

    def _ask(self, groups: list[tuple[ModelConfig, ...]]) -> None:
        alone: list[tuple[ModelConfig, ...]] = []
        for outcome in self._executor.map(refusals, groups, timeout_s=lambda _: LIMIT_S):
            if isinstance(outcome.error, WorkerCrashedError) and len(outcome.item) > 1:
                alone += [(config,) for config in outcome.item]
                continue
            answers = outcome.value or [None] * len(outcome.item)
            self._refusals |= dict(zip(outcome.item, answers, strict=True))
        if alone:
            self._ask(alone)

    def check(self, config: ModelConfig) -> None:
        """Raise the ConfigError with which the code, or its checkpoint, refused `config`."""
        if refusal := self._refusals.get(config):
            raise refusal

    def takes(self, config: ModelConfig, key: str, values: Sequence[Any]) -> bool:
        """Say whether `key` is a field of the network, by the answers to `variations`."""
        if not config.outside:
            return key in type(config).model_fields
        changed = variations(config, ({key: value} for value in values))
        return not all(isinstance(self._refusals.get(variation), FieldError) for variation in changed)


def refusals(configs: Sequence[ModelConfig]) -> list[ConfigError | None]:
    """Build networks on `meta`, and try their checkpoints; return the ConfigError of each refused one, else None."""
    found: list[ConfigError | None] = []
    for config in configs:
        try:
            if config.check_checkpoint() is None:
                config.build_on_meta()
        except ConfigError as error:
            found.append(error)
        else:
            found.append(None)
    return found


def variations(config: ModelConfig, changes: Iterable[Mapping[str, Any]]) -> Iterator[ModelConfig]:
    """Yield `config` with each of `changes`, but those that are refused as they stand."""
    for change in changes:
        with suppress(ConfigError):
            yield override(config, **change)
