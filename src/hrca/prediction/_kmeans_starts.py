"""Starts of k-means that depend little on single cells."""

import numpy as np
import torch

from hrca.module._count_hash import uniform_from_hashes


def kmeans_starts(coordinates: np.ndarray, hashes: torch.Tensor, n_clusters: int, n_runs: int) -> np.ndarray:
    r"""Choose cells as the starts of several runs of k-means, by k-means++ with random numbers of the cells' own.

    The starts are the same in any order of the cells. Without one of the cells, most runs have the same starts if the
    coordinates stay: each of the other cells keeps its random numbers. scikit-learn's go by position, and would change
    for all cells.

    Parameters
    ----------
    coordinates
        Coordinates of the cells, shape (n_cells, n_components).
    hashes
        Hash of the counts of each cell, int64, shape (n_cells,), from :func:`hrca.module._count_hash.hash_cells`.
    n_clusters
        Number of clusters, at most that of different cells.
    n_runs
        Number of runs.

    Returns
    -------
    Coordinates of the chosen cells, shape (n_runs, n_clusters, n_components).

    Notes
    -----
    In each step of greedy k-means++ (Arthur and Vassilvitskii 2007), candidates are drawn by their squared distance
    :math:`w_i` from the nearest chosen cell, and the one that lowers the sum of these most is chosen. Here the
    candidates are the cells with the smallest :math:`-\log(u_i) / w_i`, for uniform random numbers :math:`u_i`: a draw
    without replacement, with probabilities in proportion to the weights (Efraimidis and Spirakis 2006). Cells with
    equal counts have equal random numbers and are drawn together.
    """
    # as many candidates as scikit-learn has
    n_candidates, runs = 2 + int(np.log(n_clusters)), np.arange(n_runs)
    squares = np.einsum("ij,ij->i", coordinates, coordinates)
    distances = np.full((len(coordinates), n_runs), np.inf)
    chosen = np.empty((n_runs, n_clusters), dtype=np.intp)
    for step in range(n_clusters):
        uniform = uniform_from_hashes(hashes, range(step * n_runs, (step + 1) * n_runs)).numpy()
        # the first cell is drawn uniformly; cells that were chosen have the weight 0
        with np.errstate(divide="ignore"):
            keys = -np.log(uniform) / (distances if step else 1)
        candidates = np.argpartition(keys, n_candidates - 1, axis=0)[:n_candidates]
        # scikit-learn's euclidean_distances takes twice the time, for its checks
        products = coordinates @ coordinates[candidates.ravel()].T
        to_candidates = (squares[:, None] - 2 * products + squares[candidates.ravel()]).clip(min=0)
        lowered = np.minimum(distances[:, None], to_candidates.reshape(-1, n_candidates, n_runs))
        best = lowered.sum(axis=0).argmin(axis=0)
        distances = lowered[:, best, runs]
        chosen[:, step] = candidates[best, runs]
    return coordinates[chosen]
