"""The commands annotate, train, evaluate, check and info on tiny files."""

import copy
import json
import shutil
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from shell import FAST, call, section

import hrca
from hrca._warnings import warn_user
from hrca.cli import main
from hrca.cli._run import show
from hrca.cli.annotate import _written_text

TRAIN = ("--labels-key", "cell_type", *FAST)


@pytest.fixture
def query(files, tmp_path):
    return shutil.copy(files / "query.h5ad", tmp_path / "query.h5ad")


def test_results_go_into_the_file_and_are_those_of_python(files, query, capsys):
    result = call(capsys, "annotate", query, "--model", files / "model", "--coverage", "0.9", "--json")
    assert result.code == 0, result.err
    expected = section()
    scvi.settings.seed = 0
    hrca.HRCA.load(files / "model").predict(expected, coverage=0.9)
    written = ad.read_h5ad(query)
    pd.testing.assert_frame_equal(written.obs.drop(columns="known"), expected.obs.drop(columns="known"))
    np.testing.assert_array_equal(written.obsm["hrca_probabilities"], expected.obsm["hrca_probabilities"])
    (summary,) = json.loads(result.out)["queries"]
    assert (summary["query"], summary["written"], summary["n_cells"]) == (str(query), [str(query)], 37)
    counts = written.obs["hrca"].astype(str).value_counts()
    assert {label: row["n_cells"] for label, row in summary["labels"].items()} == counts.to_dict()
    assert summary["confidence"] == pytest.approx(written.obs["hrca_confidence"].mean())
    assert summary["settings"]["coverage"] == 0.9


def test_cells_that_were_not_chosen_are_counted_apart(files, query, tmp_path, capsys):
    (tmp_path / "cells.txt").write_text("".join(f"{i}\n" for i in range(5, 37)))
    arguments = ("--model", files / "model", "--indices", tmp_path / "cells.txt", "--csv", tmp_path / "groups.csv")
    text = call(capsys, "annotate", query, *arguments).out
    assert "; 5 cells not predicted\n" in text and "nan" not in text
    assert len(pd.read_csv(tmp_path / "groups.csv")) == 32
    (summary,) = json.loads(call(capsys, "info", query, "--json").out)["annotations"]
    assert summary["left_out_labels"] is None
    assert (summary["n_cells"], summary["n_not_predicted"]) == (37, 5)
    assert sum(row["n_cells"] for row in summary["labels"].values()) == 32


def test_a_result_is_json_without_nan(capsys):
    result = {"a": [np.float64("nan"), 1.5], "b": np.array([1, 2]), "c": Path("x"), "d": {"e": float("inf"), "f": None}}
    show(result, "", as_json=True)
    expected = {"a": [None, 1.5], "b": [1, 2], "c": "x", "d": {"e": None, "f": None}}
    assert json.loads(capsys.readouterr().out) == expected


def test_a_copy_a_csv_and_the_model_are_written_after_a_training(files, query, tmp_path, capsys, caplog):
    before = query.read_bytes()
    out, csv = tmp_path / "new" / "annotated.h5ad", tmp_path / "groups.csv"
    arguments = ("--reference", files / "reference.h5ad", *TRAIN, "--save-model", tmp_path / "model")
    result = call(capsys, "annotate", query, *arguments, "--out", out, "--csv", csv)
    assert result.code == 0, result.err
    assert query.read_bytes() == before
    written = ad.read_h5ad(out)
    table = pd.read_csv(csv)
    assert list(table.columns) == ["cell_id", "group"]
    assert table["cell_id"].to_list() == list(written.obs_names)
    assert table["group"].to_list() == written.obs["hrca"].to_list()
    model = hrca.HRCA.load(tmp_path / "model")
    # the genes of the query alone
    assert list(model.gene_names) == [f"gene{i}" for i in range(40)]
    assert model.model_id_ == written.uns["hrca"]["model_id"]
    assert f"written: {out}, {csv}" in result.out
    assert "pretrain: ended" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["groups.csv", "model", "new", "query.h5ad"]


def test_cells_of_none_of_the_labels_are_unknown_in_the_csv_and_counted(files, tmp_path, capsys):
    query = section(600)
    # cells of a type that the reference lacks: most of their counts are of genes of three types
    query.X = query.X.toarray()
    query.X[540:, [3, 5, 8, 17, 21]] += 30
    query.write_h5ad(tmp_path / "query.h5ad")
    csv = tmp_path / "groups.csv"
    arguments = ("annotate", tmp_path / "query.h5ad", "--model", files / "model", "--csv", csv)
    result = call(capsys, *arguments)
    written = ad.read_h5ad(tmp_path / "query.h5ad").obs
    is_novel = (written["hrca_novel_probability"] >= 0.5).to_numpy()
    assert 0 < is_novel.sum() < len(query)
    assert not (written["hrca"] == "Unknown").any()
    groups = pd.read_csv(csv)["group"]
    assert groups.to_list() == written["hrca"].astype(str).mask(is_novel, "Unknown").to_list()
    n_novel = is_novel.sum()
    assert f"; in {csv}, {n_novel} cells with the label 'Unknown', probably of none of the labels" in result.out
    kept = call(capsys, *arguments, "--keep-novel-labels", "--overwrite")
    assert pd.read_csv(csv)["group"].to_list() == written["hrca"].to_list()
    assert "with the label 'Unknown'" not in kept.out


def test_the_text_counts_novel_cells_among_those_that_the_csv_shows_without_a_label():
    # one novel cell has no label in the annotated file either, for its low confidence
    result = {"written": ["a.h5ad", "a.csv"], "n_unlabeled": 3, "n_novel_with_label": 2, "n_novel": 3}
    result["settings"] = {"unlabeled_category": "none"}
    text = _written_text(result, {"csv": "a.csv", "keep_novel_labels": False})
    assert text.endswith("in a.csv, 5 cells with the label 'none', 3 of them probably of none of the labels")


def test_a_query_that_is_too_small_has_no_number_of_novel_cells(files, tmp_path, capsys):
    section(40).write_h5ad(tmp_path / "query.h5ad")
    result = call(capsys, "annotate", tmp_path / "query.h5ad", "--model", files / "model")
    assert "not estimated which cells are of none of the labels" in result.out
    assert "0 cells probably" not in result.out


def test_rejected_cells_are_one_number_in_the_text_the_file_and_the_csv(files, tmp_path, capsys):
    query = section(600)
    query.X = query.X.toarray()
    query.X[540:, [3, 5, 8, 17, 21]] += 30
    query.write_h5ad(tmp_path / "query.h5ad")
    csv = tmp_path / "groups.csv"
    arguments = ("--model", files / "model", "--csv", csv, "--novelty-fpr", "0.01")
    result = call(capsys, "annotate", tmp_path / "query.h5ad", *arguments)
    obs = ad.read_h5ad(tmp_path / "query.h5ad").obs
    is_unknown, is_novel = obs["hrca"] == "Unknown", obs["hrca_novel_probability"] >= 0.5
    assert 0 < is_novel.sum() <= is_unknown.sum() < 600
    assert is_unknown.to_list() == (is_novel | (obs["hrca_novelty"] >= 0.99)).to_list()
    assert (pd.read_csv(csv)["group"] == "Unknown").to_list() == is_unknown.to_list()
    first, header, *rows = result.out.splitlines()
    assert (
        f"; {is_unknown.sum()} cells with the label 'Unknown', {is_novel.sum()} of them probably of none of the"
        in first
    )
    assert f", {len(set(obs['hrca']) - {'Unknown'})} labels in obs['hrca']" in first
    assert header.split() == ["label", "cells", "mean", "confidence"]
    assert ["Unknown", str(is_unknown.sum())] in [row.split()[:2] for row in rows]
    assert rows[-1].endswith(f"written: {tmp_path / 'query.h5ad'}, {csv}")
    (warning,) = [line for line in result.err.splitlines() if "types that the reference lacks" in line]
    assert f"warning: {is_novel.sum()} of 600 cells" in warning
    assert warning.endswith("They are labelled 'Unknown'.") and "novelty" not in warning


def test_the_same_seed_gives_the_same_labels(files, tmp_path, capsys):
    tables = []
    for name in ("a", "b"):
        csv, out = tmp_path / f"{name}.csv", tmp_path / f"{name}.h5ad"
        arguments = ("--reference", files / "reference.h5ad", *TRAIN, "--seed", "3", "--quiet")
        result = call(capsys, "annotate", files / "query.h5ad", *arguments, "--out", out, "--csv", csv)
        assert (result.code, result.err) == (0, "")
        tables.append(ad.read_h5ad(out).obsm["hrca_probabilities"])
    pd.testing.assert_frame_equal(*tables)


def test_many_queries_of_several_formats_go_into_folders(files, tmp_path, capsys):
    shutil.copytree(files / "query.zarr", tmp_path / "store.zarr")
    arguments = ("--model", files / "model", "--out", tmp_path / "out", "--csv", tmp_path / "csv")
    result = call(capsys, "annotate", files / "query.h5ad", tmp_path / "store.zarr", *arguments)
    assert result.code == 0, result.err
    first, second = ad.read_h5ad(tmp_path / "out" / "query.h5ad"), ad.read_zarr(tmp_path / "out" / "store.zarr")
    assert first.obs["hrca"].to_list() == second.obs["hrca"].to_list()
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == ["query.csv", "store.csv"]
    assert "hrca" not in ad.read_zarr(tmp_path / "store.zarr").obs


def test_an_error_names_the_query_and_leaves_nothing(files, tmp_path, capsys):
    arguments = ("--model", files / "model", "--out", tmp_path / "out")
    result = call(capsys, "annotate", files / "query.h5ad", files / "foreign.h5ad", *arguments)
    assert result.code == 3
    assert f"hrca: The error is in sample {str(files / 'foreign.h5ad')!r}." in result.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_column_of_the_user_raises_before_a_model_is_trained(files, query, capsys):
    adata = ad.read_h5ad(query)
    adata.obs["author"] = "by hand"
    adata.write_h5ad(query)
    result = call(capsys, "annotate", query, "--reference", files / "reference.h5ad", *TRAIN, "--key-added", "author")
    assert result.code == 3
    assert "the query has obs['author']. Choose another `--key-added`" in result.err
    assert "finetune" not in result.err
    assert list(ad.read_h5ad(query).obs["author"]) == ["by hand"] * adata.n_obs


def test_a_panel_that_is_a_small_part_of_the_reference_gives_a_model_of_its_genes(tmp_path, capsys):
    from conftest import synthetic

    synthetic(60, n_genes=1500).write_h5ad(tmp_path / "atlas.h5ad")
    synthetic(20, n_genes=1500, seed=1)[:, :30].copy().write_h5ad(tmp_path / "panel.h5ad")
    arguments = ("--reference", tmp_path / "atlas.h5ad", *TRAIN, "--save-model", tmp_path / "model")
    assert call(capsys, "annotate", tmp_path / "panel.h5ad", *arguments).code == 0
    assert len(hrca.HRCA.load(tmp_path / "model").gene_names) == 30


def test_train_evaluate_and_info_use_one_model(files, tmp_path, capsys):
    model = tmp_path / "model"
    arguments = (*TRAIN, "--out", model, "--genes-of", files / "query.h5ad", "--query", files / "query.h5ad")
    trained = call(capsys, "train", files / "reference.h5ad", *arguments, "--json")
    assert trained.code == 0, trained.err
    assert json.loads(trained.out)["n_genes"] == 40
    loaded = hrca.HRCA.load(model)
    assert loaded.query_match_.n_shared_genes == 40
    shown = call(capsys, "info", model, "--json")
    assert json.loads(shown.out)["model"]["model_id"] == loaded.model_id_
    assert f"model {loaded.model_id_}: 40 genes, 3 labels" in call(capsys, "info", model).out
    scores = call(capsys, "evaluate", files / "query.h5ad", "--model", model, "--labels-key", "known", "--json")
    expected = loaded.evaluate(section(), "known")
    assert json.loads(scores.out) == pytest.approx(expected.to_dict())
    text = call(capsys, "evaluate", files / "query.h5ad", "--model", model, "--labels-key", "known").out
    assert text.splitlines()[0].split() == ["score", "value"]
    assert dict(line.split() for line in text.splitlines())["n_obs"] == "37"


def test_a_killed_training_continues(files, tmp_path, capsys):
    arguments = (*TRAIN, "--checkpoint-dir", tmp_path / "checkpoints", "--checkpoint-interval", "1")
    assert call(capsys, "train", files / "reference.h5ad", *arguments, "--out", tmp_path / "a").code == 0
    failed = call(capsys, "train", files / "reference.h5ad", *arguments, "--out", tmp_path / "b")
    assert failed.code == 3
    assert "`--resume`" in failed.err
    again = call(capsys, "train", files / "reference.h5ad", *arguments, "--out", tmp_path / "b", "--resume")
    assert again.code == 0, again.err
    first, second = (hrca.HRCA.load(tmp_path / name) for name in "ab")
    assert first.model_id_ == second.model_id_


def test_missing_labels_become_unlabelled_if_that_is_wanted(files, tmp_path, capsys, caplog):
    arguments = (*TRAIN, "--out", tmp_path / "model", "--allow-missing-labels")
    result = call(capsys, "train", files / "gaps.h5ad", *arguments)
    assert result.code == 0, result.err
    assert "In the reference, 1 of 100 cells has no label." in caplog.text


def test_check_is_that_of_python(files, capsys):
    expected = hrca.pp.check(str(files / "query.h5ad"), hrca.HRCA.load(files / "model"))
    result = call(capsys, "check", files / "query.h5ad", "--model", files / "model")
    assert (result.code, result.out, result.err) == (0, f"{expected!r}\n", "")
    as_json = call(capsys, "check", files / "query.h5ad", "--model", files / "model", "--json")
    assert json.loads(as_json.out)["n_shared_genes"] == expected.n_shared_genes == 40


def test_info_shows_each_annotation_of_a_file(files, query, capsys):
    for key in ("hrca", "other"):
        arguments = ("--model", files / "model", "--key-added", key)
        assert call(capsys, "annotate", query, *arguments).code == 0
    result = call(capsys, "info", query, "--json")
    assert [summary["key"] for summary in json.loads(result.out)["annotations"]] == ["hrca", "other"]
    assert "3 labels in obs['other']" in call(capsys, "info", query).out


def test_info_names_the_labels_whose_absence_would_not_be_noticed(files, query, capsys):
    assert call(capsys, "annotate", query, "--model", files / "model").code == 0
    assert "can stay unnoticed" not in call(capsys, "info", query).out
    annotated = ad.read_h5ad(query)
    table = {"label": np.array(["A", "B"]), "n_cells": np.array([20, 15]), "novel_probability": np.array([0.1, 0.9])}
    annotated.uns["hrca"]["left_out_labels"] = table
    annotated.write_h5ad(query)
    text = call(capsys, "info", query).out
    assert "note: A type that the reference lacks can stay unnoticed." in text and "It would not for 'A': " in text
    (summary,) = json.loads(call(capsys, "info", query, "--json").out)["annotations"]
    assert summary["left_out_labels"] == {name: column.tolist() for name, column in table.items()}


def test_warnings_are_one_line_on_stderr_and_those_of_libraries_are_hidden(files, query, capsys, monkeypatch):
    predict = hrca.HRCA.predict

    def noisy(self, *args, **kwargs):
        sys.stdout.write("a library prints\n")
        warnings.warn("a library warns", UserWarning, stacklevel=1)
        warn_user("two\nlines")
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(hrca.HRCA, "predict", noisy)
    result = call(capsys, "annotate", query, "--model", files / "model", "--json")
    assert "hrca: warning: two lines\n" in result.err
    assert "a library warns" not in result.err
    assert "a library prints\n" in result.err
    json.loads(result.out)


def test_threads_are_set_for_the_libraries(files, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main(["check", str(files / "query.h5ad"), "--threads", "2"]) == 0
    import os

    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.delenv("OMP_NUM_THREADS")


def test_info_shows_the_card_of_a_model(tiny_model, tmp_path, capsys):
    model = copy.copy(tiny_model)
    card = hrca.models.make_card(model, data="an atlas", license="CC0 1.0")
    hrca.models.push(model, "lab/tiny", hub=tmp_path, card=card)
    folder = tmp_path / "lab" / "tiny"
    text = call(capsys, "info", folder).out
    scores = card.facts["scores"]
    assert "  data: an atlas\n" in text and "  license: CC0 1.0\n" in text and "  tissue: not stated\n" in text
    assert f"{scores['n_obs']:.0f} held-out cells: accuracy {scores['accuracy']:.3f}" in text
    assert json.loads(call(capsys, "info", folder, "--json").out)["card"]["scores"] == scores
    content = (folder / "README.md").read_text()
    (folder / "README.md").write_text(content.replace("  scores:\n", "  scores: [1]\n  others:\n"))
    malformed = call(capsys, "info", folder)
    assert malformed.code == 3 and "`scores` must be numbers by their names" in malformed.err
    (folder / "README.md").unlink()
    shown = call(capsys, "info", folder)
    assert "card: none" in shown.out
    assert json.loads(call(capsys, "info", folder, "--json").out)["card"] is None
    hrca.models.push(model, "lab/tiny", hub=tmp_path, card=card)
    state = folder / "model.json"
    state.write_text(state.read_text() + " ")
    refused = call(capsys, "info", folder)
    assert refused.code == 3 and "must have the SHA-256 that its card states" in refused.err


def test_a_csv_file_is_not_replaced_without_overwrite(files, tmp_path, capsys):
    section(600).write_h5ad(tmp_path / "query.h5ad")
    (tmp_path / "groups.csv").write_text("mine")
    arguments = ("annotate", tmp_path / "query.h5ad", "--model", files / "model", "--csv", tmp_path / "groups.csv")
    result = call(capsys, *arguments)
    assert result.code == 4
    assert "groups.csv' exists already. `--overwrite` replaces it." in result.err
    assert (tmp_path / "groups.csv").read_text() == "mine"
    assert "hrca" not in ad.read_h5ad(tmp_path / "query.h5ad").obs
    assert call(capsys, *arguments, "--overwrite").code == 0
    assert (tmp_path / "groups.csv").read_text().startswith("cell_id,group")
