"""What a prediction adds to cells: the names of CELLxGENE's schema, and that it survives h5ad and zarr."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, ROOT, TINY, synthetic
from scipy import sparse

import hrca

TERMS = {"type 0": "CL:0000236", "type 1": "CL:0000084", "type 2": "unknown"}


def test_columns_as_cellxgene_names_them(tiny_model, query):
    labels = np.asarray(tiny_model.predict(query, ontology_terms=TERMS))
    assert list(query.obs.columns) == [
        "hrca",
        "hrca_confidence",
        "hrca_novelty",
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


def test_novel_and_unsure_cells_are_unknown_too(tiny_model):
    for settings in ({"novelty_fpr": 0.5}, {"min_confidence": 0.9}):
        query = synthetic(60, seed=3)
        query.X.data = np.random.default_rng(0).binomial(query.X.data.astype(int), 0.1).astype(np.float32)
        labels = np.asarray(tiny_model.predict(query, ontology_terms=TERMS, **settings))
        has_counts = query.to_df().sum(axis=1).to_numpy() > 0
        assert 0 < (labels[has_counts] == "Unknown").sum() < has_counts.sum()
        np.testing.assert_array_equal(query.obs["cell_type"] == "unknown", labels == "Unknown")
        assert (query.obs["cell_type_ontology_term_id"][labels == "Unknown"] == "unknown").all()


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"type 0": "CL:0000236"}, r"each of the 3 labels that can be an answer, but it lacks \['type 1', 'type 2'\]"),
        ({**TERMS, "type 1": "T cell"}, r"such as 'CL:0000236'.*has \{'type 1': 'T cell'\}"),
    ],
)
def test_ids_that_are_none_are_refused_before_any_work(tiny_model, query, terms, words, monkeypatch):
    monkeypatch.setattr(type(tiny_model.module), "branch_log_scores", lambda *_: pytest.fail("work had started"))
    with pytest.raises(ValueError, match=words):
        tiny_model.predict(query, ontology_terms=terms)


def test_ids_are_asked_of_what_can_be_an_answer():
    reference, query = synthetic(100), synthetic(30, seed=3)
    parents = {"type 0": "left", "type 1": "left", "type 2": "right"}
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", labels_hierarchy=parents)
    model = hrca.HRCA(reference, **TINY)
    model.train(1, 1, **QUIET)
    tops = {"left": "CL:0000001", "right": "CL:0000002"}
    labels = model.predict(query, level=0, ontology_terms=tops)
    np.testing.assert_array_equal(query.obs["cell_type_ontology_term_id"], [tops[label] for label in labels])
    for asked in ({}, {"level": 1}, {"min_confidence": 0.5}, {"level": 1, "min_confidence": 0.5}):
        with pytest.raises(ValueError, match=r"can be an answer, but it lacks \['type 0', 'type 1', 'type 2'\]"):
            model.predict(query, ontology_terms=tops, **asked)
    model.predict(query, level=1, min_confidence=0.5, ontology_terms={**tops, **TERMS})


def test_ids_need_a_place_to_be_written_to(tiny_model, query):
    with pytest.raises(ValueError, match="`ontology_terms` needs a `key_added`, got None"):
        tiny_model.predict(query, ontology_terms=TERMS, key_added=None)


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_all_of_it_survives_a_file(tiny_model, query, format, tmp_path):
    scvi.settings.seed = 3
    query.layers["umi"] = query.X.copy()
    query.X = query.X.log1p()
    tiny_model.predict(query, platform_correction=False, batch_size=20, ontology_terms=TERMS)
    getattr(query, f"write_{format}")(tmp_path / "query")
    read = getattr(ad, f"read_{format}")(tmp_path / "query")
    uns, written = query.uns["hrca"], read.uns["hrca"]
    assert set(written) == set(uns)
    assert {name: value for name, value in written.items() if name != "labels"} == {
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
        "batch_size": 20,
        "seed": 3,
    }
    assert list(written["labels"]) == tiny_model.labels
    np.testing.assert_array_equal(read.obsm["hrca_probabilities"], query.obsm["hrca_probabilities"])
    for name in query.obs:
        np.testing.assert_array_equal(read.obs[name], query.obs[name])


@pytest.mark.parametrize("where", ["object", "h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_predicting_again_removes_what_is_no_longer_asked_for(tiny_model, query, where, tmp_path):
    target = query
    if where != "object":
        target = tmp_path / f"query.{where}"
        getattr(query, f"write_{where}")(target)
    read = {"object": lambda it: it, "h5ad": ad.read_h5ad, "zarr": ad.read_zarr}[where]
    tiny_model.predict(target, coverage=0.9, enable_progress_bar=False)
    with_sets = read(target)
    assert "hrca_set_size" in with_sets.obs
    assert "hrca_set" in with_sets.obsm
    tiny_model.predict(target, enable_progress_bar=False)
    without = read(target)
    assert not {"hrca_set_size", "hrca_set"} & {*without.obs, *without.obsm}
    assert {"hrca", "hrca_novelty", "hrca_confidence"} <= set(without.obs)
    assert "coverage" not in without.uns["hrca"]


def test_predicting_again_leaves_what_was_not_its_own(tiny_model, query):
    tiny_model.predict(query, ontology_terms=TERMS)
    query.obs["cluster"] = ["0", "1"] * 18 + ["0"]
    hrca.tl.majority_vote(query, clusters="cluster")
    before = query.obs.copy()
    tiny_model.predict(query, platform_correction=False)
    stays = ["cell_type", "cell_type_ontology_term_id", "hrca_majority"]
    pd.testing.assert_frame_equal(query.obs[stays], before[stays])


def test_predicting_again_replaces_what_was_there(tiny_model, query):
    tiny_model.predict(query, platform_correction=False)
    before = list(query.obs.columns)
    tiny_model.predict(query)
    assert list(query.obs.columns) == before
    assert query.uns["hrca"]["platform_correction"]


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, np.asarray])
def test_the_scores_of_the_page_run_on_every_container(tiny_model, container):
    from matplotlib import pyplot as plt

    query = synthetic(60, seed=3)
    query.X = container(query.X.toarray())
    tiny_model.predict(query, coverage=0.9)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "scores.md").read_text(), re.DOTALL)[1]
    names = {"query": query}
    exec(code, names)
    plt.close("all")
    np.testing.assert_array_equal(names["depth"], hrca.metrics.depth_bins(synthetic(60, seed=3).to_df().sum(axis=1)))
