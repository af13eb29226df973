"""Label profiles and informative genes."""

import numpy as np
from scipy import sparse

from hrca.data._row_reader import dense, row_blocks
from hrca.typing import StoredMatrix

# Pseudocounts per gene, on average, that each label profile gets in proportion to the mean profile; and the counts that
# all genes together get in the mean profile, so that no gene is impossible. Both are from the prototype of
# docs/decisions/0003, and not tuned since.
PROFILE_PSEUDOCOUNT, TRACE_COUNTS = 0.3, 1e-2

# A gene is informative if, in some label, its fraction of the counts is above MIN_INFORMATIVE_FRACTION and above
# e^MIN_LOG_CONTRAST times its mean fraction in the other labels. RCTD's gene selection has 2e-4 and 0.75 (Cable et al.
# 2022). Ours were chosen on five pairs of data sets and checked on five others (docs/decisions/0003).
MIN_INFORMATIVE_FRACTION, MIN_LOG_CONTRAST = 1e-4, 1.25


def normalize_rows(values: np.ndarray) -> np.ndarray:
    """Divide rows by their sums.

    Parameters
    ----------
    values
        Non-negative numbers, shape (n_rows, n_columns), or one row, shape (n_columns,).

    Returns
    -------
    Rows that sum to one, of the same shape.
    """
    return values / values.sum(axis=-1, keepdims=True)


def class_sums(counts: StoredMatrix, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the summed counts of each label by gene.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell to leave out.
    n_labels
        Number of labels.

    Returns
    -------
    Summed counts, shape (n_labels, n_genes), float64.
    """
    labelled = np.flatnonzero(codes < n_labels)
    membership = sparse.csr_array(
        (np.ones(len(labelled)), (codes[labelled], labelled)), shape=(n_labels, counts.shape[0])
    )
    sums = np.zeros((n_labels, counts.shape[1]))
    for rows, block in row_blocks(counts):
        sums += dense(membership[:, rows] @ block)
    return sums


def class_profiles(
    counts: StoredMatrix,
    codes: np.ndarray,
    n_labels: int,
    *,
    pseudocount: float = PROFILE_PSEUDOCOUNT,
    trace_counts: float = TRACE_COUNTS,
) -> np.ndarray:
    r"""Return the profile of each label: the fraction of its counts by gene, smoothed towards the mean of all labels.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell to leave out.
    n_labels
        Number of labels.
    pseudocount
        Pseudocounts per gene, on average.
    trace_counts
        Counts added to the mean profile, spread evenly over the genes.

    Returns
    -------
    Profiles, shape (n_labels, n_genes). Rows sum to one, and all entries are above zero.

    Notes
    -----
    With the summed counts :math:`s_{kg}` of label k on gene g, K labels, G genes, the pseudocount a and the trace
    counts t,

    .. math::
        p_{kg} \propto s_{kg} + a \, G \, m_g, \qquad
        m_g \propto \frac{1}{K} \sum_k \frac{s_{kg}}{\sum_h s_{kh}} + \frac{t}{G \sum_{kh} s_{kh}} ,

    where both p and m sum to one over the genes.

    Examples
    --------
    >>> class_profiles(np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1]), 2).round(2)
    array([[0.93, 0.07],
           [0.07, 0.93]])
    """
    n_genes, sums = counts.shape[1], class_sums(counts, codes, n_labels)
    # not normalize_rows: a label without counts keeps a row of zeros here
    fractions = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1)
    mean = fractions.mean(axis=0) + trace_counts / max(sums.sum(), 1) / n_genes
    return normalize_rows(sums + pseudocount * n_genes * mean / mean.sum())


def informative_genes(profiles: np.ndarray, gene_mask: np.ndarray) -> np.ndarray:
    """Select the genes whose fraction in some label is well above that in the other labels.

    The contrast is large enough to remain on another platform. The criterion is that of RCTD :cite:p:`cable2022robust`,
    with thresholds of our own.

    Parameters
    ----------
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes), all above zero.
    gene_mask
        Genes to select from, shape (n_genes,), boolean or 0 and 1.

    Returns
    -------
    Boolean, True for a selected gene, shape (n_genes,). All genes of `gene_mask` if none meets the criterion.

    Examples
    --------
    >>> informative_genes(np.array([[0.6, 0.4], [0.1, 0.9]]), np.array([True, True]))
    array([ True, False])
    """
    used = gene_mask.astype(bool)
    fractions = normalize_rows(profiles * used)
    others = (fractions.sum(axis=0) - fractions) / (len(fractions) - 1)
    contrasted = (fractions > MIN_INFORMATIVE_FRACTION) & (fractions > np.exp(MIN_LOG_CONTRAST) * others)
    selected = used & contrasted.any(axis=0)
    return selected if selected.any() else used


def js_divergence_by_gene(profiles: np.ndarray) -> np.ndarray:
    """Return the contribution of each gene to the Jensen-Shannon divergence of the profiles.

    Parameters
    ----------
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes), all above zero.

    Returns
    -------
    Contributions in nats, shape (n_genes,); their sum is the divergence.
    """
    return (profiles * np.log(profiles / profiles.mean(axis=0))).mean(axis=0)
