"""What differs between the reference's platform and the query's, gene by gene, and the likelihood that takes it in.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from hrca.module._count_likelihood import CountLikelihood, background_weight, pool_log_scores

# Gamma prior of a platform factor, in counts: a gene needs more than these before its factor leaves 1. Not tuned.
PLATFORM_PRIOR_COUNTS = 20.0

# How much more the likelihood is trusted, alone, than its weight beside the network says; 3 was best of 1 (with the
# network), 2 and 3 on four pairs of real data (benchmarks/accuracy.py, docs).
PLATFORM_TRUST = 3.0

# Both loops settle within these (tests/test_evidence.py): the outer one between labels and factors, the inner one
# between factors and the profiles' norms.
PLATFORM_ROUNDS, NORM_ROUNDS = 10, 20

# Factors by the median over labels: counts given in advance, rounds, and what makes a median: labels, and cells of
# each. None was tuned.
MEDIAN_PRIOR_COUNTS, MEDIAN_ROUNDS, MIN_MEDIAN_LABELS, MIN_CELLS_OF_LABEL = 5.0, 3, 3, 10


def normalize_log_likelihood(
    count_likelihood: CountLikelihood,
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    factors: Float[Tensor, " n_genes"],
) -> Float[Tensor, "n_obs n_labels"]:
    """Complete what the count branch returned by the norms of the profiles, as the platform sees them.

    It becomes a geometric mean of two multinomial likelihoods: of the counts on all genes, and of those on the
    informative genes among themselves.

    Parameters
    ----------
    evidence
        The fitted count branch.
    log_likelihood
        What the count branch returned, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    Shape (n_obs, n_labels).
    """
    others = background_weight(depth[:, 0])
    profiles = count_likelihood.log_profiles.to(depth).exp()
    sums = torch.stack([profiles @ factors, profiles @ (factors * count_likelihood.is_informative.to(depth))])
    # no counts, no matter: a query may lack all informative genes
    all_genes, is_informative = sums.clamp(min=torch.finfo(depth.dtype).tiny).log()
    by_all, by_informative = others * depth[:, 0], (1 - others) * depth[:, 1]
    return log_likelihood - by_all[:, None] * all_genes - by_informative[:, None] * is_informative


def platform_factors(
    totals: Float[Tensor, " n_genes"],
    counts_by_label: Float[Tensor, " n_labels"],
    profiles: Float[Tensor, "n_labels n_genes"],
    present: Float[Tensor, " n_genes"],
) -> Float[Tensor, " n_genes"]:
    """Return how many times more counts each gene has than its profiles and the query's composition would give.

    Per gene, as RCTD (Cable et al., Nat Biotechnol 2022, doi:10.1038/s41587-021-00830-w) and InSituType (Danaher et
    al., doi:10.1101/2022.10.19.512902) fit them; the Gamma prior around 1 is ours.

    Parameters
    ----------
    totals
        Counts of each gene in the query, shape (n_genes,).
    counts_by_label
        Counts of the query's cells by label, each cell shared out by its probabilities, shape (n_labels,).
    profiles
        Share of counts by gene, shape (n_labels, n_genes).
    present
        1 for a gene that the query measures, 0 for the others, shape (n_genes,).

    Returns
    -------
    Shape (n_genes,); 0 for absent genes.
    """
    factors = present.clone()
    for _ in range(NORM_ROUNDS):
        expected = (counts_by_label / (profiles @ factors).clamp(min=1e-12)) @ profiles
        factors = present * (totals + PLATFORM_PRIOR_COUNTS) / (expected + PLATFORM_PRIOR_COUNTS)
    return factors


def platform_log_likelihood(
    count_likelihood: CountLikelihood,
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    factors: Float[Tensor, " n_genes"],
) -> tuple[Float[Tensor, "n_obs n_labels"], Float[Tensor, " n_obs"]]:
    """Complete what the count branch returned, for cells as the network sees them: thinned where they are too deep.

    Parameters
    ----------
    evidence
        The fitted count branch.
    log_likelihood
        What the count branch returned, shape (n_obs, n_labels).
    depth
        As in :func:`normalize`.
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    The log-likelihood, shape (n_obs, n_labels), and the counts of each cell, at most those of the deepest cells that
    the network judges whole, shape (n_obs,).
    """
    log_likelihood, counts = normalize_log_likelihood(count_likelihood, log_likelihood, depth, factors), depth[:, 0]
    # the network judges a deep cell by thinned draws of it, and the likelihood of a draw is that share of the whole
    seen = counts.clamp(max=count_likelihood.max_depth.to(depth))
    return log_likelihood * (seen / counts.clamp(min=1))[:, None], seen


def fit_platform(
    count_likelihood: CountLikelihood,
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    totals: Float[Tensor, " n_genes"],
    present: Float[Tensor, " n_genes"],
) -> Float[Tensor, " n_genes"]:
    """Fit the platform factors between reference and query: labels by factors, factors by labels, in turn.

    The labels are those of the likelihood alone: the network, which knows no factors, would hold on to what they are to
    correct. The likelihood is tempered by its learned weight; as it stands it is so sure of itself that a wrong
    composition feeds itself.

    Parameters
    ----------
    evidence
        The fitted count branch.
    log_likelihood
        As in :func:`platform_log_likelihood`.
    depth
        As in :func:`normalize`.
    totals
        As in :func:`platform_factors`.
    present
        As in :func:`platform_factors`.

    Returns
    -------
    Shape (n_genes,).
    """
    profiles, factors = count_likelihood.log_profiles.exp().to(totals), present
    silent, weights = torch.zeros_like(log_likelihood), count_likelihood.pool_weights.to(depth)
    for _ in range(PLATFORM_ROUNDS):
        corrected, seen = platform_log_likelihood(count_likelihood, log_likelihood, depth, factors)
        probabilities = pool_log_scores(silent, PLATFORM_TRUST * corrected, seen, weights).softmax(dim=1)
        factors = platform_factors(totals, depth[:, 0] @ probabilities, profiles, present)
    return factors


def median_platform_factors(counts: sparse.csr_array, profiles: np.ndarray) -> np.ndarray:
    """Return how many times more counts each gene has than expected, in the median of the labels.

    Each cell counts for its most probable label. Cells of a type that the reference lacks fall to one label or two, which
    a median does not follow; a sum over all cells, as in :func:`platform_factors`, would take their genes for the
    platform's. It fails where such cells are most of the query. A gene that less than half of the labels express stays
    near 1: medians over those that do were no better (docs/decisions/0005).

    Parameters
    ----------
    counts
        Raw counts of query cells, each with some, shape (n_obs, n_genes).
    profiles
        Share of counts by gene, shape (n_labels, n_genes).

    Returns
    -------
    Shape (n_genes,), above 0; ones where fewer than 3 labels have at least 10 cells.

    Examples
    --------
    >>> profiles = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    >>> cells = sparse.csr_array(np.repeat(100 * profiles * [2, 1, 1], 50, axis=0))
    >>> median_platform_factors(cells, profiles).round(1)
    array([1.7, 0.8, 0.8])
    """
    factors = np.ones(profiles.shape[1])
    for _ in range(MEDIAN_ROUNDS):
        seen = platform_profiles(profiles, factors)
        log_seen = np.log(seen, where=seen > 0, out=np.zeros_like(seen))
        nearest = (counts @ log_seen.T).argmax(axis=1)
        membership = sparse.csr_array(
            (np.ones(len(nearest)), (nearest, np.arange(len(nearest)))), (len(profiles), len(nearest))
        )
        enough = np.bincount(nearest, minlength=len(profiles)) >= MIN_CELLS_OF_LABEL
        if enough.sum() < MIN_MEDIAN_LABELS:
            return np.ones(profiles.shape[1])
        observed = (membership @ counts).toarray()[enough]
        expected = observed.sum(axis=1, keepdims=True) * profiles[enough]
        more = (observed + MEDIAN_PRIOR_COUNTS) / (expected + MEDIAN_PRIOR_COUNTS)
        factors = np.exp(np.median(np.log(more), axis=0))
    return factors


def platform_profiles(profiles: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return profiles as a platform of these factors sees them: times the factors, rows that sum to one.

    Parameters
    ----------
    profiles
        Share of counts by gene, shape (n_labels, n_genes).
    factors
        Shape (n_genes,).

    Returns
    -------
    Shape (n_labels, n_genes).
    """
    seen = profiles * factors
    return seen / seen.sum(axis=1, keepdims=True)
