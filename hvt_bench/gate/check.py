"""The gate: exact FLOPs budgets, checked by counting. Measures nothing, needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from hvt_bench.errors import ConfigError, CountError, plural
from hvt_bench.metrics.complexity import count
from hvt_bench.models import parse_model
from hvt_bench.records import Record, explain
from hvt_bench.yaml_file import load_yaml

MANY_TIMES = 10  # from here on a percentage is no longer read at a glance

Quantity = Literal["params", "macs", "fvcore_flops", "activations"]


class BudgetFile(Record):
    """The keys of a budgets file: for each model, what it must cost, to the last MAC."""

    budgets: Annotated[
        dict[str, Annotated[dict[Quantity, Annotated[int, Field(ge=0)]], Field(min_length=1)]],
        Field(min_length=1),
    ]


@dataclass(frozen=True)
class Breach:
    """A quantity that left its budget."""

    quantity: str
    measured: int
    budget: int


@dataclass(frozen=True)
class Verdict:
    """How one model stands."""

    model: str
    held: Mapping[str, int]
    breaches: tuple[Breach, ...] = ()
    error: str | None = None
    """Why the model could not be counted."""

    @property
    def ok(self) -> bool:
        """Whether every budget of the model holds."""
        return not self.breaches and self.error is None


def check_budgets(path: str | Path, executed: bool = False) -> list[Verdict]:
    """Count every model of a budgets file; two-sided, since a count that fell has lost something too.

    Raises FileError, naming file, line, key and value, for what cannot be a budgets file.
    """
    file = load_yaml(Path(path))
    try:
        asked = BudgetFile.model_validate(file.data)
    except ValidationError as error:
        place, sentence = explain(error, BudgetFile.model_fields)[0]
        if len(place) == 4 and place[-1] == "[key]":
            names = ", ".join(get_args(Quantity))
            place, sentence = place[:3], f"'{place[2]}' cannot have a budget; these can: {names}"
        raise file.error(place, sentence) from None
    verdicts = []
    for model, budgets in asked.budgets.items():
        place = ("budgets", model)
        try:
            config = parse_model(model)
            config.check_checkpoint()
            found = count(config, executed=executed).model_dump()
        except ConfigError as error:
            raise file.error(place, str(error)) from None
        except CountError as error:
            verdicts.append(Verdict(model, {}, error=str(error)))
            continue
        breaches = [Breach(name, found[name], budget) for name, budget in budgets.items() if found[name] != budget]
        held: dict[str, int] = {name: budget for name, budget in budgets.items() if found[name] == budget}
        verdicts.append(Verdict(model, held, tuple(breaches)))
    return verdicts


def render_text(verdicts: list[Verdict]) -> str:
    """Return one line a model, the broken ones last, and a line that sums up."""
    width = max(len(verdict.model) for verdict in verdicts)
    lines = []
    for verdict in sorted(verdicts, key=lambda verdict: not verdict.ok):
        mark = "ok    " if verdict.ok else "BROKEN"
        lines.append(f"{mark}  {verdict.model:<{width}}  {_findings(verdict)}")
    kept = sum(verdict.ok for verdict in verdicts)
    lines.append(f"{kept} of {plural(len(verdicts), 'model')} kept their budgets")
    return "\n".join(lines)


def _findings(verdict: Verdict) -> str:
    if verdict.error is not None:
        return verdict.error
    found = [
        f"{breach.quantity} {breach.measured:,}, budget {breach.budget:,}: "
        f"{breach.measured - breach.budget:+,} ({_percent(breach)})"
        for breach in verdict.breaches
    ]
    found += [f"{name} {value:,}" for name, value in verdict.held.items()]
    return "; ".join(found)


def _percent(breach: Breach) -> str:
    if breach.budget == 0:
        return "from 0"
    ratio = breach.measured / breach.budget
    return f"{100 * (ratio - 1):+.2f} %" if ratio < MANY_TIMES else f"{ratio:.3g} times the budget"
