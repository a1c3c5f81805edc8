"""SVG of matplotlib as an element of a page."""

import io
import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from hvt_bench.plots.style import journal_style
from hvt_bench.report.vector import inline_svg


@pytest.fixture
def drawn():
    def draw(label):
        with journal_style():
            figure = Figure((2, 2))
            ax = figure.add_subplot()
            ax.plot([1.23456789, 2], [3, 4], marker="o", label=label)
            ax.imshow([[1, 2], [3, 4]])
            ax.bar([1], [2], hatch="//")
            ax.legend()
            image = io.BytesIO()
            figure.savefig(image, format="svg")
        return image.getvalue()

    return draw


def test_ids_have_the_name_before_them_and_references_follow(drawn):
    root = ElementTree.fromstring(inline_svg(drawn("a"), "scaling", "what it shows"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(name.startswith("scaling-") for name in ids)
    targets = {
        value[1:]
        for element in root.iter()
        for key, value in element.items()
        if key == "href" and value.startswith("#")
    }
    clips = {element.get("clip-path")[5:-1] for element in root.iter() if element.get("clip-path")}
    hatches = {found for element in root.iter() for found in re.findall(r"url\(#([^)]*)\)", element.get("style", ""))}
    for some in (targets, clips, hatches):
        assert some
        assert some <= set(ids)


def test_it_says_what_it_shows_and_has_no_size_style_or_metadata(drawn):
    root = ElementTree.fromstring(inline_svg(drawn("a"), "scaling", "a < b"))
    assert (root.tag, root[0].tag, root[0].text, root[0].get("id")) == ("svg", "title", "a < b", "scaling-title")
    assert root.get("viewBox")
    assert root.get("width") is root.get("height") is None
    assert not [element for element in root.iter() if element.tag in ("style", "metadata")]


def test_lengths_are_cut_to_hundredths_and_scales_are_not(drawn):
    text = inline_svg(drawn("a"), "n", "")
    paths = [element.get("d", "") for element in ElementTree.fromstring(text).iter("path")]
    assert all(len(number.partition(".")[2]) <= 2 for path in paths for number in path.split())
    assert inline_svg(b'<svg xmlns="http://www.w3.org/2000/svg"><g transform="scale(0.12345)"/></svg>', "n", "").count(
        "scale(0.12345)"
    )


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b --> c", "\x1b[31mred", "日本 ∞"])
def test_text_stays_text(drawn, text):
    root = ElementTree.fromstring(inline_svg(drawn(text), "n", text))
    assert text.replace("\x1b", "\ufffd") in [element.text for element in root.iter("text")]
    assert not list(root.iter("script"))
