"""Misfit of a query's clusters to the labels of the reference, and to mixtures of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hrca._blocks import CACHED_BYTES, row_blocks
from hrca.module._deviance import log_or_zero
from hrca.module._profiles import normalize_rows

from ._platform_factors import RATIO_PSEUDOCOUNT
from ._query_clusters import QueryClusters
from ._random_effects import excess_variance

# Numbers of labels that each cluster is compared with if there are more labels than the first: those that are common to
# all clusters, and the most likely ones of the cluster, which can be among them. The time would otherwise grow with the
# number of labels. Not tuned; 5 and 3 of 8 to 15 labels were tried (docs/decisions/0007).
N_COMMON_LABELS, N_LIKELY_LABELS = 30, 10

# Pseudocounts of observed and expected counts, as a fraction of the gene's mean over the labels and the query. Genes
# that a label hardly expresses then count less: ambient counts change them most. Chosen among 0, 0.03, 0.1 and 0.3
# (docs/decisions/0007).
BACKGROUND_FRACTION = 0.1

# Variance of log ratios in the weights of their mean; of the order of the misfit of known types. Not tuned.
MEAN_VARIANCE = 0.5

# Lower bound of the variance of a log ratio: genes that neither side expresses. Not tuned.
MIN_RATIO_VARIANCE = 1e-6


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

    @cached_property
    def _summed_profiles(self) -> np.ndarray:
        """Sum of the profiles over the labels, each normalised on the genes used, shape (n_used,)."""
        return normalize_rows(self.profiles[:, self.used]).sum(axis=0)

    def mean(self, left_out: int | None = None) -> np.ndarray:
        """Return the mean profile of all labels, or of those but one, on the genes used, shape (n_used,)."""
        if left_out is None:
            return self._summed_profiles / len(self.profiles)
        return (self._summed_profiles - normalize_rows(self.profiles[left_out, self.used])) / (len(self.profiles) - 1)


def mixture_misfit(
    clusters: QueryClusters,
    label_fractions: np.ndarray,
    labels: LabelProfiles,
    rows: slice | np.ndarray = slice(None),
    left_out: int | None = None,
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
        The clusters, at least one: a slice, or a boolean mask of shape (n_clusters,).
    left_out
        Index of a label that the reference is taken to lack, whose fractions must be 0. None: it lacks none.

    Returns
    -------
    Misfit, shape (n_rows,).
    """
    profiles, sums = ((label_fractions @ table)[:, labels.used] for table in (labels.profiles, labels.sums))
    observed = clusters.sums[rows][:, labels.used]
    counts = _ClusterCounts.of(observed, _pseudocounts(observed, clusters, labels, left_out))
    misfit = [_misfit(counts.subset(block), profiles[block], sums[block]) for block in _blocks(observed)]
    return np.concatenate(misfit)


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
    Misfit, shape (n_clusters, n_labels), at least 1e-4; 1 is a mean factor of e. With more than 30 labels, each cluster
    is compared with those of :func:`common_labels`, and with its ten most likely labels, which can be among them. The
    misfit to the other labels is NaN.

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
    observed, profiles, sums = (table[:, labels.used] for table in (clusters.sums, labels.profiles, labels.sums))
    counts = _ClusterCounts.of(observed, _pseudocounts(observed, clusters, labels))
    is_compared, misfit = _compared_labels(observed, profiles), np.full((len(observed), len(profiles)), np.nan)
    for block in _blocks(observed):
        for label in np.flatnonzero(is_compared[block].any(axis=0)):
            rows = np.flatnonzero(is_compared[block, label])
            # a slice if all clusters of the block are compared: no copy
            some = counts.subset(block) if len(rows) == len(is_compared[block]) else counts.subset(rows + block.start)
            misfit[rows + block.start, label] = _misfit(some, profiles[label], sums[label])
    return misfit


def common_labels(n_labels: int) -> np.ndarray:
    """Return True for the labels that all clusters are compared with, shape (n_labels,).

    Parameters
    ----------
    n_labels
        Number of labels.

    Examples
    --------
    >>> common_labels(5).sum(), common_labels(500).sum()
    (np.int64(5), np.int64(30))
    """
    # evenly spaced: names of similar types often lie next to each other
    chosen = np.linspace(0, n_labels - 1, min(n_labels, N_COMMON_LABELS)).astype(int)
    return np.isin(np.arange(n_labels), chosen)


def _compared_labels(observed: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Return True for the labels that each cluster is compared with, shape (n_clusters, n_labels)."""
    is_compared = np.tile(common_labels(len(profiles)), (len(observed), 1))
    if not is_compared.all():
        log_likelihood = observed @ log_or_zero(normalize_rows(profiles)).T
        likely = np.argpartition(log_likelihood, -N_LIKELY_LABELS, axis=1)[:, -N_LIKELY_LABELS:]
        np.put_along_axis(is_compared, likely, True, axis=1)
    return is_compared


def _pseudocounts(
    observed: np.ndarray, clusters: QueryClusters, labels: LabelProfiles, left_out: int | None = None
) -> np.ndarray:
    """Return the pseudocounts of the genes used for some clusters, shape (n_rows, n_used)."""
    means = labels.mean(left_out) + normalize_rows(clusters.background[labels.used])
    return BACKGROUND_FRACTION * observed.sum(axis=1, keepdims=True) * means / 2 + RATIO_PSEUDOCOUNT


@dataclass(frozen=True)
class _ClusterCounts:
    """Counts of some clusters on the genes used, in single precision, which takes half the time of double precision.

    Attributes
    ----------
    observed
        Summed counts, shape (n_rows, n_used).
    totals
        Their sums over the genes, shape (n_rows, 1).
    pseudocounts
        Pseudocounts, shape (n_rows, n_used).
    log_smoothed
        Log of counts and pseudocounts together, shape (n_rows, n_used).
    """

    observed: np.ndarray
    totals: np.ndarray
    pseudocounts: np.ndarray
    log_smoothed: np.ndarray

    @classmethod
    def of(cls, observed: np.ndarray, pseudocounts: np.ndarray) -> "_ClusterCounts":
        """Take counts and pseudocounts in double precision."""
        tables = (observed, observed.sum(axis=1, keepdims=True), pseudocounts, np.log(observed + pseudocounts))
        return cls(*(table.astype(np.float32) for table in tables))

    def subset(self, rows: slice | np.ndarray) -> "_ClusterCounts":
        """Return some clusters."""
        return _ClusterCounts(self.observed[rows], self.totals[rows], self.pseudocounts[rows], self.log_smoothed[rows])


def _blocks(observed: np.ndarray) -> list[slice]:
    return row_blocks(len(observed), CACHED_BYTES // (observed.shape[1] * np.dtype(np.float32).itemsize))


def _misfit(counts: _ClusterCounts, profiles: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the misfit of each cluster to one profile, or to its own; see :func:`cluster_misfit`.

    Parameters
    ----------
    counts
        The clusters.
    profiles, sums
        Profile and counts of the label or mixture, shape (n_used,) or (n_rows, n_used).

    Returns
    -------
    Shape (n_rows,), float64, computed in single precision.
    """
    expected = counts.totals * normalize_rows(profiles).astype(np.float32)
    smoothed, larger = expected + counts.pseudocounts, np.maximum(counts.observed, expected)
    variance = larger / np.square(larger + counts.pseudocounts)
    variance += np.square(np.divide(expected, smoothed, out=expected)) / (sums + RATIO_PSEUDOCOUNT).astype(np.float32)
    np.maximum(variance, MIN_RATIO_VARIANCE, out=variance)
    log_ratio = np.subtract(counts.log_smoothed, np.log(smoothed, out=smoothed), out=smoothed)
    weights = 1 / (variance + MEAN_VARIANCE)
    log_ratio -= (weights * log_ratio).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    return excess_variance(log_ratio, variance).astype(float)
