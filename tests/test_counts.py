"""What is taken for raw counts, and what is refused with which words."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from hrca.data._count_slots import all_slots, find_slot
from hrca.data._row_reader import row_blocks, sample_cells, weighted_depth
from hrca.data._value_scale import check_counts

GOOD = np.array([[0, 3, 1], [0, 0, 0]])
CONTAINERS = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
BAD = {
    "NaN": (np.nan, "NaN"),
    "inf": (np.inf, "infinite"),
    "negative": (-2.0, "negative values such as -2"),
    "log": (1.5, "log-normalised"),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, bool])
def test_counts_pass(container, dtype):
    check_counts(container(GOOD.astype(dtype)), "`adata.X`")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", BAD)
def test_other_values_are_refused(container, case):
    value, words = BAD[case]
    x = GOOD.astype(np.float32)
    x[1, 2] = value
    with pytest.raises(ValueError, match=f"`adata.X` must hold raw counts.*{words}.*layer"):
        check_counts(container(x), "`adata.X`")


def test_large_fractions_are_not_called_logs():
    with pytest.raises(ValueError, match="normalised or ambient-corrected"):
        check_counts(np.array([[250.5, 3.0]]), "`adata.X`")


def test_negative_integers_are_refused():
    with pytest.raises(ValueError, match="negative"):
        check_counts(np.array([[-1, 3]]), "`adata.X`")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_matrices_pass(shape):
    check_counts(sparse.csr_matrix(shape), "`adata.X`")
    check_counts(np.zeros(shape), "`adata.X`")


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_a_backed_matrix_is_looked_at_on_disk(container, tmp_path):
    x = np.tile(GOOD, (50, 1)).astype(np.float32)
    x[80, 1] = 0.5
    ad.AnnData(container(x)).write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match="raw counts"):
        check_counts(ad.read_h5ad(tmp_path / "x.h5ad", backed="r").X, "`adata.X`")


def test_a_missing_layer_lists_those_that_are_there():
    adata = ad.AnnData(GOOD.astype(np.float32), layers={"raw_counts": GOOD})
    with pytest.raises(ValueError, match=r"got 'counts'; it has \['raw_counts'\]"):
        find_slot(adata, "counts")
    assert find_slot(adata, "raw_counts").matrix(adata).sum() == 4


def test_an_empty_x_is_refused():
    adata = ad.AnnData(obs={"a": [1, 2]}, layers={})
    with pytest.raises(ValueError, match="it is empty"):
        find_slot(adata, None)


def test_places_are_x_then_layers_then_raw():
    adata = ad.AnnData(GOOD.astype(np.float32), layers={"a": GOOD})
    assert [str(slot) for slot in all_slots(adata)] == ["`adata.X`", "`adata.layers['a']`"]
    with pytest.raises(ValueError, match="got 'raw'"):
        find_slot(adata, "raw")
    adata.raw = adata[:, :2].copy()
    assert str(all_slots(adata)[-1]) == "`adata.raw`"
    raw = find_slot(adata, "raw")
    assert (raw.matrix(adata).shape[1], len(raw.var(adata))) == (2, 2)
    # a layer of that name is meant before the place
    adata.layers["X"] = GOOD + 1
    assert find_slot(adata, "X").matrix(adata).min() == 1
    assert find_slot(adata, None).matrix(adata).min() == 0


@pytest.mark.parametrize("n_obs", [0, 1, 7, 999, 1000, 1001, 20_000])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_sample_lies_evenly_over_the_cells(n_obs, container):
    x = np.arange(n_obs, dtype=np.float32)[:, None] + 1
    cells = sample_cells(container(x)).toarray().ravel() - 1
    assert len(np.unique(cells)) == len(cells) == min(n_obs, 1000)
    if n_obs > 1000:
        assert np.histogram(cells, bins=20, range=(0, n_obs))[0].min() >= 49


def test_a_sample_of_many_dense_genes_is_bounded():
    assert sample_cells(np.ones((400, 40_000), dtype=np.int8)).shape[0] == 100


def test_a_matrix_stacked_on_itself_shows_cells_twice():
    x = np.random.default_rng(0).random((3_000, 1))
    assert len(np.unique(sample_cells(np.vstack([x, x])).toarray())) == 500


@pytest.mark.parametrize("container", [*CONTAINERS, "backed"])
def test_rows_come_in_order_and_their_sums_are_numpys(container, tmp_path, monkeypatch):
    monkeypatch.setattr("hrca.data._row_reader.ROWS_PER_BLOCK", 7)
    counts, weights = np.random.default_rng(0).poisson(1, (30, 5)).astype(np.float32), np.array([1, 0, 1, 0.5, 1])
    if container == "backed":
        ad.AnnData(sparse.csr_matrix(counts)).write_h5ad(tmp_path / "a.h5ad")
        x = ad.read_h5ad(tmp_path / "a.h5ad", backed="r").X
    else:
        x = container(counts)
    blocks = list(row_blocks(x))
    assert len(blocks) == (5 if container == "backed" else 1)
    found = np.vstack([block.toarray() if sparse.issparse(block) else block for _, block in blocks])
    np.testing.assert_array_equal(found, counts)
    np.testing.assert_allclose(weighted_depth(x, weights), counts @ weights)


def test_no_rows_have_no_sums():
    assert weighted_depth(sparse.csr_matrix((0, 5)), np.ones(5)).shape == (0,)
