"""Variances of random effects: between the labels, and beyond the errors."""

import numpy as np

# Lower bound of a variance; the change below which its estimate has converged, and the maximum number of iterations.
# Not tuned.
MIN_EXCESS_VARIANCE, EXCESS_TOLERANCE, EXCESS_ROUNDS = 1e-4, 1e-4, 50


def between_variance(values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return DerSimonian and Laird's estimate of the variance between rows for each column, at least 0.

    Parameters
    ----------
    values
        Values, shape (n_rows, n_columns).
    variance
        Variance of the error of each, above 0, shape (n_rows, n_columns).

    Returns
    -------
    The variances, shape (n_columns,).
    """
    weights = 1 / variance
    total = weights.sum(axis=0)
    mean = (weights * values).sum(axis=0) / total
    heterogeneity = (weights * (values - mean) ** 2).sum(axis=0)
    scale = total - (weights**2).sum(axis=0) / total
    return ((heterogeneity - (len(values) - 1)) / scale).clip(0)


def excess_variance(values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    r"""Return the variance of values around 0 beyond the variance of their errors.

    Parameters
    ----------
    values
        Values with mean 0, shape (..., n).
    variance
        Variance of the error of each, above 0, shape (..., n).

    Returns
    -------
    The variance of each row, at least 1e-4, shape (...).

    Notes
    -----
    The method of moments, with weights that depend on the solution: the excess :math:`\sigma^2` solves

    .. math:: \sigma^2 = \frac{\sum_i w_i (y_i^2 - v_i)}{\sum_i w_i}, \qquad w_i = (\sigma^2 + v_i)^{-2} .

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(0, 2, 1000) + rng.normal(0, 1, 1000)
    >>> float(excess_variance(values, np.ones(1000)).round())
    4.0
    """
    excess = np.asarray(values.var(axis=-1)).clip(MIN_EXCESS_VARIANCE)
    beyond, weights, is_open = values**2 - variance, np.empty_like(variance), np.ones(excess.shape, dtype=bool)
    for _ in range(EXCESS_ROUNDS):
        # in place: half of the time went into new arrays and a general power
        np.add(excess[..., None], variance, out=weights)
        np.multiply(weights, weights, out=weights)
        np.reciprocal(weights, out=weights)
        updated = np.einsum("...n,...n->...", weights, beyond) / weights.sum(axis=-1)
        updated = np.where(is_open, updated.clip(MIN_EXCESS_VARIANCE), excess)
        # each row stops by itself: its variance does not depend on the other rows
        change, excess = np.abs(updated - excess), updated
        is_open &= change >= EXCESS_TOLERANCE
        if not is_open.any():
            break
    return excess
