"""The tutorials: stored outputs that belong to their code, texts that agree with them, numbers that have not moved."""

import os
import re

import nbformat
import pytest
from conftest import ROOT
from nbformat import NotebookNode

from tutorials.execute import code_cells, execute, names, source_digest

FOLDER = ROOT / "tutorials"
# The one whose data are installed; the others need HRCA_DATA_DIR and `-m tutorials`.
WITHOUT_DATA = "quickstart"
MAX_BYTES = 1e6

# How far a key number may move: fractions and scores by .05, other numbers by a tenth. Other versions of the
# dependencies and other processors move them less than this.
FRACTION_TOLERANCE, RELATIVE_TOLERANCE = 0.05, 0.1

# What must not be in an output: folders of a machine, progress bars, colors of a terminal, warnings with their line.
FOREIGN = re.compile(
    r"/(?:root|home|Users|tmp|private|var|usr|work)/|[\r\x1b\x08]|\.py:\d+|\b(?:Future|Deprecation)Warning"
)

# A number of the text that the outputs must contain: not a part of a word, such as 10x or F1.
NUMBER = re.compile(r"(?<![\w.,-])(\d[\d,]*(?:\.\d+)?|\.\d+)(\s?%)?(?![\w-])")
# Code, links and lists, whose numbers are not results.
NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)|^#*\s*\d+\.\s", re.DOTALL | re.MULTILINE)
DURATION = re.compile(r"takes about (\d+) minutes? on one core")


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def output_text(notebook: NotebookNode) -> str:
    return "\n".join(
        part
        for output in outputs(notebook)
        for part in (
            output.get("text", ""),
            *(value for kind, value in output.get("data", {}).items() if "text" in kind),
        )
    )


def prose(notebook: NotebookNode) -> str:
    return "\n".join(NO_PROSE.sub(" ", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")


def is_in(value: str, is_percentage: bool, results: set[float]) -> bool:
    number = float(value.replace(",", ""))
    return number in results or (is_percentage and round(number / 100, 6) in results)


def numbers_in(text: str) -> set[float]:
    return {float(match.replace(",", "")) for match in re.findall(r"\d[\d,]*\.?\d*|\.\d+", text)}


def test_a_number_that_no_output_has_is_found():
    results = numbers_in("accuracy 0.77 of 1,234 cells\nQUERY = 0.3")
    found = {
        match[1]: is_in(match[1], bool(match[2]), results) for match in NUMBER.finditer("77 % .77 1234 30 % 0.78 5 F1")
    }
    assert found == {"77": True, ".77": True, "1234": True, "30": True, "0.78": False, "5": False}


@pytest.mark.parametrize("name", names())
def test_stored_outputs_belong_to_the_code(name):
    notebook = read(name)
    assert source_digest(notebook) == notebook.metadata["hrca"]["source_digest"], f"python tutorials/execute.py {name}"
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not FOREIGN.findall(output_text(notebook))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", names())
def test_the_text_agrees_with_the_outputs(name):
    notebook = read(name)
    minutes = int(DURATION.search(notebook.cells[0].source)[1])
    # the text rounds, and machines differ
    assert 0.5 < minutes / (notebook.metadata["hrca"]["cpu_seconds"] / 60) < 2
    results = numbers_in(output_text(notebook) + "\n".join(cell.source for cell in code_cells(notebook)))
    text = DURATION.sub(" ", prose(notebook))
    absent = [match[0] for match in NUMBER.finditer(text) if not is_in(match[1], bool(match[2]), results)]
    assert not absent


def test_there_are_pictures():
    pictures = [output for name in names() for output in outputs(read(name)) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 12


@pytest.mark.parametrize("name", names())
def test_each_picture_has_a_text(name):
    # the site shows it where the picture cannot be seen
    cells = [cell for cell in code_cells(read(name)) if any("image/png" in out.get("data", {}) for out in cell.outputs)]
    assert cells
    assert all(cell.metadata.get("mystnb", {}).get("image", {}).get("alt") for cell in cells)


def assert_key_numbers_hold(name: str) -> None:
    stored = read(name).metadata["hrca"]["key_numbers"]
    now = execute(FOLDER / f"{name}.ipynb").metadata["hrca"]["key_numbers"]
    assert stored
    assert now == {
        key: pytest.approx(value, abs=FRACTION_TOLERANCE if abs(value) <= 1 else RELATIVE_TOLERANCE * abs(value))
        for key, value in stored.items()
    }


# the kernel's client leaves sockets and an event loop open
leaves_sockets = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.mark.slow
@leaves_sockets
def test_key_numbers_of_the_quickstart_hold():
    assert_key_numbers_hold(WITHOUT_DATA)


@pytest.mark.tutorials
@leaves_sockets
@pytest.mark.parametrize("name", [name for name in names() if name != WITHOUT_DATA])
def test_key_numbers_hold(name, data_dir, monkeypatch):
    monkeypatch.setenv("HRCA_DATA_DIR", os.fspath(data_dir))
    assert_key_numbers_hold(name)
