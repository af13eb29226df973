"""Read rows of a matrix in bounded memory, from memory, a file or a dask graph."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeGuard

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from hrca.typing import CountMatrix, StoredMatrix

# anndata takes 10 ms for each read of a sparse matrix on disk, however few the rows.
MIN_ROWS_PER_READ = 4_096

# Bytes of a float32 value and its int64 index.
BYTES_PER_VALUE = 12

# A matrix that is stored by column is read whole for each band of rows: a larger band needs fewer reads.
MAX_BAND_BYTES = 400_000_000

# Bytes of its columns that are read at once.
MAX_COLUMN_BYTES = 64_000_000

# Values that are checked at once: 32 MB of float64, so that a check never copies a whole matrix.
MAX_BLOCK_VALUES = 4_000_000

# Cells from which the content of a matrix is classified.
MAX_SAMPLED_CELLS = 1_000

# At least this many cells are sampled from a dense matrix with many genes.
MIN_SAMPLED_DENSE_CELLS = 50

# Number of blocks of sampled cells. It has many divisors, so that a matrix stacked on itself shows cells twice.
N_SAMPLED_BLOCKS = 20

# The same for a matrix on disk, where each block is a read of 10 ms.
N_SAMPLED_BLOCKS_ON_DISK = 6

# Rows of a matrix on disk that are summed at once.
ROWS_PER_BLOCK = 4_096


@dataclass(frozen=True)
class SlicedMatrix:
    """A matrix that is known by its shape and a function that reads rows.

    Attributes
    ----------
    shape
        (n_obs, n_vars).
    read
        Function that takes a slice of rows and returns them in memory, sparse or dense.
    """

    shape: tuple[int, int]
    read: Callable[[slice], CountMatrix]

    def __getitem__(self, rows: slice) -> CountMatrix:
        """Read some rows."""
        return self.read(rows)


class DaskMatrix(StoredMatrix, Protocol):
    """The part of a dask array that is used here; dask itself need not be installed."""

    chunks: tuple[tuple[int, ...], tuple[int, ...]]
    _meta: Any

    def to_delayed(self) -> np.ndarray:
        """Return the chunks as delayed objects, shape (n_row_chunks, n_column_chunks)."""
        ...


def in_memory(x: object) -> TypeGuard[CountMatrix]:
    """Return True for a matrix in memory, False for one on disk or still to be computed."""
    return sparse.issparse(x) or isinstance(x, np.ndarray)


def is_dask(x: object) -> TypeGuard[DaskMatrix]:
    """Return True for a dask array, by dask's protocol."""
    return hasattr(x, "__dask_graph__")


def is_dense(x: StoredMatrix) -> bool:
    """Return True if rows of a matrix are read as dense arrays."""
    if is_dask(x):
        return not sparse.issparse(x._meta)
    return not sparse.issparse(x) and not isinstance(x, CSRDataset | CSCDataset | SlicedMatrix)


def read_rows(x: StoredMatrix, rows: slice | np.ndarray) -> CountMatrix:
    """Read rows of a matrix.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    rows
        Rows to read; an array must ascend.

    Returns
    -------
    Shape (number of rows, n_vars), in memory.
    """
    if isinstance(x, CSCDataset):
        return _read_rows_by_column(x, rows)
    block = x[rows].compute() if is_dask(x) else x[rows]
    if not sparse.issparse(block):
        return np.asarray(block)
    # a file may have the other byte order
    return block.tocsr() if block.dtype.isnative else block.astype(block.dtype.newbyteorder("=")).tocsr()


def row_batches(x: StoredMatrix, batch_size: int) -> Iterator[CountMatrix]:
    """Iterate over the rows of a matrix in order.

    At most some thousand rows of a matrix on disk are in memory at a time; of a dask array, one chunk and one batch.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    batch_size
        Number of rows in a batch.

    Yields
    ------
    Shape (`batch_size`, n_vars), in memory; the last batch may be smaller.
    """
    x = _with_fast_rows(x, ("csr",))
    rest: CountMatrix | None = None
    for start, stop in pairwise(_read_bounds(x, batch_size)):
        block = read_rows(x, slice(start, stop))
        if rest is not None:
            block = sparse.vstack([rest, block], format="csr") if sparse.issparse(block) else np.vstack([rest, block])
        n_whole = block.shape[0] if stop == x.shape[0] else block.shape[0] - block.shape[0] % batch_size
        for first in range(0, n_whole, batch_size):
            yield block[first : min(first + batch_size, n_whole)]
        rest = block[n_whole:] if n_whole < block.shape[0] else None


def row_blocks(x: StoredMatrix) -> Iterator[tuple[slice, CountMatrix]]:
    """Iterate over a matrix in order: in one block if it is in memory, else by a few thousand rows.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.

    Yields
    ------
    The rows as a slice, and their values, shape (number of rows, n_vars).
    """
    start = 0
    for block in (x,) if in_memory(x) and x.shape[0] else row_batches(x, ROWS_PER_BLOCK):
        yield slice(start, start + block.shape[0]), block
        start += block.shape[0]


def dense(x: CountMatrix) -> np.ndarray:
    """Return a matrix as a dense array; `np.asarray` also computes rows of a dask array."""
    return x.toarray() if isinstance(x, sparse.spmatrix | sparse.sparray) else np.asarray(x)


def weighted_depth(x: StoredMatrix, weights: np.ndarray) -> np.ndarray:
    """Sum the counts of each cell, each gene multiplied by its weight.

    Parameters
    ----------
    x
        Counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    weights
        Weight of each gene, shape (n_genes,).

    Returns
    -------
    Weighted number of counts, shape (n_obs,).
    """
    return np.concatenate([np.zeros(0), *(np.asarray(block @ weights).ravel() for _, block in row_blocks(x))])


def sample_cells(x: StoredMatrix) -> sparse.csr_array:
    """Read up to 1,000 cells in blocks that are spread evenly over a matrix; fewer from a dense one with many genes.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.

    Returns
    -------
    Shape (n_sampled_cells, n_vars), float64, with sorted indices, one entry for each value and no stored zeros.
    """
    n_obs, n_vars = x.shape
    x = _with_fast_rows(x, ("csr", "csc"))
    n_cells = min(n_obs, MAX_SAMPLED_CELLS)
    if is_dense(x):
        n_cells = min(n_cells, max(MIN_SAMPLED_DENSE_CELLS, MAX_BLOCK_VALUES // max(1, n_vars)))
    blocks = _sampled_blocks(n_obs, n_cells, on_disk=not in_memory(x))
    if not in_memory(x) and n_obs * n_vars <= MAX_BLOCK_VALUES:
        x = read_rows(x, slice(0, n_obs))
    if isinstance(x, CSCDataset):
        # each read of a matrix that is stored by column reads the whole file
        blocks = [np.concatenate([np.arange(n_obs)[block] for block in blocks])]
    sample = sparse.vstack([sparse.csr_array(read_rows(x, block), dtype=np.float64) for block in blocks], format="csr")
    # a matrix with an entry for each molecule has several for a count
    sample.sum_duplicates()
    sample.eliminate_zeros()
    sample.sort_indices()
    return sample


def sampled_rows(x: StoredMatrix) -> np.ndarray:
    """Return the rows that :func:`sample_cells` reads of a matrix that reads by slices, ascending, shape (n_read,).

    Parameters
    ----------
    x
        A matrix of the same shape, which is not read.
    """
    n_obs, n_vars = x.shape
    if n_obs * n_vars <= MAX_BLOCK_VALUES:
        return np.arange(n_obs)
    blocks = _sampled_blocks(n_obs, min(n_obs, MAX_SAMPLED_CELLS), on_disk=True)
    return np.concatenate([np.arange(n_obs)[block] for block in blocks])


def _with_fast_rows(x: StoredMatrix, formats: tuple[str, ...]) -> StoredMatrix:
    """Return a matrix in memory in one of the formats and in this machine's byte order, which scipy needs for rows."""
    if not in_memory(x) or isinstance(x, np.ndarray):
        return x
    native = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    return native if native.format in formats else native.tocsr()


def _sampled_blocks(n_obs: int, n_cells: int, *, on_disk: bool) -> list[slice | np.ndarray]:
    """Return the rows to sample: one block of all rows, or several blocks that do not overlap."""
    n_blocks = 1 if n_cells == n_obs else N_SAMPLED_BLOCKS_ON_DISK if on_disk else N_SAMPLED_BLOCKS
    starts = np.linspace(0, n_obs, n_blocks + 1).astype(int)[:-1]
    return [slice(start, start + n_cells // n_blocks) for start in starts]


def _read_bounds(x: StoredMatrix, batch_size: int) -> list[int]:
    """Return the rows at which to cut a matrix into single reads, at whole batches or at dask's chunks."""
    n_obs = x.shape[0]
    if is_dask(x):
        bounds = [0]
        for end in np.cumsum(x.chunks[0]):
            if end == n_obs or end - bounds[-1] >= batch_size:
                bounds.append(int(end))
        return bounds
    n_rows = batch_size
    if isinstance(x, CSCDataset):
        n_bands = max(1, math.ceil(x.group["data"].shape[0] * BYTES_PER_VALUE / MAX_BAND_BYTES))
        n_rows = max(1, n_obs // n_bands // batch_size) * batch_size
    elif not is_dense(x):
        n_rows = max(1, MIN_ROWS_PER_READ // batch_size) * batch_size
    return [*range(0, n_obs, n_rows), n_obs]


def _read_rows_by_column(x: CSCDataset, rows: slice | np.ndarray) -> CountMatrix:
    """Read rows of a matrix that is stored by column: the whole file, some columns at a time."""
    indptr = np.asarray(x.group["indptr"][:])
    n_columns = len(indptr) - 1
    starts = np.searchsorted(indptr, np.arange(0, indptr[-1], MAX_COLUMN_BYTES // BYTES_PER_VALUE), side="right") - 1
    bounds = np.unique([0, *starts, n_columns])
    parts = [x[:, start:stop].tocsr()[rows] for start, stop in pairwise(bounds)]
    return sparse.hstack(parts, format="csr") if parts else x[:].tocsr()[rows]
