"""Rows of a matrix in bounded memory, wherever it lies: in memory, in a file, or in a graph of dask."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

# Rows of a sparse matrix on disk that are read in one go, at least: anndata takes 10 ms for each read.
MIN_ROWS_PER_READ = 4_096

# What is held in memory, in bytes, of a matrix that is stored by column, and read of it in one go: the fewer the rows
# that are held, the more often the file is read.
MAX_BAND_BYTES, MAX_COLUMN_BYTES = 400_000_000, 64_000_000

# Of a float32 value and its int64 index.
BYTES_PER_VALUE = 12


@dataclass(frozen=True)
class SlicedMatrix:
    """A matrix of which no more is known than how to read some rows.

    Attributes
    ----------
    shape
        (n_obs, n_vars).
    read
        Takes rows as a slice, returns them, sparse or dense, in memory.
    """

    shape: tuple[int, int]
    read: Callable[[slice], sparse.spmatrix | sparse.sparray | np.ndarray]

    def __getitem__(self, rows: slice):
        """Read some rows."""
        return self.read(rows)


def in_memory(x) -> bool:
    """Say whether a matrix is in memory, and not on disk or still to be computed."""
    return sparse.issparse(x) or isinstance(x, np.ndarray)


def is_dask(x) -> bool:
    """Say whether a matrix is of dask, by dask's protocol."""
    return hasattr(x, "__dask_graph__")


def is_dense(x) -> bool:
    """Say whether rows of a matrix come dense."""
    if is_dask(x):
        return not sparse.issparse(x._meta)
    return not sparse.issparse(x) and not isinstance(x, CSRDataset | CSCDataset | SlicedMatrix)


def read_rows(x, rows: slice | np.ndarray) -> sparse.csr_matrix | sparse.csr_array | np.ndarray:
    """Read rows of a matrix.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    rows
        Which; an array must ascend.

    Returns
    -------
    Shape (number of rows, n_vars), in memory.
    """
    if isinstance(x, CSCDataset):
        return _rows_of_columns(x, rows)
    part = x[rows].compute() if is_dask(x) else x[rows]
    return part.tocsr() if sparse.issparse(part) else np.asarray(part)


def row_batches(x, batch_size: int) -> Iterator[sparse.csr_matrix | sparse.csr_array | np.ndarray]:
    """Go through a matrix in order.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    batch_size
        Rows in a batch.

    Yields
    ------
    Shape (`batch_size`, or what is left at the end, n_vars), in memory. Of a matrix on disk no more than some thousand
    rows are in memory at a time, of one of dask no more than a chunk and a batch.
    """
    if sparse.issparse(x) and x.format != "csr":
        x = x.tocsr()
    rest = None
    for start, stop in pairwise(_bounds(x, batch_size)):
        block = read_rows(x, slice(start, stop))
        if rest is not None:
            block = sparse.vstack([rest, block], format="csr") if sparse.issparse(block) else np.vstack([rest, block])
        n_whole = block.shape[0] if stop == x.shape[0] else block.shape[0] - block.shape[0] % batch_size
        for first in range(0, n_whole, batch_size):
            yield block[first : min(first + batch_size, n_whole)]
        rest = block[n_whole:] if n_whole < block.shape[0] else None


def _bounds(x, batch_size: int) -> list[int]:
    """Where to cut a matrix into what is read in one go; whole batches, but for dask."""
    n_obs = x.shape[0]
    n_rows = batch_size
    if is_dask(x):
        bounds = [0]
        for end in np.cumsum(x.chunks[0]):
            if end == n_obs or end - bounds[-1] >= batch_size:
                bounds.append(int(end))
        return bounds
    if isinstance(x, CSCDataset):
        n_bands = max(1, math.ceil(x.group["data"].shape[0] * BYTES_PER_VALUE / MAX_BAND_BYTES))
        n_rows = max(1, n_obs // n_bands // batch_size) * batch_size
    elif not is_dense(x):
        n_rows = max(1, MIN_ROWS_PER_READ // batch_size) * batch_size
    return [*range(0, n_obs, n_rows), n_obs]


def _rows_of_columns(x: CSCDataset, rows: slice | np.ndarray) -> sparse.csr_matrix | sparse.csr_array:
    """Read rows of a matrix that is stored by column: all of the file, some columns at a time."""
    indptr = np.asarray(x.group["indptr"][:])
    n_columns = len(indptr) - 1
    starts = np.searchsorted(indptr, np.arange(0, indptr[-1], MAX_COLUMN_BYTES // BYTES_PER_VALUE), side="right") - 1
    bounds = np.unique([0, *starts, n_columns])
    parts = [x[:, start:stop].tocsr()[rows] for start, stop in pairwise(bounds)]
    return sparse.hstack(parts, format="csr") if parts else x[:].tocsr()[rows]


# Values looked at in one go: 32 MB of float64, so that a check never copies a whole matrix.
MAX_BLOCK_VALUES = 4_000_000

# Cells from which a matrix is told to be counts or not, and in how many blocks they lie. The number of blocks has many
# divisors, so that a matrix stacked on itself shows cells twice.
MAX_SAMPLED_CELLS, N_SAMPLED_BLOCKS = 1_000, 20

# anndata takes 10 ms for each read of a sparse matrix on disk.
N_SAMPLED_BLOCKS_ON_DISK = 6

# Rows of a matrix on disk that are summed in one go.
ROWS_PER_BLOCK = 4_096


def dense(x) -> np.ndarray:
    """Return a matrix in memory as an array."""
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def row_blocks(x) -> Iterator[tuple[slice, sparse.sparray | sparse.spmatrix | np.ndarray]]:
    """Go through a matrix in order: one in memory as it is, another by a few thousand rows.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars); sparse or dense, in memory or not.

    Yields
    ------
    Which rows they are, and the rows.
    """
    start = 0
    for block in (x,) if in_memory(x) and x.shape[0] else row_batches(x, ROWS_PER_BLOCK):
        yield slice(start, start + block.shape[0]), block
        start += block.shape[0]


def weighted_depth(x, weights: np.ndarray) -> np.ndarray:
    """Return the sum of each cell's counts, each gene's times its weight.

    Parameters
    ----------
    x
        Shape (n_obs, n_genes); sparse or dense, in memory or on disk.
    weights
        Shape (n_genes,).

    Returns
    -------
    Shape (n_obs,).
    """
    return np.concatenate([np.zeros(0), *(np.asarray(block @ weights).ravel() for _, block in row_blocks(x))])


def sample_cells(x) -> sparse.csr_array:
    """Read up to 1,000 cells, in blocks that lie evenly over a matrix; fewer where it is dense and has many genes.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.

    Returns
    -------
    Shape (at most 1,000, n_vars), float64, sorted indices, without stored zeros.
    """
    n_obs, n_vars = x.shape
    if sparse.issparse(x) and x.format not in ("csr", "csc"):
        x = x.tocsr()
    wanted = min(
        n_obs, max(50, MAX_BLOCK_VALUES // max(1, n_vars)) if is_dense(x) else MAX_SAMPLED_CELLS, MAX_SAMPLED_CELLS
    )
    # all in one block, or blocks of which none reaches into the next
    n_blocks = 1 if wanted == n_obs else N_SAMPLED_BLOCKS
    if not in_memory(x):
        n_blocks = min(n_blocks, N_SAMPLED_BLOCKS_ON_DISK)
        if n_obs * n_vars <= MAX_BLOCK_VALUES:
            x = read_rows(x, slice(0, n_obs))
    starts = np.linspace(0, n_obs, n_blocks + 1).astype(int)[:-1]
    rows = [slice(start, start + wanted // n_blocks) for start in starts]
    if isinstance(x, CSCDataset):
        # stored by column: each read is one of the whole file
        rows = [np.concatenate([np.arange(block.start, block.stop) for block in rows])]
    sample = sparse.vstack([sparse.csr_array(read_rows(x, block), dtype=np.float64) for block in rows], format="csr")
    sample.eliminate_zeros()
    sample.sort_indices()
    return sample
