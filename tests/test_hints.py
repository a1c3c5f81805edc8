"""Conditions that the page offers."""

from hvt_bench.report.hints import bounds, hints
from tests.rows import row

ROWS = [
    row(axis=None, latency_ms=10.0, macs=1_200_000_000, warnings=("noisy",)),
    row(axis="depth", latency_ms=20.0, macs=2_400_000_000, warnings=("noisy", "not_converged")),
    row(axis="depth", latency_ms=30.0, macs=4_800_000_000),
]


def test_conditions_are_on_columns_that_are_shown():
    assert list(hints(ROWS, ["axis", "macs", "latency_ms", "warnings"])) == [
        ("latency_ms<=20", ""),
        ("axis=", "is empty"),
        ("warnings=noisy", "a list that has it"),
        ('"warnings=noisy not_converged"', "in quotes, the whole list"),
    ]
    assert list(hints(ROWS, ["model"])) == []


def test_large_numbers_are_short():
    assert bounds(ROWS, ["model", "macs"]) == ["macs<=2.4G"]


def test_a_bound_is_fulfilled_by_the_row_in_the_middle():
    assert bounds([row(macs=2_402_020_608), row(macs=2_402_020_608)], ["macs"]) == ["macs<=2.41G"]
