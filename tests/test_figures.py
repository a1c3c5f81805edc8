"""What the figures beyond scaling, trade-off and memory draw."""

from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from matplotlib.figure import Figure

from hvt_bench.errors import RequestError
from hvt_bench.models import CONFIG_COLUMNS, parse_model
from hvt_bench.plots import FIGURES, render_figure, save_figures
from hvt_bench.plots.accuracy import draw_accuracy, lacks_accuracy
from hvt_bench.plots.asked import Asked
from hvt_bench.plots.breakdown import draw_breakdown, lacks_breakdown
from hvt_bench.plots.heatmap import draw_heatmap, lacks_heatmap
from hvt_bench.plots.labels import Labels
from hvt_bench.plots.memory import draw_memory
from hvt_bench.plots.noise import draw_noise, lacks_noise
from hvt_bench.plots.roofline import draw_roofline, lacks_roofline
from hvt_bench.plots.scaling import draw_scaling
from hvt_bench.plots.scatter import MOST_HUES
from hvt_bench.plots.speedup import draw_speedup, lacks_speedup
from hvt_bench.plots.style import WIDTHS_IN, journal_style
from hvt_bench.plots.tokens import draw_tokens, lacks_tokens, staircases
from hvt_bench.plots.tradeoff import draw_tradeoff, lacks_tradeoff
from hvt_bench.row import Row
from hvt_bench.table import read_table
from tests.test_plots import footer, legend, markers

SMALL = "img_size=64,depth=4,embed_dim=64,num_heads=1,num_classes=10"


@pytest.fixture
def figure():
    with journal_style():
        yield Figure((7, 5), layout="constrained")


def row_of(model, /, name=None, **changes):
    """A row of a network, counted by its closed form and measured."""
    config = parse_model(model)
    macs = config.closed_form_macs()
    known = {
        "point_id": f"{model}{sorted(changes.items())}", "model": name or model, "family": config.family,
        "device": "cpu", "dtype": "float32", "batch_size": 1, "mode": "infer", "num_threads": 1, "device_name": "CPU",
        "macs": macs, "train_macs": 3 * macs, "seq_lens": config.seq_lens, "latency_ms": macs / 1e8, "status": "ok",
    }  # fmt: skip
    return Row({**known, **config.columns(model, CONFIG_COLUMNS), **changes})


def names(figure):
    """Names that found room beside points, panel by panel."""
    figure.draw_without_rendering()
    labels = [[artist for artist in ax.get_children() if isinstance(artist, Labels)] for ax in figure.axes]
    return [
        [text.get_text() for found in of for text, box in zip(found.texts, found.places, strict=True) if box]
        for of in labels
    ]


def said_under_title(ax):
    return next(text.get_text() for text in ax.texts if "rank correlation" in text.get_text())


HVT, DEIT = row_of("hvt_s_1", latency_ms=66.0), row_of("deit_small", latency_ms=97.0)
SHALLOW = row_of("hvt_s_1:depth=6", name="hvt_s_1", axis="depth", latency_ms=30.0)


# --- speedup ----------------------------------------------------------------------------------------------------------


def test_speedup_draws_ratios_to_the_baseline(figure):
    draw_speedup([HVT, DEIT, SHALLOW], figure)
    (ax,) = figure.axes
    base = DEIT["macs"], 97.0
    assert markers(ax) == {(row["macs"] / base[0], row["latency_ms"] / base[1]) for row in (HVT, SHALLOW)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("MACs / deit_small", "latency / deit_small")
    assert "Baseline: deit_small at its centre (the first of family vit" in footer(figure)
    assert said_under_title(ax) == "no rank correlation: 2 points measured alike, it needs 4"
    assert names(figure) == [["hvt_s_1"]]


def test_speedup_leaves_out_a_time_of_zero_and_says_so(figure):
    draw_speedup([HVT, DEIT, Row({**SHALLOW, "latency_ms": 0.0})], figure)
    assert markers(figure.axes[0]) == {(HVT["macs"] / DEIT["macs"], 66 / 97)}
    assert "1 point at 0 not drawn" in footer(figure)


def test_speedup_correlates_what_was_measured_alike(figure):
    rows = [
        row_of(f"hvt_s_1:depth={depth}", name="hvt_s_1", axis="depth", batch_size=batch, latency_ms=latency_ms)
        for batch, times in ((1, (1.0, 2.0, 3.0, 4.0)), (8, (9.0, 8.0, 7.0, 6.0)))
        for depth, latency_ms in zip((6, 9, 15, 18), times, strict=True)
    ]
    draw_speedup([*rows, DEIT, Row({**DEIT, "batch_size": 8})], figure)
    said = [f"rank correlation {value} (4 points)" for value in ("1.00", "-1.00")]
    assert [said_under_title(ax) for ax in figure.axes] == said
    one_panel = Figure((7, 5), layout="constrained")
    draw_speedup([*rows, DEIT, Row({**DEIT, "batch_size": 8})], one_panel, Asked(hue="batch_size"))
    title = said_under_title(one_panel.axes[0])
    assert title == "rank correlation: batch 1 1.00 (4 points); batch 8 -1.00 (4 points)"


def test_speedup_writes_no_words_over_titles(figure):
    rows = [Row({**row, "torch_version": version}) for row in (HVT, DEIT, SHALLOW) for version in ("2.11", "2.15")]
    draw_speedup([*rows, *(Row({**row, "axis": "depth", "depth": 9}) for row in rows)], figure)
    figure.draw_without_rendering()
    assert [ax.get_title() for ax in figure.axes] == ["torch 2.11", "torch 2.15"]
    for ax in figure.axes:
        words = next(text for text in ax.texts if text.get_text() == said_under_title(ax))
        assert not words.get_window_extent().overlaps(ax.title.get_window_extent())
        assert not words.get_window_extent().overlaps(ax.get_window_extent())


def test_speedup_takes_another_baseline_and_says_so(figure):
    asked = Asked(baseline="hvt_s_1")
    draw_speedup([HVT, DEIT], figure, asked)
    assert markers(figure.axes[0]) == {(DEIT["macs"] / HVT["macs"], 97 / 66)}
    assert "(as asked)" in footer(figure)
    with pytest.raises(RequestError, match="--baseline: unknown model 'vit'"):
        lacks_speedup([HVT, DEIT], Asked(baseline="vit"))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row_of("hvt_s_1", latency_ms=None)], "no row has latency_ms"),
        ([DEIT], "no other row was measured as deit_small was"),
        ([SHALLOW], "no model has a centre that others could be held against"),
    ],
)
def test_speedup_needs_a_pair(rows, why):
    assert lacks_speedup(rows) == why


# --- accuracy ---------------------------------------------------------------------------------------------------------


def trained(row, *rounds, data="digits", recipe="small", **more):
    """The same row, trained from so many seeds."""
    spread = stdev(rounds) if len(rounds) > 1 else None
    found = {"top1": fmean(rounds), "top1_rounds": rounds, "top1_spread": spread, "total_train_macs": 10**12}
    return Row({**row, **found, "data": data, "recipe": recipe, **more})


def bars(ax):
    """The bars of a panel: x, lower end, upper end."""
    return {
        (segment[0][0], *segment[:, 1])
        for bar in ax.containers
        for collection in bar.lines[2]
        for segment in collection.get_segments()
    }


def ends(ax):
    """The ends of the bars of a panel."""
    return {(x, y) for x, *both in bars(ax) for y in both}


def fronts_of(ax):
    return [set(line.get_ydata()) for line in ax.lines if line.get_linestyle() != "None"]


def test_accuracy_draws_what_is_printed_and_ones_own_by_other_markers(figure):
    rows = [HVT, DEIT, row_of("hvt:depth=4", name="mine"), row_of(f"vit:{SMALL}", name="unknown")]
    draw_accuracy(rows, figure, Asked(accuracy={"mine": 60.0, "nobody": 1.0}))
    macs, latency = figure.axes
    tops = [(HVT, 78.0), *((DEIT, top1) for top1 in (79.8, 81.4, 79.856)), (rows[2], 60.0)]
    assert markers(macs) == {(row["macs"] / 1e9, top1) for row, top1 in tops}
    assert markers(latency) == {(row["latency_ms"], top1) for row, top1 in tops}
    assert {"own", "printed: HVT", "printed: DeiT", "printed: DeiT-III"} < set(legend(figure))
    hollow = {line.get_markerfacecolor() for line in macs.lines if line.get_linestyle() == "None"}
    assert hollow == {"none"}
    said = footer(figure)
    assert "Own: yours, by --accuracy; of 1,000 classes, so taken to be on ImageNet-1k" in said
    assert "Printed: on ImageNet-1k, as HVT, DeiT, DeiT-III, timm accuracy and DynamicViT each printed it" in said
    assert "Drawn is the first of several: HVT also prints 78.06, 78.3 of hvt_s_1, DeiT also prints 79.9 of" in said
    assert "1 row without a top-1 or MACs not drawn, all of 1 model among them. No row is of nobody" in said
    assert names(figure)[0] == ["hvt_s_1", "deit_small", "vit_small", "mine"]


def test_accuracy_draws_a_front_for_each_system_that_printed(figure):
    third = [row_of(name) for name in ("vit_small:img_size=384", "vit_base:embed_dim=512,num_heads=8")]
    draw_accuracy([*third, row_of("deit_tiny")], figure)
    assert {frozenset(found) for found in fronts_of(figure.axes[0])} == {
        frozenset(found) for found in ({83.0, 83.4}, {81.6}, {72.2}, {72.19})
    }


def test_measured_accuracy_has_bars_between_seeds_and_training_as_a_cost(figure):
    rows = [trained(HVT, 84.0, 85.0, 86.0), trained(DEIT, 82.0, total_train_macs=2 * 10**12)]
    draw_accuracy(rows, figure)
    macs, _, training = figure.axes
    assert markers(training) - ends(training) == {(1.0, 85.0), (2.0, 82.0)}
    assert bars(macs) == {(HVT["macs"] / 1e9, 84.0, 86.0)}
    assert legend(figure)[-1] == "measured here, digits, \nrecipe small"
    said = footer(figure)
    assert "Bars: one standard deviation of top-1 between 3 seeds each way. No bar of 1 point trained from one" in said
    assert training.get_xlabel() == "TMACs of one training"


def test_numbers_on_other_data_or_by_another_recipe_are_never_joined(figure):
    rows = [
        trained(HVT, 84.0),
        trained(DEIT, 88.0),
        trained(HVT, 90.0, recipe="deit"),
        trained(DEIT, 70.0, data="fashion_mnist"),
        row_of("hvt_s_0"),
        row_of("hvt_s_2:num_classes=10", name="mine"),
    ]
    draw_accuracy(rows, figure, Asked(metrics=("macs",), accuracy={"mine": 60.0}))
    panels = {ax.get_title(): ax for ax in figure.axes}
    drawn = {title: {y for _, y in markers(ax)} for title, ax in panels.items()}
    assert drawn == {
        "digits": {84.0, 88.0, 90.0},
        "fashion_mnist": {70.0},
        "ImageNet-1k": {80.39},
        "own, data not told": {60.0},
    }
    assert fronts_of(panels["digits"]) == [{84.0, 88.0}, {90.0}]
    assert "A panel for each data set: numbers on different ones do not compare" in footer(figure)


def test_tradeoff_of_top1_has_bars_and_a_front_for_each_training(figure):
    rows = [trained(HVT, 84.0, 86.0), trained(DEIT, 88.0), trained(SHALLOW, 70.0, data="fashion_mnist")]
    draw_tradeoff(rows, figure, Asked(metrics=("macs", "top1")))
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert [fronts_of(panels[f"data {data}"]) for data in ("digits", "fashion_mnist")] == [[{85.0, 88.0}], [{70.0}]]
    ((_, low, high),) = bars(panels["data digits"])
    assert (low, high) == pytest.approx((85.0 - 2**0.5, 85.0 + 2**0.5))
    assert panels["data digits"].get_ylim()[0] > 50
    said = footer(figure)
    assert "Bars: one standard deviation of top-1 between 2 seeds each way" in said
    assert "A panel for each data set and recipe: others do not compare" in said


def test_a_network_of_which_a_training_ended_badly_is_on_no_front_and_named(figure):
    lost = trained(Row({**SHALLOW, "model": "lost"}), 99.0, 98.0, status="error")
    rows = [lost, trained(HVT, 84.0, 85.0, 86.0), trained(DEIT, 88.0)]
    draw_accuracy(rows, figure, Asked(metrics=("macs",)))
    draw_tradeoff(rows, other := Figure((7, 5), layout="constrained"), Asked(metrics=("macs", "top1")))
    for drawn in (figure, other):
        assert fronts_of(drawn.axes[0]) == [{85.0, 88.0}]
        assert 98.5 not in {y for _, y in markers(drawn.axes[0])}
        assert "Not drawn: 1 row (lost) of which not every training ended well" in footer(drawn)
        assert "between 3 seeds each way" in footer(drawn)
    why = "1 row (lost) of which not every training ended well"
    assert lacks_accuracy([lost]) == f"no top-1 but of {why}"
    assert lacks_tradeoff([lost], Asked(metrics=("macs", "top1"))) == f"no macs and top1 but of {why}"


def test_tradeoff_of_top1_is_filled_as_what_is_measured_here_and_joins_no_single_point(figure):
    small = row_of(f"hvt:{SMALL}", name="small")
    rows = [trained(small, 84.0), trained(Row({**small, "model": "worse"}), 80.0)]
    draw_tradeoff(rows, figure, Asked(metrics=("macs", "top1")))
    drawn = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert [line.get_markerfacecolor() for line in drawn] == [line.get_color() for line in drawn]
    assert figure.axes[0].get_xlabel() == "MMACs"
    assert "Dashed" not in footer(figure)


def test_no_front_is_promised_where_each_is_a_single_point(figure):
    draw_accuracy([trained(HVT, 84.0)], figure, Asked(metrics=("macs",)))
    assert "Dashed" not in footer(figure)
    draw_accuracy([trained(HVT, 84.0), trained(DEIT, 88.0)], other := Figure(layout="constrained"))
    assert "Dashed: a front for each marker" in footer(other)


def test_names_lie_across_no_bar_of_tradeoff(figure):
    draw_tradeoff([trained(HVT, 84.0, 86.0), trained(DEIT, 88.0)], figure, Asked(metrics=("macs", "top1")))
    (labels,) = (artist for artist in figure.axes[0].artists if isinstance(artist, Labels))
    ((x, low, high),) = bars(figure.axes[0])
    assert labels.bars == pytest.approx(np.array([[(x, low), (x, high)]]))


def test_scaling_of_top1_draws_hollow_what_lost_seeds(figure):
    shallow = trained(SHALLOW, 70.0, 74.0, status="error")
    draw_scaling([trained(HVT, 84.0, 86.0), shallow], figure, Asked(metrics=("top1",)))
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xydata().tolist() for line in hollow] == [[[SHALLOW["depth"], 72.0]]]
    why = "1 row (hvt_s_1) of which not every training ended well, so the mean of the others"
    assert f"Hollow on a line: {why}" in footer(figure)


def test_scaling_of_top1_has_a_band_between_seeds(figure):
    rows = [trained(HVT, 84.0, 86.0), trained(SHALLOW, 80.0, 81.0)]
    draw_scaling(rows, figure, Asked(metrics=("top1",)))
    (ax,) = figure.axes
    (band,) = ax.collections
    ends = band.get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == pytest.approx((80.5 - 0.5**0.5, 85.0 + 2**0.5))
    assert ax.get_ylim()[0] > 50
    assert "Bands: one standard deviation of top-1 between 2 seeds each way" in footer(figure)


def test_scaling_joins_no_points_of_other_data(figure):
    rows = [trained(HVT, 84.0), trained(SHALLOW, 80.0), trained(HVT, 60.0, data="cifar10")]
    draw_scaling(rows, figure, Asked(metrics=("top1",)))
    lines = [set(line.get_ydata()) for line in figure.axes[0].lines]
    assert lines == [{84.0, 80.0}, {60.0}]


def test_speedup_has_no_ratio_of_a_percentage():
    rows = [trained(HVT, 84.0), trained(DEIT, 80.0)]
    assert lacks_speedup(rows, Asked(metrics=("macs", "top1"))).startswith("top1 is a percentage, of which no ratio")


def test_what_a_training_took_is_not_the_cost_of_a_printed_number(figure):
    draw_accuracy([trained(HVT, 84.0), Row({**DEIT, "total_train_macs": 10**12})], figure)
    training = [ax for ax in figure.axes if "training" in ax.get_xlabel()]
    assert [{y for _, y in markers(ax)} for ax in training] == [{84.0}]


def test_networks_for_small_images_are_counted_in_millions(figure):
    draw_accuracy([trained(row_of(f"hvt:{SMALL}"), 84.0)], figure, Asked(metrics=("macs",)))
    (ax,) = figure.axes
    figure.draw_without_rendering()
    assert ax.get_xlabel() == "MMACs"
    macs = max(x for x, _ in markers(ax)) * 1e3
    assert float(ax.get_xticklabels()[-1].get_text()) == pytest.approx(macs, rel=0.5)


def test_accuracy_needs_a_top1():
    assert lacks_accuracy([row_of(f"hvt:{SMALL}")]).startswith("no top-1 was measured, none is printed")


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_models_and_of_what_shortens_them():
    pooled = row_of("hvt_s_2", name="hvt_s_1", axis="pool_stages")
    larger = row_of("hvt_s_1:img_size=384", name="hvt_s_1", axis="img_size")
    found = staircases([HVT, pooled, larger, DEIT, row_of("deit_tiny")])
    assert list(found.values()) == [["hvt_s_1"], ["deit_small", "deit_tiny"], ["hvt_s_1 pool_stages 2"]]
    assert list(found) == [parse_model(name).seq_lens for name in ("hvt_s_1", "deit_small", "hvt_s_2")]


def test_tokens_of_a_grid_are_those_of_its_home():
    grid = [row_of(f"hvt_s_1:depth={d},pool_stages={p}", name="hvt_s_1") for d in (6, 12) for p in (0, 1, 2)]
    assert [names[0] for names in staircases(grid).values()] == [
        "hvt_s_1",
        "hvt_s_1 pool_stages 0",
        "hvt_s_1 pool_stages 2",
    ]


def test_tokens_say_what_is_held(figure):
    grid = [row_of(f"hvt_s_1:depth={d},pool_stages={p}", name="hvt_s_1") for d in (6, 12) for p in (0, 1, 2)]
    larger = row_of("hvt_s_1:img_size=384", name="hvt_s_1", axis="img_size")
    draw_tokens([*grid, larger], figure)
    assert "Held at depth 12, img_size 224: 4 rows of other values not drawn" in footer(figure)
    alone = Figure((7, 5), layout="constrained")
    draw_tokens(grid[3:], alone)
    assert "eld at" not in footer(alone)


def test_the_area_under_the_squares_is_the_pairs(figure):
    draw_tokens([HVT, DEIT], figure)
    lens = parse_model("hvt_s_1").seq_lens
    stairs = figure.axes[1].patches[-1].get_data()
    assert list(stairs.values) == [count**2 / 1e3 for count in lens]
    assert legend(figure) == ["deit_small: 466 k pairs", f"hvt_s_1: {sum(n * n for n in lens) / 1e3:.0f} k pairs"]
    assert lacks_tokens([row_of("hvt_s_1", seq_lens=None)]) == "no row has seq_lens"


# --- breakdown --------------------------------------------------------------------------------------------------------


def test_breakdown_stacks_the_macs_of_each_model_and_of_its_stages(figure):
    rows = [row_of(f"hvt:{SMALL},pool_stages=1", name="small"), row_of(f"vit:{SMALL}", name="plain")]
    draw_breakdown([*rows, Row({**rows[1], "model": "outside", "family": "external"})], figure)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "small", "1 block of 16 tokens", "3 blocks of 7 tokens", "plain",
    ]  # fmt: skip
    ends = {}
    for bar in ax.patches:
        place = round(bar.get_y() + bar.get_height() / 2)
        ends[place] = max(ends.get(place, 0), bar.get_x() + bar.get_width())
    assert [ends[0], ends[3]] == pytest.approx([row["macs"] / 1e9 for row in rows])
    assert "1 outside model not drawn" in footer(figure)
    assert "no time" in footer(figure).lower()


def timed(model, ms, batch_size=1, **changes):
    """A row whose parts take 1, 2, ... 7 times so many milliseconds, in each of two stages half of that."""
    parts = [ms * number for number in range(1, 8)]
    return row_of(
        model, name=model.partition(":")[0], batch_size=batch_size, parts_ms=tuple(parts), latency_ms=2 * sum(parts),
        stage_parts_ms=tuple([part / 2 for part in parts] * 2), **changes,
    )  # fmt: skip


def widths(ax, place):
    return [bar.get_width() for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == place]


def test_breakdown_has_a_panel_of_times_for_each_way_of_measuring(figure):
    rows = [timed(f"hvt:{SMALL}", 1.0), timed(f"hvt:{SMALL}", 2.0, batch_size=8), row_of(f"vit:{SMALL}", name="vit")]
    draw_breakdown(rows, figure)
    macs, one, eight = figure.axes
    assert (macs.get_title(), one.get_title(), eight.get_title()) == ("", "batch 1", "batch 8")
    assert (macs.get_xlabel(), one.get_xlabel()) == ("MMACs", "ms of one pass")
    assert [label.get_text() for label in macs.get_yticklabels()] == [
        "hvt",
        "1 block of 16 tokens",
        "3 blocks of 7 tokens",
        "vit",
    ]
    assert widths(one, 0) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert widths(eight, 0) == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]
    assert widths(one, 1) == widths(one, 2) == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert [text.get_text() for text in one.texts] == ["not measured"]
    assert "add up to 50 % of latency_ms" in footer(figure)


def test_breakdown_takes_the_times_of_the_network_that_it_counts(figure):
    rows = [timed(f"hvt:{SMALL}", 1.0), timed(f"hvt:{SMALL},mlp_ratio=2.0", 9.0, axis="mlp_ratio")]
    draw_breakdown(rows, figure)
    assert widths(figure.axes[1], 0) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_breakdown_names_the_ways_of_measuring_without_room(figure):
    draw_breakdown([timed(f"hvt:{SMALL}", 1.0, batch_size=size) for size in (1, 2, 4, 8)], figure)
    assert [ax.get_title() for ax in figure.axes] == ["", "batch 1", "batch 8"]
    assert "No room on a page for batch 2, 4: `--where batch_size=2`" in footer(figure)


def test_breakdown_names_equal_networks_once(figure):
    row = row_of(f"vit:{SMALL}", name="a")
    draw_breakdown([row, Row({**row, "model": "b"})], figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a and 1 equal"]


def test_breakdown_needs_a_network_of_ours():
    row = row_of(f"vit:{SMALL}", family="external")
    assert lacks_breakdown([row]) == "all models are outside code, which is not run for a figure"
    assert lacks_breakdown([Row({**row, "macs": None})]) == "no row has macs"


# --- heatmap ----------------------------------------------------------------------------------------------------------


def test_heatmap_has_a_panel_for_each_value_of_the_third_field(figure):
    grid = [
        row_of(f"hvt_s_1:depth={depth},img_size={size},pool_stages={stages}", name="hvt_s_1")
        for depth in (6, 12, 18)
        for size in (160, 224, 288, 384)
        for stages in (0, 1)
    ]
    draw_heatmap(grid[:-1], figure, Asked(metrics=("macs",)))
    *panels, colours = figure.axes
    assert [ax.get_title() for ax in panels] == ["pool stages 0", "pool stages 1"]
    assert panels[0].get_xlabel() == "image size (px)"
    assert panels[0].get_ylabel() == "depth"
    cells = panels[0].collections[0].get_array()
    wanted = {(row["depth"], row["img_size"]): row["macs"] / 1e9 for row in grid if row["pool_stages"] == 0}
    assert cells.tolist() == [[wanted[depth, size] for size in (160, 224, 288, 384)] for depth in (18, 12, 6)]
    assert colours.get_ylabel() == "GMACs"
    assert "1 cell without a value left white" in footer(figure)


def test_heatmap_needs_two_fields():
    assert "differ in two fields of numbers" in lacks_heatmap([HVT, row_of("hvt_s_2", name="hvt_s_1")])


# --- roofline, noise, memory ------------------------------------------------------------------------------------------


def test_the_roof_is_the_best_of_the_points_and_says_so(figure):
    speeds = [(10.0, 2e10), (20.0, 3e10)]
    rows = [Row({**HVT, "arithmetic_intensity": x, "macs_per_s": y}) for x, y in speeds]
    training = Row({**rows[0], "mode": "train"})
    draw_roofline([*rows, training, Row({**rows[0], "macs_per_s": 0.0})], figure)
    (ax,) = figure.axes
    assert markers(ax) == set(speeds)
    roof = next(line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3)
    assert roof.get_ydata().max() == 3e10
    assert roof.get_xdata()[1] == pytest.approx(15.0)
    assert "the machine's own, `measure: [peak]`, was not measured" in footer(figure)
    assert "1 training point not drawn" in footer(figure)
    assert "1 point at 0 not drawn" in footer(figure)
    assert lacks_roofline([training]) == "arithmetic_intensity is of a forward pass, and all rows are of training"


def test_the_roof_is_the_peak_of_the_machine_where_that_was_measured(figure):
    point = {**HVT, "arithmetic_intensity": 10.0, "macs_per_s": 2e10}
    rows = [
        Row({**point, "peak_macs_per_s": 4e10, "peak_bytes_per_s": 4e9}),
        Row({**point, "peak_macs_per_s": 5e10, "peak_bytes_per_s": 2e9}),
        Row({**point, "arithmetic_intensity": 14.0}),
    ]
    draw_roofline(rows, figure)
    (ax,) = figure.axes
    roof = next(line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3)
    assert roof.get_ydata().max() == 5e10
    assert roof.get_xdata()[1] == pytest.approx(12.5)
    assert ax.get_ylim()[1] > 5e10
    assert "peak: 50.0 GMACs/s, 4.0 GB/s" in {text.get_text() for text in ax.texts}
    assert "the best large product and the best copy" in footer(figure)
    assert "`measure: [peak]`" not in footer(figure)


def test_the_ridge_of_the_roof_is_in_view_wherever_the_points_are(figure):
    point = {**HVT, "arithmetic_intensity": 10.0, "macs_per_s": 1e9, "peak_macs_per_s": 5e10}
    draw_roofline([Row({**point, "peak_bytes_per_s": 1e9})], figure)
    low, high = figure.axes[0].get_xlim()
    assert low < 10.0 < 50.0 < high


def test_noise_draws_the_spread_of_each_point(figure):
    rows = [Row({**HVT, "latency_spread_pct": 30.0}), Row({**DEIT, "latency_spread_pct": 4.0}), SHALLOW]
    draw_noise(rows, figure)
    assert markers(figure.axes[0]) == {(66.0, 30.0), (97.0, 4.0)}
    assert "1 of one round only, which has no spread" in footer(figure)
    assert lacks_noise([SHALLOW]) == "no row has latency_spread_pct"


def test_quiet_points_are_drawn_without_the_level_of_noisy_ones(figure):
    rows = [Row({**HVT, "latency_spread_pct": 3.0}), Row({**DEIT, "latency_spread_pct": 2.0})]
    draw_noise(rows, figure)
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text() in ("noisy", "median")] == ["median"]


def test_ways_of_one_point_each_are_markers_and_not_panels(figure):
    rows = [
        Row({**row, "mode": "train", "dtype": dtype, "batch_size": batch, "peak_memory_mib": 100.0 * batch})
        for row in (HVT, DEIT)
        for dtype in ("float32", "amp_bfloat16")
        for batch in (1, 8)
    ]
    draw_memory(rows, figure)
    (ax,) = figure.axes
    assert ax.get_xlabel() == "training GMACs"
    assert {x for x, _ in markers(ax)} == {3 * HVT["macs"] / 1e9, 3 * DEIT["macs"] / 1e9}
    ways = {f"{dtype}, batch {batch}" for dtype in ("float32", "amp_bfloat16") for batch in (1, 8)}
    assert set(legend(figure)) == {"hvt_s_1", "deit_small"} | ways


def test_modes_side_by_side_say_whose_macs_they_show(figure):
    draw_memory([Row({**row, "peak_memory_mib": 1.0}) for row in (HVT, DEIT, Row({**HVT, "mode": "train"}))], figure)
    assert "MACs of one image, in training those of a training step" in footer(figure)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_the_front_is_joined_and_named(figure):
    quick = row_of("deit_small:depth=6", name="deit_small", axis="depth", latency_ms=60.0)
    draw_tradeoff([HVT, DEIT, Row({**SHALLOW, "latency_ms": 70.0}), quick], figure)
    (joined,) = (line for line in figure.axes[0].lines if line.get_zorder() == 1.5)
    assert joined.get_ydata().tolist() == [70.0, 60.0]
    assert names(figure) == [["hvt_s_1 depth 6", "deit_small depth 6", "hvt_s_1", "deit_small"]]


def test_two_metrics_are_set_against_each_other(figure):
    found = ((22_000_000, 90.0), (5_000_000, 60.0))
    rows = [Row({**HVT, "params": params, "peak_memory_mib": memory}) for params, memory in found]
    draw_tradeoff(rows, figure, Asked(metrics=("params", "peak_memory_mib")))
    assert markers(figure.axes[0]) == {(22, 90), (5, 60)}
    assert figure.axes[0].get_xlabel() == "parameters (M)"
    assert "higher parameters and lower peak memory" in footer(figure)


@pytest.mark.parametrize(
    ("metrics", "pair"),
    [
        ((), ("macs", "latency_ms")),
        (("macs",), ("macs", "latency_ms")),
        (("peak_memory_mib",), ("macs", "peak_memory_mib")),
        (("params", "macs", "latency_ms"), ("params", "macs")),
    ],
)
def test_one_metric_is_set_against_macs(metrics, pair):
    assert Asked(metrics=metrics).pair == pair


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(metrics=("latncy_ms",)), "--metric latncy_ms: unknown metric 'latncy_ms'; did you mean 'latency_ms'"),
        (Asked(metrics=("model",)), "--metric model: is no number"),
        (Asked(metrics=("energy_mj_per_img",)), "--metric energy_mj_per_img: no row has it"),
        (Asked(hue="devise_name"), "--hue: unknown column 'devise_name'; did you mean 'device_name'"),
        (Asked(hue="git_commit"), "--hue git_commit: no row has it"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(asked, message, tmp_path):
    with pytest.raises(RequestError) as raised:
        save_figures([HVT, DEIT], tmp_path / "run.csv", asked=asked)
    assert str(raised.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_hues_beyond_those_that_can_be_told_apart_are_grey(figure):
    rows = [Row({**HVT, "model": f"m{number}", "peak_memory_mib": 1.0 + number}) for number in range(MOST_HUES + 5)]
    draw_memory(rows, figure)
    assert len(markers(figure.axes[0])) == MOST_HUES + 5
    assert legend(figure)[-1] == "5 more"


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("width", WIDTHS_IN)
def test_no_figure_runs_over_its_width_or_its_words_over_its_panels(name, width, monkeypatch, repository):
    rows = read_table(repository / "reports/examples/scaling_cpu/run.csv")
    if name == "heatmap":
        sizes = [(depth, size) for depth in (6, 12) for size in (160, 224)]
        rows = [row_of(f"hvt_s_1:depth={depth},img_size={size}", name="hvt_s_1") for depth, size in sizes]
    drawn = []
    draw = FIGURES[name].draw
    monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], draw=lambda *given: drawn.append(draw(*given))))
    render_figure(name, rows, ["svg"], width=width)
    (figure,) = drawn
    assert figure.get_figwidth() == WIDTHS_IN[width]
    figure.draw_without_rendering()
    for artist in (*figure.texts, *figure.legends):
        box = artist.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert not any(box.overlaps(ax.get_tightbbox()) for ax in figure.axes)


def test_heatmap_of_a_row_that_is_not_full_names_its_sides(figure):
    grid = [
        row_of(f"hvt_s_1:depth={depth},img_size={size},pool_stages={stages}", name="hvt_s_1")
        for depth in (6, 12, 18)
        for size in (160, 224, 288)
        for stages in (0, 1, 2)
    ]
    figure.set_figwidth(3.5)
    draw_heatmap(grid, figure, Asked(metrics=("macs",)))
    assert len({ax.get_xlabel() for ax in figure.axes[:3]} - {""}) == 1
    assert all(ax.get_xlabel() for ax in figure.axes[:3])
