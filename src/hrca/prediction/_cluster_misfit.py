"""How far the clusters of a query are from the labels of the reference."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hrca._blocks import CACHED_BYTES, row_blocks
from hrca.module._deviance import log_or_zero
from hrca.module._profiles import normalize_rows

from ._platform_factors import RATIO_PSEUDOCOUNT
from ._query_clusters import QueryClusters
from ._random_effects import excess_variance

# Maximum number of labels that every cluster is compared with, and number of further labels, the most likely ones of
# the cluster. Where a model has no more labels than the first, all misfits are computed. Otherwise the time would grow
# with the number of labels (docs/decisions/0007).
MAX_COMMON_LABELS, N_LIKELY_LABELS = 30, 10

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
    def _total(self) -> np.ndarray:
        """Sum of the profiles over the labels, shape (n_used,)."""
        return normalize_rows(self.profiles[:, self.used]).sum(axis=0)

    def mean(self, left_out: int | None = None) -> np.ndarray:
        """Return the mean profile of all labels, or of those but one, on the genes used, shape (n_used,)."""
        if left_out is None:
            return self._total / len(self.profiles)
        return (self._total - normalize_rows(self.profiles[left_out, self.used])) / (len(self.profiles) - 1)


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
        The clusters: a slice, or a boolean mask of shape (n_clusters,).
    left_out
        Index of a label that the reference is taken to lack. Its fractions must be 0.

    Returns
    -------
    Misfit, shape (n_rows,).
    """
    mixtures = ((label_fractions @ table)[:, labels.used] for table in (labels.profiles, labels.sums))
    observed = clusters.sums[rows][:, labels.used]
    pseudocounts = _pseudocounts(observed, clusters, labels, left_out)
    # one by one: together, the number of iterations of `excess_variance` would depend on the other clusters
    misfits = [
        _misfits(observed[[i]], pseudocounts[[i]], profile[None], sums[None], np.ones((1, 1), dtype=bool))[:, 0]
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
    Misfit, shape (n_clusters, n_labels), at least 1e-4; 1 is a mean factor of e. With more than 30 labels, it is NaN
    for those that the cluster is not compared with. These are all but 30 labels, the same for each cluster, and its ten
    most likely ones.

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
    pseudocounts, is_compared = _pseudocounts(observed, clusters, labels), _compared_labels(observed, profiles)
    blocks = row_blocks(len(observed), CACHED_BYTES // (observed.shape[1] * np.dtype(np.float32).itemsize))
    return np.concatenate(
        [_misfits(observed[rows], pseudocounts[rows], profiles, sums, is_compared[rows]) for rows in blocks]
    )


def _compared_labels(observed: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Return True for the labels that each cluster is compared with, shape (n_clusters, n_labels)."""
    n_labels, is_compared = len(profiles), np.ones((len(observed), len(profiles)), dtype=bool)
    if n_labels > MAX_COMMON_LABELS:
        is_compared[:] = False
        # evenly spaced: names of similar types often lie next to each other
        is_compared[:, np.linspace(0, n_labels - 1, MAX_COMMON_LABELS).astype(int)] = True
        log_likelihood = observed @ log_or_zero(profiles).T
        likely = np.argpartition(log_likelihood, -N_LIKELY_LABELS, axis=1)[:, -N_LIKELY_LABELS:]
        np.put_along_axis(is_compared, likely, True, axis=1)
    return is_compared


def _pseudocounts(
    observed: np.ndarray, clusters: QueryClusters, labels: LabelProfiles, left_out: int | None = None
) -> np.ndarray:
    """Return the pseudocounts of the genes used for some clusters, shape (n_rows, n_used)."""
    means = labels.mean(left_out) + normalize_rows(clusters.background[labels.used])
    return BACKGROUND_FRACTION * observed.sum(axis=1, keepdims=True) * means / 2 + RATIO_PSEUDOCOUNT


def _misfits(
    observed: np.ndarray, pseudocounts: np.ndarray, profiles: np.ndarray, sums: np.ndarray, is_compared: np.ndarray
) -> np.ndarray:
    """Return the misfit of clusters to profiles, NaN if not compared; see :func:`cluster_misfit`."""
    totals = observed.sum(axis=1, keepdims=True)
    # single precision takes half the time: the misfit changes by less than the tolerance of its iterations
    tables = (np.asarray(table, np.float32) for table in (observed, totals, pseudocounts))
    observed, totals, pseudocounts = tables
    log_observed, misfit = np.log(observed + pseudocounts), np.full(is_compared.shape, np.nan)
    for label in np.flatnonzero(is_compared.any(axis=0)):
        # a slice if all are compared: no copy
        rows = slice(None) if is_compared[:, label].all() else is_compared[:, label]
        profile = normalize_rows(profiles[label]).astype(np.float32)
        reference = (sums[label] + RATIO_PSEUDOCOUNT).astype(np.float32)
        expected = totals[rows] * profile
        smoothed = expected + pseudocounts[rows]
        larger = np.maximum(observed[rows], expected)
        variance = larger / np.square(larger + pseudocounts[rows])
        variance += np.square(np.divide(expected, smoothed, out=expected)) / reference
        np.maximum(variance, MIN_RATIO_VARIANCE, out=variance)
        log_ratio = np.subtract(log_observed[rows], np.log(smoothed, out=smoothed), out=smoothed)
        weights = 1 / (variance + MEAN_VARIANCE)
        log_ratio -= (weights * log_ratio).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
        misfit[rows, label] = excess_variance(log_ratio, variance)
    return misfit
