"""Novelty of query cells: dissimilarity from the reference, ranked among reference cells of similar depth."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse

from hrca.module._transforms import thin_to_depth
from hrca.prediction._platform_factors import median_platform_factors, platform_profiles
from hrca.typing import Batches

from ._name_hash import uniform_from_names
from ._novelty_ranks import fit_novelty_ranks
from ._novelty_reference import LeaveOneOutProfiles, NoveltyReference
from ._thinned_reference import log_or_zero, multinomial_deviance, thin_reference

# Maximum number of query cells that the platform factors are fitted to. Not tuned.
MAX_FACTOR_CELLS = 5000


def novelty(
    reference: NoveltyReference,
    batches: Callable[[], Batches],
    depth: np.ndarray,
    gene_mask: np.ndarray,
    obs_names: Sequence[str] | None,
) -> np.ndarray:
    r"""Rank query cells by their dissimilarity from the reference.

    Parameters
    ----------
    reference
        From :func:`hrca.uncertainty._novelty_reference.build_novelty_reference`.
    batches
        Returns a new pass over the query's cells at each call; see :func:`hrca.data._batches.aligned_batches`.
    depth
        Counts of each query cell on the genes used, shape (n_obs,).
    gene_mask
        1 for each gene that the model uses and the query has, 0 for the others, shape (n_genes,).
    obs_names
        Names of the query's cells, to correct for platform factors; see
        :func:`hrca.prediction._platform_factors.median_platform_factors`. None: no correction.

    Returns
    -------
    Novelty, in [0, 1), shape (n_obs,), float32; NaN for a cell without counts. It depends on the depths of all cells of
    the query, and with `obs_names` also on their counts.

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
    ranks = np.full(len(depth), np.nan, dtype=np.float32)
    # sorted, so that the order of the cells does not change the result
    depths = np.sort(depth[depth > 0]).clip(max=reference.max_depth)
    cells = sparse.csr_array(reference.counts @ sparse.diags_array(gene_mask.astype(np.float32)))
    if not len(depths) or not cells.sum():
        return ranks
    profiles = LeaveOneOutProfiles(reference.sums * gene_mask, gene_mask)
    thinned = thin_reference(cells, reference.codes, profiles, depths)
    if not len(thinned.depth):
        return ranks

    def prepare(counts: np.ndarray) -> sparse.csr_array:
        return sparse.csr_array(_thin_deep_cells(counts * gene_mask.astype(np.float32), reference.max_depth))

    factors = gene_mask
    if obs_names is not None:
        sample = _sample_cells(batches(), depth, obs_names, prepare)
        factors = median_platform_factors(sample, profiles.by_label()) * gene_mask
    rank = fit_novelty_ranks(thinned)
    log_profiles = log_or_zero(platform_profiles(profiles.by_label(), factors))
    correction = sparse.diags_array(1 / np.where(factors > 0, factors, 1))
    for rows, batch in batches():
        counts = prepare(batch)
        with_counts = np.flatnonzero(counts.sum(axis=1) > 0)
        if len(with_counts):
            counts = counts[with_counts]
            thinned_depth, deviance = multinomial_deviance(counts, counts @ log_profiles.T)
            ranks[rows][with_counts] = rank(thinned_depth, deviance, sparse.csr_array(counts @ correction))
    return ranks


def _sample_cells(
    batches: Batches,
    depth: np.ndarray,
    obs_names: Sequence[str],
    prepare: Callable[[np.ndarray], sparse.csr_array],
) -> sparse.csr_array:
    """Sample at most 5,000 query cells with counts, by their names, so that their order does not change the sample."""
    sampled = depth > 0
    if sampled.sum() > MAX_FACTOR_CELLS:
        order = np.argsort(np.where(sampled, uniform_from_names(obs_names), np.inf), kind="stable")
        sampled = np.isin(np.arange(len(depth)), order[:MAX_FACTOR_CELLS])
    return sparse.vstack([prepare(counts[sampled[rows]]) for rows, counts in batches], format="csr")


def _thin_deep_cells(counts: np.ndarray, max_depth: float) -> np.ndarray:
    is_deep = counts.sum(axis=1) > max_depth
    if is_deep.any():
        counts = counts.copy()
        counts[is_deep] = thin_to_depth(torch.from_numpy(counts[is_deep]), max_depth, 0).numpy()
    return counts
