"""Rows, batches, blocks and samples of a matrix in any place, against numpy's slices of the dense matrix."""

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from hrca.data import _row_reader
from hrca.data._row_reader import (
    SlicedMatrix,
    dense,
    in_memory,
    is_dense,
    read_rows,
    row_batches,
    row_blocks,
    sample_cells,
    weighted_depth,
)

CONTAINERS = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
EXPECTED = np.random.default_rng(0).poisson(0.4, (103, 11)).astype(np.float32)
EXPECTED[5] = 0
EXPECTED[:, 4] = 0


def on_disk(x, folder, format):
    group = h5py.File(folder / "x.h5", "w") if format == "h5" else zarr.open_group(folder / "x.zarr", mode="w")
    ad.io.write_elem(group, "X", x)
    return ad.io.sparse_dataset(group["X"]) if sparse.issparse(x) else group["X"]


def dask_of(x, rows, columns=11):
    return da.from_array(EXPECTED, chunks=(rows, columns)).map_blocks(x)


SOURCES = {
    "dense": lambda folder: EXPECTED,
    "Fortran": lambda folder: np.asfortranarray(EXPECTED),
    "csr_matrix": lambda folder: sparse.csr_matrix(EXPECTED),
    "csc_array": lambda folder: sparse.csc_array(EXPECTED),
    "coo_array": lambda folder: sparse.coo_array(EXPECTED),
    "h5 csr": lambda folder: on_disk(sparse.csr_matrix(EXPECTED), folder, "h5"),
    "h5 csc": lambda folder: on_disk(sparse.csc_matrix(EXPECTED), folder, "h5"),
    "h5 dense": lambda folder: on_disk(EXPECTED, folder, "h5"),
    "zarr csr": lambda folder: on_disk(sparse.csr_matrix(EXPECTED), folder, "zarr"),
    "zarr csc": lambda folder: on_disk(sparse.csc_matrix(EXPECTED), folder, "zarr"),
    "zarr dense": lambda folder: on_disk(EXPECTED, folder, "zarr"),
    "dask dense": lambda folder: dask_of(np.asarray, 10),
    "dask csr_matrix": lambda folder: dask_of(sparse.csr_matrix, 50),
    "dask csr_array": lambda folder: dask_of(sparse.csr_array, 7),
    "dask csc_matrix": lambda folder: dask_of(sparse.csc_matrix, 103),
    "dask, chunks of columns": lambda folder: dask_of(np.asarray, 20, 4),
    "dask, uneven chunks": lambda folder: dask_of(sparse.csr_matrix, (1, 40, 2, 60)),
    "slices": lambda folder: SlicedMatrix(EXPECTED.shape, sparse.csr_matrix(EXPECTED).__getitem__),
}


def as_array(x):
    assert in_memory(x)
    assert not sparse.issparse(x) or x.format == "csr"
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("batch_size", [1, 10, 64, 1000])
def test_batches_are_whole_and_in_order(source, batch_size, tmp_path, monkeypatch):
    # limits so small that every way to cut a matrix is used
    monkeypatch.setattr(_row_reader, "MIN_ROWS_PER_READ", 25)
    monkeypatch.setattr(_row_reader, "MAX_BAND_BYTES", 1500)
    monkeypatch.setattr(_row_reader, "MAX_COLUMN_BYTES", 600)
    batches = [as_array(batch) for batch in row_batches(SOURCES[source](tmp_path), batch_size)]
    assert [len(batch) for batch in batches] == [batch_size] * (103 // batch_size) + [103 % batch_size] * (
        103 % batch_size > 0
    )
    np.testing.assert_array_equal(np.vstack(batches), EXPECTED)


@pytest.mark.parametrize("source", SOURCES)
def test_some_rows_are_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(_row_reader, "MAX_COLUMN_BYTES", 600)
    x = SOURCES[source](tmp_path)
    np.testing.assert_array_equal(as_array(read_rows(x, slice(3, 50))), EXPECTED[3:50])
    assert is_dense(x) == isinstance(read_rows(x, slice(0, 1)), np.ndarray)


def test_an_array_of_rows_is_read_of_what_is_stored_by_column(tmp_path):
    rows = np.array([0, 5, 6, 102])
    np.testing.assert_array_equal(as_array(read_rows(SOURCES["h5 csc"](tmp_path), rows)), EXPECTED[rows])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_nothing_is_read_of_nothing(shape, container, tmp_path):
    batches = list(row_batches(on_disk(container(np.zeros(shape, dtype=np.float32)), tmp_path, "h5"), 3))
    assert sum(batch.shape[0] for batch in batches) == shape[0]


def test_of_a_matrix_by_column_no_more_than_a_band_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(_row_reader, "MAX_BAND_BYTES", 2_000)
    held = []
    monkeypatch.setattr(
        _row_reader, "read_rows", lambda x, rows: held.append(rows.stop - rows.start) or read_rows(x, rows)
    )
    list(row_batches(SOURCES["h5 csc"](tmp_path), 1))
    assert max(held) * 11 * 0.4 * _row_reader.BYTES_PER_VALUE < 2 * 2_000


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
    stacked = np.vstack([block.toarray() if sparse.issparse(block) else block for _, block in blocks])
    np.testing.assert_array_equal(stacked, counts)
    np.testing.assert_allclose(weighted_depth(x, weights), counts @ weights)


@pytest.mark.parametrize("container", [*CONTAINERS, da.asarray])
def test_a_dense_array_is_made_of_every_container(container):
    rows = dense(container(EXPECTED)[[2, 5]] if container is da.asarray else container(EXPECTED[[2, 5]]))
    assert type(rows) is np.ndarray
    np.testing.assert_array_equal(rows, EXPECTED[[2, 5]])


def test_no_rows_have_no_sums():
    assert weighted_depth(sparse.csr_matrix((0, 5)), np.ones(5)).shape == (0,)
