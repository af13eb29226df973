"""Platform factors of a query, and the probability that its cells are of none of the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from scipy.special import softmax

from hrca.module._count_likelihood import SATURATION_DEPTH, CountLikelihood
from hrca.module._deviance import log_or_zero, multinomial_deviance
from hrca.module._profiles import normalize_rows
from hrca.module._sparse_counts import SparseCounts

from ._cluster_misfit import LabelProfiles, cluster_misfit, common_labels, mixture_misfit
from ._cluster_novelty import ClusterMisfits, cluster_novel_probabilities, left_out_novel_probability
from ._platform_factors import fit_platform, platform_log_sd, platform_profiles
from ._platform_likelihood import LikelihoodLabels, QueryCellSample
from ._query_clusters import QueryClusters, cluster_cells

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
    misfits
        Misfits of the clusters to the labels; None without clusters.
    novel_probabilities
        Probability of each cluster that it is of none of the labels, shape (n_clusters,).
    left_out_novel_probability
        Novel probability that the cells of each label would have if the reference lacked it, shape (n_labels,); see
        :func:`hrca.prediction._cluster_novelty.left_out_novel_probability`. None without clusters.
    discarded_log_sd
        Standard deviation of the log factors that were discarded; 0 if none were.
    """

    factors: np.ndarray
    profiles: np.ndarray
    clusters: QueryClusters | None
    misfits: ClusterMisfits | None
    novel_probabilities: np.ndarray
    left_out_novel_probability: np.ndarray | None = None
    discarded_log_sd: float = 0.0

    @cached_property
    def _log_profiles(self) -> torch.Tensor:
        """Log profiles of the labels, then of the clusters, float32, shape (n_genes, n_labels + n_clusters)."""
        tables = [log_or_zero(self.profiles)] + ([] if self.clusters is None else [self.clusters.log_profiles()])
        return torch.from_numpy(np.concatenate(tables).T.astype(np.float32, order="C"))

    def prepare(self) -> None:
        """Compute once what :meth:`score_cells` needs, before several threads call it."""
        _ = self._log_profiles

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
        fit = replace(fit_under(gene_mask.astype(float)), discarded_log_sd=log_sd)
    if fit.misfits is None:
        return fit
    profiles = LabelProfiles(fit.profiles, label_sums, gene_mask > 0)
    return replace(fit, left_out_novel_probability=left_out_novel_probability(fit.misfits, profiles))


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
        return QueryFit(factors, corrected, None, None, np.zeros(0))
    profiles = LabelProfiles(corrected, label_sums, gene_mask > 0)
    fractions = _label_fractions(clusters, labels, factors)
    misfits = ClusterMisfits(
        clusters,
        cluster_misfit(clusters, profiles),
        mixture_misfit(clusters, fractions, profiles),
        fractions,
        common_labels(len(corrected)),
    )
    novel = cluster_novel_probabilities(misfits.features(), clusters.n_cells)
    return QueryFit(factors, corrected, clusters, misfits, novel)


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
