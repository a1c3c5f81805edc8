"""What a person declares of operators that only an outside network has: `operators: {mylib::op: free}`, or a rule.

A rule is a function `rule(inputs, outputs) -> multiply-adds`, found by its import path; it is given the shapes of the
operator's inputs and outputs as tuples, None for what is no tensor. Both books then count by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from hvt_bench.errors import ConfigError, CountError
from hvt_bench.metrics.rules import Rule, shape
from hvt_bench.models.external import imported

Shape = tuple[int, ...]
ShapeRule = Callable[[list[Shape | None], list[Shape | None]], int]


class Declared(NamedTuple):
    """The declared operators, as each of the books needs them."""

    first: dict[str, Rule | None]
    """By the name in a trace; None is free."""
    second: dict[Any, Callable[..., int]]
    """By operator, in FLOPs."""


NOTHING = Declared({}, {})


def declared(operators: Iterable[tuple[str, str]]) -> Declared:
    """Look up the operators and their rules, once the network that brings them is built. Raises ConfigError."""
    found = Declared({}, {})
    for name, cost in operators:
        namespace, _, own = name.partition("::")
        if not hasattr(getattr(torch.ops, namespace), own):
            raise ConfigError(f"operators: the network brings no operator {name}")
        if cost == "free":
            found.first[name] = None
            continue
        rule = imported(cost)
        found.first[name] = _on_a_trace(name, rule)
        found.second[getattr(getattr(torch.ops, namespace), own)] = _on_shapes(name, rule)
    return found


def _on_a_trace(name: str, rule: Callable[..., object]) -> Rule:
    def count(inputs: list[Any], outputs: list[Any]) -> int:
        return _macs(name, rule, [_shape(value) for value in inputs], [_shape(value) for value in outputs])

    return count


def _shape(value: Any) -> Shape | None:
    found = shape(value)
    return None if found is None else tuple(found)


def _on_shapes(name: str, rule: Callable[..., object]) -> Callable[..., int]:
    def count(*inputs: Any, out_shape: Any = None, **keywords: Any) -> int:
        outputs = out_shape if type(out_shape) in (tuple, list) else [out_shape]
        return 2 * _macs(name, rule, _shapes([*inputs, *keywords.values()]), _shapes(outputs))

    return count


def _shapes(values: Sequence[Any]) -> list[Shape | None]:
    return [tuple(value) if isinstance(value, torch.Size) else None for value in values]


def _macs(name: str, rule: Callable[..., object], inputs: list[Shape | None], outputs: list[Shape | None]) -> int:
    try:
        macs = rule(inputs, outputs)
    except Exception as error:
        raise CountError(
            f"the rule of {name} fails on {inputs} -> {outputs}: {type(error).__name__}: {error}"
        ) from error
    if type(macs) is not int or macs < 0:
        raise CountError(f"the rule of {name} says {macs!r}; multiply-adds are a whole number, 0 or more")
    return macs
