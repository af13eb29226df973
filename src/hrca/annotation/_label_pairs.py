"""Pairs of labels, and how far their profiles are apart."""

import numpy as np


def normalize_log_profiles(log_profiles: np.ndarray) -> np.ndarray:
    """Return the log of profiles that sum to one, from logs of any sum, shape (n_labels, n_genes)."""
    return log_profiles - np.logaddexp.reduce(log_profiles, axis=1, keepdims=True)


def divergences(log_profiles: np.ndarray, rows: slice) -> np.ndarray:
    """Return the symmetric Kullback-Leibler divergences of some profiles from all, in nats.

    Parameters
    ----------
    log_profiles
        Log of normalised profiles, shape (n_labels, n_genes).
    rows
        The first profiles of the pairs.

    Returns
    -------
    Shape (number of rows, n_labels).
    """
    profiles = np.exp(log_profiles)
    negative_entropy = (profiles * log_profiles).sum(axis=1)
    crossed = profiles[rows] @ log_profiles.T + log_profiles[rows] @ profiles.T
    return np.maximum(negative_entropy[rows, None] + negative_entropy - crossed, 0) / 2
