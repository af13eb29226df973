"""How unlike the reference a cell is: what its counts do not share with any label's profile, beyond what is usual.

The deviance of a cell is twice the log-likelihood that its counts lose under the best label's profile against one of
its own. It grows with depth, so it is held against that of reference cells thinned to depths drawn from the query's,
each under a profile that does not know it (docs/decisions/0005).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.special import xlogy

from ._evidence import PROFILE_PSEUDOCOUNT, class_sums
from ._transforms import thin_to_depth

# Reference cells that are kept, at most; about how many thinned copies of them a query is compared with, and how many
# of each cell at most. None of these was tuned, nor the next two.
MOST_CELLS, N_COPIES, MOST_DRAWS = 2000, 8000, 8
# A cell is compared with this share of the copies, those nearest in depth.
NEAREST_SHARE = 0.25
# Counts that a gene is given in advance, so that one which the reference never showed is possible.
GENE_PSEUDOCOUNT = 0.5
SEED = 0
BATCH = 256


@dataclass(frozen=True)
class Profiles:
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


def keep_cells(counts, codes: np.ndarray, n_labels: int, deepest: float) -> dict[str, np.ndarray]:
    """Return what novelty needs of a reference.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    n_labels
        Number of labels.
    deepest
        Counts to which deeper cells are thinned before they are compared.

    Returns
    -------
    ``sums``, counts by label and gene; ``data``, ``indices`` and ``indptr``, the counts of at most 2,000 cells drawn at
    random, as a CSR matrix; ``codes``, their labels; ``deepest``.
    """
    kept = np.flatnonzero(codes < n_labels)
    if len(kept) > MOST_CELLS:
        kept = np.sort(np.random.default_rng(SEED).choice(kept, MOST_CELLS, replace=False))
    cells = counts[kept]
    cells = sparse.csr_array(cells if sparse.issparse(cells) else np.asarray(cells))
    return {
        "sums": class_sums(counts, codes, n_labels).astype(np.float32),
        "data": cells.data.astype(np.float32),
        "indices": cells.indices.astype(np.int32),
        "indptr": cells.indptr.astype(np.int64),
        "codes": codes[kept].astype(np.int32),
        "deepest": np.array(deepest, dtype=np.float32),
    }


def novelty(
    kept: dict[str, np.ndarray],
    batches: Iterator[tuple[slice, np.ndarray]],
    depth: np.ndarray,
    genes_used: np.ndarray,
) -> np.ndarray:
    """Return for each cell the share of reference cells of its depth that are less strange than it.

    Parameters
    ----------
    kept
        From :func:`keep_cells`.
    batches
        The query's cells, see :func:`hrca._inference.aligned_batches`.
    depth
        Their counts on the genes used, shape (n_obs,).
    genes_used
        1 for genes that the model uses and the query has, shape (n_genes,).

    Returns
    -------
    In [0, 1), shape (n_obs,), float32; NaN for a cell without counts. Cells of the reference's kind have any value as
    often as any other: a share alpha of them is above 1 - alpha, or slightly less. It depends on the depths of the
    other cells of the query, to which the reference cells are thinned.
    """
    profiles = Profiles(kept["sums"] * genes_used, genes_used)
    cells = sparse.csr_array(
        (kept["data"], kept["indices"], kept["indptr"]), shape=(len(kept["codes"]), len(genes_used))
    )
    judged = depth > 0
    ranks = np.full(len(depth), np.nan, dtype=np.float32)
    if not judged.any() or not (cells @ genes_used).any():
        return ranks
    deepest = float(kept["deepest"])
    known = _deviances_of_reference(cells, kept["codes"], profiles, depth[judged].clip(max=deepest))
    # without platform factors: fitted to the query, they would take an unseen type for the platform
    by_label = _log(profiles.of_labels())
    found = np.zeros((len(depth), 2))
    for rows, counts in batches:
        counts = sparse.csr_array(_at_most(counts * genes_used.astype(np.float32), deepest))
        found[rows] = _least_deviance(counts, counts @ by_label.T)
    judged = found[:, 0] > 0
    ranks[judged] = _rank(known, found[judged])
    return ranks


def _deviances_of_reference(
    cells: sparse.csr_array, codes: np.ndarray, profiles: Profiles, depth: np.ndarray
) -> np.ndarray:
    """Return depth and least deviance of copies of reference cells, thinned to depths drawn from these; depths rise."""
    by_label, rng, found = _log(profiles.of_labels()), np.random.default_rng(SEED), []
    cells = sparse.csr_array(cells @ sparse.diags_array(profiles.genes.astype(np.float32)))
    n_draws = min(MOST_DRAWS, -(-N_COPIES // len(codes)))
    for start in range(0, len(codes), BATCH):
        whole, own = cells[start : start + BATCH], codes[start : start + BATCH]
        log_own, own_depth = _log(profiles.without(whole.toarray(), own)), whole.sum(axis=1)
        by_rank = own_depth.argsort(kind="stable").argsort(kind="stable")
        for _ in range(n_draws):
            drawn = np.sort(rng.choice(depth, len(own)))[by_rank]
            share = (drawn / own_depth.clip(1)).clip(max=1)
            counts = whole.copy()
            by_entry = np.repeat(share, np.diff(whole.indptr))
            counts.data = rng.binomial(whole.data.astype(np.int64), by_entry).astype(np.float32)
            log_likelihood = counts @ by_label.T
            log_likelihood[np.arange(len(own)), own] = counts.multiply(log_own).sum(axis=1)
            found.append(_least_deviance(counts, log_likelihood))
    known = np.concatenate(found)
    known = known[known[:, 0] > 0]
    return known[np.argsort(known[:, 0], kind="stable")]


def _log(profiles: np.ndarray) -> np.ndarray:
    # a gene that takes no part has no counts, either
    return np.log(profiles, where=profiles > 0, out=np.zeros_like(profiles, dtype=np.float64))


def _at_most(counts: np.ndarray, deepest: float) -> np.ndarray:
    deep = counts.sum(axis=1) > deepest
    if deep.any():
        counts = counts.copy()
        counts[deep] = thin_to_depth(torch.from_numpy(counts[deep]), deepest, 0).numpy()
    return counts


def _least_deviance(counts: sparse.csr_array, log_likelihood: np.ndarray) -> np.ndarray:
    depth, own = counts.sum(axis=1, dtype=np.float64), counts.astype(np.float64)
    own.data = xlogy(own.data, own.data)
    deviance = 2 * (own.sum(axis=1) - xlogy(depth, depth) - log_likelihood.max(axis=1))
    return np.stack([depth, deviance], axis=1)


def _rank(known: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the share of the copies nearest in depth that deviate less than a cell, beyond the trend by depth."""
    n_nearest = max(1, int(NEAREST_SHARE * len(known)))
    log_depth, log_deviance = np.log(known[:, 0]), _log_deviance(known)
    slope = np.cov(log_depth, log_deviance, ddof=0)[0, 1] / max(log_depth.var(), 1e-12)
    surprise = log_deviance - slope * log_depth
    windows = np.lib.stride_tricks.sliding_window_view(surprise, n_nearest)
    ends = (np.searchsorted(known[:, 0], cells[:, 0], side=side) for side in ("left", "right"))
    start = (sum(ends) // 2 - n_nearest // 2).clip(0, len(known) - n_nearest)
    own = _log_deviance(cells) - slope * np.log(cells[:, 0])
    return np.array([(windows[i] < x).sum() for i, x in zip(start, own, strict=True)]) / (n_nearest + 1)


def _log_deviance(cells: np.ndarray) -> np.ndarray:
    # a cell of one count can have none at all
    return np.log(cells[:, 1].clip(1e-6))
