"""Clusters of a query's cells, and how far each is from the labels of the reference."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from hrca._blocks import CACHED_BYTES, row_blocks
from hrca.module._deviance import log_or_zero
from hrca.module._profiles import class_sums, normalize_rows
from hrca.module._transforms import log_normalize_sparse

from ._platform_factors import RATIO_PSEUDOCOUNT
from ._random_effects import excess_variance

# Numbers of cells and of counts for each cluster, and limits of the number of clusters. 25 to 60 cells and 5,000 to
# 15,000 counts gave the same results within .02 (docs/decisions/0007).
CLUSTER_CELLS, CLUSTER_COUNTS, MIN_CLUSTERS, MAX_CLUSTERS = 60, 15_000, 4, 40

# Minimum numbers of cells and of counts of a query. Smaller clusters are too noisy to compare. Not tuned.
MIN_QUERY_CELLS, MIN_QUERY_COUNTS = 160, 20_000

# Number of components, as of novelty, and number of runs of k-means, whose clusters are used together: those of one run
# depend on its start (docs/decisions/0007). Not tuned.
N_CLUSTER_COMPONENTS, N_CLUSTERINGS = 20, 5

# Decimals by which coordinates are ordered: the others are rounding errors, which depend on the order of the cells.
N_DECIMALS = 6

# Pseudocounts of observed and expected counts, as a fraction of the gene's mean over the labels and the query. Genes
# that a label hardly expresses then count less: ambient counts change them most. Chosen among 0, 0.03, 0.1 and 0.3
# (docs/decisions/0007).
BACKGROUND_FRACTION = 0.1

# Variance of log ratios in the weights of their mean; of the order of the misfit of known types. Not tuned.
MEAN_VARIANCE = 0.5

# Lower bound of the variance of a log ratio: genes that neither side expresses. Not tuned.
MIN_RATIO_VARIANCE = 1e-6

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

    @property
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
    # in double precision, rounding errors stay below the decimals by which cells are ordered
    normalized = log_normalize_sparse(counts.astype(np.float64), float(np.median(depth)))
    # without `transpose`, the random start is over genes: the result does not depend on the order of the cells
    _, _, components = randomized_svd(normalized, n_components, transpose=False, random_state=0)
    coordinates = normalized @ components.T
    n_clusters = int(np.clip(min(n_cells // CLUSTER_CELLS, depth.sum() // CLUSTER_COUNTS), MIN_CLUSTERS, MAX_CLUSTERS))
    if len(np.unique(coordinates, axis=0)) < n_clusters:
        return None
    # k-means depends on the order of the cells, which must not depend on their names
    order = np.lexsort(coordinates.T.round(N_DECIMALS))
    codes = np.empty((N_CLUSTERINGS, n_cells), dtype=np.int64)
    for run in range(N_CLUSTERINGS):
        codes[run, order] = KMeans(n_clusters, n_init=1, random_state=run).fit(coordinates[order]).labels_
    sums = np.concatenate([class_sums(counts, labels, n_clusters) for labels in codes])
    codes += n_clusters * np.arange(N_CLUSTERINGS)[:, None]
    return QueryClusters(codes, np.bincount(codes.ravel(), minlength=len(sums)), sums)


@dataclass(frozen=True)
class LabelProfiles:
    """The labels that clusters are compared with.

    Attributes
    ----------
    profiles
        Fraction of counts of each label on the query's platform, shape (n_labels, n_genes); 0 for genes not used.
    sums
        Summed counts of the reference by label and gene, shape (n_labels, n_genes).
    used
        Boolean, genes that are compared, shape (n_genes,).
    """

    profiles: np.ndarray
    sums: np.ndarray
    used: np.ndarray


def mixture_misfit(
    clusters: QueryClusters,
    label_fractions: np.ndarray,
    labels: LabelProfiles,
    rows: slice | np.ndarray = slice(None),
) -> np.ndarray:
    """Return the misfit of clusters to a mixture of the labels; see :func:`cluster_misfit`.

    A cluster of cells of several known types fits none of their labels, but a mixture of them.

    Parameters
    ----------
    clusters
        Clusters of the query.
    label_fractions
        Fraction of each label in the counts of each of these clusters, shape (n_rows, n_labels).
    labels
        The labels.
    rows
        The clusters: a slice, or a boolean mask of shape (n_clusters,).

    Returns
    -------
    Misfit, shape (n_rows,).
    """
    mixtures = label_fractions @ labels.profiles, label_fractions @ labels.sums
    observed, pseudocounts = clusters.sums[rows][:, labels.used], _pseudocounts(clusters, labels)[rows]
    # one by one: together, the number of iterations of `excess_variance` would depend on the other clusters
    misfits = [
        _misfit(observed[[i]], pseudocounts[[i]], profile[None, labels.used], sums[None, labels.used])[:, 0]
        for i, (profile, sums) in enumerate(zip(*mixtures, strict=True))
    ]
    return np.concatenate(misfits)


def cluster_misfit(clusters: QueryClusters, labels: LabelProfiles) -> np.ndarray:
    r"""Return the variance of the log ratio of each cluster's profile to each label's, over genes.

    Parameters
    ----------
    clusters
        Clusters of the query.
    labels
        The labels.

    Returns
    -------
    Misfit, shape (n_clusters, n_labels), at least 1e-4; 1 is a mean factor of e.

    Notes
    -----
    A cluster of :math:`N` counts has the counts :math:`S_g`, and :math:`E_g = N p_{kg}` are expected of label k. With
    the pseudocounts :math:`a_g`, half a count and a tenth of the gene's mean over the labels and the query, the log
    ratio and its variance are

    .. math::
        y_g = \log \frac{S_g + a_g}{E_g + a_g}, \qquad
        v_g = \frac{\max(S_g, E_g)}{(\max(S_g, E_g) + a_g)^2} + \frac{E_g^2}{(E_g + a_g)^2 (R_{kg} + 0.5)},

    where :math:`R_{kg}` are the counts of the reference. The misfit is the variance of :math:`y` around its mean beyond
    :math:`v` (:func:`hrca.prediction._random_effects.excess_variance`). The mean has the weights
    :math:`1 / (v_g + 0.5)`.
    """
    observed, pseudocounts = clusters.sums[:, labels.used], _pseudocounts(clusters, labels)
    profiles, sums = labels.profiles[:, labels.used], labels.sums[:, labels.used]
    blocks = row_blocks(len(observed), CACHED_BYTES // (observed.shape[1] * observed.itemsize))
    return np.concatenate([_misfit(observed[rows], pseudocounts[rows], profiles, sums) for rows in blocks])


def _pseudocounts(clusters: QueryClusters, labels: LabelProfiles) -> np.ndarray:
    """Return the pseudocounts of the genes used for each cluster, shape (n_clusters, n_used)."""
    observed = clusters.sums[:, labels.used]
    means = normalize_rows(labels.profiles[:, labels.used]).mean(axis=0), normalize_rows(observed.sum(axis=0))
    return BACKGROUND_FRACTION * observed.sum(axis=1, keepdims=True) * sum(means) / 2 + RATIO_PSEUDOCOUNT


def _misfit(observed: np.ndarray, pseudocounts: np.ndarray, profiles: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the misfit of clusters to profiles, shape (n_clusters, n_labels); see :func:`cluster_misfit`."""
    totals, log_observed = observed.sum(axis=1, keepdims=True), np.log(observed + pseudocounts)
    columns = []
    for profile, reference in zip(normalize_rows(profiles), sums + RATIO_PSEUDOCOUNT, strict=True):
        expected = totals * profile
        smoothed = expected + pseudocounts
        larger = np.maximum(observed, expected)
        variance = larger / np.square(larger + pseudocounts)
        variance += np.square(np.divide(expected, smoothed, out=expected)) / reference
        np.maximum(variance, MIN_RATIO_VARIANCE, out=variance)
        log_ratio = np.subtract(log_observed, np.log(smoothed, out=smoothed), out=smoothed)
        weights = 1 / (variance + MEAN_VARIANCE)
        log_ratio -= (weights * log_ratio).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
        columns.append(excess_variance(log_ratio, variance))
    return np.stack(columns, axis=1)
