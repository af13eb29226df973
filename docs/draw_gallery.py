"""Draw the pictures of gallery.md by the code of the page, and that of the front page.

    python docs/draw_gallery.py

It needs the data in the folder that HRCA_DATA_DIR names, and for the report's picture playwright and a Chromium, whose
path CHROMIUM names.
"""

import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

DOCS = Path(__file__).resolve().parent
# A page of code, and the picture after it if there is one.
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```\{image\} (?P<path>_static/gallery/\w+\.png)\n)?", re.DOTALL)
# The pictures are shown at about half their size, so that they are sharp on screens of high density.
DPI = 160
# Shown in README and on the front page.
SECTION = "_static/section.png"
REPORT_SIZE = {"width": 1000, "height": 1100}


def blocks(page: str) -> list[tuple[str, str | None]]:
    """Return the code and the picture's path of each block of a page."""
    return [(match["code"], match["path"]) for match in BLOCK.finditer(page)]


def run(page: str, out: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Run the code of a page in order, and write its pictures below `out`; `names` are there from the start."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the code of the page writes a report
        try:
            for code, path in blocks(page):
                exec(compile(code, "gallery.md", "exec"), names)
                if path is not None:
                    (out / path).parent.mkdir(parents=True, exist_ok=True)
                    if Path(folder, "report.html").exists():
                        photograph(Path(folder, "report.html"), out / path)
                    else:
                        write_picture(out / path)
        finally:
            os.chdir(here)
    return names


def write_picture(path: Path, dpi: int = DPI) -> None:
    """Write the current figure with 256 colors, which take a third of the space and look the same, and close it."""
    buffer = io.BytesIO()
    plt.gcf().savefig(buffer, dpi=dpi, bbox_inches="tight")
    plt.close("all")
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def photograph(page: Path, path: Path) -> None:
    """Write a picture of the beginning of a page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
        tab = browser.new_page(viewport=REPORT_SIZE)
        tab.goto(page.as_uri())
        tab.wait_for_timeout(1000)
        picture = tab.screenshot()
        browser.close()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_section(query: Any) -> None:
    """Draw the picture of the front page: known labels, predicted labels and confidence, with one legend below."""
    import hrca

    figure = plt.figure(figsize=(11, 4.8), layout="constrained")
    titles = {"label_harmonised": "Known types", "hrca": "Types predicted by HRCA", "confidence": "Confidence"}
    entries: dict[str, Any] = {}
    for ax, (column, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        hrca.pl.spatial(query, column, ax=ax, size=4, microns_per_unit=1)
        ax.set(xlabel="", ylabel="")
        ax.set_title(title, fontsize=13)
        legend = ax.get_legend()
        if legend is not None:
            names = [text.get_text().rsplit(" (", 1)[0] for text in legend.get_texts()]
            entries |= dict(zip(names, legend.legend_handles, strict=True))
            legend.remove()
    names = sorted(entries)
    figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=6, frameon=False)
    write_picture(DOCS / SECTION, dpi=120)


if __name__ == "__main__":
    draw_section(run((DOCS / "gallery.md").read_text(), DOCS, {})["query"])
