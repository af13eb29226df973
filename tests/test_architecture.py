"""The import contract of docs/architecture.md, the limits of size, and the names."""

import ast
import re
import statistics
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "hrca"
PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \|$", re.MULTILINE)
FILES = sorted(path for path in SOURCE.rglob("*.py") if path not in (SOURCE / "__init__.py", SOURCE / "__main__.py"))


def layers() -> list[set[str]]:
    """Packages and modules of each row of the contract, from the top down."""
    # other tables of the page follow after an empty line
    contract = PAGE.read_text().split("<!-- contract -->")[1].strip().split("\n\n")[0]
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
    assert len(rows) <= 11
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
        ("torch", ("module", "prediction", "train", "uncertainty", "explain", "model", "compat")),
        ("anndata", ("data", "annotation", "model", "compat", "cli", "io", "pp", "pl", "reporting", "tl", "datasets")),
        ("scvi", ("model", "models", "train", "module/_module.py")),
        ("lightning", ("train", "model")),
        ("matplotlib", ("pl", "reporting", "cli")),
        ("jinja2", ("reporting",)),
        ("PIL", ("reporting",)),
        ("typer", ("cli",)),
        ("captum", ("explain/_network.py",)),
        ("huggingface_hub", ("models", "compat")),
        ("yaml", ("model/_card.py",)),
        ("safetensors", ("module/_stored_state.py",)),
        ("h5py", ("data/_sources.py", "annotation/_write_file.py")),
        ("zarr", ("data/_sources.py", "annotation/_write_file.py", "annotation/_write_blocks.py")),
        ("spatialdata_io", ("io",)),
        ("lazy_loader", ()),
        ("dask", ("model/_dask_run.py", "model/_dask_mixin.py")),
        ("distributed", ()),
        ("spatialdata", ()),
    ],
)
def test_third_parties_stay_in_their_rooms(third_party, may_import):
    allowed = tuple(place.removesuffix(".py") for place in may_import)
    users = {str(path.relative_to(SOURCE)) for path in FILES if third_party in third_parties(path.read_text())}
    assert {user for user in users if not user.removesuffix(".py").startswith(allowed)} == set()


MAX_FILE_LINES, MAX_MEDIAN_LINES, MAX_BODY_LINES, MAX_PARAMETERS = 400, 150, 40, 8
OLD_NAMES = (ROOT / "tests" / "assets" / "old_names.txt").read_text()

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, name: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every function below a node, at any depth, with its dotted name."""
    for child in ast.iter_child_nodes(node):
        own_name = f"{name}.{child.name}" if isinstance(child, Function | ast.ClassDef) else name
        if isinstance(child, Function):
            yield own_name.lstrip("."), child
        yield from functions(child, own_name)


def n_body_lines(function: Function) -> int:
    """Count the lines of a function from the first statement after its docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def n_parameters(function: Function) -> int:
    """Count the parameters of a function except `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    several = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return sum(argument.arg not in ("self", "cls") for argument in named) + len(several)


def is_public_face(path, name: str) -> bool:
    """Return whether users call this function: a method of the model, a function of compat or pl."""
    is_public = not any(part.startswith("_") and part != "__init__" for part in name.split("."))
    n_parts = {"model": 2, "compat": 1, "pl": 1}.get(room(path))
    return is_public and len(name.split(".")) == n_parts


def names(path) -> set[str]:
    """Return every identifier of a source file, without strings and comments."""
    with tokenize.open(path) as file:
        return {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}


@pytest.mark.parametrize(
    ("source", "n_lines", "n_named"),
    [
        ('def f(self, a, *, b):\n    """Say.\n\n    More.\n    """\n    x = 1\n\n    return x', 3, 2),
        ("def f(*args, **kwargs): ...", 1, 2),
        ('def f(a, /):\n    """Only a docstring."""', 0, 1),
    ],
)
def test_the_counters_of_lines_and_parameters_count(source, n_lines, n_named):
    [(name, function)] = functions(ast.parse(source))
    assert (name, n_body_lines(function), n_parameters(function)) == ("f", n_lines, n_named)


def test_nested_functions_are_found():
    source = "class A:\n    def f(self):\n        def g(): ...\n\nif x:\n    def h(): ..."
    assert [name for name, _ in functions(ast.parse(source))] == ["A.f", "A.f.g", "h"]


def test_files_are_short():
    n_lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: n for name, n in n_lines.items() if n > MAX_FILE_LINES} == {}
    assert statistics.median(n_lines.values()) <= MAX_MEDIAN_LINES


def test_functions_are_short():
    n_lines = {
        f"{path.relative_to(SOURCE)}: {name}": n_body_lines(function)
        for path in SOURCE.rglob("*.py")
        for name, function in functions(ast.parse(path.read_text()))
    }
    assert {name: n for name, n in n_lines.items() if n > MAX_BODY_LINES} == {}


def test_two_functions_at_most_have_many_parameters():
    many = {
        f"{path.relative_to(SOURCE)}: {name}": n_parameters(function)
        for path in SOURCE.rglob("*.py")
        for name, function in functions(ast.parse(path.read_text()))
        if n_parameters(function) > MAX_PARAMETERS and not is_public_face(path, name)
    }
    assert len(many) <= 2, many


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_old_names_are_gone(path):
    old_names = [line for line in OLD_NAMES.splitlines() if line and not line.startswith("#")]
    assert {name for name in names(path) if any(fnmatchcase(name, old) for old in old_names)} == set()
