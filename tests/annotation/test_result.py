"""Results become entries of obs, obsm and uns, also by the names of CELLxGENE's schema, and survive h5ad and zarr."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic

import hrca
from hrca.annotation._result import PredictionResult, cellxgene_columns, check_terms, column_values, to_entries

TERMS = {"type 0": "CL:0000236", "type 1": "CL:0000084", "type 2": "unknown"}

NAMES = pd.Index(["x", "y", "z"])
LABELS = pd.Categorical(["a/b", "c", "Unknown"], categories=["a/b", "c", "Unknown"])
PROBABILITIES = pd.DataFrame([[0.8, 0.2], [0.4, 0.6], [0, 0]], index=NAMES, columns=["a/b", "c"], dtype=np.float32)
CONFIDENCE = np.array([0.8, 0.6, 0], dtype=np.float32)


def test_a_result_without_novelty_and_sets_has_their_names_among_the_stale():
    entries = to_entries("key", PredictionResult(LABELS, CONFIDENCE, PROBABILITIES), {"seed": 1})
    assert list(entries.obs) == ["key", "key_confidence"]
    assert list(entries.obsm) == ["key_probabilities"]
    assert list(entries.obsm["key_probabilities"]) == ["a|b", "c"]
    assert entries.uns == {"key": {"seed": 1}}
    assert set(entries.stale) == {"key_novelty", "key_novel_probability", "key_set_size", "key_set"}


def test_a_result_with_novelty_and_sets_has_nothing_stale():
    sets = pd.DataFrame([[True, False], [True, True], [True, True]], index=NAMES, columns=["a/b", "c"])
    novelty = np.array([0.1, 0.9, np.nan], dtype=np.float32)
    entries = to_entries("key", PredictionResult(LABELS, CONFIDENCE, PROBABILITIES, novelty, sets, novelty), {})
    assert list(entries.obs) == ["key", "key_confidence", "key_novelty", "key_novel_probability", "key_set_size"]
    assert entries.obs["key_set_size"].tolist() == [1, 2, 2]
    assert list(entries.obsm["key_set"]) == ["a|b", "c"]
    assert not entries.stale


def test_columns_that_a_slash_tells_apart_stay_apart():
    table = pd.DataFrame(np.zeros((3, 2)), index=NAMES, columns=["a/b", "a|b"])
    entries = to_entries("key", PredictionResult(LABELS, CONFIDENCE, table), {})
    assert entries.obsm["key_probabilities"].columns.is_unique


def test_entries_of_some_cells_and_with_more_columns():
    entries = to_entries("key", PredictionResult(LABELS, CONFIDENCE, PROBABILITIES), {"seed": 1})
    some = entries.with_cellxgene_columns({"more": LABELS}).subset(slice(1, 3))
    assert list(some.obs["more"]) == ["c", "Unknown"]
    assert list(some.obs.index) == list(some.obsm["key_probabilities"].index) == ["y", "z"]
    assert some.uns == {**entries.uns, "hrca_cellxgene_columns": {"key_added": "key"}}
    assert "more" not in entries.obs


def test_values_of_a_column_have_no_index():
    assert isinstance(column_values(pd.Series(LABELS)), pd.Categorical)
    assert isinstance(column_values(pd.Series([1.0, 2.0], index=["x", "y"])), np.ndarray)


def test_cells_without_a_label_are_unknown():
    columns = cellxgene_columns(LABELS, {"a/b": "CL:0000236", "c": "unknown"})
    assert list(columns["cell_type"]) == ["a/b", "c", "unknown"]
    assert list(columns["cell_type_ontology_term_id"]) == ["CL:0000236", "unknown", "unknown"]


def test_an_id_is_two_letters_and_seven_digits():
    check_terms({"a": "CL:0000236", "b": "unknown", "other": "no id"}, ["a", "b"])
    for term in ("CL:236", "cl:0000236", "CL_0000236", "UBERON:0000955", "", "CL:00002360"):
        with pytest.raises(ValueError, match="such as 'CL:0000236'"):
            check_terms({"a": term}, ["a"])
    with pytest.raises(ValueError, match=r"lacks \['a', 'b', 'c'\] and 2 more. Use 'unknown'"):
        check_terms({}, list("abcde"))


def test_columns_as_cellxgene_names_them(tiny_model, query):
    labels = np.asarray(tiny_model.predict(query, ontology_terms=TERMS))
    assert list(query.obs.columns) == [
        "hrca",
        "hrca_confidence",
        "hrca_novelty",
        "hrca_novel_probability",
        "cell_type",
        "cell_type_ontology_term_id",
    ]
    empty = labels == "Unknown"
    assert empty.sum() == 1
    np.testing.assert_array_equal(query.obs["cell_type"][~empty], labels[~empty])
    expected = [TERMS.get(label, "unknown") for label in labels]
    np.testing.assert_array_equal(query.obs["cell_type_ontology_term_id"], expected)
    assert list(query.obs["cell_type"][empty]) == ["unknown"]
    assert all(query.obs[name].dtype == "category" for name in ("cell_type", "cell_type_ontology_term_id"))


def test_novel_cells_and_cells_of_low_confidence_are_unknown_as_well(tiny_model):
    for settings in ({"novelty_fpr": 0.5}, {"min_confidence": 0.9}):
        query = synthetic(60, seed=3)
        del query.obs["cell_type"]
        query.X.data = np.random.default_rng(0).binomial(query.X.data.astype(int), 0.1).astype(np.float32)
        labels = np.asarray(tiny_model.predict(query, ontology_terms=TERMS, **settings))
        has_counts = query.to_df().sum(axis=1).to_numpy() > 0
        assert 0 < (labels[has_counts] == "Unknown").sum() < has_counts.sum()
        np.testing.assert_array_equal(query.obs["cell_type"] == "unknown", labels == "Unknown")
        assert (query.obs["cell_type_ontology_term_id"][labels == "Unknown"] == "unknown").all()


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"type 0": "CL:0000236"}, r"each of the 3 labels that can be predicted, but it lacks \['type 1', 'type 2'\]"),
        ({**TERMS, "type 1": "T cell"}, r"such as 'CL:0000236'.*has \{'type 1': 'T cell'\}"),
    ],
)
def test_invalid_ids_raise_before_any_work(tiny_model, query, terms, words, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    with pytest.raises(ValueError, match=words):
        tiny_model.predict(query, ontology_terms=terms)


def test_only_labels_that_can_be_predicted_need_an_id():
    reference, query = synthetic(100), synthetic(30, seed=3)
    del query.obs["cell_type"]
    parents = {"type 0": "left", "type 1": "left", "type 2": "right"}
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", labels_hierarchy=parents)
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    tops = {"left": "CL:0000001", "right": "CL:0000002"}
    labels = model.predict(query, level=0, ontology_terms=tops)
    np.testing.assert_array_equal(query.obs["cell_type_ontology_term_id"], [tops[label] for label in labels])
    for options in ({}, {"level": 1}, {"min_confidence": 0.5}, {"level": 1, "min_confidence": 0.5}):
        with pytest.raises(ValueError, match=r"can be predicted, but it lacks \['type 0', 'type 1', 'type 2'\]"):
            model.predict(query, ontology_terms=tops, **options)
    model.predict(query, level=1, min_confidence=0.5, ontology_terms={**tops, **TERMS})


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_all_entries_survive_a_file(tiny_model, query, format, tmp_path):
    scvi.settings.seed = 3
    query.layers["umi"] = query.X.copy()
    query.X = query.X.log1p()
    tiny_model.predict(query, platform_correction=False, batch_size=20, ontology_terms=TERMS)
    getattr(query, f"write_{format}")(tmp_path / "query")
    read = getattr(ad, f"read_{format}")(tmp_path / "query")
    uns, written = query.uns["hrca"], read.uns["hrca"]
    assert set(written) == set(uns)
    assert {name: value for name, value in written.items() if name not in ("labels", "warnings")} == {
        "hrca_version": hrca.__version__,
        "model_id": tiny_model.model_id_,
        "layer": "umi",
        "gene_column": "var_names",
        "n_genes": 60,
        "n_shared_genes": 45,
        "gene_weight_fraction": uns["gene_weight_fraction"],
        "gene_weight_of": "informative genes",
        "platform_log_sd": uns["platform_log_sd"],
        "min_confidence": 0.0,
        "platform_correction": False,
        "open_set": False,
        "unlabeled_category": "Unknown",
        "batch_size": 20,
        "seed": 3,
    }
    assert list(written["labels"]) == tiny_model.labels
    assert list(written["warnings"]) == []
    np.testing.assert_array_equal(read.obsm["hrca_probabilities"], query.obsm["hrca_probabilities"])
    for name in query.obs:
        np.testing.assert_array_equal(read.obs[name], query.obs[name])
