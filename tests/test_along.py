"""The rows of a grid, as lines through one network."""

import itertools

import matplotlib.pyplot as plt
import pytest

from hvt_bench.analysis.along import along_grid
from hvt_bench.analysis.fit import fit_rows
from hvt_bench.analysis.render_fits import render_fits
from hvt_bench.plots.scaling import draw_scaling, lacks_scaling
from hvt_bench.row import Row
from tests.rows import row


def point(depth, width, **changes):
    """A point of a grid that grows as depth^1 and width^2; heads follow the width."""
    values = {"depth": depth, "embed_dim": width, "num_heads": width // 64, "macs": depth * width**2}
    return row(**values | changes)


GRID = [point(depth, width) for depth, width in itertools.product((6, 12, 24), (192, 384, 768))]
HELD = "a grid: along each field of hvt_s_1 the others are held at embed_dim 384, depth 12; 4 rows beyond"


def test_lines_go_through_the_network_that_the_model_names():
    rows, held = along_grid(GRID)
    found = [(found["axis"], found["depth"], found["embed_dim"]) for found in rows]
    assert found == [
        ("depth", 6, 384),
        ("embed_dim", 12, 192),
        (None, 12, 384),
        ("embed_dim", 12, 768),
        ("depth", 24, 384),
    ]
    assert held == (HELD,)


def test_a_model_that_is_not_in_its_grid_is_held_in_the_middle():
    rows, held = along_grid([Row({**found, "model": "mine"}) for found in GRID if found["embed_dim"] != 384])
    assert held == ("a grid: along each field of mine the others are held at embed_dim 192, depth 12; 2 rows beyond",)
    assert {found["embed_dim"] for found in rows if found["axis"] == "depth"} == {192}


def test_a_grid_with_holes_is_held_where_most_points_are():
    """The network that the model names, 12 deep and 384 wide, is a hole; its neighbours lie on the lines with most."""
    holes = [(12, 384), (12, 192), (12, 768), (6, 192)]
    grid = [found for found in GRID if (found["depth"], found["embed_dim"]) not in holes]
    rows, held = along_grid(grid)
    assert held == ("a grid: along each field of hvt_s_1 the others are held at embed_dim 384, depth 24; 1 row beyond",)
    assert {fit.axis: fit.x for fit in fit_rows(grid, ["macs"]).fits} == {
        "depth": (6, 24),
        "embed_dim": (192, 384, 768),
    }
    assert [found["axis"] for found in rows] == ["depth", "embed_dim", None, "embed_dim"]


def test_two_rows_that_a_word_tells_apart_are_no_line():
    grid = [
        *(point(12, 384, dtype=dtype, batch_size=batch) for dtype, batch in (("float32", 1), ("bfloat16", 8))),
        *(point(24, 384, dtype="float32", batch_size=batch) for batch in (1, 8)),
    ]
    _, (held,) = along_grid(grid)
    assert "held at depth 24, batch 1; 1 row beyond" in held


def test_one_point_is_no_panel():
    alone = [point(12, 384, axis="depth"), *(point(12, width, axis="embed_dim") for width in (192, 384))]
    figure = draw_scaling(alone, plt.figure(layout="constrained"))
    assert [ax.get_xlabel() for ax in figure.axes] == ["embedding width"]
    assert "No line along depth: no model has two points there" in figure.get_supxlabel().replace("\n", " ")
    plt.close(figure)
    assert lacks_scaling(alone[:1]) == "no line along depth: no model has two points there"


def test_a_word_tells_lines_apart_and_a_batch_is_a_field():
    grid = [point(12, 384, dtype=dtype, batch_size=batch) for dtype in ("float32", "bfloat16") for batch in (1, 8, 64)]
    rows, held = along_grid(grid)
    assert [found["axis"] for found in rows] == ["batch_size", None, "batch_size"] * 2
    assert held == ("a grid: along each field of hvt_s_1 the others are held at batch 8",)


@pytest.mark.parametrize("rows", [[], [point(12, 384)], [point(12, 384), point(6, 384, axis="depth")]])
def test_other_rows_are_left_alone(rows):
    assert along_grid(rows) == (tuple(rows), ())


def test_invalid_points_stay_to_be_counted():
    rows, _ = along_grid([*GRID, Row({"model": "hvt_s_1", "status": "invalid"})])
    assert [found["status"] for found in rows].count("invalid") == 1


def test_fits_of_a_grid_say_what_is_held():
    found = fit_rows(GRID, ["macs"])
    assert {fit.axis: (fit.x, round(fit.exponent, 6)) for fit in found.fits} == {
        "depth": ((6, 12, 24), 1.0),
        "embed_dim": ((192, 384, 768), 2.0),
    }
    assert f"held: {HELD}" in render_fits(found).splitlines()
    assert HELD in render_fits(found, "json")


def test_a_figure_of_a_grid_has_a_panel_for_each_field():
    assert lacks_scaling(GRID) == ""
    figure = draw_scaling(GRID, plt.figure(layout="constrained"))
    assert [ax.get_xlabel() for ax in figure.axes] == ["depth", "embedding width"]
    assert [line.get_xdata().tolist() for ax in figure.axes for line in ax.lines] == [[6, 12, 24], [192, 384, 768]]
    assert HELD[1:] in figure.get_supxlabel().replace("\n", " ")
    plt.close(figure)
