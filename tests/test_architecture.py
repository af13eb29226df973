"""The table in docs/architecture.md, held against the imports."""

import ast
import re

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "hrca"
ROW = re.compile(r"^\| `(\w+)\.py` \| .* \| (.*) \|$", re.MULTILINE)


def table() -> dict[str, set[str]]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    return {file: set(re.findall(r"`(\w+)`", may_import)) for file, may_import in ROW.findall(page)}


def imported(source: str) -> set[str]:
    """Names of the hrca files that a source imports, at any depth of it."""
    files: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            files |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hrca":
            files |= {node.module.partition(".")[2] or "__init__"}
        elif isinstance(node, ast.Import):
            files |= {alias.name for alias in node.names if alias.name.split(".")[0] == "hrca"}
    return files


def test_every_file_has_a_row_and_every_row_a_file():
    assert set(table()) == {path.stem for path in SOURCE.glob("*.py")}


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_follow_the_table(path):
    assert imported(path.read_text()) <= table()[path.stem]


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("from ._genes import align", {"_genes"}),
        ("from . import pl, metrics", {"pl", "metrics"}),
        ("def f():\n    from .demo import run", {"demo"}),
        ("import hrca.pl", {"hrca.pl"}),
        ("from hrca import HRCA", {"__init__"}),
        ("from hrca.pl import confusion", {"pl"}),
        ("import numpy", set()),
    ],
)
def test_the_reader_of_imports_sees(source, files):
    assert imported(source) == files


def test_the_map_has_no_way_back():
    rows, seen = table(), set()
    for file, may_import in rows.items():
        assert may_import <= seen, f"{file} may import what stands below it"
        seen.add(file)


@pytest.mark.parametrize(
    ("third_party", "files"),
    [
        ("sklearn", {"_label_scores", "_novelty", "_sets", "demo"}),
        ("matplotlib", {"_monitor", "pl", "demo"}),
        ("seaborn", {"pl"}),
        ("typer", {"cli"}),
    ],
)
def test_third_parties_stay_in_their_files(third_party, files):
    users = {
        path.stem
        for path in SOURCE.glob("*.py")
        if re.search(rf"^\s*(import|from) {third_party}\b", path.read_text(), re.MULTILINE)
    }
    assert users == files
