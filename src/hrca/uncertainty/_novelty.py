"""Novelty of query cells: dissimilarity from the labels, ranked among cells of known types and similar depth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse, stats
from scipy.special import logit

from hrca._records import MIN_NOVEL_PROBABILITY
from hrca.data._name_hash import uniform_from_names
from hrca.module._deviance import log_or_zero, multinomial_deviance
from hrca.module._sparse_counts import SparseCounts
from hrca.module._thinning import thin_to_depth
from hrca.prediction._forward import used_counts
from hrca.prediction._open_set import OpenSetScores
from hrca.prediction._platform_factors import platform_profiles
from hrca.typing import Batches

from ._novelty_ranks import fit_novelty_ranks
from ._novelty_reference import LeaveOneOutProfiles, NoveltyReference
from ._thinned_reference import thin_reference

# Probabilities are clipped to this distance from 0 and 1 before their logit. Not tuned.
MIN_TAIL = 1e-4

# Number of thinned draws of a deep cell whose ranks are averaged, and number of cells that are thinned at once. Of 300
# simulated cells of 2,000 counts in place of 370, another seed moved the novelty of 99 of 100 by at most .09 with 16
# draws, .06 with 32, .04 with 64 and .03 with 128.
N_NOVELTY_DRAWS, N_THINNED_AT_ONCE = 64, 64

# Lower bound of a deviance before its log: that of a cell with one count may be 0.
MIN_DEVIANCE = 1e-3


# Maximum number of query cells that the others are ranked among. The error of a rank is then at most .0005.
MAX_RANKED_CELLS = 1_000_000

# Takes counts of query cells on the genes used, shape (n_obs, n_genes); returns their novelty, shape (n_obs,).
CountRanks = Callable[[sparse.csr_array], np.ndarray]


def rank_threshold(uniform: np.ndarray) -> float:
    """Return the number up to which a cell is among the at most 1,000,000 that the others are ranked among.

    Parameters
    ----------
    uniform
        The number of each cell's name, shape (n_obs,); see :func:`hrca.data._name_hash.uniform_from_names`.
    """
    if len(uniform) <= MAX_RANKED_CELLS:
        return 1.0
    return float(np.partition(uniform, MAX_RANKED_CELLS - 1)[MAX_RANKED_CELLS - 1])


def ranked_cells(obs_names: Sequence[str]) -> np.ndarray | None:
    """Return True for each cell that all are ranked among, shape (n_obs,); None if these are all cells."""
    if len(obs_names) <= MAX_RANKED_CELLS:
        return None
    uniform = uniform_from_names(obs_names)
    return uniform <= rank_threshold(uniform)


@dataclass(frozen=True)
class QueryRanks:
    """Dissimilarity from the labels of query cells of known types, among which cells are ranked.

    Attributes
    ----------
    log_deviance
        The typical log deviance of a cell by its log depth, a parabola.
    scale
        Standard deviation of the residuals from it, by their median; 0 if they are all equal.
    known_scores
        Scores of the cells of known types, ascending, shape (n_known,); see :func:`query_novelty`.
    """

    log_deviance: np.polynomial.Polynomial
    scale: float
    known_scores: np.ndarray

    @classmethod
    def fit(cls, cells: OpenSetScores) -> "QueryRanks | None":
        """Fit the ranks to cells of the query; None if none has counts."""
        has_counts = cells.depth > 0
        if not has_counts.any():
            return None
        cells = cells.subset(has_counts)
        log_depth, log_deviance = _log_depth_and_deviance(cells)
        degree = min(2, len(np.unique(log_depth)) - 1)
        fitted = np.polynomial.Polynomial.fit(log_depth, log_deviance, degree)
        scale = stats.median_abs_deviation(log_deviance - fitted(log_depth), scale="normal")
        ranks = cls(fitted, float(scale), np.zeros(0))
        scores, is_known = ranks.scores(cells), _novel_probability(cells) < MIN_NOVEL_PROBABILITY
        return replace(ranks, known_scores=np.sort(scores[is_known] if is_known.any() else scores))

    def scores(self, cells: OpenSetScores) -> np.ndarray:
        """Return the scores of cells with counts, shape (n_obs,)."""
        log_depth, log_deviance = _log_depth_and_deviance(cells)
        residuals = log_deviance - self.log_deviance(log_depth)
        return logit(_novel_probability(cells)) + (residuals / self.scale if self.scale > 0 else 0)

    def __call__(self, cells: OpenSetScores) -> np.ndarray:
        """Return the novelty of cells, shape (n_obs,), float32; NaN for a cell without counts."""
        novelty = np.full(len(cells.depth), np.nan, dtype=np.float32)
        has_counts = cells.depth > 0
        ranks = np.searchsorted(self.known_scores, self.scores(cells.subset(has_counts)))
        novelty[has_counts] = ranks / (len(self.known_scores) + 1)
        return novelty


def _novel_probability(cells: OpenSetScores) -> np.ndarray:
    return cells.novel_probability.clip(MIN_TAIL, 1 - MIN_TAIL)


def _log_depth_and_deviance(cells: OpenSetScores) -> tuple[np.ndarray, np.ndarray]:
    return np.log(cells.depth), np.log(cells.deviance.clip(MIN_DEVIANCE))


def query_novelty(cells: OpenSetScores, ranked: np.ndarray | None = None) -> np.ndarray:
    r"""Rank cells by their dissimilarity from the labels, among the cells of the query that are of known types.

    The query's own cells of known types show how far its platform moves a cell. Reference cells do not.

    Parameters
    ----------
    cells
        Deviance and novel probability of the cells of a query, shape (n_obs,).
    ranked
        Boolean, the cells that all are ranked among, shape (n_obs,); None: all.

    Returns
    -------
    Novelty, in [0, 1), shape (n_obs,), float32; NaN for a cell without counts.

    Notes
    -----
    The log deviance is compared with a parabola in log depth, fitted to the query's cells. With the residual :math:`r`
    of a cell, in units of 1.48 times the median absolute residual, and the probability :math:`P` of none of the labels,
    the score of a cell is

    .. math:: s = \log \frac{P}{1 - P} + r .

    Novelty is the fraction of the cells with :math:`P < 0.5` that have a lower score. If these are the cells of known
    types, about a fraction :math:`\alpha` of them has a novelty above :math:`1 - \alpha`, on any platform
    (docs/decisions/0007).
    """
    ranks = QueryRanks.fit(cells if ranked is None else cells.subset(ranked))
    return np.full(len(cells.depth), np.nan, dtype=np.float32) if ranks is None else ranks(cells)


def reference_novelty(
    reference: NoveltyReference,
    batches: Batches,
    depth: np.ndarray,
    factors: np.ndarray,
    sampled: np.ndarray | None = None,
) -> np.ndarray:
    r"""Rank cells by their dissimilarity from the labels, among thinned reference cells.

    The rank of a cell depends on no other cell but through `factors` and the depths. On another platform than the
    reference's, cells of known types look novel.

    Parameters
    ----------
    reference
        From :func:`hrca.uncertainty._novelty_reference.build_novelty_reference`.
    batches
        Rows and counts of the query's cells; see :func:`hrca.data._batches.aligned_batches`.
    depth
        Counts of each query cell on the genes used, shape (n_obs,).
    factors
        Platform factors, shape (n_genes,); 0 for genes that the model does not use or the query lacks.
    sampled
        Rows of the query's cells whose depths are used; None: those of all.

    Returns
    -------
    Novelty, in [0, 1), shape (n_obs,), float32; NaN for a cell without counts.

    Notes
    -----
    Reference cells are thinned to depths drawn from the query's. Two scores of a cell :math:`x` of depth
    :math:`n = \sum_g x_g` are compared with those of thinned reference cells.

    The deviance of the multinomial model :cite:p:`townes2019feature` under the profile :math:`\pi_k` of the best label:

    .. math:: D = 2 \Big( \sum_g x_g \log \frac{x_g}{n} - \max_k \sum_g x_g \log \pi_{kg} \Big).

    The profile of a reference cell's own label is estimated without that cell.

    The distance :math:`d`: the mean Euclidean distance to the nearest thinned reference cells, in principal components
    of the log-normalised counts. It detects mixtures of labels, which a single profile explains in part. The distances
    of one half of the reference cells are measured to the other half, and those of query cells to both.

    Each score is ranked among reference cells of similar depth (:class:`hrca.uncertainty._depth_ranks.DepthRanks`). The
    ranks :math:`\rho_D` and :math:`\rho_d` are combined by Fisher's method,

    .. math:: F = -\log (1 - \rho_D) - \log (1 - \rho_d),

    and novelty is the rank of :math:`F`, averaged over both halves. About a fraction :math:`\alpha` of cells of the
    reference's types has a novelty above :math:`1 - \alpha`. The choices were measured in docs/decisions/0005.
    """
    novelty = np.full(len(depth), np.nan, dtype=np.float32)
    rank = reference_ranks(reference, depth if sampled is None else depth[sampled], factors)
    if rank is not None:
        for rows, counts in batches:
            novelty[rows] = rank(counts)
    return novelty


def reference_ranks(reference: NoveltyReference, depths: np.ndarray, factors: np.ndarray) -> CountRanks | None:
    """Return the function that ranks cells of a query among thinned reference cells.

    Parameters
    ----------
    reference, factors
        See :func:`reference_novelty`.
    depths
        Counts of cells of the query on the genes used, shape (n_depths,). The reference cells are thinned to these.

    Returns
    -------
    The function; None without counts to compare.
    """
    # those of a model without a fit are in single precision
    factors = factors.astype(float)
    gene_mask = (factors > 0).astype(np.float32)
    # sorted, so that the order of the cells does not change the result
    depths = np.sort(depths[depths > 0]).clip(max=reference.max_depth)
    cells = sparse.csr_array(reference.counts @ sparse.diags_array(gene_mask))
    if not len(depths) or not cells.sum():
        return None
    profiles = LeaveOneOutProfiles(reference.sums * gene_mask, gene_mask)
    thinned = thin_reference(cells, reference.codes, profiles, depths)
    if not len(thinned.depth):
        return None
    rank = fit_novelty_ranks(thinned)
    log_profiles = log_or_zero(platform_profiles(profiles.by_label(), factors))
    tables = torch.from_numpy(log_profiles.T.astype(np.float32, order="C"))
    correction = 1 / np.where(factors > 0, factors, 1)

    def score(counts: sparse.csr_array) -> np.ndarray:
        log_likelihood = SparseCounts.from_csr(counts).matmul(tables).numpy()
        thinned_depth, deviance = multinomial_deviance(counts, log_likelihood)
        corrected = sparse.csr_array(
            (counts.data * correction[counts.indices], counts.indices, counts.indptr), counts.shape
        )
        return rank(thinned_depth, deviance, corrected)

    return lambda counts: _mean_ranks(used_counts(counts, gene_mask), reference.max_depth, score)


def _mean_ranks(
    counts: sparse.csr_array, max_depth: float, score: Callable[[sparse.csr_array], np.ndarray]
) -> np.ndarray:
    """Return the ranks of cells, NaN for a cell without counts; of deep cells the mean over thinned draws."""
    depth = counts.sum(axis=1)
    ranks = np.full(len(depth), np.nan)
    is_deep = depth > max_depth
    is_scored = (depth > 0) & ~is_deep
    if is_scored.any():
        ranks[is_scored] = score(counts[is_scored])
    if is_deep.any():
        parts = SparseCounts.from_csr(counts[is_deep]).split(N_THINNED_AT_ONCE)
        ranks[is_deep] = np.concatenate([_rank_draws(part, max_depth, score) for part in parts])
    return ranks


def _rank_draws(cells: SparseCounts, max_depth: float, score: Callable[[sparse.csr_array], np.ndarray]) -> np.ndarray:
    """Return the mean rank over thinned draws of deep cells, shape (n_obs,)."""
    draws = thin_to_depth(cells, max_depth, N_NOVELTY_DRAWS).to_csr()
    ranks = np.full(draws.shape[0], np.nan)
    # a draw of a cell may be empty
    with_counts = draws.sum(axis=1) > 0
    ranks[with_counts] = score(draws[with_counts])
    return np.nanmean(ranks.reshape(N_NOVELTY_DRAWS, -1), axis=0)
