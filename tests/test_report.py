"""The page about a run: it holds what the rows hold, as text and never as markup, and needs nothing beside itself."""

import csv
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from hvt_bench.errors import FileError, RequestError
from hvt_bench.plots import FIGURES
from hvt_bench.report import write_report
from hvt_bench.report.page import make_page
from hvt_bench.row import COLUMNS
from hvt_bench.table import read_table
from tests.rows import row

EXAMPLE = "reports/examples/scaling_cpu/run.csv"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[31m&amp;"
VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Every element with its attributes, every id, and the text of tables; refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.rows = [], [], {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if tag == "tr" and (table := self._table()):
            self.rows.setdefault(table, []).append([])
        if tag in ("td", "th") and (table := self._table()):
            self.rows[table][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if any(tag in ("td", "th") for tag, _ in self.open) and (table := self._table()):
            self.rows[table][-1][-1] += data

    def _table(self):
        return next((known.get("id") for tag, known in reversed(self.open) if tag == "table"), None)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def example(repository):
    return read_table(repository / EXAMPLE)


@pytest.fixture(scope="module")
def page(example):
    return make_page(example, "run.csv", "0" * 64)


@pytest.fixture(scope="module")
def hostile():
    """Every text of the rows is an attack."""
    texts = {
        "model": f"a{HOSTILE}",
        "sweep": HOSTILE,
        "device_name": HOSTILE,
        "hostname": HOSTILE,
        "git_commit": HOSTILE,
    }
    good = {"macs": 10**9, "params": 10**6, "latency_ms": 10.0, "peak_memory_mib": 9.0, "axis": "depth", "seconds": 1.0}
    rows = [row(**texts | good | {"depth": depth, "macs": depth * 10**9}) for depth in (6, 12)]
    rows.append(row(**texts | {"axis": "depth", "depth": 24, "status": "error", "error": HOSTILE}))
    return make_page(rows, f"{HOSTILE}.csv", "0" * 64)


def test_it_is_well_formed_and_ids_are_unique(page):
    ids = [found["id"] for _, found in Page(page).elements if "id" in found]
    assert len(ids) == len(set(ids)) > 100


def test_every_reference_leads_to_an_id_of_the_page(page):
    found = Page(page)
    ids = {known["id"] for _, known in found.elements if "id" in known}
    local = [known[key][1:] for _, known in found.elements for key in ("href",) if known.get(key, "").startswith("#")]
    clips = re.findall(r"url\(#([^)]*)\)", page)
    named = [
        name for _, known in found.elements for key in ("aria-labelledby", "for") for name in known.get(key, "").split()
    ]
    assert local
    assert clips
    assert {*local, *clips, *named} <= ids


def test_nothing_is_loaded_from_anywhere(page):
    found = Page(page)
    for tag, known in found.elements:
        assert not {"src", "action", "srcset", "xlink:href"} & known.keys(), (tag, known)
        assert known.get("href", "#").startswith("#"), known
    assert not found.all("link")
    assert not re.findall(r"@import|url\((?!#)", page)
    (policy,) = (known["content"] for known in found.all("meta") if known.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_the_table_holds_every_row(page, example):
    header, *lines = Page(page).rows["table-points"]
    assert header[:2] == ["model", "axis"]
    assert len(lines) == len(example)
    assert [line[0] for line in lines] == [found["model"] for found in example]
    assert [line[-1] for line in lines] == [found["point_id"] for found in example]


def test_figures_are_vectors_with_text_as_text(page):
    drawings = [known for known in Page(page).all("svg") if known.get("role") == "img"]
    assert len(drawings) >= 3
    assert {known["aria-labelledby"] for known in drawings} <= {f"{name}-title" for name in FIGURES}
    assert re.search(r"<text[^>]*>GMACs</text>", page)
    assert "matplotlib.org" not in page


def test_columns_are_explained(page):
    for name in ("macs", "latency_ms", "pool_stages"):
        assert f'id="column-{name}"' in page
    assert "multiply-adds of convolutions, linear layers" in page
    assert COLUMNS["latency_ms"].label in page


def test_no_text_of_the_rows_is_markup(hostile):
    found = Page(hostile)
    assert len(found.all("script")) == 1
    assert found.all("img") == []
    assert not any(name.startswith("on") for _, known in found.elements for name in known)
    assert "alert(1)" in hostile
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", hostile)[0]  # nor of the template


def test_what_failed_and_why_is_there(hostile):
    (line,) = re.findall(r'<td class="why">(.*?)</td>', hostile)
    assert line == str(escape(HOSTILE))
    assert "<" not in line


def test_the_same_rows_give_the_same_page(example, page):
    assert make_page(example, "run.csv", "0" * 64) == page


def test_a_single_row_has_a_page_too():
    text = make_page([row(macs=10**9, params=10**6)], "one.csv", "0" * 64)
    assert "There is one network, so nothing is compared" in text
    assert "Nothing can be fitted" in text
    assert "Not drawn:" in text


def test_what_varies_in_a_grid_is_said():
    grid = [
        row(macs=10**9 + width, params=10**6, embed_dim=width, pool_stages=stages, dtype=dtype)
        for width in (384, 192)
        for stages in (0, 1)
        for dtype in ("float32", "bfloat16")
    ]
    text = make_page([*grid, row(model="alone", macs=10**9, params=10**6)], "grid.csv", "0" * 64)
    line = "<code>embed_dim</code> 192, 384; <code>pool_stages</code> 0, 1; <code>dtype</code> bfloat16, float32</td>"
    assert f'<th scope="row">hvt_s_1</th><td>hvt</td><td class="n">8</td><td>{line}' in text
    assert '<th scope="row">alone</th><td>hvt</td><td class="n">1</td><td>nothing</td>' in text


def test_invalid_rows_alone_have_a_page():
    text = make_page([row(status="invalid", error="no such network", axis="depth")], "none.csv", "0" * 64)
    assert "no such network" in text


def test_it_is_written_beside_the_csv(repository, tmp_path):
    with (repository / EXAMPLE).open(newline="") as whole, (tmp_path / "run.csv").open("w", newline="") as few:
        lines = [*csv.reader(whole)]
        csv.writer(few).writerows([lines[0], *(line for line in lines if line[lines[0].index("axis")] == "")])
    assert write_report(tmp_path / "run.csv") == tmp_path / "run.report.html"
    other = write_report(tmp_path / "run.csv", tmp_path / "new" / "page.html", "hvt_s_1")
    assert "held against <code>hvt_s_1</code>" in other.read_text()


def test_what_cannot_be_reported_is_a_sentence(repository, tmp_path):
    with pytest.raises(RequestError, match=r"--baseline: unknown model 'hvt_s_2'; did you mean 'hvt_s_1'"):
        write_report(repository / EXAMPLE, tmp_path / "page.html", "hvt_s_2")
    empty = tmp_path / "empty.csv"
    with empty.open("w") as file:
        csv.writer(file).writerow(COLUMNS)
    with pytest.raises(FileError, match=r"empty.csv has no rows; `hvt-bench sweep` writes them"):
        write_report(empty)


@pytest.mark.slow
def test_a_thousand_points_are_under_three_megabytes():
    base = {"params": 10**6, "peak_memory_mib": 90.1234, "weights_mib": 80.0, "latency_spread_pct": 3.0}
    rows = [
        row(model=f"hvt_{n % 10}", axis="depth", depth=1 + n // 10, macs=10**7 * n + 7, latency_ms=n / 7 + 1, **base)
        for n in range(1000)
    ]
    assert len(make_page(rows, "run.csv", "0" * 64).encode()) < 3_000_000


def test_a_page_about_accuracy_says_how_it_is_compared_and_what_its_columns_mean():
    measured = {"top1": 84.5, "top1_spread": 0.3, "top1_rounds": (84.2, 84.8), "data": "digits", "recipe": "small"}
    rows = [row(macs=10**6, **measured), row(model="vit", macs=2 * 10**6, **measured | {"top1": 80.0})]
    page = make_page(rows, "run.csv", "0" * 64)
    assert "A difference of top-1 has Welch's t interval over seeds" in page
    assert all(f'id="column-{name}"' in page for name in measured)
    assert "A difference of top-1" not in make_page([row(macs=10**6)], "run.csv", "0" * 64)
