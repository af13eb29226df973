"""The import contract of docs/architecture.md, held against the imports."""

import ast
import re

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "hrca"
PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \|$", re.MULTILINE)
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def layers() -> list[set[str]]:
    """Packages and modules of each row of the contract, from the top down."""
    contract = PAGE.read_text().split("<!-- contract -->")[1]
    return [set(re.findall(r"`(\w+)`", row)) for row in ROW.findall(contract)]


def room(path) -> str:
    """The package of a file, or the module itself if it lies at the top."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(source: str) -> set[str]:
    """Packages and modules of hrca that a source imports, at any depth of it, except its own."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "hrca":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("hrca.")}
    return rooms


def third_parties(source: str) -> set[str]:
    """Top-level packages that a source imports, at any depth of it."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
    return packages


def test_every_room_stands_in_one_row():
    rows = layers()
    assert len(rows) <= 10
    assert sorted(name for row in rows for name in row) == sorted({room(path) for path in FILES})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downwards(path):
    rows = layers()
    own = next(i for i, row in enumerate(rows) if room(path) in row)
    below = set().union(*rows[own + 1 :])
    assert imported(path.read_text()) - {room(path)} <= below


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("from hrca.data._alignment import align", {"data"}),
        ("from hrca import pl, metrics", {"pl", "metrics"}),
        ("def f():\n    from hrca.cli._demo import run", {"cli"}),
        ("import hrca.pl", {"pl"}),
        ("from ._alignment import align", set()),
        ("import numpy", set()),
    ],
)
def test_the_reader_of_imports_sees(source, rooms):
    assert imported(source) == rooms


@pytest.mark.parametrize(
    ("third_party", "may_import"),
    [
        ("torch", ("module", "prediction", "train", "uncertainty", "model", "compat")),
        ("anndata", ("data", "annotation", "model", "compat", "cli", "pp", "tl", "datasets")),
        ("scvi", ("model", "train", "module/_module.py")),
        ("lightning", ("train", "model")),
        ("matplotlib", ("pl", "cli")),
        ("typer", ("cli",)),
        ("h5py", ("data/_sources.py", "annotation/_write_file.py")),
        ("zarr", ("data/_sources.py", "annotation/_write_file.py")),
        ("dask", ()),
        ("spatialdata", ()),
    ],
)
def test_third_parties_stay_in_their_rooms(third_party, may_import):
    users = {str(path.relative_to(SOURCE)) for path in FILES if third_party in third_parties(path.read_text())}
    assert {
        user
        for user in users
        if not user.removesuffix(".py").startswith(tuple(m.removesuffix(".py") for m in may_import))
    } == set()
