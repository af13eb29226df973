"""Label profiles and informative genes."""

import numpy as np
from scipy import sparse

from hrca.data._row_reader import dense, row_blocks

# Counts that a label's profile is given in advance for each gene, on average, in proportion to the mean profile; and
# how many all genes have that the reference does not have. Both from the first prototype, and not tuned since.
PROFILE_PSEUDOCOUNT, TRACE_COUNTS = 0.3, 1e-2

# A gene is informative whose share of a label's counts is above 1e-4, and e^MIN_LOG_CONTRAST times its mean share of the other
# labels' (the thresholds of RCTD's gene selection are 2e-4 and 0.75; Cable et al., Nat Biotechnol 2022). The small
# differences of all other genes are as much the platform's or the donor's as the labels': a sparse cell needs them, in
# a deep one they would outvote the informative genes, so that they count 1 / (1 + depth / 100).
MIN_INFORMATIVE_FRACTION, MIN_LOG_CONTRAST, BACKGROUND_DEPTH = 1e-4, 1.25, 100.0


def class_profiles(counts, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return each label's share of counts by gene, smoothed towards the mean of all labels.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell that is to be left out.
    n_labels
        Number of labels.

    Returns
    -------
    Shape (n_labels, n_genes), rows that sum to one, all above zero.

    Examples
    --------
    >>> class_profiles(np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1]), 2).round(2)
    array([[0.93, 0.07],
           [0.07, 0.93]])
    """
    n_genes, sums = counts.shape[1], class_sums(counts, codes, n_labels)
    shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1)
    # a gene without counts in the reference keeps a trace, so that a query's counts of it are possible
    mean = shares.mean(axis=0) + TRACE_COUNTS / max(sums.sum(), 1) / n_genes
    profiles = sums + PROFILE_PSEUDOCOUNT * n_genes * mean / mean.sum()
    return profiles / profiles.sum(axis=1, keepdims=True)


def class_sums(counts, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the counts of each label by gene, shape (n_labels, n_genes); see :func:`class_profiles`."""
    cell_mask = np.flatnonzero(codes < n_labels)
    ones, places = np.ones(len(cell_mask)), (codes[cell_mask], cell_mask)
    membership = sparse.csr_array((ones, places), shape=(n_labels, counts.shape[0]))
    return sum(dense(membership[:, rows] @ block) for rows, block in row_blocks(counts))


def informative_genes(profiles: np.ndarray, gene_mask: np.ndarray) -> np.ndarray:
    """Choose the genes whose share in some label stands out from the other labels' enough to do so on any platform.

    As RCTD (Cable et al., Nat Biotechnol 2022, doi:10.1038/s41587-021-00830-w) chooses genes; the thresholds are ours.

    Parameters
    ----------
    profiles
        Share of counts by gene, shape (n_labels, n_genes), all above zero.
    gene_mask
        Which genes to choose from, shape (n_genes,).

    Returns
    -------
    Which genes were chosen, shape (n_genes,): all that are used where none stands out.

    Examples
    --------
    >>> informative_genes(np.array([[0.6, 0.4], [0.1, 0.9]]), np.array([True, True]))
    array([ True, False])
    """
    used = gene_mask.astype(bool)
    shares = profiles * used / (profiles * used).sum(axis=1, keepdims=True)
    others = (shares.sum(axis=0) - shares) / (len(shares) - 1)
    chosen = used & ((shares > MIN_INFORMATIVE_FRACTION) & (shares > np.exp(MIN_LOG_CONTRAST) * others)).any(axis=0)
    return chosen if chosen.any() else used


def js_divergence_by_gene(profiles: np.ndarray) -> np.ndarray:
    """Return what each gene adds to the Jensen-Shannon divergence of the profiles, in nats, shape (n_genes,)."""
    return (profiles * np.log(profiles / profiles.mean(axis=0))).mean(axis=0)
