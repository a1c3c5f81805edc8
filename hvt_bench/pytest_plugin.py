"""The gate inside pytest: `flops_budget(model, (1, 3, 224, 224), macs="2.40G ± 1%")`.

pytest loads this file in every run of everyone who has hvt-bench installed, so it imports nothing but pytest; the rest
comes when a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hvt_bench.gate.inline import FlopsBudget, Literals

_OPTION = "--update-budgets"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-budgets."""
    group = parser.getgroup("hvt-bench", "FLOPs budgets")
    group.addoption(_OPTION, action="store_true", help="write what was counted into the calls of flops_budget")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what would let several processes write one file."""
    if config.getoption(_OPTION) and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(f"{_OPTION} rewrites test files, which one process must do; add -n 0")


@pytest.fixture
def flops_budget(request: pytest.FixtureRequest, _flops_literals: Literals | None) -> FlopsBudget:
    """Hold a network to what it may cost: `flops_budget(model, (1, 3, 224, 224), macs="2.40G ± 1%")`.

    Budgets are written as in a budgets file: a whole number, "2.40G", "2.40G ± 1%", {"max": "2.5G"}; of macs, params,
    activations, train_macs and fvcore_flops, and of modules by path, modules={"blocks.*.attn": {"macs": "120M"}}.
    """
    from hvt_bench.gate.inline import FlopsBudget

    return FlopsBudget(_flops_literals, request.node.nodeid)


@pytest.fixture(scope="session")
def _flops_literals(request: pytest.FixtureRequest) -> Iterator[Literals | None]:
    """Rewrite, once all tests have run, what they took down; None where nothing is to be written."""
    if not request.config.getoption(_OPTION):
        yield None
        return
    from hvt_bench.gate.inline import Literals

    literals = Literals()
    yield literals
    request.config.stash[_WRITTEN] = literals.write()


_WRITTEN = pytest.StashKey[tuple[list[str], list[str]]]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves a budget broken, whose test could not know of the tests after it."""
    if session.config.stash.get(_WRITTEN, ([], []))[1] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was rewritten, and what was not."""
    written, left = config.stash.get(_WRITTEN, ([], []))
    for line in written:
        terminalreporter.write_line(line)
    for line in left:
        terminalreporter.write_line(f"FAILED to update {line}", red=True)
