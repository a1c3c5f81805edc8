"""Counting the models of a budgets file, and holding what was found against their budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from hvt_bench.errors import ConfigError, HvtBenchError, unknown
from hvt_bench.gate.changes import Change, Modules, changes, modules_of
from hvt_bench.gate.forms import Budget, Lengths, Measured, Relation
from hvt_bench.gate.load import Budgets, Entry, Item
from hvt_bench.gate.paths import merged, told
from hvt_bench.gate.patterns import matching
from hvt_bench.metrics.complexity import Breakdown, breakdown
from hvt_bench.metrics.estimate import estimate
from hvt_bench.models import parse_model
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Point

ITSELF = "{} is this model itself; a relation is to another one"
MOST_CHANGES = 3  # modules that are named for each broken budget


@dataclass(frozen=True)
class Finding:
    """How one budget of a model stands."""

    item: Item
    budget: Budget | Lengths | None
    """None where it could not be settled; `problem` says why."""
    measured: Measured | None
    modules: tuple[str, ...] = ()
    """Where it is of modules: those that have `measured`."""
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the budget holds."""
        return (
            self.problem is None
            and self.budget is not None
            and self.measured is not None
            and self.budget.holds(self.measured)
        )


@dataclass(frozen=True)
class Verdict:
    """How one model stands."""

    entry: Entry
    findings: tuple[Finding, ...] = ()
    error: str | None = None
    """Why the model could not be counted."""
    counted: Breakdown | None = None
    before: Modules | None = None
    """What its modules cost when that was last recorded, or at another revision."""
    note: str | None = None
    """What else is to be said of it."""
    new: bool = False
    """Whether the revision that is the budget does not have it, so that nothing holds it."""

    @property
    def model(self) -> str:
        """Its name in the budgets file."""
        return self.entry.name

    @property
    def ok(self) -> bool:
        """Whether every budget of the model holds."""
        return self.error is None and all(finding.ok for finding in self.findings)

    @property
    def broken(self) -> list[Finding]:
        """The budgets that do not hold."""
        return [finding for finding in self.findings if not finding.ok]

    def changes(self, quantity: str | None = None) -> list[Change]:
        """Return the modules that changed most, for each quantity that left its budget, or for one of them."""
        if self.before is None or self.counted is None:
            return []
        after = modules_of(self.counted)
        found: dict[Change, None] = {}
        for name in dict.fromkeys(finding.item.quantity for finding in self.broken):
            if quantity in (None, name):
                found |= dict.fromkeys(changes(self.before, after, name)[:MOST_CHANGES])
        return list(found)


class Counts:
    """Counts each network once, whoever asks."""

    def __init__(self, executed: bool = False) -> None:
        self._executed = executed
        self._found: dict[ModelConfig, Breakdown | HvtBenchError] = {}

    def of(self, config: ModelConfig) -> Breakdown:
        """Return what a network costs. Raises CountError or ConfigError, every time."""
        if config not in self._found:
            try:
                config.check_checkpoint()
                self._found[config] = breakdown(config, executed=self._executed)
            except HvtBenchError as error:
                self._found[config] = error
        found = self._found[config]
        if isinstance(found, HvtBenchError):
            raise found
        return found


def check_budgets(
    budgets: Budgets,
    executed: bool = False,
    before: Mapping[str, Modules] | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Count every model of a budgets file; two-sided, since a count that fell has lost something too.

    `before` is what the modules of a model once cost, by its name, and `notes` what else is to be said of it. A model
    that cannot be built or counted is broken. Raises FileError where a relation names a model that is none.
    """
    configs = {entry.name: entry.config for entry in budgets.entries}
    for entry in budgets.entries:
        for item in entry.items:
            if not isinstance(item.budget, Relation):
                continue
            other = item.budget.other
            try:
                configs[other] = configs.get(other) or parse_model(other)
            except ConfigError as error:
                raise budgets.file.error(item.place, f"{item.quantity}: {error}") from None
            if configs[other] == entry.config:
                raise budgets.file.error(item.place, f"{item.quantity}: {ITSELF.format(other)}")
    counts = Counts(executed)
    verdicts = [check_entry(entry, counts, configs, (before or {}).get(entry.name)) for entry in budgets.entries]
    return [replace(verdict, note=(notes or {}).get(verdict.model)) for verdict in verdicts]


def check_entry(
    entry: Entry, counts: Counts, configs: Mapping[str, ModelConfig], before: Modules | None = None
) -> Verdict:
    """Count one model, and hold it against its budgets; `configs` are the models that relations name."""
    try:
        counted = counts.of(entry.config)
    except HvtBenchError as error:
        return Verdict(entry, error=str(error))
    findings = check_items(entry.items, counted, counts, configs, entry.point)
    return Verdict(entry, tuple(findings), counted=counted, before=before)


def check_items(
    items: Iterable[Item],
    counted: Breakdown,
    counts: Counts,
    configs: Mapping[str, ModelConfig],
    point: Point | None = None,
) -> list[Finding]:
    """Hold what was counted against each budget; `point` is the pass whose memory has one."""
    found: list[Finding] = []
    known = cache(lambda: merged({path: 0 for path in counted.modules if path}))
    for item in items:
        if item.pattern:
            found += _in_modules(item, counted, known)
        elif isinstance(item.budget, Relation):
            found.append(_related(item, item.budget, counted, counts, configs))
        else:
            found.append(_of_the_whole(item, item.budget, counted, point))
    return found


def _of_the_whole(item: Item, budget: Budget | Lengths, counted: Breakdown, point: Point | None) -> Finding:
    if item.quantity == "estimated_memory_mib":
        assert point is not None
        try:
            return Finding(item, budget, round(estimate(point).total_mib, 3))
        except HvtBenchError as error:
            return Finding(item, budget, None, problem=str(error))
    measured = getattr(counted.total, item.quantity)
    problem = None if measured is not None else f"{item.quantity} of this network is not known"
    if item.quantity == "seq_lens" and problem is not None:
        problem += ": only the families here say which modules are blocks; activations have a budget everywhere"
    return Finding(item, budget, measured, problem=problem)


def _related(
    item: Item, relation: Relation, counted: Breakdown, counts: Counts, configs: Mapping[str, ModelConfig]
) -> Finding:
    measured = getattr(counted.total, item.quantity)
    try:
        amount = getattr(counts.of(configs[relation.other]).total, item.quantity)
    except HvtBenchError as error:
        return Finding(item, None, measured, problem=f"{relation.other} cannot be counted: {error}")
    unknowns = [name for name, value in ((item.quantity, measured), (relation.other, amount)) if value is None]
    if unknowns:
        return Finding(item, None, measured, problem=f"{item.quantity} of one of the two is not known")
    return Finding(item, relation.settle(amount), measured)


def _in_modules(item: Item, counted: Breakdown, known: Callable[[], Iterable[str]]) -> list[Finding]:
    """Return a finding for each number that the modules of a pattern have; `known` names all there are."""
    assert isinstance(item.budget, Budget)
    paths = matching(item.pattern, counted.modules)
    if not paths:
        hint = unknown("module", item.pattern, known()).partition("; ")[2]
        return [Finding(item, item.budget, None, problem=f"no module is called '{item.pattern}'; {hint}")]
    by_number: dict[int, list[str]] = {}
    for path in paths:
        by_number.setdefault(getattr(counted.modules[path], item.quantity), []).append(path)
    return [Finding(item, item.budget, number, tuple(names)) for number, names in by_number.items()]


def label(finding: Finding) -> str:
    """Name a budget: its quantity, and the modules that it is of."""
    item = finding.item
    if not item.pattern:
        return item.quantity
    return f"{told(finding.modules) if finding.modules else item.pattern}: {item.quantity}"


def models_counted(verdicts: Sequence[Verdict]) -> dict[str, Modules]:
    """Return what falls on the modules of every model that could be counted."""
    return {verdict.model: modules_of(verdict.counted) for verdict in verdicts if verdict.counted is not None}
