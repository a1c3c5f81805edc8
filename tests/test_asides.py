"""Names of lines at their ends."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvt_bench.plots.asides import Aside, write_above, write_beside
from hvt_bench.plots.style import journal_style


@pytest.fixture
def ax():
    with journal_style():
        ax = Figure((3, 3)).add_subplot()
        ax.set(xlim=(0, 1), ylim=(0, 1))
        yield ax


def shown(ax):
    FigureCanvasAgg(ax.figure).draw()
    return [text.get_text() for text in ax.texts if isinstance(text, Aside) and text.shown]


def test_a_name_gives_way_to_those_written_before_it(ax):
    for y, text in ((0.5, "first"), (0.52, "over it"), (0.56, "over that"), (0.57, "over both")):
        write_beside(ax, y, text)
    assert shown(ax) == ["first", "over that"]


def test_names_above_and_beside_meet_at_the_corner(ax):
    write_beside(ax, 1.02, "beside")
    write_above(ax, 1.0, "above, and wide")
    assert shown(ax) == ["beside"]
    ax.set_ylim(0, 2)
    assert shown(ax) == ["beside", "above, and wide"]
