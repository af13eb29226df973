"""Every public name says what it takes, returns and raises, with shapes and units, and has an example that runs.

The checks read the final docstrings, in which shared parameters are filled in.
"""

import ast
import builtins
import doctest
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from public_names import find, module_names

import hrca

HEADINGS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "Examples")

# What an annotation says of an entry for each cell or gene.
ARRAY = re.compile(r"ndarray|sparse|Tensor|Series|Categorical|\bIndex\b|DataFrame")
# "shape (n_obs,)", "n_obs x n_genes", "one row for each label", "for each cell", "the columns", "two-column DataFrame".
SHAPE = re.compile(r"\bshape\b|\bn_\w+ x\s|\b(for|of) each\b|\b[Cc]olumns\b|two-column|\b[Oo]ne (row|entry)\b")
# A number that is no plain count has a unit or a range.
UNIT = re.compile(
    r"fraction|probability|rate|factor|\[0, 1\]|\(0, 1|micrometer|counts|points|inches|weight|ratio|any unit",
    re.IGNORECASE,
)

# Characters of a line of an example that the page shows beside both sidebars, on a window of 1,400 pixels.
MAX_EXAMPLE_LENGTH = 85

PROMPT = ">>> "

# Calls to follow for exceptions: most checks are made two or three functions below the public one.
MAX_DEPTH = 3


def is_network(name: str) -> bool:
    """Whether the name is a method of a network, which users hand on as it is: the site shows none of them."""
    owner = find(hrca, name.rsplit(".", 1)[0]) if name.count(".") > 1 else None
    return inspect.isclass(owner) and issubclass(owner, torch.nn.Module)


NAMES = sorted(name for name in set(module_names(hrca)) if not is_network(name))
FUNCTIONS = [name for name in NAMES if not inspect.isclass(find(hrca, name))]


def sections(name: str) -> dict[str, str]:
    """Return the text below each heading of a docstring; that before the first heading is below ""."""
    docstring = inspect.getdoc(find(hrca, name))
    assert docstring, f"{name} has no docstring"
    parts = re.split(rf"^({'|'.join(HEADINGS)})\n-+\n", docstring, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def descriptions(section: str) -> dict[str, str]:
    """Return the description of each name of a section."""
    parts = re.split(r"^(\S.*)\n(?=    )", section, flags=re.MULTILINE)
    texts: dict[str, str] = {}
    for names, text in zip(parts[1::2], parts[2::2], strict=True):
        for name in names.split(", "):
            texts[name.strip("*")] = texts.get(name.strip("*"), "") + text
    return texts


def parameters(name: str) -> list[inspect.Parameter]:
    return [
        parameter
        for key, parameter in inspect.signature(find(hrca, name)).parameters.items()
        if key not in ("self", "cls")
    ]


def raised(function: Any, depth: int = MAX_DEPTH) -> Iterator[type[Exception]]:
    """Yield the exceptions that a function raises itself, or by the functions and methods of HRCA that it calls."""
    function = inspect.unwrap(function)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            error = function.__globals__.get(node.exc.func.id) or getattr(builtins, node.exc.func.id)
            yield from [error] if inspect.isclass(error) else []
        called = called_function(node, function) if isinstance(node, ast.Call) and depth else None
        if called is not None:
            yield from raised(called, depth - 1)


def called_function(node: ast.Call, function: Any) -> Any:
    """Return the function of HRCA that a function calls by its name or as a method of its own; None if it is not."""
    called = None
    if isinstance(node.func, ast.Name):
        called = function.__globals__.get(node.func.id)
    elif (
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
    ):
        called = getattr(hrca.HRCA, node.func.attr, None)
    return called if inspect.isroutine(called) and (called.__module__ or "").startswith("hrca") else None


def test_the_names_are_found():
    assert {"hrca.HRCA", "hrca.HRCA.predict", "hrca.HRCA.labels", "hrca.pl.spatial", "hrca.report"} <= set(NAMES)
    assert {"hrca.compat.pretrain", "hrca.datasets.local", "hrca.pp.ValidationReport.to_dict"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_is_described(name):
    described = set(descriptions(sections(name).get("Parameters", "")))
    assert described == {parameter.name for parameter in parameters(name)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_returned_is_described(name):
    owner, _, member = name.rpartition(".")
    owner = find(hrca, owner) if owner != "hrca" else hrca
    if isinstance(inspect.getattr_static(owner, member), property):  # its description says what it is
        assert sections(name)[""]
    else:
        annotation = inspect.signature(find(hrca, name)).return_annotation
        assert ("Returns" in sections(name)) == (annotation is not None)


@pytest.mark.parametrize("name", NAMES)
def test_each_array_has_a_shape(name):
    texts = descriptions(sections(name).get("Parameters", ""))
    lacking = [
        parameter.name
        for parameter in parameters(name)
        if ARRAY.search(str(parameter.annotation)) and not SHAPE.search(texts[parameter.name])
    ]
    returned = sections(name).get("Returns", sections(name)[""])
    if ARRAY.search(str(inspect.signature(find(hrca, name)).return_annotation)) and not SHAPE.search(returned):
        lacking.append("what is returned")
    assert not lacking


@pytest.mark.parametrize("name", NAMES)
def test_each_number_has_a_unit_or_a_range(name):
    texts = descriptions(sections(name).get("Parameters", ""))
    lacking = [
        parameter.name
        for parameter in parameters(name)
        if re.search(r"\bfloat\b", str(parameter.annotation)) and not UNIT.search(texts[parameter.name])
    ]
    assert not lacking


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_exception_is_listed(name):
    listed = set(descriptions(sections(name).get("Raises", "")))
    assert {
        error for error in raised(find(hrca, name)) if not listed & {base.__name__ for base in error.__mro__}
    } == set()


@pytest.mark.parametrize("name", NAMES)
def test_there_is_an_example_that_runs(name):
    # the doctests of src/hrca are tests
    assert ">>> " in sections(name).get("Examples", "")


def parsed_examples(name: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(sections(name).get("Examples", ""))


@pytest.mark.parametrize("name", NAMES)
def test_the_example_defines_each_name_that_it_uses(name):
    # a doctest sees the names of its module; a reader who copies the example does not
    nodes = list(ast.walk(ast.parse("".join(example.source for example in parsed_examples(name)))))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    assert {node.id for node in names} <= assigned | imported | set(dir(builtins))


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_an_example_can_be_read(name):
    prompts = [f"{PROMPT}{line}" for example in parsed_examples(name) for line in example.source.splitlines()]
    outputs = [line for example in parsed_examples(name) for line in example.want.splitlines()]
    assert [line for line in (*prompts, *outputs) if len(line) > MAX_EXAMPLE_LENGTH] == []
