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
def test_a_report_and_pictures_are_written(files, annotated, tmp_path, capsys, caplog):
    arguments = ("--out", tmp_path / "new" / "report.html", "--model", files / "model", "--true-labels-key", "known")
    result = call(capsys, "report", annotated, *arguments, "--pictures", tmp_path / "pictures", "--json")
    assert result.code == 0, result.err
    written = json.loads(result.out)["written"]
    names = ("section.png", "section_confidence.png", "section_novel_probability.png", "umap.png")
    pictures = [tmp_path / "pictures" / name for name in names]
    assert written == [str(tmp_path / "new" / "report.html"), *map(str, pictures)]
    assert "<html" in (tmp_path / "new" / "report.html").read_text()[:1000]
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    # pytest takes the messages, which otherwise go to stderr
    assert "UMAP of 37 cells" in caplog.text


@pytest.mark.filterwarnings("ignore")  # of matplotlib and scanpy; the command hides them
def test_all_pictures_are_written_of_cells_that_have_everything(annotated, tmp_path, capsys):
    adata = ad.read_h5ad(annotated)
    adata.obs["hrca_novel_probability"], adata.obs["sample"] = 0.1, "one"
    adata.write_h5ad(tmp_path / "whole.h5ad")
    arguments = ("--out", tmp_path / "report.html", "--sample-key", "sample", "--pictures", tmp_path / "pictures")
    result = call(capsys, "report", tmp_path / "whole.h5ad", *arguments)
    assert result.code == 0, result.err
    names = ["section.png", "section_confidence.png", "section_novel_probability.png", "umap.png", "composition.png"]
    assert result.out.split("\n")[1:-1] == [str(tmp_path / "pictures" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(names)


@pytest.mark.filterwarnings("ignore")  # of matplotlib and scanpy; the command hides them
def test_cells_that_are_not_scored_are_named_on_stderr(annotated, tmp_path, capsys):
    adata = ad.read_h5ad(annotated)
    adata.obs["known"] = adata.obs["known"].astype(str).replace("type 2", "Type two")
    adata.write_h5ad(tmp_path / "renamed.h5ad")
    arguments = ("--out", tmp_path / "report.html", "--true-labels-key", "known")
    result = call(capsys, "report", tmp_path / "renamed.h5ad", *arguments)
    assert result.code == 0, result.err
    assert "hrca: warning: " in result.err and "labelled cells are not scored" in result.err


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
        (("--sample-key", "slide"), "`--sample-key` must name a column"),
    ],
)
def test_what_is_not_there_is_named(annotated, tmp_path, capsys, arguments, words):
    result = call(capsys, "report", annotated, "--out", tmp_path / "report.html", *arguments)
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert words in result.err
