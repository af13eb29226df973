"""Ranks of deviance and distance among thinned reference cells, combined."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from hrca.module._sparse_counts import SparseCounts
from hrca.module._transforms import log_normalize_sparse

from ._depth_ranks import DepthRanks
from ._thinned_reference import ThinnedReference

# Number of components, chosen among 15, 20 and 30, and of nearest reference cells, chosen among 3, 5 and 10. Larger
# numbers detect hardly more new types, and rank rare types of the reference higher (docs/decisions/0005).
N_COMPONENTS = 20
N_NEAREST = 3

# Number of cells whose distances to all reference cells are in memory at once: 8 MB.
DISTANCE_BATCH_SIZE = 1024

# With fewer reference cells, or fewer genes with counts, only the deviance is used: halves would be too small.
MIN_DISTANCE_CELLS = 40
MIN_DISTANCE_GENES = 3

# Seed of the halves and of the decomposition. Any fixed number serves.
SPLIT_SEED = 0

# Takes depth, deviance and counts of cells; returns their ranks, in [0, 1), shape (n_obs,).
RankFunction = Callable[[np.ndarray, np.ndarray, sparse.csr_array], np.ndarray]


def fit_novelty_ranks(thinned: ThinnedReference) -> RankFunction:
    """Return the function that ranks cells among thinned reference cells of similar depth.

    Parameters
    ----------
    thinned
        Thinned reference cells.

    Returns
    -------
    The mean of the ranks among both halves of the reference. With few reference cells or genes it is the rank of the
    deviance among all.
    """
    cells, genes = np.unique(thinned.cells), np.unique(thinned.counts.indices)
    if len(cells) < MIN_DISTANCE_CELLS or len(genes) < MIN_DISTANCE_GENES:
        deviance_ranks = DepthRanks.fit(thinned.depth, thinned.deviance)
        return lambda depth, deviance, counts: deviance_ranks.rank(depth, deviance)
    in_first = np.isin(thinned.cells, np.random.default_rng(SPLIT_SEED).permutation(cells)[: len(cells) // 2])
    first, second = thinned.subset(in_first), thinned.subset(~in_first)
    n_draws = max(1, round(len(thinned.cells) / len(cells)))
    halves = [_SplitHalf.fit(first, second, n_draws), _SplitHalf.fit(second, first, n_draws)]
    return lambda depth, deviance, counts: np.mean([half.rank(depth, deviance, counts) for half in halves], axis=0)


@dataclass(frozen=True)
class _NearestCells:
    """Search for the nearest thinned reference cells in components of log-normalised counts.

    Attributes
    ----------
    median_depth
        Counts to which cells are normalised.
    components
        Truncated singular value decomposition of the log-normalised counts.
    coordinates
        The thinned reference cells in these components, float32, shape (n_thinned, n_components).
    n_neighbors
        Number of nearest cells.
    """

    median_depth: float
    components: TruncatedSVD
    coordinates: np.ndarray
    n_neighbors: int

    @classmethod
    def fit(cls, thinned: ThinnedReference, n_draws: int) -> "_NearestCells":
        """Fit components and search to thinned cells, of which each reference cell has about `n_draws`."""
        median_depth = float(np.median(thinned.depth))
        n_components = min(N_COMPONENTS, *(n - 1 for n in thinned.counts.shape))
        components = TruncatedSVD(n_components, random_state=SPLIT_SEED)
        # the explained fraction of the variance is 0/0 where all cells are the same
        with np.errstate(divide="ignore", invalid="ignore"):
            coordinates = components.fit_transform(log_normalize_sparse(thinned.counts, median_depth))
        n_neighbors = min(N_NEAREST * n_draws, len(coordinates))
        return cls(median_depth, components, coordinates.astype(np.float32), n_neighbors)

    def distance(self, counts: sparse.csr_array) -> np.ndarray:
        """Return the mean distance of each cell to the nearest thinned reference cells, shape (n_obs,)."""
        # in single precision, which a brute-force search and a sparse product are much faster in
        axes = torch.from_numpy(self.components.components_.T.astype(np.float32, order="C"))
        normalized = SparseCounts.from_csr(log_normalize_sparse(counts.astype(np.float32), self.median_depth))
        reference = torch.from_numpy(self.coordinates)
        parts = [
            torch.cdist(part.matmul(axes), reference).topk(self.n_neighbors, largest=False).values.mean(dim=1)
            for part in normalized.split(DISTANCE_BATCH_SIZE)
        ]
        return torch.cat(parts).double().numpy()


@dataclass(frozen=True)
class _SplitHalf:
    """One half of the reference, in which distances are measured, and the ranks of the other half.

    Attributes
    ----------
    nearest
        Search among the cells of this half.
    deviance_ranks
        Deviances of the other half.
    distance_ranks
        Distances of the other half from this half.
    combined_ranks
        Both ranks of the other half, combined.
    """

    nearest: _NearestCells
    deviance_ranks: DepthRanks
    distance_ranks: DepthRanks
    combined_ranks: DepthRanks

    @classmethod
    def fit(cls, half: ThinnedReference, other: ThinnedReference, n_draws: int) -> "_SplitHalf":
        """Fit the search to one half, and the ranks to the other."""
        nearest = _NearestCells.fit(half, n_draws)
        distance = nearest.distance(other.counts)
        deviance_ranks = DepthRanks.fit(other.depth, other.deviance)
        distance_ranks = DepthRanks.fit(other.depth, distance)
        combined = _combine_ranks(
            deviance_ranks.rank(other.depth, other.deviance), distance_ranks.rank(other.depth, distance)
        )
        return cls(nearest, deviance_ranks, distance_ranks, DepthRanks.fit(other.depth, combined))

    def rank(self, depth: np.ndarray, deviance: np.ndarray, counts: sparse.csr_array) -> np.ndarray:
        """Return the combined rank of each cell among the other half, shape (n_obs,)."""
        deviance_rank = self.deviance_ranks.rank(depth, deviance)
        distance_rank = self.distance_ranks.rank(depth, self.nearest.distance(counts))
        return self.combined_ranks.rank(depth, _combine_ranks(deviance_rank, distance_rank))


def _combine_ranks(deviance_rank: np.ndarray, distance_rank: np.ndarray) -> np.ndarray:
    """Return the exponential of Fisher's sum of both ranks, because :class:`DepthRanks` takes the log of a score."""
    return 1 / ((1 - deviance_rank) * (1 - distance_rank))
