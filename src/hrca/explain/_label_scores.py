"""Scores of the labels, whose differences are explained."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse

from hrca.data._batches import KeptBatches
from hrca.data._query import Query
from hrca.module._branch_scorer import BranchScorer
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.module._sparse_counts import SparseCounts
from hrca.prediction._forward import BranchScores, ScoreCompletion, double_precision, score_cells, shared_genes
from hrca.prediction._probabilities import (
    PredictionSettings,
    cpu_calibration,
    fit_sampled_cells,
    needs_query_fit,
    sample_cells,
)


@dataclass(frozen=True)
class LabelScores:
    """Scores of the labels in cells: their sum has its maximum at the label that a prediction returns.

    Attributes
    ----------
    network
        Log-probabilities of the classifier times their pooling weight, shape (n_obs, n_labels).
    counts
        Log-likelihood times its pooling weight, shape (n_obs, n_labels); zeros without a count likelihood.
    offsets
        Terms of the calibration by label, shape (n_obs, n_labels); see
        :meth:`hrca.module._calibration.Calibration.label_offsets`.
    has_counts
        True for a cell with counts on the shared genes, shape (n_obs,).
    """

    network: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    has_counts: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Sum of all parts, shape (n_obs, n_labels)."""
        return self.network + self.counts + self.offsets

    def differences(self, codes: np.ndarray, against: np.ndarray) -> "LabelDifferences":
        """Return the difference between two labels in each cell.

        Parameters
        ----------
        codes, against
            Index of both labels, shape (n_obs,).
        """
        rows = np.arange(len(codes))
        parts = (values[rows, codes] - values[rows, against] for values in (self.network, self.counts, self.offsets))
        return LabelDifferences(*parts)


@dataclass(frozen=True)
class LabelDifferences:
    """Difference of the scores of two labels in each cell.

    Attributes
    ----------
    network, counts, offsets
        Its parts, shape (n_obs,); see :class:`LabelScores`.
    """

    network: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Sum of all parts, shape (n_obs,)."""
        return self.network + self.counts + self.offsets


def pooling_weights(count_likelihood: CountLikelihood, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors of both branches in the pooled scores.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    depth
        Counts of each cell, at most `max_depth`, shape (n_obs,).

    Returns
    -------
    Factors of the classifier's log-probabilities and of the log-likelihood, each of shape (n_obs,).
    """
    counts, one, zero = torch.from_numpy(depth), torch.ones(len(depth), 1).double(), torch.zeros(len(depth), 1).double()
    weights = count_likelihood.pool_weights.cpu().double()
    network, likelihood = (pool_log_scores(*pair, counts, weights)[:, 0] for pair in ((one, zero), (zero, one)))
    return network.numpy(), likelihood.numpy()


def pooled_label_scores(module: HRCAModule, scores: BranchScores) -> LabelScores:
    """Weight and calibrate the scores of both branches.

    Parameters
    ----------
    module
        The module.
    scores
        Scores of cells, in double precision.

    Returns
    -------
    Scores of the labels.
    """
    network, depth = scores.network, scores.depth
    counts = torch.zeros_like(network)
    count_likelihood = module.count_likelihood
    if scores.log_likelihood is not None and count_likelihood is not None:
        network_weight, counts_weight = pooling_weights(count_likelihood, depth.numpy())
        network = network * torch.from_numpy(network_weight)[:, None]
        counts = scores.log_likelihood * torch.from_numpy(counts_weight)[:, None]
    offsets = cpu_calibration(module).label_offsets((network + counts).log_softmax(dim=1), depth)
    return LabelScores(network.numpy(), counts.numpy(), offsets.numpy(), depth.numpy() > 0)


@dataclass(frozen=True)
class FittedQuery:
    """A query with its platform factors.

    Attributes
    ----------
    query
        All cells of the query.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.
    rows
        Positions of the cells to explain, shape (n_rows,).
    scores
        Scores of the labels in these cells.
    """

    query: Query
    gene_mask: np.ndarray
    factors: np.ndarray
    rows: np.ndarray
    scores: LabelScores

    def subset(self, is_kept: np.ndarray) -> "FittedQuery":
        """Return the same with some of the cells to explain.

        Parameters
        ----------
        is_kept
            Boolean, shape (n_rows,).
        """
        parts = (self.scores.network, self.scores.counts, self.scores.offsets, self.scores.has_counts)
        kept = LabelScores(*(values[is_kept] for values in parts))
        return replace(self, rows=self.rows[is_kept], scores=kept)


def fit_and_score(
    module: HRCAModule,
    query: Query,
    rows: np.ndarray,
    label_sums: np.ndarray | None,
    settings: PredictionSettings,
    *,
    batch_size: int,
) -> FittedQuery:
    """Score some cells as a prediction of the whole query scores them.

    Only these cells, and those that the platform factors are fitted to, are read.

    Parameters
    ----------
    module, label_sums, settings
        See :func:`hrca.prediction._probabilities.predict_probabilities`.
    query
        All cells.
    rows
        Positions of the cells to score, shape (n_rows,).
    batch_size
        Number of cells that are read at a time.

    Returns
    -------
    The query, its platform factors, and the scores of the cells.
    """
    names, gene_mask = np.asarray(query.adata.obs_names), shared_genes(module, query.alignment.present)
    sampled = sample_cells(list(names)) if needs_query_fit(module, label_sums, settings) else rows
    needed = np.union1d(rows, sampled)
    cells = query.take(needed)
    batches = KeptBatches(lambda _: cells.batches(batch_size))
    query_fit = fit_sampled_cells(module, batches, list(names[needed]), gene_mask, label_sums, settings)
    factors = gene_mask if query_fit is None else query_fit.factors
    scores = score_cells(module, batches("labels"), factors).subset(np.searchsorted(needed, rows))
    return FittedQuery(query, gene_mask, factors, rows, pooled_label_scores(module, scores))


def scorer(module: HRCAModule, factors: np.ndarray) -> Callable[[np.ndarray], LabelScores]:
    """Return a function that scores counts under fixed platform factors.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    Function from raw counts, shape (n_obs, n_genes), float32, to the scores of the labels.
    """
    score_branches, complete = BranchScorer(module), ScoreCompletion.of(module, factors)

    def score(counts: np.ndarray) -> LabelScores:
        raw = score_branches(SparseCounts.from_csr(sparse.csr_array(counts)))
        return pooled_label_scores(module, complete(raw))

    return score


def likelihood_of(module: HRCAModule) -> CountLikelihood | None:
    """Return the fitted count likelihood in double precision on the CPU; None without one."""
    if module.count_likelihood is None or not module.has_fitted_counts:
        return None
    return double_precision(module.count_likelihood)
