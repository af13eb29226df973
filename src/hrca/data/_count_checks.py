"""Check that values are raw counts: integers, 0 or more."""

from collections.abc import Iterator
from numbers import Real

import numpy as np
from anndata.abc import CSCDataset, CSRDataset

from hrca.typing import StoredMatrix

from ._row_reader import MAX_BLOCK_VALUES, MAX_SAMPLED_CELLS, in_memory, read_rows, row_batches

# log1p of counts per 10,000 cannot exceed log1p(1e4) = 9.21, and log2(x + 1) of them cannot exceed 13.3.
MAX_LOG_VALUE = 13.3

# No cell has more molecules of a gene. Values that stand for a missing one (1e30), and -1 as an unsigned integer of 32
# or 64 bits, are larger.
MAX_COUNT = 2**31 - 1
MIN_BYTES_OF_LARGE_VALUES = 4

# Kinds of numpy's types that hold real numbers, and that a count can be computed from.
NUMBER_KINDS = "buif"


def check_counts(x: StoredMatrix, source: str) -> None:
    """Check that all values of a matrix are raw counts, some million at a time.

    Of a sparse matrix in a file, only the values are read, and not their positions.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    source
        Expression of the matrix in an error, e.g. "`adata.X`".

    Raises
    ------
    ValueError
        If a value is NaN, infinite, negative, not an integer, or larger than any count.
    """
    for values in _value_blocks(x):
        check_values(values, source)


def has_counts(x: StoredMatrix) -> bool:
    """Return True if all values of a matrix are raw counts, see :func:`check_counts`; shape (n_obs, n_vars)."""
    try:
        check_counts(x, "")
    except ValueError:
        return False
    return True


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
        If a value is NaN, infinite, negative, not an integer, or larger than any count.
    """
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source} must hold raw counts, but it holds values that are no numbers.") from error
    is_bad = values < 0
    # numpy cannot compare smaller types with so large a number, which they cannot hold
    if values.dtype.itemsize >= MIN_BYTES_OF_LARGE_VALUES:
        is_bad |= values > MAX_COUNT
    if values.dtype.kind == "f":
        is_bad |= ~np.isfinite(values) | (values != np.rint(values))
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
    if first > MAX_COUNT:
        return f"{first:.4g}, which is larger than any count"
    if bad.min() < 0:
        return f"negative values such as {bad.min():.4g} (scaled data?)"
    if values.max() <= MAX_LOG_VALUE:
        return f"fractions such as {first:.4g}, none above {values.max():.3g} (log-normalised data?)"
    return f"fractions such as {first:.4g} (normalised or ambient-corrected data?)"


def describe_non_numbers(x: StoredMatrix) -> str | None:
    """Describe values that are no real numbers, to complete "it holds"; None for numbers.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars), sparse or dense, in memory or not.
    """
    dtype = getattr(x, "dtype", None)
    if (dtype is not None and dtype.kind in NUMBER_KINDS) or not all(x.shape):
        return None
    block = read_rows(x, slice(0, min(x.shape[0], MAX_SAMPLED_CELLS)))
    values = block if isinstance(block, np.ndarray) else block.data
    if values.dtype.kind in NUMBER_KINDS or not values.size:
        return None
    if values.dtype.kind != "O":
        return f"{'complex numbers' if values.dtype.kind == 'c' else 'text'} such as {values.flat[0].item()!r}"
    wrong = next((value for value in values.flat if not isinstance(value, Real)), None)
    return None if wrong is None else f"values that are no numbers, such as {wrong!r}"


def _value_blocks(x: StoredMatrix) -> Iterator[np.ndarray]:
    """Iterate over the stored values of a matrix in bounded blocks."""
    if isinstance(x, CSRDataset | CSCDataset):
        stored = x.group["data"]
        for start in range(0, stored.shape[0], MAX_BLOCK_VALUES):
            yield np.asarray(stored[start : start + MAX_BLOCK_VALUES])
    elif in_memory(x) and not isinstance(x, np.ndarray):
        yield from (x.data[start : start + MAX_BLOCK_VALUES] for start in range(0, x.nnz, MAX_BLOCK_VALUES))
    else:
        for block in row_batches(x, max(1, MAX_BLOCK_VALUES // max(1, x.shape[1]))):
            yield block.ravel() if isinstance(block, np.ndarray) else block.data
