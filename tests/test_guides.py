"""The code of the pages in docs/guides runs, their commands have the flags, and every warning has its entry."""

import ast
import copy
import os
import re
import shlex
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest
import scvi
import yaml
from conftest import QUIET, ROOT, TINY
from guides import EXAMPLES, GUIDES, blocks, blood, census_slice, pages, shortened, trained, write_files

from hrca.cli import COMMANDS
from hrca.cli._flags import flag_names

MODULE = EXAMPLES / "nextflow" / "hrca" / "annotate"

# Functions that return the sentences of warnings. `warn_user` gives their names, not a text, in these calls.
SENTENCES = {
    "annotation/_prediction_warnings.py": {
        "rejection_warning",
        "_novel_cells",
        "_large_factors",
        "_dominant_label",
        "_indistinct_labels",
    },
    "annotation/_reference_warnings.py": {"few_genes_warning", "_quality_classes", "_few_cells", "_same_types"},
    "data/_validate.py": {"low_gene_coverage"},
    "data/_validate_reference.py": {"_few_cells", "_similar_spellings", "_quality_classes"},
    "model/_evaluation.py": {"unseen_warning"},
    "train/_adaptation.py": {"reason_not_to_adapt", "reason_to_discard"},
}
N_CALLS_WITH_A_NAME = 7

# Shorter constant parts of a text do not tell it from others.
MIN_FRAGMENT = 15


@pytest.fixture(scope="module")
def model():
    scvi.settings.seed = 0
    return trained(blood()[0])


@pytest.mark.parametrize(
    "page",
    # numba compiles the search for neighbours
    [pytest.param(page, marks=[pytest.mark.slow] * (page.stem == "from_celltypist"), id=page.stem) for page in pages()],
)
# those of few cells, and of the packages that the pages import; the warnings of HRCA have tests of their own
@pytest.mark.filterwarnings("ignore")
def test_the_code_of_a_page_runs(page, model, tmp_path, monkeypatch):
    reference, query = blood()
    write_files(tmp_path, reference, query, model)
    monkeypatch.chdir(tmp_path)
    if page.stem == "reference":
        reference = census_slice(reference)
    names = {"reference": reference, "query": query, "model": copy.copy(model), "TINY": TINY, "QUIET": QUIET}
    for number, block in enumerate(blocks(page, "python")):
        code = compile(shortened(block.code), f"{page.name}, block {number}", "exec")
        if block.runs_here:
            exec(code, names)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_says_first_what_it_is_for(page):
    lines = page.read_text().split("\n")
    assert lines[0].startswith("# ") and not lines[1]
    assert lines[2] and lines[2][0] not in "#`|<{-"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_block_that_does_not_run_says_why(page):
    for block in (*blocks(page, "python"), *blocks(page, "bash")):
        assert not block.mark or block.reason


def commands(text: str) -> list[list[str]]:
    """Return the words of each call of ``hrca`` in a script."""
    joined = re.sub(r"\\+\n\s*", " ", text)
    calls = re.findall(r"(?:^|&& )\s*hrca +([^\n|>]+)", joined, re.MULTILINE)
    return [shlex.split(call, comments=True) for call in calls]


SCRIPTS = {page.name: "\n".join(block.code for block in blocks(page, "bash")) for page in pages()} | {
    str(path.relative_to(EXAMPLES)): path.read_text() for path in sorted(EXAMPLES.rglob("*")) if path.is_file()
}


@pytest.mark.parametrize("name", [name for name, text in SCRIPTS.items() if commands(text)])
def test_the_commands_of_pages_and_examples_have_these_flags(name):
    for command, *words in commands(SCRIPTS[name]):
        if command == "--version":
            continue
        known = {flag for flags in flag_names(getattr(COMMANDS[command], command)).values() for flag in flags}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"hrca {command}"


def test_the_examples_call_the_command():
    called = {name for name, text in SCRIPTS.items() if commands(text)}
    assert {"nextflow/hrca/annotate/main.nf", "sopa/Snakefile"} <= called


def test_the_options_in_the_configuration_of_nextflow_are_flags():
    given = re.findall(r"ext\.args = '(.*)'", (GUIDES / "workflows.md").read_text())
    known = {flag for flags in flag_names(COMMANDS["annotate"].annotate).values() for flag in flags}
    assert given
    assert {word for text in given for word in text.split() if word.startswith("--")} <= known


def nextflow_scripts(text: str, **names: str) -> list[str]:
    """Return the script and the stub of a process as the shell gets them."""

    def rendered(match: re.Match) -> str:
        return names[match[1]]

    found = re.findall(r'"""\n(.*?)"""', text, re.DOTALL)
    filled = [re.sub(r"(?<!\\)\$\{([\w.]+)\}", rendered, script) for script in found]
    return [textwrap.dedent(script.replace("\\$", "$").replace("\\\\", "\\")) for script in filled]


@pytest.mark.slow
def test_script_and_stub_of_the_nextflow_module_write_its_outputs(model, tmp_path):
    write_files(tmp_path, *blood(), model)
    (tmp_path / "hrca").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hrca "$@"\n')
    (tmp_path / "hrca").chmod(0o755)
    names = {
        "cells": "section.h5ad",
        "model": "model",
        "prefix": "one",
        "args": "--min-confidence 0.5",
        "task.cpus": "1",
        "task.process": "HRCA_ANNOTATE",
    }
    scripts = nextflow_scripts((MODULE / "main.nf").read_text(), **names)
    assert len(scripts) == 2
    for script in scripts:
        for path in (*tmp_path.glob("one.*"), *tmp_path.glob("versions.yml")):
            path.unlink()
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
        assert {path.name for path in tmp_path.glob("one.*")} == {"one.h5ad", "one.csv", "one.json"}
        versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
        assert versions == {"HRCA_ANNOTATE": {"hrca": version("hrca")}}


def test_the_nextflow_module_has_the_channels_of_its_description():
    module, described = (MODULE / "main.nf").read_text(), yaml.safe_load((MODULE / "meta.yml").read_text())
    assert re.search(r"process (\w+)", module)[1].lower() == described["name"]
    inputs = re.search(r"input:\n(.*?)\n\n", module, re.DOTALL)[1]
    outputs = re.search(r"output:\n(.*?)\n\n", module, re.DOTALL)[1]
    named = [re.findall(r"(?:val|path)\((\w+)\)", line) for line in inputs.split("\n")]
    assert named == [[next(iter(part)) for part in channel] for channel in described["input"]]
    assert re.findall(r"emit: (\w+)", outputs) == list(described["output"])
    environment = yaml.safe_load((MODULE / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["hrca[io]"]}


def constant_parts(node: ast.expr) -> list[str]:
    """Return the constant parts of a text: a string, an f-string, or a sum of these."""
    if isinstance(node, ast.BinOp):
        return [*constant_parts(node.left), *constant_parts(node.right)]
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return [str(part.value) for part in parts if isinstance(part, ast.Constant)]


def warning_texts() -> dict[str, list[str]]:
    """Return the constant parts of the text of each warning, by its place in the code."""
    texts, n_names = {}, 0
    for path in sorted((ROOT / "src" / "hrca").rglob("*.py")):
        name = str(path.relative_to(ROOT / "src" / "hrca"))
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            is_call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "warn_user"
            if is_call and isinstance(node.args[0], ast.Name):
                n_names += 1
            elif is_call:
                texts[f"{name}:{node.lineno}"] = constant_parts(node.args[0])
            elif isinstance(node, ast.FunctionDef) and node.name in SENTENCES.get(name, ()):
                for part in ast.walk(node):
                    if isinstance(part, ast.Return) and isinstance(part.value, ast.JoinedStr | ast.BinOp):
                        texts[f"{name}:{part.lineno}"] = constant_parts(part.value)
    assert n_names == N_CALLS_WITH_A_NAME, "add the functions that return the new sentences to SENTENCES"
    return texts


def entries() -> list[str]:
    """Return the fragments of warnings that the page has as the first cell of a row, in quotes."""
    return re.findall(r'^\| "(.+?)" \|', (GUIDES / "reading_results.md").read_text(), re.MULTILINE)


def test_every_warning_has_its_entry_on_the_page():
    found = entries()
    for place, parts in warning_texts().items():
        assert any(entry in part for entry in found for part in parts), (place, parts)


def test_every_entry_of_the_page_is_a_warning():
    texts = [part for parts in warning_texts().values() for part in parts]
    for entry in entries():
        assert len(entry) >= MIN_FRAGMENT
        assert any(entry in part for part in texts), entry
