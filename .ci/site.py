"""Check the built site: links within it, private names, texts of pictures, and that it needs no other host.

python .ci/site.py docs/_build
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# A module, class or function of HRCA below a name that begins with an underscore.
PRIVATE = re.compile(r"hrca(?:\.\w+)*\._\w+(?:\.\w+)*")
# What the browser loads with a page, as opposed to a link that a reader follows: element, attribute.
LOADED = {
    ("audio", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("input", "src"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("video", "poster"),
    ("video", "src"),
}
# A `link` loads only with one of these relations; others, such as "canonical", are for search engines.
LOADING_LINKS = {"icon", "manifest", "modulepreload", "preload", "stylesheet"}
# A style sheet loads pictures, fonts and other style sheets.
STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?\s*((?:https?:)?//[^"')\s]+)""")
# Pages for developers, which name files and functions of the package.
DEVELOPING = ("architecture", "changelog", "contributing", "decisions/", "published_code", "releasing")


class Page(HTMLParser):
    """Collect the links, the anchors and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.untold: set[str] = set()
        self.anchors: set[str] = set()
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the element points to, and what points to it."""
        values = dict(attrs)
        if tag == "link" and LOADING_LINKS.intersection((values.get("rel") or "").split()):
            self.loaded.add(values.get("href") or "")
        source = values.get("src") or ""
        # Sphinx writes the address of a picture that has no text in place of the text
        if tag == "img" and values.get("alt") in (None, source):
            self.untold.add(source)
        for name, value in attrs:
            if (tag, name) in LOADED and value:
                self.loaded.add(value)
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text.append(data)


@cache
def read(path: Path) -> Page:
    """Read a page once."""
    return Page(path.read_text(encoding="utf-8"))


def broken_links(folder: Path, path: Path) -> Iterator[str]:
    """Yield each link of a page to a file or an anchor that the site does not have."""
    for link in sorted(read(path).links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_relative_to(folder.resolve()) or not target.is_file():
            yield f"{link} leads to no file"
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors:
            yield f"{link} leads to no anchor"


def private_names(folder: Path, path: Path) -> Iterator[str]:
    """Yield each private name in the text, the anchors and the links of a page for users."""
    page = read(path)
    if not path.relative_to(folder.resolve()).as_posix().startswith(DEVELOPING):
        inside = [link for link in page.links if not urlsplit(link).scheme]
        yield from sorted(set(PRIVATE.findall("".join(page.text) + " ".join([*page.anchors, *inside]))))


def pictures_without_text(path: Path) -> Iterator[str]:
    """Yield each picture that a screen reader cannot tell."""
    yield from (f"{source} has no alternative text" for source in sorted(read(path).untold))


def other_hosts(path: Path) -> Iterator[str]:
    """Yield each address on another host from which the browser loads a part of a page or of a style sheet."""
    if path.suffix == ".css":
        addresses = set(STYLE.findall(path.read_text(encoding="utf-8")))
    else:
        addresses = {address for address in read(path).loaded if urlsplit(address).netloc}
    yield from (f"{address} is on another host" for address in sorted(addresses))


def main(folder: Path) -> int:
    """Print each complaint on a line, and return 1 if there is one."""
    pages = sorted(path.resolve() for path in folder.rglob("*.html") if "_static" not in path.parts)
    styles = sorted(path.resolve() for path in folder.rglob("*.css"))
    found = [
        (path, complaint) for path in pages for complaint in (*broken_links(folder, path), *pictures_without_text(path))
    ]
    found += [(path, f"{name} is private") for path in pages for name in private_names(folder, path)]
    found += [(path, complaint) for path in (*pages, *styles) for complaint in other_hosts(path)]
    complaints = [f"{path.relative_to(folder.resolve())}: {complaint}" for path, complaint in found]
    for complaint in complaints:
        print(complaint)
    print(f"{len(pages)} pages, {len(complaints)} complaints")
    return bool(complaints) or not pages


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
