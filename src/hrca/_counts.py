"""Find the matrix that holds the counts, and refuse one that does not hold raw counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset
from scipy import sparse

from ._rows import in_memory, is_dense, read_rows, row_batches

# Values looked at in one go: 32 MB of float64, so that a check never copies a whole matrix.
CHECK_BLOCK = 4_000_000
# Cells from which a matrix is told to be counts or not, and in how many blocks they lie. The number of blocks has many
# divisors, so that a matrix stacked on itself shows cells twice.
CELLS_LOOKED_AT, BLOCKS_LOOKED_AT = 1_000, 20
# anndata takes 10 ms for each read of a sparse matrix on disk.
BLOCKS_ON_DISK = 6
# Rows of a matrix on disk that are summed in one go.
ROWS_SUMMED_AT_ONCE = 4_096
# log1p(CP10k) cannot exceed log1p(1e4) = 9.21; log2(x + 1) of it stays below 13.3.
LARGEST_LOG_VALUE = 13.3


# What to write for `layer=` to mean these, unless a layer has that name.
X, RAW = "X", "raw"


@dataclass(frozen=True)
class Slot:
    """A place in an AnnData that may hold the counts: X, raw, or a layer.

    Attributes
    ----------
    place
        "X", "raw" or "layers".
    name
        Name of the layer; of the others, the place.
    """

    place: Literal["X", "raw", "layers"]
    name: str

    def matrix(self, adata: AnnData):
        """Return the matrix as it is stored, shape (n_obs, n_vars)."""
        if self.place == "layers":
            return adata.layers[self.name]
        return adata.X if self.place == "X" else adata.raw.X

    def var(self, adata: AnnData) -> pd.DataFrame:
        """Return the table of its genes."""
        return table_in_memory(adata.raw.var if self.place == "raw" else adata.var)

    def __str__(self) -> str:
        return f"`adata.layers[{self.name!r}]`" if self.place == "layers" else f"`adata.{self.place}`"


def all_slots(adata: AnnData) -> list[Slot]:
    """List the places that hold a matrix: X first, then the layers, then raw."""
    slots = [Slot("X", X)] if adata.X is not None else []
    slots += [Slot("layers", name) for name in layer_names(adata)]
    return slots if adata.raw is None else [*slots, Slot("raw", RAW)]


def find_slot(adata: AnnData, layer: str | None) -> Slot:
    """Return the place that `layer` names: a layer; else, for "X" or None, X; for "raw", raw.

    Raises
    ------
    ValueError
        If there is no such layer, or X is empty.
    """
    if layer in layer_names(adata):
        return Slot("layers", layer)
    if layer == RAW and adata.raw is not None:
        return Slot("raw", RAW)
    if layer not in (None, X):
        raise ValueError(
            f"`layer` must name a layer of the AnnData, got {layer!r}; it has {layer_names(adata)}. "
            "Name one of these, or copy the raw counts there: "
            f"`adata.layers[{layer!r}] = adata.X.copy()`."
        )
    if adata.X is None:
        raise ValueError(
            "`adata.X` must hold the raw counts, but it is empty, and no other place was named or found. "
            "Put them there: `adata.X = ...`, or into a layer: `adata.layers['counts'] = ...`."
        )
    return Slot("X", X)


def layer_names(adata: AnnData) -> list[str]:
    """List the names of the layers."""
    # anndata 0.13 lists X itself among the layers, under the name None
    return [name for name in adata.layers if name is not None]


def table_in_memory(table) -> pd.DataFrame:
    """Return obs or var as a table, read where anndata had not yet."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()


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
    for block in (x,) if in_memory(x) and x.shape[0] else row_batches(x, ROWS_SUMMED_AT_ONCE):
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
    wanted = min(n_obs, max(50, CHECK_BLOCK // max(1, n_vars)) if is_dense(x) else CELLS_LOOKED_AT, CELLS_LOOKED_AT)
    # all in one block, or blocks of which none reaches into the next
    n_blocks = 1 if wanted == n_obs else BLOCKS_LOOKED_AT
    if not in_memory(x):
        n_blocks = min(n_blocks, BLOCKS_ON_DISK)
        if n_obs * n_vars <= CHECK_BLOCK:
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


def check_counts(x, source: str) -> None:
    """Refuse a matrix that does not hold raw counts.

    A matrix in memory is looked at whole, another at the cells of :func:`sample_cells`.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars); sparse or dense, in memory or not.
    source
        What to call the matrix in an error, e.g. "`adata.X`".

    Raises
    ------
    ValueError
        If a value is NaN, infinite, negative or not an integer.
    """
    for values in _blocks(x):
        check_values(values, source)


def check_values(values: np.ndarray, source: str) -> None:
    """Refuse values that are not raw counts; see :func:`check_counts`."""
    if values.dtype.kind in "bu":
        return
    bad = values < 0
    if values.dtype.kind == "f":
        bad = bad | ~np.isfinite(values) | (values != np.rint(values))
    if bad.any():
        raise ValueError(
            f"{source} must hold raw counts (integers, 0 or more), but it holds "
            f"{describe_values(values, values[bad])}. Name the layer with the counts: `layer=`, or put them into one: "
            "`adata.layers['counts'] = ...`, before normalising."
        )


def describe_values(values: np.ndarray, bad: np.ndarray) -> str:
    """Say in words what values that are no counts are, from all of them and the bad ones."""
    first = bad[0]
    if np.isnan(first):
        return "NaN"
    if np.isinf(first):
        return "infinite values"
    if bad.min() < 0:
        return f"negative values such as {bad.min():.4g} (scaled data?)"
    if values.max() <= LARGEST_LOG_VALUE:
        return f"fractions such as {first:.4g}, none above {values.max():.3g} (log-normalised data?)"
    return f"fractions such as {first:.4g} (normalised or ambient-corrected data?)"


def _blocks(x) -> Iterator[np.ndarray]:
    if sparse.issparse(x):
        yield from (x.data[start : start + CHECK_BLOCK] for start in range(0, x.nnz, CHECK_BLOCK))
        return
    if not in_memory(x):
        yield sample_cells(x).data
        return
    n_obs, n_vars = x.shape
    n_rows = max(1, CHECK_BLOCK // max(1, n_vars))
    yield from (np.asarray(x[start : start + n_rows]).ravel() for start in range(0, n_obs, n_rows))
