"""The page of `report` in a real browser: Chromium of the distribution, driven by Playwright. No network is used."""

import shutil

import pytest

from hvt_bench.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EXAMPLE = "reports/examples/scaling_cpu/run.csv"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here; `apt-get install chromium` brings one")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(repository, tmp_path_factory):
    return write_report(repository / EXAMPLE, tmp_path_factory.mktemp("report") / "run.report.html")


@pytest.fixture
def opened(browser, path):
    """Yield what opens the page in a context of its own; afterwards nothing may have been complained of or loaded."""
    complaints, contexts = [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url == path.as_uri() or complaints.append(asked.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page, name):
    """Texts of the visible cells under a heading of the table of points."""
    return page.eval_on_selector_all(
        "#table-points tbody tr:not([hidden])",
        """(rows, name) => {
            const heads = [...document.querySelectorAll("#table-points thead th")];
            const place = heads.findIndex(head => head.dataset.name === name);
            return rows.map(row => row.cells[place].dataset.v ?? row.cells[place].textContent);
        }""",
        name,
    )


def head(page, name):
    return page.locator(f'#table-points th[data-name="{name}"]')


def test_sorting_by_a_button(opened):
    page = opened()
    before = [int(value) for value in shown(page, "macs")]
    head(page, "macs").get_by_role("button").click()
    assert [int(value) for value in shown(page, "macs")] == sorted(before)
    assert head(page, "macs").get_attribute("aria-sort") == "ascending"
    head(page, "macs").get_by_role("button").click()
    assert [int(value) for value in shown(page, "macs")] == sorted(before, reverse=True)
    head(page, "axis").get_by_role("button").click()
    assert head(page, "macs").get_attribute("aria-sort") is None
    axes = shown(page, "axis")
    filled = [axis for axis in axes if axis]
    assert axes == sorted(filled) + [""] * (len(axes) - len(filled))  # the empty ones last


def test_filtering_by_words_conditions_and_choices(opened):
    page = opened()
    text, count = page.get_by_label("Rows with"), page.locator("#filter-count")
    everything = len(shown(page, "model"))
    text.fill("deit latency_ms<100")
    assert set(shown(page, "model")) == {"deit_small"}
    assert all(float(value) < 100 for value in shown(page, "latency_ms"))
    assert count.inner_text() == f"{len(shown(page, 'model'))} of {everything} rows"
    text.fill("macs>=2.402G macs<=2402020608 axis=depth")
    assert shown(page, "macs") == []
    text.fill("macs>=2.402G macs<=2402020608")
    assert shown(page, "macs") == ["2402020608"]
    text.fill("axis=")
    assert set(shown(page, "axis")) == {""}
    text.fill("axis!=")
    assert "" not in shown(page, "axis")
    assert len(shown(page, "axis")) == everything - 2
    text.fill("mcas<1")
    assert "one condition names no column" in count.inner_text()
    assert text.get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('#table-points tbody tr[hidden]').length === 0")
    page.locator("#filter-axis").select_option("pool_stages")
    assert set(shown(page, "axis")) == {"pool_stages"}


def test_what_is_typed_of_a_condition_hides_nothing(opened):
    page = opened()
    text, everything = page.get_by_label("Rows with"), shown(page, "macs")
    for typed in ("latency_m", "latency_ms", "latency_ms!", "latency_ms<", "latency_ms>=", '"latency_ms<'):
        text.fill(typed)
        assert shown(page, "macs") == everything, typed
    text.fill('"warnings=noisy not_conv')
    assert shown(page, "macs") == []
    text.fill("no_such_word")
    assert shown(page, "macs") == []


def test_conditions_that_are_offered_find_something(opened):
    page = opened()
    offered = page.locator("#filter-help code").all_inner_texts()
    assert len(offered) > 3
    for condition in [*offered[:-1], page.locator("#filter-text").get_attribute("placeholder")]:  # the last is a sign
        page.get_by_label("Rows with").fill(condition)
        assert shown(page, "model"), condition
        assert "names no column" not in page.locator("#filter-count").inner_text()


def test_filtering_by_lists(opened):
    """As `hvt-bench table --where` does: one item is in the list, several are the whole list."""
    page = opened()
    text, all_lists, models = page.get_by_label("Rows with"), shown(page, "warnings"), shown(page, "model")
    text.fill("warnings=noisy")
    assert shown(page, "warnings") == [found for found in all_lists if "noisy" in found.split()]
    text.fill("warnings!=noisy")
    assert shown(page, "warnings") == [found for found in all_lists if found and "noisy" not in found.split()]
    whole = max(all_lists, key=len)
    model = models[all_lists.index(whole)]
    assert " " in whole
    text.fill(f'"warnings={whole}" {model}')
    assert set(shown(page, "warnings")) == {whole}
    assert set(shown(page, "model")) == {model}


def test_it_works_by_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    page.locator("#filter-text").focus()
    page.keyboard.type("hvt")
    assert set(shown(page, "model")) == {"hvt_s_1"}
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th')?.dataset.name") == "depth":
            break
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{style}.outlineStyle + ' ' + {style}.outlineWidth") == "solid 3px"
    page.keyboard.press("Enter")
    assert head(page, "depth").get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert head(page, "depth").get_attribute("aria-sort") == "descending"


def test_without_javascript_every_row_is_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#table-points tbody tr:visible").count() == 30
    assert not page.locator("#filters").is_visible()
    assert page.locator("#table-points button").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(opened, scheme):
    """WCAG 2: 4.5 to 1."""
    page = opened(color_scheme=scheme)
    for selector in ("body", ".note", "a[href='#run']", ".mark", "thead th"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_print_is_light_without_controls_and_cuts_nothing_off(opened):
    page = opened(color_scheme="dark", viewport={"width": 1000, "height": 700})
    page.emulate_media(media="print", color_scheme="dark")
    sides = "[...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#filters").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('figure svg')).filter") == "none"
    assert all(inside <= outside + 1 for inside, outside in page.evaluate(sides))
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_itself_never_scrolls_sideways(opened, width):
    page = opened(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """selector => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    let element = document.querySelector(selector);
    const ink = light(numbers(getComputedStyle(element).color));
    let paper = [0, 0, 0, 0];
    for (; element && (paper[3] ?? 1) === 0; element = element.parentElement)
        paper = numbers(getComputedStyle(element).backgroundColor);
    const [low, high] = [ink, light(paper)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""
