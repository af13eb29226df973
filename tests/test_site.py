"""The site: each public name has a page, the gallery is drawn by its own code, and the built pages are checked."""

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from PIL import Image
from public_names import find, module_names

import hrca

DOCS = ROOT / "docs"
AUTOSUMMARY = re.compile(r"\.\. autosummary::\n((?: +:.*\n)+)\n((?: +\S+\n)+)")
MAX_PICTURE_BYTES = 200_000
# What users want of the members that HRCA inherits from scvi-tools.
INHERITED = {"device", "history", "is_trained", "to_device", "train_indices", "validation_indices"}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem + "_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_with_pages() -> list[str]:
    """Names in the tables of the API whose entries have pages of their own, and those described in place."""
    names = []
    for page in (DOCS / "api").glob("*.md"):
        text = page.read_text()
        tables = [(options, names) for options, names in AUTOSUMMARY.findall(text) if ":toctree:" in options]
        names += [f"hrca.{name}" for _, table in tables for name in table.split()]
        names += re.findall(r"autoclass:: (\S+)", text)
    return names


def needs_page(name: str) -> bool:
    """A method of HRCA has a page of its own; those of small classes are on the page of their class."""
    owner = find(hrca, name.rsplit(".", 1)[0]) if name.count(".") > 1 else None
    return not isinstance(owner, type) or owner is hrca.HRCA


def test_each_public_name_has_one_page():
    names = names_with_pages()
    assert len(names) == len(set(names))
    inherited = {f"hrca.HRCA.{name}" for name in INHERITED}
    assert set(names) == {name for name in module_names(hrca) if needs_page(name)} | inherited


def test_each_page_of_the_api_is_in_its_contents():
    contents = (DOCS / "api.md").read_text()
    assert {f"api/{page.stem}" for page in (DOCS / "api").glob("*.md")} == set(
        re.findall(r"^(api/\w+)$", contents, re.MULTILINE)
    )


@pytest.fixture
def site(tmp_path) -> Path:
    (tmp_path / "api").mkdir()
    (tmp_path / "index.html").write_text('<a href="api/one.html#here">one</a> <a href="https://example.org/x">out</a>')
    (tmp_path / "api" / "one.html").write_text('<p id="here">hrca.pl.umap</p> <a href="../index.html">up</a>')
    return tmp_path


def test_a_whole_site_passes(site, capsys):
    assert load(ROOT / ".ci" / "site.py").main(site) == 0
    assert capsys.readouterr().out == "2 pages, 0 complaints\n"


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        ('<a href="two.html">two</a>', "leads to no file"),
        ('<img src="_images/two.png">', "leads to no file"),
        ('<a href="one.html#there">there</a>', "leads to no anchor"),
        ('<a href="#there">there</a>', "leads to no anchor"),
        ("<p>hrca.tl._explain.ExplainingModel</p>", "is private"),
        ('<a id="hrca._sizes.SIZES"></a>', "is private"),
        ('<script src="https://cdn.example.org/mathjax.js"></script>', "is on another host"),
        ('<link rel="stylesheet" href="//fonts.example.org/sans.css">', "is on another host"),
        ('<img alt="badge" src="https://example.org/badge.svg">', "is on another host"),
        ('<img src="../picture.png">', "has no alternative text"),
        ('<img alt="../picture.png" src="../picture.png">', "has no alternative text"),
    ],
)
def test_a_fault_of_the_site_is_named(site, capsys, html, complaint):
    page = site / "api" / "one.html"
    page.write_text(page.read_text() + html)
    assert load(ROOT / ".ci" / "site.py").main(site) == 1
    assert complaint in capsys.readouterr().out


@pytest.mark.parametrize("rule", ['@import "https://example.org/a.css"', "src: url(//example.org/a.woff)"])
def test_a_style_sheet_that_needs_another_host_is_named(site, capsys, rule):
    (site / "style.css").write_text(f"{rule};")
    assert load(ROOT / ".ci" / "site.py").main(site) == 1
    assert "style.css: " in capsys.readouterr().out


def test_what_a_browser_does_not_load_may_be_elsewhere(site):
    page = site / "index.html"
    page.write_text(
        page.read_text()
        + '<link rel="canonical" href="https://example.org/"> <img alt="" src="data:image/png;base64,">'
    )
    (site / "style.css").write_text("/* https://example.org */ a { background: url(picture.svg) }")
    assert load(ROOT / ".ci" / "site.py").main(site) == 0


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), *DOCS.glob("guides/*.md")], ids=lambda page: page.stem)
def test_a_page_begins_with_a_sentence(page):
    # a reader who comes from a search sees there what the page is for
    text = page.read_text()
    if text.startswith("```{include}"):
        text = (page.parent / text.split("} ", 1)[1].split("\n")[0]).read_text()
    title, opening = text.split("\n\n")[:2]
    assert title.startswith("# ")
    assert re.match(r"[A-Z[{`*]", opening) and not opening.startswith("```")
    assert re.search(r"[.:]$", opening)


def test_pages_for_developers_may_name_what_is_private(site):
    (site / "architecture.html").write_text("<p>hrca._warnings.warn_user</p>")
    assert load(ROOT / ".ci" / "site.py").main(site) == 0


def test_an_empty_site_fails(tmp_path):
    assert load(ROOT / ".ci" / "site.py").main(tmp_path) == 1


def gallery() -> list[tuple[str, str | None]]:
    return load(DOCS / "draw_gallery.py").blocks((DOCS / "gallery.md").read_text())


def test_each_picture_of_the_gallery_has_its_code():
    paths = [path for _, path in gallery() if path is not None]
    assert len(paths) >= 10
    assert set(paths) == set(re.findall(r"_static/gallery/\w+\.png", (DOCS / "gallery.md").read_text()))
    assert {DOCS / path for path in paths} == set((DOCS / "_static" / "gallery").iterdir())


@pytest.mark.parametrize("path", [*(path for _, path in gallery() if path), "_static/section.png"])
def test_a_picture_is_small_and_has_pixels_to_read(path):
    assert (DOCS / path).stat().st_size < MAX_PICTURE_BYTES
    with Image.open(DOCS / path) as picture:
        assert picture.width >= 700


@pytest.mark.slow
@pytest.mark.skipif("HRCA_DATA_DIR" not in os.environ, reason="needs the MERFISH section in HRCA_DATA_DIR")
@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning", "ignore::UserWarning")
def test_the_code_of_the_gallery_draws_its_pictures(tmp_path, monkeypatch):
    script = load(DOCS / "draw_gallery.py")
    monkeypatch.setattr(script, "photograph", lambda page, path: path.write_bytes(page.read_bytes()))
    # a short training: the pictures differ, the calls do not
    page = (DOCS / "gallery.md").read_text().replace("train(query=query)", "train(2, query=query)")
    assert "train(2, query=query)" in page
    script.run(page, tmp_path, {})
    assert {path for _, path in script.blocks(page) if path} == {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")
    }
