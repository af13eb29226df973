"""Find the matrix that holds the counts, and refuse one that does not hold raw counts."""

from collections.abc import Iterator

import numpy as np
from anndata import AnnData
from scipy import sparse

# Values looked at in one go: 32 MB of float64, so that a check never copies a whole matrix.
CHECK_BLOCK = 4_000_000
# Rows of a matrix on disk that are looked at before prediction starts, spread evenly over it.
ROWS_CHECKED_ON_DISK = 2_000
ROWS_READ_AT_ONCE = 200
# Rows of a matrix on disk that are summed in one go.
ROWS_SUMMED_AT_ONCE = 4_096
# log1p(CP10k) cannot exceed log1p(1e4) = 9.21; log2(x + 1) of it stays below 13.3.
LARGEST_LOG_VALUE = 13.3


def get_counts(adata: AnnData, layer: str | None):
    """Return ``adata.X``, or the layer of that name, as it is stored.

    Raises
    ------
    ValueError
        If there is no such layer, or X is empty.
    """
    if layer is None:
        if adata.X is None:
            raise ValueError(
                "`adata.X` must hold the raw counts, but it is empty. Put them there, or name the layer that has them: "
                f"`layer=`, one of {_layers(adata)}."
            )
        return adata.X
    if layer not in adata.layers:
        raise ValueError(
            f"`layer` must name a layer of the AnnData, got {layer!r}; it has {_layers(adata)}. "
            "Name one of these, or copy the raw counts there: "
            f"`adata.layers[{layer!r}] = adata.X.copy()`."
        )
    return adata.layers[layer]


def describe_source(layer: str | None) -> str:
    """Name the matrix in an error, e.g. "`adata.X`"."""
    return "`adata.X`" if layer is None else f"`adata.layers[{layer!r}]`"


def _layers(adata: AnnData) -> list[str]:
    # anndata 0.13 lists X itself among the layers, under the name None
    return [name for name in adata.layers if name is not None]


def dense(x) -> np.ndarray:
    """Return a matrix in memory as an array."""
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def row_blocks(x) -> Iterator[tuple[slice, sparse.sparray | sparse.spmatrix | np.ndarray]]:
    """Go through a matrix in order: one in memory as it is, one on disk by a few thousand rows.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars); sparse or dense, in memory or on disk.

    Yields
    ------
    Which rows they are, and the rows.
    """
    in_memory = sparse.issparse(x) or isinstance(x, np.ndarray)
    step = max(x.shape[0] if in_memory else ROWS_SUMMED_AT_ONCE, 1)
    for start in range(0, x.shape[0], step):
        rows = slice(start, min(start + step, x.shape[0]))
        yield rows, x if in_memory else x[rows]


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


def check_counts(x, source: str) -> None:
    """Refuse a matrix that does not hold raw counts.

    A matrix in memory is looked at whole, a matrix on disk at up to 2,000 rows spread evenly over it.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars); sparse or dense, in memory or on disk.
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
            f"{source} must hold raw counts (integers, 0 or more), but it holds {_describe(values, values[bad])}. "
            "Give the layer with the counts: `layer=` here, or `adata.layers['counts'] = ...` before normalising."
        )


def _describe(values: np.ndarray, bad: np.ndarray) -> str:
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
    n_obs, n_vars = x.shape
    if isinstance(x, np.ndarray):
        n_rows = max(1, CHECK_BLOCK // max(1, n_vars))
        yield from (np.asarray(x[start : start + n_rows]).ravel() for start in range(0, n_obs, n_rows))
        return
    rows = np.unique(np.linspace(0, n_obs - 1, min(n_obs, ROWS_CHECKED_ON_DISK)).astype(int)) if n_obs else []
    for part in np.array_split(rows, max(1, len(rows) // ROWS_READ_AT_ONCE)):
        if len(part):
            block = x[part]
            yield block.data if sparse.issparse(block) else np.asarray(block).ravel()
