"""Per-gene factors between the reference's platform and the query's, and the likelihood under them."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from hrca.module._count_likelihood import CountLikelihood, background_weight, pool_log_scores
from hrca.module._profiles import class_sums, normalize_rows

# Gamma prior of a platform factor, in counts: a gene needs more expected counts than this before its factor departs
# from 1. Not tuned.
PLATFORM_PRIOR_COUNTS = 20.0

# Multiplier of the log-likelihood's pooling weight while the factors are fitted, without the classifier. 3 was the best
# of 1 (with the classifier), 2 and 3 on four pairs of real data (benchmarks/accuracy, docs/decisions/0003).
PLATFORM_LIKELIHOOD_FACTOR = 3.0

# Numbers of iterations: between labels and factors, and between factors and the norms of the profiles. One more round
# changes no factor by more than 0.1 % (tests/prediction/test_platform_factors.py).
PLATFORM_ROUNDS, NORM_ROUNDS = 10, 20

# Median platform factors: pseudocounts, iterations, and the minimum numbers of labels and of cells per label. None of
# these was tuned.
MEDIAN_PRIOR_COUNTS, MEDIAN_ROUNDS, MIN_MEDIAN_LABELS, MIN_CELLS_OF_LABEL = 5.0, 3, 3, 10


def normalize_log_likelihood(
    count_likelihood: CountLikelihood,
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    factors: Float[Tensor, " n_genes"],
) -> Float[Tensor, "n_obs n_labels"]:
    r"""Subtract the norms of the profiles, under platform factors, from the log-likelihood.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    Log-likelihood, shape (n_obs, n_labels), up to a constant of the cell.

    Notes
    -----
    The result is a weighted geometric mean of two multinomial likelihoods. That of the counts on all genes has the
    weight :math:`\beta = 1 / (1 + n / 100)`. The other one is of the counts on the informative genes I alone. With
    platform factors :math:`\phi_g` and the output :math:`\ell_k` of the count likelihood,

    .. math::
        \ell_k - \beta n \log \sum_g p_{kg} \phi_g - (1 - \beta) n_I \log \sum_{g \in I} p_{kg} \phi_g .
    """
    background = background_weight(depth[:, 0])
    profiles = count_likelihood.log_profiles.to(depth).exp()
    norms = torch.stack([profiles @ factors, profiles @ (factors * count_likelihood.is_informative.to(depth))])
    # a query without informative genes has no counts on them, and the logarithm must be finite
    log_norm_all, log_norm_informative = norms.clamp(min=torch.finfo(depth.dtype).tiny).log()
    n_all, n_informative = background * depth[:, 0], (1 - background) * depth[:, 1]
    return log_likelihood - n_all[:, None] * log_norm_all - n_informative[:, None] * log_norm_informative


def platform_factors(
    totals: Float[Tensor, " n_genes"],
    counts_by_label: Float[Tensor, " n_labels"],
    profiles: Float[Tensor, "n_labels n_genes"],
    present: Float[Tensor, " n_genes"],
) -> Float[Tensor, " n_genes"]:
    r"""Return the ratio of observed to expected counts of each gene, for a query of known composition.

    Parameters
    ----------
    totals
        Counts of each gene in the query, shape (n_genes,).
    counts_by_label
        Counts of the query's cells by label, shape (n_labels,): those of a cell are divided in proportion to its label
        probabilities.
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes).
    present
        1 for a gene that the query measures, 0 for the others, shape (n_genes,).

    Returns
    -------
    Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Notes
    -----
    With the totals :math:`t_g`, the counts by label :math:`c_k` and the prior counts a = 20, the factors solve

    .. math::
        \phi_g = \frac{t_g + a}{e_g + a}, \qquad e_g = \sum_k c_k \frac{p_{kg}}{\sum_h p_{kh} \phi_h} ,

    by fixed-point iteration. RCTD :cite:p:`cable2022robust` and InSituType :cite:p:`danaher2022insitutype` fit such
    factors per gene; the Gamma prior around 1 is ours.
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
    """Return the log-likelihood under platform factors, at the depth that the classifier sees.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    log_likelihood
        Log-likelihood, shape (n_obs, n_labels). That of a cell deeper than `max_depth` is scaled by `max_depth` over
        the cell's depth, because the classifier sees thinned draws of the cell.
    depth
        Counts of each cell, clipped to `max_depth`, shape (n_obs,).
    """
    n_counts = depth[:, 0]
    clipped = n_counts.clamp(max=count_likelihood.max_depth.to(depth))
    normalized = normalize_log_likelihood(count_likelihood, log_likelihood, depth, factors)
    return normalized * (clipped / n_counts.clamp(min=1))[:, None], clipped


def fit_platform(
    count_likelihood: CountLikelihood,
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    totals: Float[Tensor, " n_genes"],
    present: Float[Tensor, " n_genes"],
) -> Float[Tensor, " n_genes"]:
    """Fit platform factors to unlabelled cells, alternating between label probabilities and factors.

    The probabilities come from the likelihood alone. The classifier knows no factors and would preserve the errors that
    they correct. The likelihood is tempered by its pooling weight: untempered, it is so confident that a wrong
    composition reinforces itself.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    totals
        Counts of each gene in the query, shape (n_genes,).
    present
        1 for a gene that the query measures, 0 for the others, shape (n_genes,).

    Returns
    -------
    Platform factors, shape (n_genes,); 0 for genes that the query lacks.
    """
    profiles, factors = count_likelihood.log_profiles.exp().to(totals), present
    no_network, pool_weights = torch.zeros_like(log_likelihood), count_likelihood.pool_weights.to(depth)
    for _ in range(PLATFORM_ROUNDS):
        corrected, clipped = platform_log_likelihood(count_likelihood, log_likelihood, depth, factors)
        probabilities = pool_log_scores(
            no_network, PLATFORM_LIKELIHOOD_FACTOR * corrected, clipped, pool_weights
        ).softmax(dim=1)
        factors = platform_factors(totals, depth[:, 0] @ probabilities, profiles, present)
    return factors


def median_platform_factors(counts: sparse.csr_array, profiles: np.ndarray) -> np.ndarray:
    """Return the median over labels of the ratio of observed to expected counts of each gene.

    Each cell is assigned to its most likely label. Cells of a type that the reference lacks concentrate in one or two
    labels, which leaves the median almost unchanged. A ratio over all cells, as in :func:`platform_factors`, would
    attribute the genes of such a type to the platform.

    Parameters
    ----------
    counts
        Raw counts of query cells, each with some, shape (n_obs, n_genes).
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes).

    Returns
    -------
    Platform factors, shape (n_genes,), above 0; ones if fewer than 3 labels have at least 10 cells.

    Notes
    -----
    The factors are wrong if most of the query's cells are of types that the reference lacks. A gene that less than half
    of the labels express keeps a factor near 1; medians over only the labels that express it were not better
    (docs/decisions/0005).

    Examples
    --------
    >>> profiles = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    >>> cells = sparse.csr_array(np.repeat(100 * profiles * [2, 1, 1], 50, axis=0))
    >>> median_platform_factors(cells, profiles).round(1)
    array([1.7, 0.8, 0.8])
    """
    n_labels, n_genes = profiles.shape
    factors = np.ones(n_genes)
    for _ in range(MEDIAN_ROUNDS):
        corrected = platform_profiles(profiles, factors)
        log_corrected = np.log(corrected, where=corrected > 0, out=np.zeros_like(corrected))
        codes = (counts @ log_corrected.T).argmax(axis=1)
        is_large = np.bincount(codes, minlength=n_labels) >= MIN_CELLS_OF_LABEL
        if is_large.sum() < MIN_MEDIAN_LABELS:
            return np.ones(n_genes)
        observed = class_sums(counts, codes, n_labels)[is_large]
        expected = observed.sum(axis=1, keepdims=True) * profiles[is_large]
        ratio = (observed + MEDIAN_PRIOR_COUNTS) / (expected + MEDIAN_PRIOR_COUNTS)
        factors = np.exp(np.median(np.log(ratio), axis=0))
    return factors


def platform_profiles(profiles: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the label profiles on a platform with these factors.

    Parameters
    ----------
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes).
    factors
        Platform factors, shape (n_genes,).

    Returns
    -------
    Profiles times the factors, shape (n_labels, n_genes), rows that sum to one.
    """
    return normalize_rows(profiles * factors)
