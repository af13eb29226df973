"""Likelihood of raw counts under each label's profile, and its pooling with the classifier's log-probabilities.

Log-normalised expression does not show how uncertain a sparse cell is; raw counts do.
"""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._optimize import minimize_bounded
from ._profiles import informative_genes

# The depth, in counts, at which the weight of a count on a gene that is not informative is one half. The small
# differences of such genes come as much from the platform or the donor as from the label. A sparse cell needs them; in
# a deep cell they would outweigh the informative genes (docs/decisions/0003, "informative genes"). Not tuned.
BACKGROUND_DEPTH = 100.0

# The log-likelihood is divided by 1 + depth / 300, because the counts of a cell are not independent draws. 300 was the
# best single number of the grid of the prototype (docs/decisions/0003).
SATURATION_DEPTH = 300.0

# The depth, in counts, at which the terms in log depth of pooling weights and temperature vanish.
REFERENCE_DEPTH = 100.0

# Prior means of the pooling weights, and the prior standard deviation of their logs. Held-out reference cells cannot
# show that the likelihood transfers to another platform better than the classifier does, so that weights fitted to them
# alone would favour the classifier. Chosen on five pairs of data sets and checked on five others (docs/benchmarks.md).
NETWORK_WEIGHT, COUNTS_WEIGHT, POOL_WEIGHT_PRIOR_SD = 1.0, 0.5, 0.15

# Maximum distance of a log weight from its prior mean; at much larger distances the exponential overflows.
MAX_ABS_LOG_WEIGHT = 3.0


class CountLikelihood(nn.Module):
    r"""Multinomial likelihood of a cell's counts under each label's profile.

    Parameters
    ----------
    n_labels
        Number of labels.
    n_genes
        Number of genes.

    Attributes
    ----------
    log_profiles
        Log of the fraction of each label's counts by gene, shape (n_labels, n_genes).
    is_informative
        1 for a gene that separates the labels on any platform, 0 for the others, shape (n_genes,).
    pool_weights
        Log weight of the classifier (first column) and of the likelihood (second), shape (2, 2): at 100 counts (first
        row), and the slope by log depth. See :func:`pool_log_scores`.
    max_depth
        Counts to which a deeper cell is thinned before the classifier sees it: the 0.9 quantile of the reference's
        depths. Training has few cells above it.
    is_fitted
        True after training has set the other buffers.

    Notes
    -----
    The log-likelihood of the counts :math:`x_g` under label k, before the term for the norm of the profile, is

    .. math::
        \ell_k = \sum_g x_g \, w_g \log p_{kg}, \qquad
        w_g = \begin{cases} 1 & \text{if g is informative} \\ 1 / (1 + n / 100) & \text{otherwise} \end{cases}

    for a cell of :math:`n = \sum_g x_g` counts.
    :func:`hrca.prediction._platform_likelihood.normalize_log_likelihood` subtracts the norms.
    """

    log_profiles: Tensor
    is_informative: Tensor
    pool_weights: Tensor
    max_depth: Tensor
    is_fitted: Tensor

    def __init__(self, n_labels: int, n_genes: int):
        super().__init__()
        self.register_buffer("log_profiles", torch.zeros(n_labels, n_genes))
        self.register_buffer("is_informative", torch.ones(n_genes))
        self.register_buffer("pool_weights", prior_pool_weights())
        self.register_buffer("max_depth", torch.tensor(float("inf")))
        self.register_buffer("is_fitted", torch.tensor(False))

    def forward(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the log-likelihood under each profile, before the norms are subtracted.

        Parameters
        ----------
        counts
            Raw counts, shape (n_obs, n_genes).

        Returns
        -------
        Log-likelihood, shape (n_obs, n_labels).
        """
        is_informative = self.is_informative.to(counts.dtype)
        background = background_weight(counts.sum(dim=1))[:, None]
        return (counts * (is_informative + background * (1 - is_informative))) @ self.log_profiles.T.to(counts.dtype)

    def fit_profiles(self, profiles: np.ndarray, gene_mask: np.ndarray, max_depth: float) -> None:
        """Set the profiles, the informative genes and the maximum depth.

        Parameters
        ----------
        profiles
            Fraction of counts by gene, shape (n_labels, n_genes), all above zero.
        gene_mask
            1 for a gene that the model uses, shape (n_genes,).
        max_depth
            Counts to which the classifier's input is thinned.
        """
        self.log_profiles.copy_(torch.from_numpy(np.log(profiles)))
        self.is_informative.copy_(torch.from_numpy(informative_genes(profiles, gene_mask)))
        self.max_depth.fill_(max_depth)
        self.is_fitted.fill_(True)


def prior_pool_weights() -> Float[Tensor, "2 2"]:
    """Return the prior mean of the log pooling weights.

    Returns
    -------
    Log weights, shape (2, 2); see :class:`CountLikelihood`.
    """
    return torch.tensor([[NETWORK_WEIGHT, COUNTS_WEIGHT], [1.0, 1.0]]).log()


def background_weight(depth: Float[Tensor, " n_obs"]) -> Float[Tensor, " n_obs"]:
    """Return the weight of a count on a gene that is not informative.

    Parameters
    ----------
    depth
        Counts of each cell, shape (n_obs,).

    Returns
    -------
    Weights in (0, 1], shape (n_obs,).
    """
    return 1 / (1 + depth / BACKGROUND_DEPTH)


def pool_log_scores(
    network: Float[Tensor, "n_obs n_labels"],
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, " n_obs"],
    pool_weights: Float[Tensor, "2 2"],
) -> Float[Tensor, "n_obs n_labels"]:
    r"""Pool the classifier's log-probabilities and the log-likelihood, with weights that depend on the depth.

    Parameters
    ----------
    network
        Log-probabilities of the classifier, shape (n_obs, n_labels).
    log_likelihood
        Log-likelihood of the counts, shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,).
    pool_weights
        Log weights, shape (2, 2); see :class:`CountLikelihood`.

    Returns
    -------
    Logits, shape (n_obs, n_labels).

    Notes
    -----
    Logarithmic opinion pool of both branches. For a cell of n counts and the log weights W,

    .. math::
        \text{logit}_k = e^{W_{11} + W_{21} u} \log q_k + e^{W_{12} + W_{22} u} \, \frac{\ell_k}{1 + n / 300},
        \qquad u = \log \frac{\max(n, 1)}{100} .
    """
    log_depth = (depth.clamp(min=1) / REFERENCE_DEPTH).log()[:, None]
    weight = (pool_weights[0] + log_depth * pool_weights[1]).exp()
    return weight[:, :1] * network + weight[:, 1:] * log_likelihood / (1 + depth[:, None] / SATURATION_DEPTH)


def fit_pool_weights(
    network: Float[Tensor, "n_obs n_labels"],
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, " n_obs"],
    codes: Int[Tensor, " n_obs"],
    n_cells: int,
) -> Float[Tensor, "2 2"]:
    """Fit the pooling weights to held-out cells.

    The weights minimise the cross-entropy of :func:`pool_log_scores` plus a normal prior on the log weights.

    Parameters
    ----------
    network
        Log-probabilities of the classifier, shape (n_obs, n_labels).
    log_likelihood
        Log-likelihood of the counts, shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,).
    codes
        Index of the true label, shape (n_obs,).
    n_cells
        Number of distinct cells, for the weight of the prior: each cell has a row for each of its depths.

    Returns
    -------
    Log weights, shape (2, 2), float32; see :class:`CountLikelihood`.
    """
    network, log_likelihood, depth = network.double(), log_likelihood.double(), depth.double()
    prior = prior_pool_weights().double().flatten()

    def loss(parameters: Tensor) -> Tensor:
        logits = pool_log_scores(network, log_likelihood, depth, parameters.reshape(2, 2))
        penalty = (parameters - prior).square().sum() / (2 * POOL_WEIGHT_PRIOR_SD**2 * n_cells)
        return F.cross_entropy(logits, codes) + penalty

    # bounds, because a step of the line search could overflow the exponentials
    fitted = minimize_bounded(loss, prior, prior - MAX_ABS_LOG_WEIGHT, prior + MAX_ABS_LOG_WEIGHT)
    return fitted.reshape(2, 2).float()
