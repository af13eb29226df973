"""How unlike the reference a cell is, by two scores that are held against copies of reference cells at its depth.

The deviance is twice the log-likelihood that the cell's counts lose under the best label's profile against one of its
own: what no label explains. The distance is that to the nearest copies, in components of their expression: a mixture
of what labels explain, that no cell has. Copies are thinned to depths drawn from the query's; each has its deviance
under a profile that does not know it, and its distance to the copies of other cells (docs/decisions/0005).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.special import xlogy
from sklearn.decomposition import TruncatedSVD
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from hrca.module._profiles import PROFILE_PSEUDOCOUNT
from hrca.module._transforms import thin_to_depth
from hrca.prediction._platform_factors import median_platform_factors, platform_profiles

from ._depth_ranks import DepthRanks
from ._name_hash import uniform_from_names
from ._novelty_reference import SEED, NoveltyReference

# About how many thinned copies of reference cells a query is compared with, and how many of each cell at most. Neither
# was tuned.
N_THINNED_CELLS, MAX_DRAWS_PER_CELL = 2000, 8

# Counts that a gene is given in advance, so that one which the reference never showed is possible. Not tuned.
GENE_PSEUDOCOUNT = 0.5

# Components of the expression, of 15, 20 and 30, and nearest reference cells, of 3, 5 and 10: more find hardly more,
# and take rare types of the reference for new ones (docs/decisions/0005).
N_COMPONENTS, N_NEAREST = 20, 3

# With fewer reference cells, or genes that these have, there is no distance between halves of them to speak of.
MIN_DISTANCE_CELLS, MIN_DISTANCE_GENES = 40, 3

# Cells of the query that the factors of its platform are fitted to, at most. Not tuned.
MAX_FACTOR_CELLS = 5000

BATCH = 256


@dataclass(frozen=True)
class LeaveOneOutProfiles:
    """Counts of a reference, summed, to make a profile of each label and to take one cell out again.

    Attributes
    ----------
    sums
        Counts by label and gene, shape (n_labels, n_genes); 0 for genes that do not take part.
    genes
        1 for a gene that takes part, shape (n_genes,).
    """

    sums: np.ndarray
    genes: np.ndarray

    @property
    def prior(self) -> float:
        """Counts that a label is given in advance, in proportion to all labels' counts."""
        return PROFILE_PSEUDOCOUNT * self.genes.sum()

    def _shares(self, totals: np.ndarray) -> np.ndarray:
        padded = (totals + GENE_PSEUDOCOUNT) * self.genes
        return padded / padded.sum(axis=-1, keepdims=True)

    def of_labels(self) -> np.ndarray:
        """Return the share of each gene in a label's counts, shape (n_labels, n_genes), rows that sum to one."""
        profiles = self.sums + self.prior * self._shares(self.sums.sum(axis=0))
        return profiles / profiles.sum(axis=1, keepdims=True)

    def without(self, cells: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the profile of each cell's own label without it, shape (n_obs, n_genes)."""
        others = (self.sums.sum(axis=0) - cells).clip(0)
        profiles = (self.sums[codes] - cells).clip(0) + self.prior * self._shares(others)
        return profiles / profiles.sum(axis=1, keepdims=True)


def novelty(
    reference: NoveltyReference,
    batches: Callable[[], Iterator[tuple[slice, np.ndarray]]],
    depth: np.ndarray,
    gene_mask: np.ndarray,
    obs_names: Sequence[str] | None,
) -> np.ndarray:
    """Return for each cell the share of reference cells of its depth that are less strange than it.

    Parameters
    ----------
    reference
        From :func:`hrca.uncertainty._novelty_reference.build_novelty_reference`.
    batches
        Gives the query's cells each time it is called, see :func:`hrca.data._batches.aligned_batches`.
    depth
        Their counts on the genes used, shape (n_obs,).
    gene_mask
        1 for genes that the model uses and the query has, shape (n_genes,).
    obs_names
        The cells' names, to correct for what the query's platform catches more or less of, see
        :func:`hrca.prediction._platform_factors.median_platform_factors`; None: no correction.

    Returns
    -------
    In [0, 1), shape (n_obs,), float32; NaN for a cell without counts. Of cells of the reference's kind about a share
    alpha is above 1 - alpha. It depends on the depths of the other cells of the query, to which the reference cells are
    thinned, and on the correction.
    """
    profiles = LeaveOneOutProfiles(reference.sums * gene_mask, gene_mask)
    cells = sparse.csr_array(reference.counts @ sparse.diags_array(gene_mask.astype(np.float32)))
    ranks, max_depth = np.full(len(depth), np.nan, dtype=np.float32), reference.max_depth
    # in order of depth, so that the order of the cells plays no part
    depths = np.sort(depth[depth > 0]).clip(max=max_depth)
    if not len(depths) or not cells.sum():
        return ranks
    copies = _copies_of_reference(cells, reference.codes, profiles, depths)
    if not len(copies.depth):
        return ranks

    def thinned(counts: np.ndarray) -> sparse.csr_array:
        return sparse.csr_array(_at_most(counts * gene_mask.astype(np.float32), max_depth))

    factors = gene_mask
    if obs_names is not None:
        sample = _sample(batches(), depth, obs_names, thinned)
        factors = median_platform_factors(sample, profiles.of_labels()) * gene_mask
    rank = _ranking(copies, _log(platform_profiles(profiles.of_labels(), factors)), factors)
    for rows, counts in batches():
        counts = thinned(counts)
        judged = np.flatnonzero(counts.sum(axis=1) > 0)
        if len(judged):
            ranks[rows][judged] = rank(counts[judged])
    return ranks


def _ranking(
    copies: "_ThinnedReference", by_label: np.ndarray, factors: np.ndarray
) -> Callable[[sparse.csr_array], np.ndarray]:
    """Return what ranks cells with counts among the copies; the mean of both halves, of which neither saw the other."""
    halves = _halves(copies)
    correction = sparse.diags_array(1 / np.where(factors > 0, factors, 1))

    def rank(counts: sparse.csr_array) -> np.ndarray:
        depth, deviance = _least_deviance(counts, counts @ by_label.T)
        corrected = sparse.csr_array(counts @ correction)
        return np.mean([half.rank(depth, deviance, corrected) for half in halves], axis=0)

    return rank


@dataclass(frozen=True)
class _ThinnedReference:
    """Thinned copies of reference cells: counts, depth above 0, deviance, and the number of the cell."""

    counts: sparse.csr_array
    depth: np.ndarray
    deviance: np.ndarray
    cell: np.ndarray

    def of(self, chosen: np.ndarray) -> "_ThinnedReference":
        return _ThinnedReference(self.counts[chosen], self.depth[chosen], self.deviance[chosen], self.cell[chosen])


@dataclass(frozen=True)
class _SplitHalf:
    """The copies of one half of the reference cells, and what the other half is like beside them.

    Attributes
    ----------
    median_depth
        Counts that cells are brought to before they are compared.
    components
        Of the copies' log-normalised expression; None: distance plays no part.
    nearest
        The copies, in these components.
    ranks
        Of the other half: of the deviance, of the distance, of both.
    """

    median_depth: float
    components: TruncatedSVD | None
    nearest: NearestNeighbors | None
    ranks: list[DepthRanks]

    @classmethod
    def of(cls, copies: _ThinnedReference, others: _ThinnedReference, n_draws: int) -> "_SplitHalf":
        median_depth = float(np.median(copies.depth))
        n_components = min(N_COMPONENTS, *(n - 1 for n in copies.counts.shape))
        components = TruncatedSVD(n_components, random_state=SEED)
        # copies that are all alike have no variance to explain a share of
        with np.errstate(divide="ignore", invalid="ignore"):
            places = components.fit_transform(_log_normalized(copies.counts, median_depth))
        nearest = NearestNeighbors(n_neighbors=min(N_NEAREST * n_draws, len(places))).fit(places)
        half = cls(median_depth, components, nearest, [])
        for score in (others.deviance, half.distance(others.counts)):
            half.ranks.append(DepthRanks.of(others.depth, score))
        half.ranks.append(DepthRanks.of(others.depth, half.both(others.depth, others.deviance, others.counts)))
        return half

    def distance(self, counts: sparse.csr_array) -> np.ndarray:
        """Return the mean distance to the nearest copies, shape (n_obs,)."""
        places = self.components.transform(_log_normalized(counts, self.median_depth))
        return self.nearest.kneighbors(places)[0].mean(axis=1)

    def both(self, depth: np.ndarray, deviance: np.ndarray, counts: sparse.csr_array) -> np.ndarray:
        """Return how strange cells are by both, higher for stranger ones (Fisher's combination), shape (n_obs,)."""
        by_deviance, by_distance = self.ranks[:2]
        unexplained, far = by_deviance.rank(depth, deviance), by_distance.rank(depth, self.distance(counts))
        # its exponential, since ranks are of logs
        return 1 / ((1 - unexplained) * (1 - far))

    def rank(self, depth: np.ndarray, deviance: np.ndarray, counts: sparse.csr_array) -> np.ndarray:
        """Return how strange cells are among the other half's copies, shape (n_obs,)."""
        if self.components is None:
            return self.ranks[0].rank(depth, deviance)
        return self.ranks[2].rank(depth, self.both(depth, deviance, counts))


def _halves(copies: _ThinnedReference) -> list[_SplitHalf]:
    """Return both halves; with few cells or genes one whole, without distances."""
    cells, genes = np.unique(copies.cell), np.unique(copies.counts.indices)
    if len(cells) < MIN_DISTANCE_CELLS or len(genes) < MIN_DISTANCE_GENES:
        return [_SplitHalf(0.0, None, None, [DepthRanks.of(copies.depth, copies.deviance)])]
    in_first = np.isin(copies.cell, np.random.default_rng(SEED).permutation(cells)[: len(cells) // 2])
    first, second = copies.of(in_first), copies.of(~in_first)
    n_draws = max(1, round(len(copies.cell) / len(cells)))
    return [_SplitHalf.of(first, second, n_draws), _SplitHalf.of(second, first, n_draws)]


def _copies_of_reference(
    cells: sparse.csr_array, codes: np.ndarray, profiles: LeaveOneOutProfiles, depth: np.ndarray
) -> _ThinnedReference:
    """Thin copies of reference cells to depths drawn from these, whatever a cell's own: every type at every depth."""
    by_label, rng, found = _log(profiles.of_labels()), np.random.default_rng(SEED), []
    for start in range(0, len(codes), BATCH):
        whole, own = cells[start : start + BATCH], codes[start : start + BATCH]
        log_own, own_depth = _log(profiles.without(whole.toarray(), own)), whole.sum(axis=1)
        for _ in range(max(1, min(MAX_DRAWS_PER_CELL, N_THINNED_CELLS // len(codes)))):
            share = (rng.choice(depth, len(own)) / own_depth.clip(1)).clip(max=1)
            counts = whole.copy()
            by_entry = np.repeat(share, np.diff(whole.indptr))
            counts.data = rng.binomial(whole.data.astype(np.int64), by_entry).astype(np.float32)
            log_likelihood = counts @ by_label.T
            log_likelihood[np.arange(len(own)), own] = counts.multiply(log_own).sum(axis=1)
            found.append((counts, *_least_deviance(counts, log_likelihood), start + np.arange(len(own))))
    counts, *numbers = zip(*found, strict=True)
    copies = _ThinnedReference(sparse.vstack(counts, format="csr"), *map(np.concatenate, numbers))
    return copies.of(copies.depth > 0)


def _sample(
    batches: Iterator[tuple[slice, np.ndarray]],
    depth: np.ndarray,
    obs_names: Sequence[str],
    thinned: Callable[[np.ndarray], sparse.csr_array],
) -> sparse.csr_array:
    """Keep up to 5,000 cells of a query that have counts, drawn by their names."""
    chosen = depth > 0
    if chosen.sum() > MAX_FACTOR_CELLS:
        by_name = np.argsort(np.where(chosen, uniform_from_names(obs_names), np.inf), kind="stable")
        chosen = np.isin(np.arange(len(depth)), by_name[:MAX_FACTOR_CELLS])
    return sparse.vstack([thinned(counts[chosen[rows]]) for rows, counts in batches], format="csr")


def _log_normalized(counts: sparse.csr_array, depth: float) -> sparse.csr_array:
    return (normalize(counts, norm="l1") * depth).log1p()


def _log(profiles: np.ndarray) -> np.ndarray:
    # a gene that takes no part has no counts, either
    return np.log(profiles, where=profiles > 0, out=np.zeros_like(profiles, dtype=np.float64))


def _at_most(counts: np.ndarray, max_depth: float) -> np.ndarray:
    deep = counts.sum(axis=1) > max_depth
    if deep.any():
        counts = counts.copy()
        counts[deep] = thin_to_depth(torch.from_numpy(counts[deep]), max_depth, 0).numpy()
    return counts


def _least_deviance(counts: sparse.csr_array, log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and deviance under the best label's profile, each of shape (n_obs,)."""
    depth, own = counts.sum(axis=1, dtype=np.float64), counts.astype(np.float64)
    own.data = xlogy(own.data, own.data)
    return depth, 2 * (own.sum(axis=1) - xlogy(depth, depth) - log_likelihood.max(axis=1))
