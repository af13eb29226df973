"""What the raw counts say by themselves: the likelihood of a cell under each label's profile, weighed by depth.

Log-normalising throws away how sure a sparse cell can be; the counts keep it. The likelihood stands beside the
classifier network and is combined with it in log space.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from ._profiles import BACKGROUND_DEPTH, informative_genes

# A cell's counts are not independent draws, so its likelihood cannot grow with depth for ever: it is divided by
# 1 + depth / 300 before the weights are learned (issue 4's prototype, the best single number of its grid).
SATURATION_DEPTH = 300.0

# The depth at which weights and temperature of a model are as if depth played no part.
REFERENCE_DEPTH = 100.0

# Weights before anything is learned: the network as it is, the likelihood at a half, and the standard deviation of
# their logs around these. Held-out cells of the reference know nothing of another platform, where the likelihood holds
# better than the network: left to themselves they would give it less. Chosen on five pairs of real data and checked on
# five others, as the thresholds above (docs/benchmarks.md).
NETWORK_WEIGHT, COUNTS_WEIGHT = 1.0, 0.5

POOL_WEIGHT_PRIOR_SD = 0.15

# How far from their prior the logs of the weights may go: e^3 times; far beyond, their exponentials overflow.
MAX_ABS_LOG_WEIGHT = 3.0


class CountLikelihood(nn.Module):
    """The count branch: a profile for each label, and the weights of network and likelihood at each depth.

    Parameters
    ----------
    n_labels
        Number of labels.
    n_genes
        Number of genes.

    Attributes
    ----------
    log_profiles
        Log of each label's share of counts by gene, shape (n_labels, n_genes).
    informative
        1 for genes that tell the labels apart on any platform, 0 for the others, shape (n_genes,).
    weights
        Log weight of the network and of the likelihood, shape (2, 2): at the usual depth, and its slope by log depth.
    deepest
        Counts to which a deeper cell is thinned before the network sees it: nine tenths of the reference's cells have
        no more, and few taught it deeper ones.
    is_fitted
        Whether a training has filled these.
    """

    def __init__(self, n_labels: int, n_genes: int):
        super().__init__()
        self.register_buffer("log_profiles", torch.zeros(n_labels, n_genes))
        self.register_buffer("is_informative", torch.ones(n_genes))
        self.register_buffer("pool_weights", prior_pool_weights())
        self.register_buffer("max_depth", torch.tensor(float("inf")))
        self.register_buffer("is_fitted", torch.tensor(False))

    def forward(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the log-likelihood of counts under each profile, but for the norms; see :func:`normalize`."""
        is_informative = self.is_informative.to(counts.dtype)
        others = background_weight(counts.sum(dim=1))[:, None]
        return (counts * (is_informative + others * (1 - is_informative))) @ self.log_profiles.T.to(counts.dtype)

    def fit_profiles(self, profiles: np.ndarray, gene_mask: np.ndarray, max_depth: float) -> None:
        """Take over the profiles of a reference, which genes tell them apart, and its depth."""
        self.log_profiles.copy_(torch.from_numpy(np.log(profiles)))
        self.is_informative.copy_(torch.from_numpy(informative_genes(profiles, gene_mask)))
        self.max_depth.fill_(max_depth)
        self.is_fitted.fill_(True)


def prior_pool_weights() -> Float[Tensor, "2 2"]:
    """Return the weights before anything is learned; see :class:`CountLikelihood`."""
    return torch.tensor([[NETWORK_WEIGHT, COUNTS_WEIGHT], [1.0, 1.0]]).log()


def background_weight(depth: Float[Tensor, " n_obs"]) -> Float[Tensor, " n_obs"]:
    """Return the weight of a count on a gene that is not informative, by the depth of the cell."""
    return 1 / (1 + depth / BACKGROUND_DEPTH)


def pool_log_scores(
    network: Float[Tensor, "n_obs n_labels"],
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, " n_obs"],
    weights: Float[Tensor, "2 2"],
) -> Float[Tensor, "n_obs n_labels"]:
    """Add the network's log-probabilities and the log-likelihood, each weighed by the depth of the cell.

    Parameters
    ----------
    network
        Log-probabilities, shape (n_obs, n_labels).
    log_likelihood
        Shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,).
    weights
        See :class:`CountLikelihood`.

    Returns
    -------
    Logits, shape (n_obs, n_labels).
    """
    log_depth = (depth.clamp(min=1) / REFERENCE_DEPTH).log()[:, None]
    weight = (weights[0] + log_depth * weights[1]).exp()
    return weight[:, :1] * network + weight[:, 1:] * log_likelihood / (1 + depth[:, None] / SATURATION_DEPTH)


def fit_pool_weights(
    network: Float[Tensor, "n_obs n_labels"],
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, " n_obs"],
    codes: Int[Tensor, " n_obs"],
    n_cells: int,
) -> Float[Tensor, "2 2"]:
    """Learn the weights of network and likelihood from cells that trained neither.

    The cross-entropy of :func:`combine`, with a normal prior on the logs of the weights: few cells leave them near it.

    Parameters
    ----------
    network
        As in :func:`combine`.
    log_likelihood
        As in :func:`combine`.
    depth
        As in :func:`combine`.
    codes
        Index of the true label, shape (n_obs,).
    n_cells
        Number of different cells among these: each stands at several depths.

    Returns
    -------
    See :class:`CountLikelihood`.
    """
    network, log_likelihood, depth = network.double(), log_likelihood.double(), depth.double()
    prior = prior_pool_weights().double()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat).reshape(2, 2).requires_grad_(True)
        value = F.cross_entropy(pool_log_scores(network, log_likelihood, depth, weights), codes)
        value = value + (weights - prior).square().sum() / (2 * POOL_WEIGHT_PRIOR_SD**2 * n_cells)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.detach().item(), gradient.flatten().numpy()

    start = prior.flatten().numpy()
    with torch.enable_grad():
        # bounds, since a step of the line search could overflow the exponentials
        fit = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(x - MAX_ABS_LOG_WEIGHT, x + MAX_ABS_LOG_WEIGHT) for x in start],
        )
    return torch.from_numpy(fit.x).reshape(2, 2).float()
