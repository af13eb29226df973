"""The public checks, with a model and without one, and the recovery of counts."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from conftest import synthetic
from scipy import sparse

import hrca
from hrca._warnings import HRCAWarning

# scanpy warns of a cell without counts
pytestmark = pytest.mark.filterwarnings("ignore:Some cells have zero counts")


def log_normalised(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def test_check_reports_what_predict_uses(tiny_model, query):
    query.layers["umi"] = query.X.copy()
    log_normalised(query)
    report = hrca.pp.check(query, tiny_model)
    tiny_model.predict(query)
    uns = query.uns["hrca"]
    assert report.layer == uns["layer"] == "umi"
    assert (
        (report.n_shared_genes, report.gene_column) == (uns["n_shared_genes"], uns["gene_column"]) == (45, "var_names")
    )
    assert report.gene_weight_fraction == uns["gene_weight_fraction"]
    assert report.gene_weight_of == uns["gene_weight_of"] == "informative genes"


def test_the_fraction_of_a_model_without_count_likelihood_is_of_its_genes(tiny_networks, query):
    report = hrca.pp.check(query, tiny_networks)
    assert (report.gene_weight_fraction, report.gene_weight_of) == (0.75, "genes")


def test_check_notes_what_training_warns_of_in_the_labels(caplog):
    reference = synthetic(90)
    reference.obs["cell_type"] = ["B", "b", "Doublet"] * 30
    reference.obs.iloc[:2, 0] = "rare"
    with pytest.warns(HRCAWarning) as caught:
        hrca.HRCA.setup_anndata(reference.copy(), labels_key="cell_type")
    notes = hrca.pp.check(reference, labels_key="cell_type").notes
    few = "Labels with fewer than 300 cells (rare: 2, B: 29, b: 29, Doublet: 30) are learned less well."
    assert list(notes) == [*(str(warning.message) for warning in caught), few]
    assert few in caplog.messages
    assert ["fewer of 'rare' (2)" in notes[0], "by case" in notes[1], "has ['Doublet']" in notes[2]] == [True] * 3
    assert hrca.pp.check(reference).notes == ()
    assert len(hrca.pp.check(reference, labels_key="cell_type", unlabeled_category="Doublet").notes) == 3


def test_check_raises_for_labels_as_training_does(tiny_model, query):
    reference = synthetic(90)
    with pytest.raises(ValueError, match="`labels_key` must name a column"):
        hrca.pp.check(reference, labels_key="no such column")
    reference.obs["cell_type"] = "B"
    with pytest.raises(ValueError, match="at least two labels"):
        hrca.pp.check(reference, labels_key="cell_type")
    reference.var_names = [*reference.var_names[:-1], "gene0"]
    with pytest.raises(ValueError, match="Gene names must be unique.*duplicated: \\['gene0'\\]"):
        hrca.pp.check(reference)
    with pytest.raises(ValueError, match="names the labels of a reference, got 'cell_type' and a model"):
        hrca.pp.check(query, tiny_model, labels_key="cell_type")


def test_check_raises_as_predict_does(tiny_model, query):
    query.X = query.X.log1p()
    with pytest.raises(ValueError, match="log1p of counts.*recover_counts") as by_check:
        hrca.pp.check(query, tiny_model)
    with pytest.raises(ValueError) as by_predict:
        tiny_model.predict(query)
    assert str(by_check.value) == str(by_predict.value)


def test_counts_are_recovered_from_entries_that_are_not_summed():
    adata = hrca.datasets.pbmc68k()
    counts = adata.X.toarray()
    log_normalised(adata)
    halves = adata.X / 2
    indices, data = np.repeat(halves.indices, 2), np.repeat(halves.data, 2)
    adata.X = sparse.csr_matrix((data, indices, 2 * halves.indptr), adata.shape)
    np.testing.assert_array_equal(hrca.pp.recover_counts(adata).toarray(), counts)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, np.asarray])
def test_counts_are_recovered_exactly_and_in_their_container(container):
    adata = hrca.datasets.pbmc68k()
    counts = adata.X.toarray()
    log_normalised(adata)
    adata.X = container(adata.X.toarray())
    before = adata.X.copy()
    recovered = hrca.pp.recover_counts(adata)
    assert sparse.issparse(recovered) == (container is not np.asarray)
    np.testing.assert_array_equal(recovered.toarray() if sparse.issparse(recovered) else recovered, counts)
    assert abs(adata.X - before).max() == 0


@pytest.mark.parametrize("indptr_type", [np.int32, np.int64], ids=["one index type", "two index types"])
def test_stored_zeros_of_the_input_stay(indptr_type):
    adata = hrca.datasets.pbmc68k()
    counts = adata.X.toarray()
    x = log_normalised(adata.copy()).X
    # every value is stored, also the zeros
    x = sparse.csr_matrix(
        (
            x.toarray().ravel(),
            np.tile(np.arange(x.shape[1]), x.shape[0]),
            np.arange(0, x.shape[0] * x.shape[1] + 1, x.shape[1]),
        ),
        shape=x.shape,
    )
    x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(indptr_type)
    adata.X = x
    before = [part.copy() for part in (adata.X.data, adata.X.indices, adata.X.indptr)]
    assert adata.X.indptr.dtype == indptr_type
    np.testing.assert_array_equal(hrca.pp.recover_counts(adata).toarray(), counts)
    for part, other in zip((adata.X.data, adata.X.indices, adata.X.indptr), before, strict=True):
        np.testing.assert_array_equal(part, other)


def test_counts_are_recovered_from_a_layer_and_from_disk(tmp_path):
    adata = hrca.datasets.pbmc68k()
    counts = adata.X.copy()
    adata.layers["log"] = log_normalised(adata.copy()).X
    assert (hrca.pp.recover_counts(adata, layer="log") != counts).nnz == 0
    log_normalised(adata).write_h5ad(tmp_path / "log.h5ad")
    backed = ad.read_h5ad(tmp_path / "log.h5ad", backed="r")
    assert (hrca.pp.recover_counts(backed) != counts).nnz == 0


def test_values_without_the_ratios_of_integers_raise(query):
    with pytest.raises(ValueError, match="`adata.X` must hold transformed counts, but it holds raw counts"):
        hrca.pp.recover_counts(query)
    query.X.data *= np.random.default_rng(0).random(query.X.nnz).astype(np.float32)
    with pytest.raises(ValueError, match="ratios of integers.*cannot be recovered"):
        hrca.pp.recover_counts(query)
    query.X = query.X.log1p()
    with pytest.raises(ValueError, match="cannot be recovered"):
        hrca.pp.recover_counts(query)


def test_one_bad_cell_outside_of_the_sample_raises():
    adata = hrca.datasets.pbmc68k()
    adata = log_normalised(ad.concat([adata] * 4, index_unique="-"))
    sampled = np.concatenate([start + np.arange(50) for start in np.linspace(0, adata.n_obs, 21).astype(int)[:-1]])
    outside = np.setdiff1d(np.arange(adata.n_obs), sampled)[0]
    adata.X[outside] = adata.X[outside] * 0.77
    with pytest.raises(ValueError, match="cannot be recovered"):
        hrca.pp.recover_counts(adata)


def test_cells_in_place_of_the_model_raise(tiny_model, query):
    for function in (hrca.pp.recover_counts, lambda path: hrca.pp.map_genes(path, {"a": "b"})):
        with pytest.raises(TypeError, match=r"`adata` must be an AnnData, got str. `anndata.read_h5ad\(path\)` reads"):
            function("query.h5ad")
    with pytest.raises(TypeError, match="`model` must be an HRCA, got AnnData. The cells are the first argument"):
        hrca.pp.check(tiny_model, query)


def test_the_unlabelled_category_needs_its_column(query):
    with pytest.raises(ValueError, match="got 'none' without the column that has them"):
        hrca.pp.check(query, unlabeled_category="none")
    with pytest.raises(ValueError, match="Name the column by `labels_key`"):
        hrca.HRCA.setup_anndata(query, unlabeled_category="none")
