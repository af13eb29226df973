"""Real cells from end to end: a single-cell reference and a MERFISH section of the same tissue."""

import anndata as ad
import mudata
import numpy as np
import pytest
import scvi
from conftest import QUIET
from scipy import sparse

import hrca
from hrca.cli._demo_pairs import poa_pair


@pytest.fixture(scope="module")
def pair(data_dir):
    return poa_pair(data_dir, left_out="")


@pytest.fixture(scope="module")
def model(pair):
    scvi.settings.seed = 0
    hrca.HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = hrca.HRCA(pair.reference, **hrca.SIZES["laptop"])
    model.train(20, pretrain_epochs=20, **QUIET)
    return model


@pytest.fixture(scope="module")
def expected(model, pair):
    return model.predict(pair.query, soft=True, key_added=None)


def test_it_learns_the_types(model, pair):
    scores = model.evaluate(pair.query, pair.labels_key)
    largest = pair.query.obs[pair.labels_key].value_counts(normalize=True).iloc[0]
    assert scores["n_obs"] == 5343
    assert scores["accuracy"] > 1.5 * largest
    assert scores["macro_f1"] > 0.4


def shuffled(query, tmp_path):
    return query[:, np.random.default_rng(0).permutation(query.n_vars)].copy()


def unlabelled(query, tmp_path):
    query = query.copy()
    query.obs = query.obs[[]].copy()
    return query


def csr_array(query, tmp_path):
    query = query.copy()
    query.X = sparse.csr_array(query.X)
    return query


def backed(query, tmp_path):
    query.copy().write_h5ad(tmp_path / "query.h5ad")
    return ad.read_h5ad(tmp_path / "query.h5ad", backed="r")


def view(query, tmp_path):
    others = query.copy()
    others.obs_names = "other " + others.obs_names
    return ad.concat([query, others])[: query.n_obs]


def in_mudata(query, tmp_path):
    protein = ad.AnnData(np.ones((query.n_obs, 1), dtype=np.float32), obs=query.obs[[]].copy())
    return mudata.MuData({"rna": query.copy(), "protein": protein})


@pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning")
@pytest.mark.parametrize("form", [shuffled, unlabelled, csr_array, backed, view, in_mudata])
def test_every_form_of_the_section_gets_the_same_answer(model, pair, expected, form, tmp_path):
    probabilities = model.predict(form(pair.query, tmp_path), soft=True, key_added=None)
    np.testing.assert_array_equal(probabilities.to_numpy(), expected.to_numpy())


def test_genes_that_the_model_does_not_know_play_no_part(model, pair, expected):
    shared = pair.query[:, pair.query.var_names.isin(model.gene_names)].copy()
    assert shared.n_vars < pair.query.n_vars
    np.testing.assert_array_equal(model.predict(shared, soft=True, key_added=None).to_numpy(), expected.to_numpy())


@pytest.mark.parametrize("name", ["osmfish_cortex", "starmap_mpfc", "xenium_breast"])
def test_sparse_sections_train_without_a_nan_and_keep_every_cell(data_dir, name):
    adata = hrca.datasets.local(name, data_dir)
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)[:1000]].copy()
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str)
    adata = adata[adata.obs.groupby("cell_type")["cell_type"].transform("size") >= 3].copy()
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **hrca.SIZES["laptop"])
    model.train(2, pretrain_epochs=2, corruption="mask", **QUIET)
    for frame in model.history.values():
        assert np.isfinite(frame.to_numpy()).all()
    assert len(model.predict(adata)) == adata.n_obs
