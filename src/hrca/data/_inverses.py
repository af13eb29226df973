"""Recover raw counts from transformed values, if that is exact."""

from collections.abc import Callable

import numpy as np
from scipy import sparse

# Maximum distance of a value from an integer: relative rounding error of float32 after an exponential, and at 0.
RTOL, ATOL = 5e-6, 1e-4

# Upper limit of that distance: at a larger one the nearest integer is ambiguous. Without the limit, RTOL would accept
# every value above 1e5.
MAX_DISTANCE = 0.25

# Counts are recovered if the smallest count of each cell is at most this.
MAX_SMALLEST_COUNT = 10

# exp(50) is larger than any count.
MAX_EXPONENT = 50.0

# The inverse of each transformation; "" is the identity.
INVERSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda values: values,
    "log1p": np.expm1,
    "log2(x + 1)": lambda values: np.exp2(values) - 1,
    "log10(x + 1)": lambda values: 10**values - 1,
    "square root": np.square,
}


def invert_to_counts(x: sparse.csr_array, transformation: str) -> sparse.csr_array | None:
    """Invert a transformation, and a normalisation of each cell if the result is not integer.

    A normalisation is inverted by the smallest integers that are in the ratios of a cell's values.

    Parameters
    ----------
    x
        Transformed values, shape (n_obs, n_vars), without stored zeros.
    transformation
        A key of :data:`INVERSES`.

    Returns
    -------
    Counts, shape (n_obs, n_vars), float32; None if the values of some cell are not in the ratio of integers.

    Examples
    --------
    >>> invert_to_counts(sparse.csr_array(np.log1p([[0.0, 3333.3333, 6666.6667]])), "log1p").toarray()
    array([[0., 1., 2.]], dtype=float32)
    """
    if x.nnz == 0 or not is_invertible(transformation, x.data):
        return None
    values = INVERSES[transformation](x.data.astype(np.float64))
    if transformation and is_near_integer(values).all():
        return _with_values(x, np.rint(values))
    n_values = np.diff(x.indptr)
    has_values = n_values > 0
    starts, lengths = x.indptr[:-1][has_values], n_values[has_values]
    # in units of the cell's smallest value
    ratios = values / np.repeat(np.minimum.reduceat(values, starts), lengths)
    counts, is_open = np.zeros_like(values), np.ones(len(values), dtype=bool)
    for smallest in range(1, MAX_SMALLEST_COUNT + 1):
        scaled = ratios * smallest
        fits = np.repeat(np.logical_and.reduceat(is_near_integer(scaled), starts), lengths) & is_open
        counts[fits] = np.rint(scaled[fits])
        is_open &= ~fits
        if not is_open.any():
            return _with_values(x, counts)
    return None


def is_invertible(transformation: str, values: np.ndarray) -> bool:
    """Return True if the inverse of a transformation does not overflow."""
    return transformation in ("", "square root") or values.max() <= MAX_EXPONENT


def is_near_integer(values: np.ndarray) -> np.ndarray:
    """Return True for each value that is an integer within rounding errors."""
    return np.abs(values - np.rint(values)) <= np.minimum(ATOL + RTOL * values, MAX_DISTANCE)


def _with_values(x: sparse.csr_array, values: np.ndarray) -> sparse.csr_array:
    """Return a float32 matrix with the sparsity of another."""
    return sparse.csr_array((values.astype(np.float32), x.indices, x.indptr), shape=x.shape)
