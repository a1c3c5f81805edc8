"""Captions say what is in the rows."""

from hvt_bench.report.captions import caption
from tests.rows import row

ROWS = [
    row(model="a", axis=None, macs=10**9, peak_memory_mib=90.04, arithmetic_intensity=25.0, macs_per_s=8e10),
    row(
        model="b", axis="depth", depth=6, macs=10**8, peak_memory_mib=1234.5, arithmetic_intensity=9.5, macs_per_s=4e10
    ),
]


def test_memory_goes_from_the_least_peak_to_the_most():
    assert caption("memory", ROWS) == "Peaks go from 90 MiB (a) to 1,230 MiB (b depth 6)."
    assert caption("memory", ROWS[:1]) == "a peaked at 90 MiB."


def test_the_fastest_point_of_the_roofline_is_named():
    fastest = "a computes fastest, 80 GMACs per second; intensities are "
    assert caption("roofline", ROWS) == f"{fastest}9.5 to 25 MACs per byte."
    assert caption("roofline", ROWS[:1]) == f"{fastest}25 MACs per byte."
    beside = row(**{**ROWS[0], "mfu_pct": 62.5})
    assert "80 GMACs per second, 62.5 % of the peak that was measured beside it; " in caption("roofline", [beside])


def test_other_figures_say_it_themselves():
    assert caption("scaling", ROWS) == ""
