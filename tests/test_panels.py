import itertools

import pytest
from matplotlib.figure import Figure

from hvt_bench.cli import main
from hvt_bench.plots.asked import Asked
from hvt_bench.plots.memory import draw_memory
from hvt_bench.plots.panels import ascending, evenly
from hvt_bench.plots.style import WIDTHS_IN, journal_style
from hvt_bench.row import Row
from hvt_bench.table import write_table

CENTRE = {
    "model": "hvt_s_1", "family": "hvt", "dtype": "float32", "macs": 10**9, "peak_memory_mib": 100.0, "status": "ok",
}  # fmt: skip


def test_numbers_ascend_and_words_stand_as_they_appear():
    ways = ["float32, batch 64", "bfloat16, batch 8", "float32, batch 8", "bfloat16, batch 64", "float32, batch 8"]
    assert ascending(ways) == ["float32, batch 8", "float32, batch 64", "bfloat16, batch 8", "bfloat16, batch 64"]


@pytest.mark.parametrize("number", range(1, 20))
def test_chosen_panels_are_spread_from_the_first_to_the_last(number):
    ways = list(map(str, range(17)))
    found = evenly(ways, number)
    assert len(set(found)) == min(number, 17)
    gaps = {int(after) - int(before) for before, after in itertools.pairwise(found)}
    assert found[0] == "0"
    assert number == 1 or (found[-1] == "16" and max(gaps) - min(gaps) <= 1)


@pytest.mark.parametrize(("width", "most", "left"), [("two", 12, "7"), ("one", 6, "2, 4, 5, 7, 9, 10, 12")])
def test_panels_go_on_a_page_and_the_footer_says_which_do_not(width, most, left):
    batches = range(13, 0, -1)
    rows = [Row({**CENTRE, "batch_size": batch, "macs": 10**9 * place}) for batch in batches for place in range(1, 4)]
    with journal_style():
        figure = Figure((WIDTHS_IN[width], 5), layout="constrained")
        draw_memory(rows, figure, Asked())
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == most
    assert (titles[0], titles[-1]) == ("batch 1", "batch 13")
    first = left.partition(",")[0]
    note = f"No room on a page for batch {left}: `--where batch_size={first}` draws the first of these"
    assert note in figure.get_supxlabel().replace("\n", " ")


def test_plot_draws_the_rows_asked_for_and_refuses_none(tmp_path, capsys):
    csv = tmp_path / "run.csv"
    write_table(csv, [Row({**CENTRE, "point_id": f"p{batch}", "batch_size": batch}) for batch in (1, 64)])
    with pytest.raises(SystemExit, match="0"):
        main(["plot", str(csv), "memory", "--where", "batch_size=64", "--format", "svg"])
    words = (tmp_path / "run.memory.svg").read_text()
    assert "batch 64" in words
    assert "batch 1" not in words
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["plot", str(csv), "--where", "batch_size=3"])
    assert capsys.readouterr().err == "error: --where batch_size=3: no row of 2 rows is left\n"
