"""Deviance of cells from profiles."""

import numpy as np
from scipy import sparse
from scipy.special import xlogy


def multinomial_deviance(counts: sparse.csr_array, log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute the deviance of cells under the best label's profile.

    Parameters
    ----------
    counts
        Counts, shape (n_obs, n_genes).
    log_likelihood
        Log-likelihood of each label without the multinomial coefficient, shape (n_obs, n_labels).

    Returns
    -------
    depth
        Sum of the counts, shape (n_obs,).
    deviance
        Deviance, at least 0, shape (n_obs,).

    Notes
    -----
    With counts :math:`x`, depth :math:`n` and log-likelihoods :math:`\ell_k` :cite:p:`townes2019feature`

    .. math:: D = 2 \Big( \sum_g x_g \log x_g - n \log n - \max_k \ell_k \Big).
    """
    depth, entropies = counts.sum(axis=1, dtype=np.float64), counts.astype(np.float64)
    entropies.data = xlogy(entropies.data, entropies.data)
    return depth, 2 * (entropies.sum(axis=1) - xlogy(depth, depth) - log_likelihood.max(axis=1))


def log_or_zero(profiles: np.ndarray) -> np.ndarray:
    """Return the log of profiles, and 0 for genes that are not used: they have no counts either."""
    return np.log(profiles, where=profiles > 0, out=np.zeros_like(profiles, dtype=np.float64))
