"""Clusters of a query's cells."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from hrca.module._count_hash import hash_cells, hash_entries
from hrca.module._deviance import log_or_zero
from hrca.module._profiles import class_sums, normalize_rows
from hrca.module._sparse_counts import SparseCounts
from hrca.module._transforms import log_normalize_sparse

from ._kmeans_starts import kmeans_starts

# Numbers of cells and of counts for each cluster, and limits of the number of clusters. 25 to 60 cells and 5,000 to
# 15,000 counts gave the same results within .02 (docs/decisions/0007).
CLUSTER_CELLS, CLUSTER_COUNTS, MIN_CLUSTERS, MAX_CLUSTERS = 60, 15_000, 4, 40

# Minimum numbers of cells and of counts of a query. Smaller clusters are too noisy to compare. Not tuned.
MIN_QUERY_CELLS, MIN_QUERY_COUNTS = 160, 20_000

# Number of components, as of novelty, and number of runs of k-means, whose clusters are used together: those of one run
# depend on its start (docs/decisions/0007). Not tuned.
N_CLUSTER_COMPONENTS, N_CLUSTERINGS = 20, 5

# Number of power iterations of the randomised SVD: Halko et al. (2011) recommend one or two. In seven queries, two in
# place of seven changed the novel probabilities as much as another random start did (docs/decisions/0007).
N_POWER_ITERATIONS = 2

# Pseudocounts of a cluster's profile, from the mean profile of the query. Not tuned.
CLUSTER_PSEUDOCOUNT = 50.0


@dataclass(frozen=True)
class QueryClusters:
    """Clusters of the sampled query cells, from several runs of k-means.

    Attributes
    ----------
    codes
        Index of the cluster of each sampled cell in each run, shape (n_runs, n_cells). Clusters of all runs are
        numbered together.
    n_cells
        Number of sampled cells in each cluster, shape (n_clusters,).
    sums
        Summed counts by cluster and gene, shape (n_clusters, n_genes).
    """

    codes: np.ndarray
    n_cells: np.ndarray
    sums: np.ndarray

    @cached_property
    def background(self) -> np.ndarray:
        """Fraction of all counts by gene, shape (n_genes,)."""
        return self.sums.sum(axis=0) / max(self.sums.sum(), 1)

    def log_profiles(self) -> np.ndarray:
        """Return the log of the fraction of each cluster's counts by gene, smoothed, shape (n_clusters, n_genes)."""
        return log_or_zero(normalize_rows(self.sums + CLUSTER_PSEUDOCOUNT * self.background))


def cluster_cells(counts: sparse.csr_array) -> QueryClusters | None:
    """Cluster cells by five runs of k-means on components of their log-normalised counts.

    Parameters
    ----------
    counts
        Raw counts, each cell with some, shape (n_cells, n_genes).

    Returns
    -------
    In each run one cluster per 60 cells or 15,000 counts, whichever gives fewer; at least 4, at most 40. None with
    fewer than 160 cells or 20,000 counts, or if fewer cells differ than there are clusters.
    """
    n_cells, n_genes = counts.shape
    depth = counts.sum(axis=1)
    n_components = min(N_CLUSTER_COMPONENTS, n_genes - 1)
    if n_cells < MIN_QUERY_CELLS or depth.sum() < MIN_QUERY_COUNTS or n_components < 1:
        return None
    # in double precision, so that rounding errors do not change the clusters
    normalized = log_normalize_sparse(counts.astype(np.float64), float(np.median(depth)))
    # Without `transpose`, the random start is over genes: the result does not depend on the order of the cells. By
    # default, two iterations are not normalised, and the rounding errors of deep cells would be large.
    _, _, components = randomized_svd(
        normalized,
        n_components,
        n_iter=N_POWER_ITERATIONS,
        power_iteration_normalizer="LU",
        transpose=False,
        random_state=0,
    )
    coordinates = normalized @ components.T
    n_clusters = int(np.clip(min(n_cells // CLUSTER_CELLS, depth.sum() // CLUSTER_COUNTS), MIN_CLUSTERS, MAX_CLUSTERS))
    if len(np.unique(coordinates, axis=0)) < n_clusters:
        return None
    entries = SparseCounts.from_csr(counts)
    hashes = hash_cells(hash_entries(entries, seed=0), entries)
    starts = kmeans_starts(coordinates, hashes, n_clusters, N_CLUSTERINGS)
    codes = np.stack([KMeans(n_clusters, init=start, n_init=1).fit(coordinates).labels_ for start in starts])
    codes = codes.astype(np.int64)
    sums = np.concatenate([class_sums(counts, labels, n_clusters) for labels in codes])
    codes += n_clusters * np.arange(N_CLUSTERINGS)[:, None]
    return QueryClusters(codes, np.bincount(codes.ravel(), minlength=len(sums)), sums)
