"""The command report."""

import inspect
import json
import shutil

import anndata as ad
import pytest
from shell import call

import hrca
from hrca.cli._report_flags import REPORT_FLAGS


@pytest.fixture
def annotated(files, tmp_path, capsys):
    path = shutil.copy(files / "query.h5ad", tmp_path / "annotated.h5ad")
    assert call(capsys, "annotate", path, "--model", files / "model").code == 0
    return path


def test_parameters_and_flags_are_the_same():
    parameters = inspect.signature(hrca.report).parameters
    assert sorted([*(flag.parameter for flag in REPORT_FLAGS), "adata", "path", "model"]) == sorted(parameters)
    assert {flag.parameter: flag.default for flag in REPORT_FLAGS} == {
        flag.parameter: parameters[flag.parameter].default for flag in REPORT_FLAGS
    }


@pytest.mark.filterwarnings("ignore")  # of matplotlib and scanpy; the command hides them
def test_a_report_and_pictures_are_written(files, annotated, tmp_path, capsys):
    arguments = ("--out", tmp_path / "new" / "report.html", "--model", files / "model", "--true-labels-key", "known")
    result = call(capsys, "report", annotated, *arguments, "--pictures", tmp_path / "pictures", "--json")
    assert result.code == 0, result.err
    written = json.loads(result.out)["written"]
    assert written == [str(tmp_path / "new" / "report.html"), str(tmp_path / "pictures" / "section.png")]
    assert "<html" in (tmp_path / "new" / "report.html").read_text()[:1000]
    assert (tmp_path / "pictures" / "section.png").read_bytes().startswith(b"\x89PNG")


def test_a_section_is_drawn_from_either_name_of_the_coordinates(annotated, tmp_path, capsys):
    adata = ad.read_h5ad(annotated)
    adata.obsm["X_spatial"] = adata.obsm.pop("spatial")
    adata.write_h5ad(tmp_path / "renamed.h5ad")
    arguments = ("--out", tmp_path / "report.html", "--pictures", tmp_path / "pictures")
    assert call(capsys, "report", tmp_path / "renamed.h5ad", *arguments).code == 0
    assert (tmp_path / "pictures" / "section.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key-added", "other"), "must have an annotation 'other'"),
        (("--true-labels-key", "truth"), "`--true-labels-key` must name a column"),
    ],
)
def test_what_is_not_there_is_named(annotated, tmp_path, capsys, arguments, words):
    result = call(capsys, "report", annotated, "--out", tmp_path / "report.html", *arguments)
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert words in result.err
