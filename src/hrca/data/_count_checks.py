"""Check that values are raw counts: integers, 0 or more."""

from collections.abc import Iterator

import numpy as np

from hrca.typing import CountMatrix

from ._row_reader import MAX_BLOCK_VALUES

# log1p of counts per 10,000 cannot exceed log1p(1e4) = 9.21, and log2(x + 1) of them cannot exceed 13.3.
MAX_LOG_VALUE = 13.3


def check_counts(x: CountMatrix, source: str) -> None:
    """Check that a matrix in memory holds raw counts.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense.
    source
        Expression of the matrix in an error, e.g. "`adata.X`".

    Raises
    ------
    ValueError
        If a value is NaN, infinite, negative or not an integer.
    """
    for values in _value_blocks(x):
        check_values(values, source)


def check_values(values: np.ndarray, source: str) -> None:
    """Check that values are raw counts.

    Parameters
    ----------
    values
        Values of any shape.
    source
        Expression of the matrix in an error, e.g. "`adata.X`".

    Raises
    ------
    ValueError
        If a value is NaN, infinite, negative or not an integer.
    """
    if values.dtype.kind in "bu":
        return
    is_bad = values < 0
    if values.dtype.kind == "f":
        is_bad = is_bad | ~np.isfinite(values) | (values != np.rint(values))
    if is_bad.any():
        raise ValueError(
            f"{source} must hold raw counts (integers, 0 or more), but it holds "
            f"{describe_values(values, values[is_bad])}. Name the layer with the counts: `layer=`, or put them into "
            "one: `adata.layers['counts'] = ...`, before normalising."
        )


def describe_values(values: np.ndarray, bad: np.ndarray) -> str:
    """Describe values that are not raw counts, to complete "it holds".

    Parameters
    ----------
    values
        All values.
    bad
        Those of them that are not counts, at least one.
    """
    first = bad[0]
    if np.isnan(first):
        return "NaN"
    if np.isinf(first):
        return "infinite values"
    if bad.min() < 0:
        return f"negative values such as {bad.min():.4g} (scaled data?)"
    if values.max() <= MAX_LOG_VALUE:
        return f"fractions such as {first:.4g}, none above {values.max():.3g} (log-normalised data?)"
    return f"fractions such as {first:.4g} (normalised or ambient-corrected data?)"


def _value_blocks(x: CountMatrix) -> Iterator[np.ndarray]:
    """Iterate over the stored values of a matrix in bounded blocks."""
    if isinstance(x, np.ndarray):
        n_rows = max(1, MAX_BLOCK_VALUES // max(1, x.shape[1]))
        yield from (np.asarray(x[start : start + n_rows]).ravel() for start in range(0, x.shape[0], n_rows))
    else:
        yield from (x.data[start : start + MAX_BLOCK_VALUES] for start in range(0, x.nnz, MAX_BLOCK_VALUES))
