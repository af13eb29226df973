"""The probability that clusters of a query are of none of the labels, with all labels or without one of them."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from hrca.module._profiles import normalize_rows

from ._cluster_misfit import LabelProfiles, mixture_misfit
from ._query_clusters import QueryClusters

# Log odds that a cluster is of none of the labels: coefficients of its features, and intercept. They were fitted to the
# clusters of a prototype, without mixtures of labels, on five pairs of data sets with types left out of the reference.
# A fit to the clusters of this code separates novel clusters as well (docs/decisions/0007).
FEATURE_COEFS, INTERCEPT = np.array([0.82, 2.28, 1.72]), -1.83

# The clusters that fit best: those below this quantile of the log misfit, over cells. Their log misfit is averaged with
# a typical one, which counts as three clusters. Values of the prototype; not tuned.
BEST_QUANTILE, TYPICAL_LOG_MISFIT, N_TYPICAL = 0.1, -1.5, 3

# Added to a misfit before its log: below it, differences are errors of estimation. Not tuned.
MIN_MISFIT = 0.02

# Fraction of such cells in the clusters that the coefficients were fitted to; its prior in a query, and the weight of
# this prior against the query's cells. Not tuned.
FITTED_FRACTION, PRIOR_FRACTION, PRIOR_WEIGHT = 0.2, 0.15, 0.5

# Maximum number of iterations between fraction and probabilities; they stop when the fraction changes by no more than
# MAX_FRACTION_CHANGE. The limits of the fraction keep its logit finite. Not tuned.
FRACTION_ROUNDS, MAX_FRACTION_CHANGE, MIN_FRACTION, MAX_FRACTION = 200, 1e-9, 1e-3, 0.95

# A label belongs to a cluster from this fraction of the cluster's counts. Not tuned.
MIN_LABEL_FRACTION = 0.1

# Features need the best label and another one: three labels, of which one is left out.
MIN_LABELS_TO_LEAVE_ONE_OUT = 3


@dataclass(frozen=True)
class ClusterMisfits:
    """Misfits of the clusters of a query to the labels.

    Attributes
    ----------
    clusters
        The clusters.
    by_label
        Misfit to each label, shape (n_clusters, n_labels), from
        :func:`hrca.prediction._cluster_misfit.cluster_misfit`; NaN for labels that a cluster is not compared with.
    mixed
        Misfit to a mixture of the labels, shape (n_clusters,), from
        :func:`hrca.prediction._cluster_misfit.mixture_misfit`.
    label_fractions
        Fraction of each label in the counts of each cluster, shape (n_clusters, n_labels).
    is_common
        Boolean, labels that all clusters are compared with, shape (n_labels,), from
        :func:`hrca.prediction._cluster_misfit.common_labels`.
    """

    clusters: QueryClusters
    by_label: np.ndarray
    mixed: np.ndarray
    label_fractions: np.ndarray
    is_common: np.ndarray

    def features(self) -> np.ndarray:
        """Return the features of each cluster, shape (n_clusters, 3); see :func:`misfit_features`."""
        n_cells, n_runs = self.clusters.n_cells, len(self.clusters.codes)
        return misfit_features(self.by_label, self.mixed, n_cells, n_runs, self.is_common)

    def to_other_labels(self, left_out: int, labels: LabelProfiles) -> "ClusterMisfits":
        """Return the misfits to the labels without one of them.

        Clusters of this label are compared with mixtures of the others.

        Parameters
        ----------
        left_out
            Index of the label that is left out.
        labels
            All labels.

        Returns
        -------
        The misfits of the same clusters, of shapes (n_clusters, n_labels - 1) and (n_clusters,).
        """
        others = np.arange(self.by_label.shape[1]) != left_out
        has_label, mixed = self.label_fractions[:, left_out] >= MIN_LABEL_FRACTION, self.mixed.copy()
        # where no probability is left for the other labels, they are mixed in equal parts
        fractions = normalize_rows(np.maximum(self.label_fractions, np.finfo(float).tiny) * others)
        mixed[has_label] = mixture_misfit(self.clusters, fractions[has_label], labels, has_label, left_out)
        return ClusterMisfits(
            self.clusters, self.by_label[:, others], mixed, fractions[:, others], self.is_common[others]
        )


def misfit_features(
    misfit: np.ndarray, mixed: np.ndarray, n_cells: np.ndarray, n_runs: int, is_common: np.ndarray
) -> np.ndarray:
    """Return the features of each cluster that tell known types from others.

    Parameters
    ----------
    misfit
        Misfit of each cluster to each label, shape (n_clusters, n_labels), from
        :func:`hrca.prediction._cluster_misfit.cluster_misfit`; NaN for labels that it is not compared with.
    mixed
        Misfit of each cluster to a mixture of the labels, shape (n_clusters,), from
        :func:`hrca.prediction._cluster_misfit.mixture_misfit`.
    n_cells
        Number of cells in each cluster, shape (n_clusters,).
    n_runs
        Number of runs of k-means that the clusters are from.
    is_common
        Boolean, labels that all clusters are compared with, at least two, shape (n_labels,).

    Returns
    -------
    Log misfit of the best label or mixture, the same relative to the clusters that fit best, and the same relative to
    the median of the other labels in `is_common`, shape (n_clusters, 3).
    """
    log_misfit = np.log(misfit + MIN_MISFIT)
    best_of_labels = np.nanmin(log_misfit, axis=1)
    best, fractions = np.minimum(best_of_labels, np.log(mixed + MIN_MISFIT)), n_cells / n_cells.sum()
    order = np.argsort(best)
    quantile = np.interp(BEST_QUANTILE, fractions[order].cumsum(), best[order])
    n_by_run = len(best) / n_runs
    base = (n_by_run * quantile + N_TYPICAL * TYPICAL_LOG_MISFIT) / (n_by_run + N_TYPICAL)
    common = np.sort(log_misfit[:, is_common], axis=1)
    others = np.where(common[:, 0] > best_of_labels, np.median(common, axis=1), np.median(common[:, 1:], axis=1))
    return np.stack([best, best - base, best - others], axis=1)


def cluster_novel_probabilities(features: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    r"""Return the probability of each cluster that it is of none of the labels.

    Parameters
    ----------
    features
        Features of each cluster, shape (n_clusters, 3), from :func:`misfit_features`.
    n_cells
        Number of cells in each cluster, shape (n_clusters,).

    Returns
    -------
    Probabilities, shape (n_clusters,).

    Notes
    -----
    The log odds are linear in the features. With the log misfit :math:`\ell` of the best label or mixture, that of the
    clusters that fit best, :math:`b`, and the median log misfit of the other labels, :math:`o`, they are

    .. math:: 0.82 \, \ell + 2.28 (\ell - b) + 1.72 (\ell - o) - 1.83 .

    They hold where a fifth of the cells are of none of the labels. The odds are then adjusted to the query's own
    fraction, as in Saerens et al. :cite:p:`saerens2002adjusting`: the mean probability over the cells, with a prior.

    Examples
    --------
    >>> misfit = np.array([[0.2, 2.0, 2.0], [2.0, 0.2, 2.0], [2.0, 2.0, 0.2], [1.5, 2.0, 2.0]])
    >>> n_cells = np.full(4, 100)
    >>> features = misfit_features(misfit, misfit.min(axis=1), n_cells, 1, np.ones(3, dtype=bool))
    >>> cluster_novel_probabilities(features, n_cells).round(1)
    array([0. , 0. , 0. , 0.9])
    """
    fractions = n_cells / n_cells.sum()
    log_ratio = features @ FEATURE_COEFS + INTERCEPT - _logit(FITTED_FRACTION)
    fraction = PRIOR_FRACTION
    for _ in range(FRACTION_ROUNDS):
        probabilities = expit(log_ratio + _logit(fraction))
        mean = (fractions @ probabilities + PRIOR_WEIGHT * PRIOR_FRACTION) / (1 + PRIOR_WEIGHT)
        before, fraction = fraction, float(np.clip(mean, MIN_FRACTION, MAX_FRACTION))
        if abs(fraction - before) <= MAX_FRACTION_CHANGE:
            break
    return expit(log_ratio + _logit(fraction))


def left_out_novel_probability(misfits: ClusterMisfits, labels: LabelProfiles) -> np.ndarray:
    """Return the novel probability that the cells of each label would have if the reference lacked this label.

    Parameters
    ----------
    misfits
        Misfits of the query's clusters.
    labels
        The labels.

    Returns
    -------
    Mean novel probability over the cells of each label, shape (n_labels,). NaN for a label without a cluster, and for
    all labels if there are fewer than three.

    Notes
    -----
    The cells of a label are those of its clusters, in proportion to its counts in them, without those that are novel
    with the label. The platform factors are not fitted again without it.
    """
    n_labels = misfits.by_label.shape[1]
    mean, n_cells = np.full(n_labels, np.nan), misfits.clusters.n_cells
    n_known = n_cells * (1 - cluster_novel_probabilities(misfits.features(), n_cells))
    if n_labels < MIN_LABELS_TO_LEAVE_ONE_OUT:
        return mean
    for label in np.flatnonzero((misfits.label_fractions >= MIN_LABEL_FRACTION).any(axis=0)):
        probabilities = cluster_novel_probabilities(misfits.to_other_labels(int(label), labels).features(), n_cells)
        fractions = misfits.label_fractions[:, label]
        mean[label] = np.average(probabilities, weights=n_known * fractions * (fractions >= MIN_LABEL_FRACTION))
    return mean


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
