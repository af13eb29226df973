"""Platform factors of a query, and the probability that its cells are of none of the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit, softmax

from hrca.module._count_likelihood import SATURATION_DEPTH, CountLikelihood
from hrca.module._deviance import log_or_zero, multinomial_deviance
from hrca.module._profiles import normalize_rows
from hrca.module._sparse_counts import SparseCounts

from ._platform_factors import fit_platform, platform_log_sd, platform_profiles
from ._platform_likelihood import LikelihoodLabels, QueryCellSample
from ._query_clusters import LabelProfiles, QueryClusters, cluster_cells, cluster_misfit, mixture_misfit

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

# Number of iterations between fraction and probabilities, and limits of the fraction: more iterations change no digit,
# and the limits keep its logit finite. Not tuned.
FRACTION_ROUNDS, MIN_FRACTION, MAX_FRACTION = 200, 1e-3, 0.95

# Maximum number of fits of the platform factors, each but the first to the cells of the reference's labels alone. A
# third changes no score by more than .003 (docs/decisions/0007). No further fit follows if no weight of a cell changed
# by more than MIN_WEIGHT_CHANGE.
OPEN_SET_ROUNDS, MIN_WEIGHT_CHANGE = 3, 1e-3

# Factors whose logs have a larger standard deviation are discarded. It was at most 1.4 in queries of known types, and
# 2.0 to 2.5 in queries without any, whose factors would turn their types into those of the reference
# (docs/decisions/0007).
MAX_PLATFORM_LOG_SD = 1.7


@dataclass
class OpenSetScores:
    """Deviance of cells from their best label, and probability of none of the labels.

    Attributes
    ----------
    novel_probability
        Probability that a cell is of none of the labels, shape (n_obs,).
    clusters
        Index of the most likely cluster of each cell, shape (n_obs,); 0 without clusters.
    depth
        Counts of each cell, shape (n_obs,).
    deviance
        Deviance of each cell under the profile of its best label, shape (n_obs,).
    """

    novel_probability: np.ndarray
    clusters: np.ndarray
    depth: np.ndarray
    deviance: np.ndarray

    @staticmethod
    def empty(n_obs: int) -> "OpenSetScores":
        """Return zeros, to be filled by :meth:`assign`."""
        return OpenSetScores(np.zeros(n_obs), np.zeros(n_obs, dtype=np.int64), np.zeros(n_obs), np.zeros(n_obs))

    def subset(self, rows: slice | np.ndarray) -> "OpenSetScores":
        """Return the scores of some cells, given by a mask or by indices."""
        return OpenSetScores(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def concat(parts: "Sequence[OpenSetScores]") -> "OpenSetScores":
        """Concatenate the scores of several sets of cells, at least one."""
        names = [field.name for field in fields(OpenSetScores)]
        return OpenSetScores(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def assign(self, rows: slice | np.ndarray, scores: "OpenSetScores") -> None:
        """Set the values of some cells."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(scores, field.name)


@dataclass(frozen=True)
class QueryFit:
    """The labels on a query's platform, and the query's clusters.

    Attributes
    ----------
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.
    profiles
        Fraction of counts of each label on the query's platform, shape (n_labels, n_genes).
    clusters
        Clusters of the sampled cells; None for a query that is too small, or without this fit.
    misfit_features
        Features of each cluster, shape (n_clusters, 3); see :func:`misfit_features`.
    novel_probabilities
        Probability of each cluster that it is of none of the labels, shape (n_clusters,).
    discarded_log_sd
        Standard deviation of the log factors that were discarded; 0 if none were.
    """

    factors: np.ndarray
    profiles: np.ndarray
    clusters: QueryClusters | None
    misfit_features: np.ndarray
    novel_probabilities: np.ndarray
    discarded_log_sd: float = 0.0

    @cached_property
    def _log_profiles(self) -> torch.Tensor:
        """Log profiles of the labels, then of the clusters, float32, shape (n_genes, n_labels + n_clusters)."""
        tables = [log_or_zero(self.profiles)] + ([] if self.clusters is None else [self.clusters.log_profiles()])
        return torch.from_numpy(np.concatenate(tables).T.astype(np.float32, order="C"))

    def score_cells(self, counts: sparse.csr_array) -> OpenSetScores:
        r"""Compute the probability of none of the labels, and the deviance, of cells.

        Parameters
        ----------
        counts
            Raw counts on the shared genes, shape (n_obs, n_genes).

        Returns
        -------
        The scores of the cells, in order.

        Notes
        -----
        The probability of a cell is that of the clusters, weighted by the probabilities of the clusters given its
        counts :math:`x_g`, :math:`n` in all. A cluster of a fraction :math:`f_c` of the cells and the profile
        :math:`q_c` has the logit

        .. math:: \log f_c + \frac{\sum_g x_g \log q_{cg}}{1 + n / 300} .
        """
        log_likelihood = SparseCounts.from_csr(counts).matmul(self._log_profiles).numpy()
        n_labels = len(self.profiles)
        depth, deviance = multinomial_deviance(counts, log_likelihood[:, :n_labels])
        if self.clusters is None:
            return OpenSetScores(np.zeros(len(depth)), np.zeros(len(depth), dtype=np.int64), depth, deviance)
        logits = log_likelihood[:, n_labels:] / (1 + depth[:, None] / SATURATION_DEPTH)
        members = softmax(logits + np.log(self.clusters.n_cells / self.clusters.n_cells.sum()), axis=1)
        return OpenSetScores(members @ self.novel_probabilities, members.argmax(axis=1), depth, deviance)


def fit_query(
    count_likelihood: CountLikelihood,
    cells: QueryCellSample,
    gene_mask: np.ndarray,
    label_sums: np.ndarray,
    *,
    platform_correction: bool,
    open_set: bool,
) -> QueryFit:
    """Fit platform factors, and find clusters that are of none of the labels.

    Cells of such clusters count less in the next fit of the factors: their genes are not the platform's. If too few
    cells remain, the last factors stay. Factors that differ too much between genes are discarded.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood, in double precision.
    cells
        Query cells, each with counts.
    gene_mask, label_sums
        See :func:`hrca.prediction._platform_factors.fit_platform`.
    platform_correction
        If True, fit platform factors; otherwise they are 1.
    open_set
        If True, find clusters of none of the labels.

    Returns
    -------
    The fit of the query.
    """
    clusters = cluster_cells(cells.counts) if open_set and len(label_sums) > 1 else None
    labels = LikelihoodLabels(count_likelihood, cells)

    def fit_under(factors: np.ndarray) -> QueryFit:
        return _fit_clusters(labels, clusters, factors, label_sums, gene_mask)

    fit, weights = None, np.ones(len(cells.depth))
    for _ in range(OPEN_SET_ROUNDS if platform_correction else 0):
        factors = fit_platform(labels, gene_mask, label_sums, weights)
        if factors is None:
            # too few cells are left of the labels: the factors of the last round stay
            break
        fit = fit_under(factors)
        if clusters is None:
            break
        before, weights = weights, 1 - fit.novel_probabilities[clusters.codes].mean(axis=0)
        if np.abs(weights - before).max() < MIN_WEIGHT_CHANGE:
            # the same weights would give the same factors
            break
    fit = fit or fit_under(gene_mask.astype(float))
    log_sd = platform_log_sd(fit.factors)
    if open_set and log_sd > MAX_PLATFORM_LOG_SD:
        return replace(fit_under(gene_mask.astype(float)), discarded_log_sd=log_sd)
    return fit


def _fit_clusters(
    labels: LikelihoodLabels,
    clusters: QueryClusters | None,
    factors: np.ndarray,
    label_sums: np.ndarray,
    gene_mask: np.ndarray,
) -> QueryFit:
    """Return the fit of a query under platform factors, shape (n_genes,)."""
    corrected = platform_profiles(labels.profiles * gene_mask, factors)
    if clusters is None:
        return QueryFit(factors, corrected, None, np.zeros((0, 3)), np.zeros(0))
    profiles = LabelProfiles(corrected, label_sums, gene_mask > 0)
    misfit = cluster_misfit(clusters, profiles)
    mixed = mixture_misfit(clusters, _label_fractions(clusters, labels, factors), profiles)
    features = misfit_features(misfit, mixed, clusters.n_cells, len(clusters.codes))
    novel = cluster_novel_probabilities(features, clusters.n_cells)
    return QueryFit(factors, corrected, clusters, features, novel)


def _label_fractions(clusters: QueryClusters, labels: LikelihoodLabels, factors: np.ndarray) -> np.ndarray:
    """Return the fraction of each label in the counts of each cluster, shape (n_clusters, n_labels)."""
    codes, depth = torch.from_numpy(clusters.codes), labels.cells.depth[:, :1].float()
    counts_by_label = torch.zeros(len(clusters.n_cells), labels.n_labels).double()
    for rows, probabilities in labels.probabilities(factors):
        summed = torch.zeros(len(clusters.n_cells), labels.n_labels)
        for codes_of_run in codes:
            summed.index_add_(0, codes_of_run[rows], probabilities * depth[rows])
        counts_by_label += summed
    return normalize_rows(counts_by_label.numpy())


def misfit_features(misfit: np.ndarray, mixed: np.ndarray, n_cells: np.ndarray, n_runs: int) -> np.ndarray:
    """Return the features of each cluster that tell known types from others.

    Parameters
    ----------
    misfit
        Misfit of each cluster to each label, shape (n_clusters, n_labels), from
        :func:`hrca.prediction._query_clusters.cluster_misfit`.
    mixed
        Misfit of each cluster to a mixture of the labels, shape (n_clusters,), from
        :func:`hrca.prediction._query_clusters.mixture_misfit`.
    n_cells
        Number of cells in each cluster, shape (n_clusters,).
    n_runs
        Number of runs of k-means that the clusters are from.

    Returns
    -------
    Log misfit of the best label or mixture, the same relative to the clusters that fit best, and the same relative to
    the median of the other labels, shape (n_clusters, 3).
    """
    log_misfit = np.sort(np.log(misfit + MIN_MISFIT), axis=1)
    best, fractions = np.minimum(log_misfit[:, 0], np.log(mixed + MIN_MISFIT)), n_cells / n_cells.sum()
    order = np.argsort(best)
    quantile = np.interp(BEST_QUANTILE, fractions[order].cumsum(), best[order])
    n_by_run = len(best) / n_runs
    base = (n_by_run * quantile + N_TYPICAL * TYPICAL_LOG_MISFIT) / (n_by_run + N_TYPICAL)
    return np.stack([best, best - base, best - np.median(log_misfit[:, 1:], axis=1)], axis=1)


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
    >>> cluster_novel_probabilities(misfit_features(misfit, misfit.min(axis=1), n_cells, 1), n_cells).round(1)
    array([0. , 0. , 0. , 0.9])
    """
    fractions = n_cells / n_cells.sum()
    log_ratio = features @ FEATURE_COEFS + INTERCEPT - _logit(FITTED_FRACTION)
    fraction = PRIOR_FRACTION
    for _ in range(FRACTION_ROUNDS):
        probabilities = expit(log_ratio + _logit(fraction))
        mean = (fractions @ probabilities + PRIOR_WEIGHT * PRIOR_FRACTION) / (1 + PRIOR_WEIGHT)
        fraction = float(np.clip(mean, MIN_FRACTION, MAX_FRACTION))
    return expit(log_ratio + _logit(fraction))


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
