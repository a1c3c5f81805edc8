"""Which rows make a line, what is fitted to it, and what is said of what is not."""

import json
import math

import pytest

from hvt_bench.analysis.fit import METRICS, USUAL, fit_rows, plain
from hvt_bench.analysis.render_fits import render_fits
from hvt_bench.errors import RequestError
from hvt_bench.metrics.complexity import count
from hvt_bench.models import make_config
from hvt_bench.report.findings import find
from hvt_bench.row import COLUMNS, Row
from tests.rows import row

ROUNDS = (10.0, 10.2, 9.9)


def timed(depth, ms=None, **changes):
    """A point on `depth`, its rounds `ms` times those above; the centre is at 12."""
    factor = depth if ms is None else ms
    rounds = tuple(factor * value for value in ROUNDS)
    axis = None if depth == 12 else "depth"
    values = {"latency_ms": rounds[0], "latency_ms_rounds": rounds, "macs": 1000 * depth}
    return row(**{"axis": axis, "depth": depth} | values | changes)


LINE = [timed(depth) for depth in (12, 6, 24, 18)]


def one(rows, metric):
    (fit,) = [fit for fit in fit_rows(rows).fits if fit.metric == metric]
    return fit


def test_the_metrics_are_columns_of_numbers():
    assert all(COLUMNS[name].kind in (int, float) and not COLUMNS[name].many for name in METRICS)
    assert set(USUAL) <= set(METRICS)


def test_a_line_is_fitted_in_the_order_of_its_axis():
    fit = one(LINE, "latency_ms")
    assert (fit.line, fit.model, fit.axis, fit.x) == ("hvt_s_1", "hvt_s_1", "depth", (6, 12, 18, 24))
    assert fit.exponent == pytest.approx(1.0)
    assert fit.local == pytest.approx([1.0] * 3)
    assert fit.low < 1 < fit.high
    assert (fit.low + fit.high) / 2 == pytest.approx(1.0)
    assert (fit.no_interval, fit.left_out) == ("", "")
    assert fit.y[0] == pytest.approx(6 * math.prod(ROUNDS) ** (1 / 3))


def counted(name, axis, values):
    """Rows of one model along one axis, really counted."""
    configs = [make_config(name, {axis: value}) for value in values]
    return [row(model=name, axis=axis, **{axis: getattr(found, axis), "macs": count(found).macs}) for found in configs]


def test_counts_of_deit_along_its_width():
    """12 · (12nd² + 2n²d) and the ends: between 1 and 2, and nearer to 2 the wider; d is 192, 384 and 768."""
    fit = one(counted("deit_small", "embed_dim", (384, 192, 768)), "macs")
    assert fit.y == (1_253_683_200, 4_598_882_304, 17_563_828_224)
    assert fit.local == pytest.approx((1.8751, 1.9332), abs=1e-4)
    assert fit.exponent == pytest.approx(1.9042, abs=1e-4)
    assert (fit.low, fit.high, fit.bend) == (None, None, None)
    assert fit.no_interval == "counted, so exact"
    assert fit.no_bend == "counted, so exact: see the local exponents"


def test_the_macs_of_an_hvt_do_not_grow_as_its_depth():
    """Its first block sees twice the tokens, so that a deeper one costs less than in proportion."""
    fit = one(counted("hvt_s_1", "depth", (6, 12, 18, 24)), "macs")
    assert list(fit.local) == sorted(fit.local)
    assert 0.8 < fit.local[0] < fit.local[-1] < 0.95


def test_three_points_have_no_interval_and_say_so():
    fit = one(LINE[:3], "latency_ms")
    assert (fit.low, fit.high) == (None, None)
    assert fit.no_interval == "3 points; an interval needs 4"


def test_a_point_of_one_round_leaves_no_interval():
    fit = one([*LINE[:3], timed(18, latency_ms_rounds=(180.0,))], "latency_ms")
    assert fit.low is None
    assert fit.no_interval == "fewer than 2 rounds at depth 18"


def test_a_metric_without_rounds_has_no_interval():
    rows = [timed(depth, peak_memory_mib=float(depth)) for depth in (6, 12, 18, 24)]
    fit = one(rows, "peak_memory_mib")
    assert fit.exponent == pytest.approx(1.0)
    assert fit.no_interval == "its rounds are not in the CSV"


def test_a_change_of_slope_needs_seven_points():
    depths = (1, 2, 4, 8, 16, 32, 64)
    rows = [timed(depth, ms=max(8, depth)) for depth in depths]
    fit = one(rows, "latency_ms")
    assert fit.bend.at == pytest.approx(8, rel=0.05)
    assert fit.annotation == f"depth^{fit.bend.below:.2f} to {plain(fit.bend.at, 4)}, then ^{fit.bend.above:.2f}"
    six = one(rows[:6], "latency_ms")
    assert six.bend is None
    assert six.no_bend == "6 points; a change of slope needs 7"
    assert one(rows, "macs").bend is None


def test_annotations():
    fit = one(LINE, "latency_ms")
    assert fit.annotation == f"depth^1.00 ({fit.low:.2f} to {fit.high:.2f})"
    assert one(LINE, "macs").annotation == "depth^1.00"


def test_each_way_of_measuring_is_a_line_and_counts_are_one():
    rows = [timed(depth, batch_size=batch) for batch in (1, 64) for depth in (6, 12, 18, 24)]
    fits = fit_rows(rows).fits
    assert [(fit.line, fit.metric) for fit in fits] == [
        ("hvt_s_1", "macs"),
        ("hvt_s_1, batch 1", "latency_ms"),
        ("hvt_s_1, batch 64", "latency_ms"),
    ]


def test_rows_of_two_machines_are_two_lines():
    rows = [timed(depth, device_name=name) for name in ("A100", "H200") for depth in (6, 12, 18, 24)]
    lines = {fit.line for fit in fit_rows(rows, ["latency_ms"]).fits}
    assert lines == {"hvt_s_1, A100", "hvt_s_1, H200"}


def test_versions_that_measure_alike_are_one_line():
    versions = {6: "0.2.0", 12: "0.2.0", 18: "0.2.1", 24: "0.2.1"}
    (fit,) = fit_rows([timed(depth, hvt_bench_version=versions[depth]) for depth in versions], ["latency_ms"]).fits
    assert fit.line == "hvt_s_1"


def test_versions_that_measure_otherwise_are_two_lines():
    rows = [timed(depth, hvt_bench_version=version) for version in ("0.1.0", "0.2.1") for depth in (6, 12, 18, 24)]
    lines = {fit.line for fit in fit_rows(rows, ["latency_ms"]).fits}
    assert lines == {"hvt_s_1, hvt-bench 0.1.0", "hvt_s_1, hvt-bench 0.2.1"}


def test_two_rows_of_one_point_are_not_averaged():
    found = fit_rows([*LINE, timed(18, point_id="again")])
    assert [fit.metric for fit in found.fits] == ["macs"]
    assert found.not_fitted == (
        "hvt_s_1, depth, latency_ms: two rows at depth 18, depth/18/180.0/(180.0, 183.6, 178.20000000000002)/18000 "
        "and again; keep one of them",
    )


def test_what_is_left_out_is_said():
    failed = timed(30, status="oom", latency_ms=None, latency_ms_rounds=None)
    fit = one([*LINE, failed], "latency_ms")
    assert fit.left_out == "30 is oom, without latency_ms"
    assert one([*LINE, failed], "macs").left_out == ""
    stages = [row(axis="pool_stages", pool_stages=n, macs=1000 // (n + 1)) for n in (0, 2, 3)] + [row(macs=500)]
    assert one(stages, "macs").left_out == "pool_stages 0 has no logarithm"
    assert one(stages, "macs").x == (1, 2, 3)


def test_what_is_left_out_is_said_once():
    """Two rows at one place, two lines: one reason."""
    places = (0, 0, 1, 2)
    lines = [
        row(model=model, axis="pool_stages", pool_stages=n, macs=1000 // (n + 1), params=9)
        for model in ("hvt_s_1", "hvt_ti_1")
        for n in places
    ]
    said = render_fits(fit_rows(lines))
    assert said.count("pool_stages 0 has no logarithm") == 1
    assert "left out: hvt_s_1, pool_stages, macs, params; hvt_ti_1, pool_stages, macs, params: pool_stages 0" in said
    told = [finding.text for finding in find(lines, fit_rows(lines), "")]
    assert sum(text.count("pool_stages 0 has no logarithm") for text in told) == 1


def test_an_axis_of_words_is_said_and_a_model_without_the_axis_is_not():
    words = [row(axis="dtype", dtype="bfloat16", macs=12000)]
    other = [row(model="deit_small", pool_stages=None, macs=7)]
    found = fit_rows([*LINE, *words, *other])
    assert {fit.model for fit in found.fits} == {"hvt_s_1"}
    assert found.not_fitted == ("axis dtype: its values are no numbers",)


def test_counts_are_not_fitted_along_the_batch():
    batches = [
        timed(12, ms=batch, axis=None if batch == 1 else "batch_size", batch_size=batch) for batch in (1, 2, 4, 8)
    ]
    assert {(fit.axis, fit.metric) for fit in fit_rows(batches).fits} == {("batch_size", "latency_ms")}


def test_invalid_cells_are_no_points():
    assert one([*LINE, Row({"model": "hvt_s_1", "axis": "depth", "depth": 5, "status": "invalid"})], "macs").x[0] == 6


@pytest.mark.parametrize(
    ("rows", "metrics", "sentence"),
    [
        (LINE, ["latency"], "--metric: unknown metric 'latency'; did you mean 'latency_ms'?"),
        (
            LINE,
            ["top1"],
            "--metric top1: a share that ends at 100 % grows as no power; "
            "hvt-bench plot CSV scaling --metric top1 draws it",
        ),
        (
            LINE,
            ["peak_memory_mib"],
            "--metric peak_memory_mib: no row has it; `measure` in the sweep file says what is measured",
        ),
        (
            [timed(12)],
            [],
            "nothing can be fitted: no row lies on an axis; `axes` or `grid` in the sweep file makes some",
        ),
        ([timed(6)], ["macs"], "nothing can be fitted: hvt_s_1, depth, macs: 1 point; it needs two"),
    ],
)
def test_what_cannot_be_fitted_is_a_sentence(rows, metrics, sentence):
    with pytest.raises(RequestError) as caught:
        fit_rows(rows, metrics)
    assert str(caught.value) == sentence


def test_a_table():
    failed = timed(30, status="oom", latency_ms=None, latency_ms_rounds=None)
    assert (
        render_fits(fit_rows([*LINE, failed]))
        == """\
line     axis    metric      at               exponent  interval        off  local exponents
-------  ------  ----------  -------------  ----------  ------------  -----  -------------------
hvt_s_1  depth   macs        6 12 18 24 30        1.00                0.0 %  1.00 1.00 1.00 1.00
hvt_s_1  depth   latency_ms  6 12 18 24           1.00  0.98 to 1.02  0.0 %  1.00 1.00 1.00

no interval: macs: counted, so exact
no change of slope looked for: macs: counted, so exact: see the local exponents
no change of slope looked for: latency_ms: 4 points; a change of slope needs 7
left out: hvt_s_1, depth, latency_ms: 30 is oom, without latency_ms
exponent   least-squares slope of log metric over log axis; local: between neighbours
off        how far the furthest point is from that power law
interval   95 %, from how far the rounds of each point are apart"""
    )


def test_a_change_of_slope_is_in_the_table():
    text = render_fits(fit_rows([timed(depth, ms=max(8, depth)) for depth in (1, 2, 4, 8, 16, 32, 64)]))
    (line,) = [line for line in text.splitlines() if line.startswith("slope changes")]
    assert line.startswith("slope changes: hvt_s_1, depth, latency_ms: -0.01 up to 7.83, 1.00 beyond (AICc")


def test_csv_and_json_hold_the_same():
    found = fit_rows(LINE)
    header, *lines = render_fits(found, "csv").splitlines()
    said = json.loads(render_fits(found, "json"))
    assert header.split(",") == list(said["fits"][0])
    assert len(lines) == len(said["fits"]) == 2
    assert said["fits"][1]["exponent"] == pytest.approx(1.0)
    assert said["fits"][1]["bend_at"] is None
    assert "6 12 18 24" in lines[1]


def test_an_unknown_format_is_refused():
    with pytest.raises(RequestError, match="unknown format 'xml'; known: csv, json, table"):
        render_fits(fit_rows(LINE), "xml")


def test_an_axis_of_lists_has_no_exponents():
    deeper = row(model="m", macs=2_000, depth=24, stage_depths=(2, 3, 16, 3), axis="stage_depths")
    rows = [row(model="m", macs=1_000, stage_depths=(1, 2, 11, 2)), deeper, *(timed(depth) for depth in (6, 12))]
    assert fit_rows(rows, ["latency_ms"]).not_fitted == ("axis stage_depths: its values are no numbers",)


@pytest.mark.parametrize(("value", "text"), [(1018.7, "1,020"), (8.04, "8.04"), (0.05, "0.05"), (123456, "123,000")])
def test_where_a_slope_changes_is_said_without_an_exponent(value, text):
    assert plain(value) == text


def test_what_training_took_is_fitted():
    trained = [row(axis="depth", depth=depth, macs=depth, top1=80.0, total_train_macs=3 * depth) for depth in (6, 12)]
    (fit,) = fit_rows(trained, ["total_train_macs"]).fits
    assert (fit.exponent, fit.no_interval) == (pytest.approx(1.0), "computed, so exact")
