"""The report in Chromium: no error, no request, no overflow, and the parts that can be touched."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

import hrca

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning"),
]

EVIL = "</script><script>document.title='hacked'</script>"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A report of cells with a label that would run if it could."""
    adata = synthetic(300)
    names = ["type 0", EVIL, "type 2"]
    adata.obs["hrca"] = pd.Categorical([names[i % 3] if i > 40 else "type 0" for i in range(300)], names)
    adata.obs["hrca_confidence"] = np.linspace(0, 1, 300)
    adata.obs["hrca_novel_probability"] = 0.4 * np.linspace(1, 0, 300) ** 2
    rng = np.random.default_rng(0)
    adata.obsm["spatial"], adata.obsm["X_umap"] = rng.random((300, 2)) * [900, 300], rng.random((300, 2))
    adata.obs["sample"] = ["one", "two"] * 150
    return hrca.report(adata, tmp_path_factory.mktemp("report") / "report.html", sample_key="sample", title="A title")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[1400, 400])
def page(request, browser, path):
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.problems, page.requests = [], []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda sent: page.requests.append(sent.url))
    page.goto(path.as_uri())
    yield page
    page.close()


def canvas(page) -> str:
    return page.evaluate("document.getElementById('map').toDataURL()")


def test_it_opens_without_error_request_or_overflow(page, path):
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.title() == "A title"
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_labels_are_shown_alone_and_all_again(page):
    before = canvas(page)
    buttons = page.locator("#legend button")
    assert buttons.nth(0).inner_text().startswith("type 0 (") and EVIL in page.locator("#legend").inner_text()
    buttons.nth(0).click()
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"
    alone = canvas(page)
    assert alone != before
    page.click("#all")
    assert canvas(page) == before
    assert not page.is_visible("#scale")
    page.select_option("#color", label="confidence")
    confidence = canvas(page)
    assert confidence not in (before, alone)
    page.select_option("#color", label="novel probability")
    assert canvas(page) not in (before, alone, confidence)
    assert page.is_visible("#scale")
    page.select_option("#sample", "1")
    assert canvas(page) != before
    assert page.problems == []


def test_a_cell_says_what_it_is_and_the_wheel_enlarges(page):
    before = canvas(page)
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    for step in range(1, 40):
        page.mouse.move(box["x"] + box["width"] * step / 40, box["y"] + box["height"] / 2)
        if "confidence" in page.inner_text("#said"):
            break
    said = page.inner_text("#said")
    assert "confidence 0." in said and "novel probability 0." in said
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(100)
    assert canvas(page) != before
    page.dblclick("#map")
    assert canvas(page) == before


def test_what_does_not_fit_says_that_it_moves(page):
    table = page.locator(".wide", has=page.locator(".sortable"))
    hint = "box => getComputedStyle(box, '::before').content"
    if page.viewport_size["width"] == 1400:
        # nothing is cut, also not the dots and the panels side by side
        assert page.evaluate("[...document.querySelectorAll('.wide')].every(b => b.scrollWidth <= b.clientWidth)")
        assert table.evaluate(hint) == "none" and table.get_attribute("tabindex") is None
        return
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")
    assert "Scroll sideways" in table.evaluate(hint)
    assert "more" in table.get_attribute("class") and table.get_attribute("tabindex") == "0"
    table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    page.wait_for_timeout(100)
    assert "more" not in table.get_attribute("class").split()


def test_the_table_is_sorted_by_a_click(page):
    cells = "[...document.querySelectorAll('.sortable tbody tr')].map(row => row.cells[1].textContent)"
    first = [int(text) for text in page.evaluate(cells)]
    assert first == sorted(first, reverse=True)
    page.get_by_role("button", name="Cells", exact=True).click()
    page.get_by_role("button", name="Cells", exact=True).click()
    assert [int(text) for text in page.evaluate(cells)] == sorted(first)
