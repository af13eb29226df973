"""Reference cells thinned to the depths of a query, with their deviance from the label profiles."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hrca.module._deviance import log_or_zero, multinomial_deviance
from hrca.module._transforms import thin_sparse

from ._novelty_reference import LeaveOneOutProfiles

# Approximate number of thinned cells, and maximum number for each reference cell. Neither was tuned.
N_THINNED_CELLS = 2000
MAX_DRAWS_PER_CELL = 8

# Number of reference cells that are thinned at a time.
REFERENCE_BATCH_SIZE = 256

# Seed of the thinning. Any fixed number serves.
REFERENCE_THINNING_SEED = 0


@dataclass(frozen=True)
class ThinnedReference:
    """Thinned reference cells.

    Attributes
    ----------
    counts
        Counts on the genes used, shape (n_thinned, n_genes).
    depth
        Sum of the counts, above 0, shape (n_thinned,).
    deviance
        Deviance under the best label's profile, shape (n_thinned,).
    cells
        Index of the reference cell, shape (n_thinned,).
    """

    counts: sparse.csr_array
    depth: np.ndarray
    deviance: np.ndarray
    cells: np.ndarray

    def subset(self, rows: np.ndarray) -> "ThinnedReference":
        """Return some of the thinned cells, given by a mask."""
        return ThinnedReference(self.counts[rows], self.depth[rows], self.deviance[rows], self.cells[rows])


def thin_reference(
    counts: sparse.csr_array, codes: np.ndarray, profiles: LeaveOneOutProfiles, depths: np.ndarray
) -> ThinnedReference:
    """Thin reference cells to depths drawn at random.

    The depth does not depend on the depth of the reference cell, so that each type is compared at each depth.

    Parameters
    ----------
    counts
        Raw counts of reference cells on the genes used, shape (n_cells, n_genes).
    codes
        Index of the label of each, shape (n_cells,).
    profiles
        Profiles of the labels. The deviance of a cell is computed from a profile without it.
    depths
        Depths to draw from, shape (n_depths,). A cell with fewer counts than it draws stays as it is.

    Returns
    -------
    One to eight thinned cells for each reference cell, except those without counts.
    """
    log_profiles, rng, batches = log_or_zero(profiles.by_label()), np.random.default_rng(REFERENCE_THINNING_SEED), []
    n_draws = max(1, min(MAX_DRAWS_PER_CELL, N_THINNED_CELLS // len(codes)))
    for start in range(0, len(codes), REFERENCE_BATCH_SIZE):
        batch, own_label = counts[start : start + REFERENCE_BATCH_SIZE], codes[start : start + REFERENCE_BATCH_SIZE]
        log_own_profile = log_or_zero(profiles.without_cells(batch.toarray(), own_label))
        cells = np.arange(len(own_label))
        for _ in range(n_draws):
            fraction = (rng.choice(depths, len(own_label)) / batch.sum(axis=1).clip(1)).clip(max=1)
            thinned = thin_sparse(batch, fraction, rng)
            log_likelihood = thinned @ log_profiles.T
            log_likelihood[cells, own_label] = thinned.multiply(log_own_profile).sum(axis=1)
            batches.append((thinned, *multinomial_deviance(thinned, log_likelihood), start + cells))
    matrices, *arrays = zip(*batches, strict=True)
    reference = ThinnedReference(sparse.vstack(matrices, format="csr"), *map(np.concatenate, arrays))
    return reference.subset(reference.depth > 0)
