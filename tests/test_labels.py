import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvt_bench.plots.labels import Labels, along, place

BOUNDS = (0.0, 0.0, 300.0, 200.0)
POINT = st.tuples(st.integers(0, 300), st.integers(0, 200))


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@given(st.lists(POINT, min_size=1, max_size=15), st.integers(5, 80))
@settings(derandomize=True, database=None, deadline=None, max_examples=50)
def test_labels_lie_inside_and_over_nothing(points, width):
    places = np.array(points, float)
    found = [box for box in place(places, np.full(places.shape, (width, 8.0)), places, BOUNDS, 1.0) if box is not None]
    for index, box in enumerate(found):
        assert BOUNDS[0] <= box[0] < box[2] <= BOUNDS[2]
        assert BOUNDS[1] <= box[1] < box[3] <= BOUNDS[3]
        assert not any(overlap(box, other) for other in found[:index])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in points)


def test_a_label_that_finds_no_room_is_left_out():
    (box,) = place(np.array([[5.0, 5.0]]), np.array([[400.0, 8.0]]), np.empty((0, 2)), BOUNDS, 1.0)
    assert box is None


def test_a_label_without_neighbours_stands_right_of_its_point():
    (box,) = place(np.array([[100.0, 100.0]]), np.array([[40.0, 8.0]]), np.array([[100.0, 100.0]]), BOUNDS, 1.0)
    assert 100 < box[0] < 106
    assert box[1] == 96.0


def test_labels_are_placed_when_drawn_and_cross_no_line():
    figure = Figure((3, 3))
    ax = figure.add_subplot(xlim=(0, 10), ylim=(0, 10))
    free = Labels(ax, [(5, 5)], ["name"], [(5, 5)])
    figure.draw_without_rendering()
    crossed = Labels(ax, [(5, 5)], ["name"], [(5, 5)], [(5, 5), (10, 5)])
    figure.draw_without_rendering()
    assert free.places != crossed.places
    middle = ax.transData.transform((5, 5))[1]
    assert not crossed.places[0][1] < middle < crossed.places[0][3]


def test_equal_points_of_a_line_are_one():
    line = np.array([(0.0, 0.0), (0.0, 0.0), (3.0, 4.0), (3.0, 4.0)])
    assert along(line, 2.5).tolist() == along(line[1:3], 2.5).tolist()
    assert along(line[:2], 2.5).tolist() == [[0.0, 0.0]]


@given(st.lists(POINT, min_size=2, max_size=15))
@settings(derandomize=True, database=None, deadline=None, max_examples=50)
def test_a_label_without_a_line_is_nearest_to_its_own_point(points):
    places = np.array(points, float)
    for own, box in zip(
        places, place(places, np.full(places.shape, (30, 8.0)), places, BOUNDS, 1.0, places), strict=True
    ):
        if box is not None:
            away, *others = (np.hypot(*(np.clip(p, box[:2], box[2:]) - p)) for p in (own, *places))
            assert away > 4.5 or away <= min(others) + 1e-6


def test_labels_of_crowded_points_move_away_and_have_a_line():
    column = np.array([(100.0, 100.0), (100.0, 105.0)])
    near, _ = place(column, np.full(column.shape, (40, 8.0)), column, (0.0, 0.0, 300.0, 104.0), 1.0)
    far, _ = place(column, np.full(column.shape, (40, 8.0)), column, (0.0, 104.5, 300.0, 200.0), 1.0, column)
    assert near[0] - 100 == 3.5
    assert far[1] >= 104.5
    assert np.hypot(*(np.clip(column[0], far[:2], far[2:]) - column[0])) > 4.5


def test_a_name_crosses_no_bar_however_long():
    figure = Figure((3, 6))
    ax = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    labels = Labels(ax, [(0.9, 0.5)], ["a long name"], [(0.9, 0.5)], bars=[((0.9, 0.0), (0.9, 1.0))])
    FigureCanvasAgg(figure).draw()
    (box,) = labels.places
    assert box[2] <= ax.transData.transform((0.9, 0.5))[0]
