"""Shared descriptions of parameters are rendered in full."""

import inspect
import re

import pytest
from conftest import ROOT
from public_names import class_members
from scvi.model.base import BaseModelClass

import hrca
from hrca._docs import docs

METHODS = [
    name
    for name, member in inspect.getmembers(hrca.HRCA, callable)
    if not name.startswith("_") and member.__module__.startswith("hrca")
]
PLOTS = {name: getattr(hrca.pl, name) for name in hrca.pl.__all__}


def documented(docstring: str) -> set[str]:
    """Names in the section of parameters."""
    section = re.split(r"\n(?:Returns|Raises|Notes|Examples)\n-+\n", docstring.split("Parameters\n----------\n")[1])[0]
    return set(re.findall(r"^\*{0,2}(\w+)$", section, re.MULTILINE))


def test_the_methods_are_found():
    assert {"pretrain", "finetune", "train", "adapt", "predict", "evaluate", "setup_anndata"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_described_in_full(name):
    method = getattr(hrca.HRCA, name)
    docstring = inspect.getdoc(method)
    assert "%(" not in docstring
    assert "As in" not in docstring
    parameters = set(inspect.signature(method).parameters) - {"self"}
    if parameters:
        assert documented(docstring) == parameters


def test_the_members_on_the_page_of_the_model_are_described_by_hrca():
    # a description of scvi-tools is about its own models, and has their examples
    page = (ROOT / "docs" / "api" / "model.md").read_text()
    members = set(re.findall(r"^   HRCA\.(\w+)$", page, re.MULTILINE))
    assert {"train", "to_device", "test_indices"} <= members
    assert members - set(class_members(hrca.HRCA)) == set()


def test_the_records_of_a_training_keep_the_setters_of_scvi_tools():
    for name in ("is_trained", "train_indices", "validation_indices", "test_indices"):
        assert getattr(hrca.HRCA, name).fset is getattr(BaseModelClass, name).fset is not None


@pytest.mark.parametrize("name", sorted(docs.params))
def test_every_shared_description_is_used(name):
    # a description that no docstring takes would never be read
    assert any(f"%({name})s" in path.read_text() for path in (ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("name", PLOTS)
def test_every_parameter_of_a_plot_is_described_in_full(name):
    docstring = inspect.getdoc(PLOTS[name])
    assert "%(" not in docstring
    assert documented(docstring) == set(inspect.signature(PLOTS[name]).parameters)
