"""Rows, read from anywhere: what comes out is what numpy slices from the dense matrix, in bounded memory."""

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from hrca.data import _row_reader
from hrca.data._row_reader import SlicedMatrix, in_memory, is_dense, read_rows, row_batches

DENSE_FRACTION = np.random.default_rng(0).poisson(0.4, (103, 11)).astype(np.float32)
DENSE_FRACTION[5] = 0
DENSE_FRACTION[:, 4] = 0


def on_disk(x, folder, format):
    group = h5py.File(folder / "x.h5", "w") if format == "h5" else zarr.open_group(folder / "x.zarr", mode="w")
    ad.io.write_elem(group, "X", x)
    return ad.io.sparse_dataset(group["X"]) if sparse.issparse(x) else group["X"]


def dask_of(x, rows, columns=11):
    return da.from_array(DENSE_FRACTION, chunks=(rows, columns)).map_blocks(x)


SOURCES = {
    "dense": lambda folder: DENSE_FRACTION,
    "Fortran": lambda folder: np.asfortranarray(DENSE_FRACTION),
    "csr_matrix": lambda folder: sparse.csr_matrix(DENSE_FRACTION),
    "csc_array": lambda folder: sparse.csc_array(DENSE_FRACTION),
    "coo_array": lambda folder: sparse.coo_array(DENSE_FRACTION),
    "h5 csr": lambda folder: on_disk(sparse.csr_matrix(DENSE_FRACTION), folder, "h5"),
    "h5 csc": lambda folder: on_disk(sparse.csc_matrix(DENSE_FRACTION), folder, "h5"),
    "h5 dense": lambda folder: on_disk(DENSE_FRACTION, folder, "h5"),
    "zarr csr": lambda folder: on_disk(sparse.csr_matrix(DENSE_FRACTION), folder, "zarr"),
    "zarr csc": lambda folder: on_disk(sparse.csc_matrix(DENSE_FRACTION), folder, "zarr"),
    "zarr dense": lambda folder: on_disk(DENSE_FRACTION, folder, "zarr"),
    "dask dense": lambda folder: dask_of(np.asarray, 10),
    "dask csr_matrix": lambda folder: dask_of(sparse.csr_matrix, 50),
    "dask csr_array": lambda folder: dask_of(sparse.csr_array, 7),
    "dask csc_matrix": lambda folder: dask_of(sparse.csc_matrix, 103),
    "dask, chunks of columns": lambda folder: dask_of(np.asarray, 20, 4),
    "dask, uneven chunks": lambda folder: dask_of(sparse.csr_matrix, (1, 40, 2, 60)),
    "slices": lambda folder: SlicedMatrix(DENSE_FRACTION.shape, sparse.csr_matrix(DENSE_FRACTION).__getitem__),
}


def dense(x):
    assert in_memory(x)
    assert not sparse.issparse(x) or x.format == "csr"
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("batch_size", [1, 10, 64, 1000])
def test_batches_are_whole_and_in_order(source, batch_size, tmp_path, monkeypatch):
    # so small that every way to cut a matrix is gone
    monkeypatch.setattr(_row_reader, "MIN_ROWS_PER_READ", 25)
    monkeypatch.setattr(_row_reader, "MAX_BAND_BYTES", 1500)
    monkeypatch.setattr(_row_reader, "MAX_COLUMN_BYTES", 600)
    batches = [dense(batch) for batch in row_batches(SOURCES[source](tmp_path), batch_size)]
    assert [len(batch) for batch in batches] == [batch_size] * (103 // batch_size) + [103 % batch_size] * (
        103 % batch_size > 0
    )
    np.testing.assert_array_equal(np.vstack(batches), DENSE_FRACTION)


@pytest.mark.parametrize("source", SOURCES)
def test_some_rows_are_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(_row_reader, "MAX_COLUMN_BYTES", 600)
    x = SOURCES[source](tmp_path)
    np.testing.assert_array_equal(dense(read_rows(x, slice(3, 50))), DENSE_FRACTION[3:50])
    assert is_dense(x) == isinstance(read_rows(x, slice(0, 1)), np.ndarray)


def test_an_array_of_rows_is_read_of_what_is_stored_by_column(tmp_path):
    rows = np.array([0, 5, 6, 102])
    np.testing.assert_array_equal(dense(read_rows(SOURCES["h5 csc"](tmp_path), rows)), DENSE_FRACTION[rows])


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
