import math
from dataclasses import replace

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hvt_bench import load_sweep
from hvt_bench.analysis.series import varying_network, varying_protocol
from hvt_bench.errors import FileError, RequestError
from hvt_bench.plots import FIGURES, save_figures, style
from hvt_bench.plots.asked import Asked
from hvt_bench.plots.memory import draw_memory
from hvt_bench.plots.scaling import MOST_LINES, draw_scaling
from hvt_bench.plots.style import PAGE_IN, WIDTHS_IN, axis_label, fit_height, journal_style, palette, scale, wants_log
from hvt_bench.plots.tradeoff import draw_tradeoff, round_rates
from hvt_bench.row import Row

CENTRE = {
    "model": "hvt_s_1", "axis": None, "family": "hvt", "img_size": 224, "patch_size": 16, "embed_dim": 384, "depth": 12,
    "num_heads": 6, "pool_stages": 1, "device": "cuda:0", "dtype": "float32", "batch_size": 1, "attention": "sdpa",
    "macs": 2_400_000_000, "latency_ms": 5.0, "latency_spread_pct": 10.0, "rounds": 3, "peak_memory_mib": 100.0,
    "device_name": "NVIDIA H200", "torch_version": "2.13.0", "hvt_bench_version": "0.1.0", "status": "ok",
}  # fmt: skip
DEIT = {"model": "deit_small", "family": "vit", "pool_stages": None, "macs": 4_600_000_000, "latency_ms": 6.0}
UNMEASURED = {"latency_ms": None, "latency_spread_pct": None, "rounds": None, "peak_memory_mib": None}
INVALID = {**UNMEASURED, "status": "invalid", "macs": None, "batch_size": None, "dtype": None, "attention": None}


def row(**changes):
    return Row({**CENTRE, **changes})


def swept(axis, value, **changes):
    return row(**{"axis": axis, axis: value, **changes})


ROWS = (
    row(),
    swept("depth", 6, macs=1_300_000_000, latency_ms=3.0),
    swept("depth", 18, macs=3_500_000_000, latency_ms=7.0),
    swept("pool_stages", 0, macs=4_500_000_000, latency_ms=5.5),
    row(**DEIT),
    swept("depth", 6, **DEIT | {"macs": 2_300_000_000, "latency_ms": 3.5}),
)


@pytest.fixture
def figure():
    with journal_style():
        yield Figure((7, 5), layout="constrained")


def swept_lines(ax):
    """Lines along the axis, by name; a line at a centre has its marker at one end only."""
    named = (line for line in ax.lines if not line.get_label().startswith("_"))
    return {line.get_label(): line for line in named if line.get_markevery() is None}


def lines(ax):
    return {name: list(map(tuple, line.get_xydata().tolist())) for name, line in swept_lines(ax).items()}


def references(ax):
    return {str(line.get_label()): line.get_ydata()[0] for line in ax.lines if line.get_markevery() is not None}


def markers(ax):
    return {tuple(point) for line in ax.lines if line.get_linestyle() == "None" for point in line.get_xydata().tolist()}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts() if text.get_text()]


def footer(figure):
    return figure.get_supxlabel().replace("\n", " ")


# --- scaling ----------------------------------------------------------------------------------------------------------


def test_a_panel_for_each_axis_holds_its_rows_and_the_shared_centre(figure):
    assert draw_scaling(ROWS, figure) is figure
    depth_macs, depth_ms, stages_macs, stages_ms = figure.axes
    assert lines(depth_macs) == {"hvt_s_1": [(6, 1.3), (12, 2.4), (18, 3.5)], "deit_small": [(6, 2.3), (12, 4.6)]}
    assert lines(depth_ms) == {"hvt_s_1": [(6, 3), (12, 5), (18, 7)], "deit_small": [(6, 3.5), (12, 6)]}
    assert lines(stages_macs) == {"hvt_s_1": [(0, 4.5), (1, 2.4)]}
    assert lines(stages_ms) == {"hvt_s_1": [(0, 5.5), (1, 5)]}
    assert legend(figure) == ["hvt_s_1", "deit_small"]


def test_a_model_without_the_axis_is_a_line_at_its_centre(figure):
    draw_scaling(ROWS, figure)
    assert [references(ax) for ax in figure.axes] == [{}, {}, {"deit_small": 4.6}, {"deit_small": 6.0}]
    assert "Thin dashed lines: centres that are not on the axis" in footer(figure)


def test_a_model_that_has_only_its_centre_still_has_its_name_in_the_legend(figure):
    draw_scaling([row(), swept("pool_stages", 0), row(**DEIT)], figure)
    assert legend(figure) == ["hvt_s_1", "deit_small"]


def test_axes_carry_labels_units_and_the_swept_values(figure):
    draw_scaling([row(), swept("img_size", 384), swept("img_size", 160), swept("depth", 6)], figure)
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "image size (px)", "", "depth"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["GMACs", "latency (ms)", "", ""]
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["160", "224", "384"]


def test_labels_that_would_overlap_are_staggered(figure):
    axes = [swept(axis, value) for axis, value in (("depth", 6), ("embed_dim", 192), ("img_size", 384))]
    draw_scaling([row(), *axes, *(swept("patch_size", size) for size in (8, 14, 32))], figure)
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["8", "14", "\n16", "32"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 8], False), ([1, 8.1], True), ([0, 100], False), ([-1, 100], False), ([5], False), ([], False)],
)
def test_a_range_of_more_than_a_factor_of_eight_is_logarithmic(values, expected):
    assert wants_log(values) is expected


def test_a_row_of_panels_has_one_scale_and_a_linear_one_starts_at_zero(figure):
    draw_scaling([*ROWS, swept("pool_stages", 4, macs=200_000_000)], figure)
    depth_macs, depth_ms, stages_macs, stages_ms = figure.axes
    assert depth_macs.get_yscale() == stages_macs.get_yscale() == "log"
    assert depth_macs.get_ylim() == stages_macs.get_ylim()
    assert depth_ms.get_yscale() == stages_ms.get_yscale() == "linear"
    assert depth_ms.get_ylim()[0] == stages_ms.get_ylim()[0] == 0
    assert depth_ms.get_ylim()[1] > 7


def test_ten_thousand_and_more_are_short_on_a_logarithmic_axis(figure):
    ax = figure.add_subplot()
    scale(ax, "x", [20.0, 2e6], True)
    assert ax.xaxis.get_major_formatter().format_ticks([0.1, 1000, 10_000, 2e5, 1e6]) == [
        "0.1",
        "1000",
        "10k",
        "200k",
        "1M",
    ]


def test_an_axis_of_far_apart_values_is_logarithmic(figure):
    draw_scaling([row(), swept("batch_size", 64)], figure)
    assert [ax.get_xscale() for ax in figure.axes] == ["log", "log"]


def test_lists_on_an_axis_stand_one_after_the_other_as_words_do(figure):
    mvit = {"model": "m", "family": "mvit", "depth": 16, "stage_depths": (1, 2, 11, 2), "pool_stages": None}
    deeper = mvit | {"axis": "stage_depths", "stage_depths": (2, 3, 16, 3), "depth": 24}
    draw_scaling([row(**mvit), row(**deeper)], figure)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["1 2 11 2", "2 3 16 3"]


def test_words_on_an_axis_are_not_joined_by_a_line(figure):
    draw_scaling([row(), swept("attention", "eager", latency_ms=9.0)], figure)
    ax = figure.axes[1]
    assert lines(ax) == {"hvt_s_1": [(0, 5), (1, 9)]}
    assert swept_lines(ax)["hvt_s_1"].get_linestyle() == "None"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["sdpa", "eager"]


def test_a_band_goes_from_the_fastest_round_to_the_slowest(figure):
    rounds = [row(latency_ms_rounds=(5.0, 4.0, 7.0)), swept("depth", 6, latency_ms_rounds=(3.0, 3.5, 2.5))]
    draw_scaling(rounds, figure)
    (band,) = figure.axes[1].collections
    assert {tuple(point) for point in band.get_paths()[0].vertices} == {(6, 2.5), (6, 3.5), (12, 4), (12, 7)}
    assert "Bands: from the fastest round to the slowest" in footer(figure)


def test_words_on_an_axis_have_a_bar_from_the_fastest_round_to_the_slowest(figure):
    draw_scaling([row(), swept("attention", "eager", latency_ms_rounds=(8.0, 9.0))], figure)
    bar = figure.axes[1].collections[0].get_segments()[-1]
    assert bar.tolist() == [[1, 8], [1, 9]]


def test_no_bands_are_promised_where_no_rounds_are_known(figure):
    draw_scaling([row(), swept("depth", 6, latency_ms_rounds=(3.0,))], figure)
    assert "ands" not in footer(figure)


def test_the_exponent_of_each_line_stands_above_its_panel(figure):
    draw_scaling([row(macs=2_000_000_000), swept("depth", 6, macs=1_000_000_000, latency_ms=1.25), row(**DEIT)], figure)
    said = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert said == [["^1.00"], ["^2.00"]]
    assert "^: exponent of a power law" in footer(figure)


def test_a_figure_without_exponents_says_why(figure):
    many = [row(model=f"m{number}") for number in range(5)]
    draw_scaling([*many, *(swept("depth", 6, model=f"m{number}", latency_ms=3.0) for number in range(5))], figure)
    assert "No exponents of 5 lines, 4 have room: `hvt-bench fit` prints all" in footer(figure)
    assert "^" not in footer(figure)
    words = Figure((7, 5), layout="constrained")
    draw_scaling([row(), swept("dtype", "float16", latency_ms=3.0)], words)
    assert "No exponents: they take an axis of numbers with two points on a line" in footer(words)


def test_more_lines_than_can_be_told_apart_are_grey(figure):
    models = [f"m{number}" for number in range(MOST_LINES + 3)]
    draw_scaling([made for model in models for made in (row(model=model), swept("depth", 6, model=model))], figure)
    assert legend(figure) == models[:MOST_LINES]
    assert len(figure.axes[0].collections[0].get_segments()) == 3
    assert "3 more lines in grey" in footer(figure)


def test_metrics_by_choice_have_a_row_of_panels_each(figure):
    draw_scaling(ROWS, figure, Asked(metrics=("peak_memory_mib", "latency_ms", "macs")))
    assert [ax.get_ylabel() for ax in figure.axes[:3]] == ["peak memory (MiB)", "latency (ms)", "GMACs"]


def test_a_hue_has_a_colour_for_each_of_its_values(figure):
    machines = [
        made for name in ("A100", "H200") for made in (row(device_name=name), swept("depth", 6, device_name=name))
    ]
    draw_scaling(machines, figure, Asked(hue="device_name"))
    drawn = swept_lines(figure.axes[1])
    assert list(drawn) == ["hvt_s_1, A100", "hvt_s_1, H200"]
    assert len({line.get_color() for line in drawn.values()}) == 2


def test_one_column_has_fewer_panels_side_by_side():
    with journal_style():
        narrow = Figure((3.5, 5), layout="constrained")
        draw_scaling([row(), swept("depth", 6), swept("img_size", 384), swept("pool_stages", 0)], narrow)
        assert narrow.axes[0].get_gridspec().ncols == 2


def test_ways_of_measuring_are_lines_of_their_own_and_macs_are_drawn_once(figure):
    ways = [{"dtype": dtype, "batch_size": batch} for dtype in ("float32", "bfloat16") for batch in (1, 64)]
    draw_scaling([new for way in ways for new in (row(**way), swept("depth", 6, **way))], figure)
    macs, latency = figure.axes
    names = [f"hvt_s_1, {way['dtype']}, batch {way['batch_size']}" for way in ways]
    assert list(lines(latency)) == legend(figure) == names
    assert all(len(points) == 2 for points in lines(latency).values())
    assert list(lines(macs)) == names[:1]
    assert "MACs of one image, whatever the dtype and batch_size" in footer(figure)


def test_twelve_lines_have_twelve_markers(figure):
    rows = [
        row(**place, model=model, batch_size=batch, dtype=dtype)
        for model in ("hvt_s_1", "hvt_ti_1", "deit_small")
        for batch in (1, 64)
        for dtype in ("float32", "bfloat16")
        for place in ({}, {"axis": "depth", "depth": 6})
    ]
    draw_scaling(rows, figure)
    drawn = list(swept_lines(figure.axes[1]).values())
    assert len({line.get_marker() for line in drawn}) == 12
    assert len({line.get_color() for line in drawn}) == 3


def test_networks_of_a_grid_are_lines_of_their_own(figure):
    narrow = {"embed_dim": 192, "num_heads": 3, "macs": 600_000_000}
    draw_scaling([row(), swept("depth", 6), row(**narrow), swept("depth", 6, **narrow)], figure)
    assert list(lines(figure.axes[0])) == ["hvt_s_1, embed_dim 384", "hvt_s_1, embed_dim 192"]


def test_what_follows_the_swept_field_tells_no_lines_apart():
    rows = [row(), swept("embed_dim", 192, num_heads=3), swept("pool_stages", 0), swept("batch_size", 64)]
    assert varying_network(rows) == varying_protocol(rows) == ()


def test_an_attention_that_follows_from_the_network_tells_no_lines_apart(figure):
    rows = [row(), row(model="patchdiv_b12", attention="eager"), swept("depth", 6)]
    assert varying_protocol(rows) == ()
    assert varying_protocol([*rows, row(attention="eager")]) == ("attention",)
    draw_scaling(rows, figure)
    assert "attention sdpa, eager" in figure.get_supxlabel()


def test_a_line_has_a_gap_where_a_point_was_not_measured(figure):
    oom = swept("depth", 18, **UNMEASURED, status="oom", macs=3_500_000_000)
    draw_scaling([row(), oom, swept("depth", 24), swept("depth", 6, **UNMEASURED)], figure)
    ys = [y for _, y in lines(figure.axes[1])["hvt_s_1"]]
    assert [math.isnan(y) for y in ys] == [True, False, True, False]
    assert len(lines(figure.axes[0])["hvt_s_1"]) == 4
    assert "2 points without latency (1 not measured, 1 oom)" in footer(figure)


def test_an_axis_where_a_metric_was_not_measured_says_so(figure):
    centre = row(**UNMEASURED)
    draw_scaling([centre, swept("depth", 6, **UNMEASURED), swept("img_size", 384)], figure)
    assert [text.get_text() for text in figure.axes[1].texts] == ["not measured"]


def test_without_latency_there_is_one_row_of_panels(figure):
    draw_scaling([row(**UNMEASURED), swept("depth", 6, **UNMEASURED)], figure)
    assert [ax.get_ylabel() for ax in figure.axes] == ["GMACs"]
    assert "atency" not in footer(figure)


def test_a_row_without_a_column_for_its_axis_is_counted_not_drawn(figure):
    draw_scaling([row(), swept("depth", 6), row(axis="drop_rate")], figure)
    assert len(figure.axes) == 2
    assert "1 point not drawn (no column 'drop_rate')" in footer(figure)


@pytest.mark.parametrize("draw", [draw_scaling, draw_tradeoff, draw_memory])
def test_the_footer_says_whence_and_counts_what_is_not_drawn(draw, figure):
    rows = [*ROWS, row(batch_size=64, rounds=2), *(swept("img_size", size, **INVALID) for size in (225, 226))]
    draw(rows, figure)
    expected = "NVIDIA H200 · float32 · attention sdpa · batch 1, 64 · rounds 2, 3 · torch 2.13.0 · hvt-bench 0.1.0"
    assert footer(figure).startswith(expected)
    assert "2 invalid points not drawn" in footer(figure)


# --- tradeoff and memory ----------------------------------------------------------------------------------------------


def test_tradeoff_draws_every_point_once(figure):
    assert draw_tradeoff(ROWS, figure) is figure
    (ax,) = figure.axes
    assert markers(ax) == {(made["macs"] / 1e9, made["latency_ms"]) for made in ROWS}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("GMACs", "latency (ms)")
    assert sorted(legend(figure)) == ["centre", "deit_small", "depth", "hvt_s_1", "pool_stages"]


def test_memory_draws_every_point_once(figure):
    draw_memory(ROWS, figure)
    (ax,) = figure.axes
    assert markers(ax) == {(made["macs"] / 1e9, 100.0) for made in ROWS}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("GMACs", "peak memory (MiB)")
    assert not ax.texts


def test_both_axes_are_logarithmic_as_soon_as_one_ranges_far(figure):
    draw_tradeoff([*ROWS, swept("depth", 48, macs=40_000_000_000)], figure)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")


def test_a_memory_of_zero_keeps_the_axes_linear(figure):
    draw_memory([row(peak_memory_mib=0.0), swept("depth", 48, macs=40_000_000_000)], figure)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_ylim()[0]) == ("linear", 0)


def test_each_way_of_measuring_has_a_panel(figure):
    rows = [row(), swept("depth", 6, macs=10**9), swept("depth", 9, macs=2 * 10**9)]
    batches = [Row({**made, "batch_size": 64, "latency_ms": 90.0}) for made in rows]
    draw_tradeoff([*rows, *batches], figure)
    assert [ax.get_title() for ax in figure.axes] == ["batch 1", "batch 64"]
    assert [markers(ax) for ax in figure.axes] == [{(2.4, 5), (1, 5), (2, 5)}, {(2.4, 90), (1, 90), (2, 90)}]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_reference_lines_join_equal_macs_per_second(figure):
    draw_tradeoff([row(batch_size=64, macs=10**9, latency_ms=32.0), row(batch_size=64, latency_ms=50.0)], figure)
    (ax,) = figure.axes
    found = [line.get_xydata()[-1] for line in ax.lines if line.get_linestyle() == "-"]
    rates = [64 * gmacs * 1e9 / (ms / 1e3) for gmacs, ms in found]
    assert rates == pytest.approx([2e12, 5e12])
    assert [text.get_text() for text in ax.texts] == ["2 T/s", "5 T/s"]


def test_a_latency_of_zero_has_no_rate_and_is_said(figure):
    draw_tradeoff([row(), row(**DEIT), row(model="broken", latency_ms=0.0)], figure)
    assert markers(figure.axes[0]) == {(2.4, 5), (4.6, 6)}
    assert "1 point at 0 not drawn (no ratio and no logarithmic axis takes 0)" in footer(figure)
    assert FIGURES["tradeoff"].lacks([row(latency_ms=0.0)]) == "no row has both MACs and latency_ms above 0"


@pytest.mark.parametrize(
    ("rates", "most", "expected"),
    [
        ([3e9, 15e9], 4, [2e9, 5e9, 1e10, 2e10]),
        ([3e9, 15e9], 3, [1e9, 1e10, 1e11]),
        ([1e12], 8, [1e12]),
        ([math.nextafter(1e12, 0)], 8, [5e11, 1e12]),
    ],
)
def test_round_rates_span_what_was_measured(rates, most, expected):
    assert round_rates(rates, most) == pytest.approx(expected)


def test_the_eleventh_model_has_the_colour_of_the_first_and_is_hollow(figure):
    draw_memory([row(model=f"m{index}", macs=index * 10**9) for index in range(1, 12)], figure)
    first, *_, last = figure.axes[0].lines
    assert first.get_color() == last.get_color()
    assert first.get_markerfacecolor() != last.get_markerfacecolor() == "white"


# --- files ------------------------------------------------------------------------------------------------------------


def test_figures_are_written_beside_the_csv_in_order(tmp_path):
    saved = save_figures(ROWS, tmp_path / "run.csv")
    drawn = ("scaling", "tradeoff", "speedup", "accuracy", "breakdown", "memory", "noise")
    names = [f"run.{name}.{suffix}" for name in drawn for suffix in ("png", "svg")]
    assert [path.name for path in saved.paths] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert saved.not_drawn == {
        "tokens": "no row has seq_lens",
        "heatmap": "no model has rows that differ in two fields of numbers, as those of a `grid` do",
        "roofline": "no row has arithmetic_intensity or macs_per_s",
    }
    assert plt.get_fignums() == []


def test_names_formats_and_folder_can_be_chosen(tmp_path):
    saved = save_figures(ROWS, tmp_path / "run.csv", ["memory", "tradeoff", "memory"], ["svg"], tmp_path / "a" / "b")
    assert saved.paths == tuple(tmp_path / "a" / "b" / f"run.{name}.svg" for name in ("memory", "tradeoff"))
    assert all(path.exists() for path in saved.paths)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_rows_give_the_same_file_and_leave_the_style_alone(suffix, tmp_path):
    style = dict(mpl.rcParams)
    first, second = (
        save_figures(ROWS, tmp_path / name, ["tradeoff"], [suffix]).paths[0].read_bytes() for name in ("a.csv", "b.csv")
    )
    assert first == second
    assert dict(mpl.rcParams) == style


def test_text_of_an_svg_is_text(tmp_path):
    rows = [row(model="a<$b$>"), swept("depth", 6, model="a<$b$>")]
    (path,) = save_figures(rows, tmp_path / "run.csv", ["scaling"], ["svg"]).paths
    assert ">a&lt;$b$&gt;<" in path.read_text()


def test_a_long_name_is_broken_behind_a_comma(figure):
    name = "hvt:embed_dim=256,num_heads=4,depth=10,pool_stages=2"
    draw_memory([row(model=name)], figure)
    assert legend(figure) == ["hvt:embed_dim=256,num_heads=4,\ndepth=10,pool_stages=2"]


@pytest.mark.parametrize("draw", [draw_scaling, draw_tradeoff])
def test_many_long_names_stand_clear_of_the_panels(draw, figure):
    models = [f"hvt:embed_dim={64 * number},num_heads={number},depth=10,pool_stages=2" for number in range(1, 13)]
    draw([make for model in models for make in (row(model=model), swept("depth", 6, model=model))], figure)
    fit_height(figure, 2.0)
    figure.draw_without_rendering()
    around = [figure.legends[0].get_window_extent(), figure.texts[0].get_window_extent()]
    for box in around:
        assert not any(box.overlaps(ax.get_tightbbox()) for ax in figure.axes)
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert all(ax.bbox.height > figure.dpi for ax in figure.axes)


def test_what_the_rows_cannot_fill_is_left_out_and_said(tmp_path):
    saved = save_figures([row(**UNMEASURED), swept("depth", 6, **UNMEASURED)], tmp_path / "run.csv", formats=["svg"])
    assert [path.name for path in saved.paths] == [f"run.{name}.svg" for name in ("scaling", "accuracy", "breakdown")]
    expected = {"tradeoff": "no row has latency_ms", "memory": "no row has peak_memory_mib"}
    assert expected.items() <= saved.not_drawn.items()


def test_centres_alone_have_no_scaling(tmp_path):
    assert save_figures([row()], tmp_path / "run.csv", formats=["svg"]).not_drawn["scaling"] == "no row has axis"


@pytest.mark.parametrize(
    ("rows", "name", "why"),
    [
        ([row(**UNMEASURED)], "tradeoff", "no row has latency_ms"),
        (
            [row(macs=None, latency_ms=None), row(peak_memory_mib=None)],
            "memory",
            "no row has both macs and peak_memory",
        ),
        ([row(), row(axis="drop_rate")], "scaling", "no axis of the rows is a column"),
        ([row()], "scaling", "no row has axis"),
        ([swept("depth", 6, **INVALID)], "scaling", "no row has macs"),
    ],
)
def test_a_figure_asked_for_that_cannot_be_drawn_is_an_error(rows, name, why, tmp_path):
    with pytest.raises(RequestError, match=f"run.csv: cannot draw '{name}': {why}"):
        save_figures(rows, tmp_path / "run.csv", [name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [[], [swept("depth", 6, **INVALID)]])
def test_nothing_to_draw_is_an_error(rows, tmp_path):
    with pytest.raises(RequestError, match=r"run.csv: there is nothing to draw: scaling: .*; tradeoff: .*; noise: "):
        save_figures(rows, tmp_path / "run.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["scalling"]}, "unknown figure 'scalling'; did you mean 'scaling'?"),
        (
            {"names": ["scaling", "bars"]},
            "unknown figure 'bars'; known: accuracy, breakdown, heatmap, "
            "memory, noise, roofline, scaling, speedup, tokens, tradeoff",
        ),
        ({"formats": ["gif"]}, "unknown format 'gif'; known: pdf, png, svg"),
    ],
)
def test_an_unknown_figure_or_format_is_an_error(arguments, message, tmp_path):
    with pytest.raises(RequestError) as raised:
        save_figures(ROWS, tmp_path / "run.csv", **arguments)
    assert str(raised.value) == message
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_when_a_figure_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setitem(FIGURES, "memory", replace(FIGURES["memory"], draw=fail))
    with pytest.raises(RuntimeError, match="broken"):
        save_figures(ROWS, tmp_path / "run.csv", ["tradeoff", "memory"], ["svg"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "run.tradeoff.svg").mkdir()
    with pytest.raises(FileError, match=r"run\.tradeoff\.svg: cannot be written"):
        save_figures(ROWS, tmp_path / "run.csv", ["tradeoff"], ["svg"])
    assert [path.name for path in tmp_path.iterdir()] == ["run.tradeoff.svg"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"run\.tradeoff\.svg: cannot be written"):
        save_figures(ROWS, tmp_path / "run.csv", ["tradeoff"], ["svg"], tmp_path / "file")


# --- a whole sweep ----------------------------------------------------------------------------------------------------


def test_every_point_of_a_sweep_is_in_the_panels_of_its_axis(tmp_path, figure):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: small\nmodels: [hvt_s_1, hvt_ti_1, deit_small]\nprotocol: {device: cpu}\n"
        "grid: {dtype: [float32, bfloat16]}\n"
        "axes: {depth: [6, 12, 18], embed_dim: [192, 384, 576], img_size: [160, 224, 230], pool_stages: [0, 1, 2]}\n"
    )
    sweep = load_sweep(file)
    rows = [Row(cell.columns() | {"status": "invalid"}) for cell in sweep.invalid]
    for number, point in enumerate(sweep.points):
        found = {"macs": point.config.closed_form_macs(), "latency_ms": 1.0 + number, "status": "ok"}
        rows.append(Row(point.columns() | found))
    draw_scaling(rows, figure)
    axes = ["depth", "embed_dim", "img_size", "pool_stages"]
    for axis, ax in zip(axes, figure.axes[1::2], strict=True):
        there = [made for made in rows if made["axis"] in (axis, None) and made["status"] == "ok"]
        expected = {(made[axis], made["latency_ms"]) for made in there if made[axis] is not None}
        assert {point for points in lines(ax).values() for point in points} == expected
        assert len(lines(ax)) == (4 if axis == "pool_stages" else 6)
        assert ax.get_xlabel() == axis_label(axis)
    assert f"{len(sweep.invalid)} invalid points not drawn" in footer(figure)


def test_colours_are_those_of_seaborn():
    import seaborn

    assert list(palette(range(10)).values()) == seaborn.color_palette("colorblind")


def test_panels_of_many_axes_go_on_a_page(figure):
    axes = ("depth", "embed_dim", "img_size", "patch_size", "mlp_ratio")
    figure.set_figwidth(WIDTHS_IN["one"])
    draw_scaling([row(), *(swept(axis, value) for axis in axes for value in (8, 16))], figure)
    fit_height(figure, 2.1)
    assert figure.get_figheight() == pytest.approx(PAGE_IN)


def test_points_without_a_logarithm_are_named_beside_the_exponents():
    rows = [row(pool_stages=stages, axis="pool_stages", macs=1000 // (stages + 1)) for stages in (0, 1, 2, 4)]
    figure = draw_scaling(rows, plt.figure(layout="constrained"))
    said = figure.get_supxlabel().replace("\n", " ")
    assert "power law of all points but pool_stages 0, which has no logarithm, with its 95 % interval" in said
    plt.close(figure)


def test_panels_make_no_ticks_that_nobody_sees():
    with style.journal_style():
        figure = Figure()
        outer, inner = figure.subplots(1, 2, sharey=True)
    outer.set(yscale="log", ylim=(1, 100))
    inner.tick_params(which="minor", left=False)
    style.make_no_hidden_ticks(figure.axes)
    assert len(inner.yaxis.get_minorticklocs()) == 0
    assert len(outer.yaxis.get_minorticklocs()) > 0
    assert list(inner.get_yticks()) == list(outer.get_yticks())
