"""What the raw counts say by themselves: the likelihood of a cell under each label's profile, weighed by depth.

Log-normalising throws away how sure a sparse cell can be; the counts keep it. The likelihood stands beside the
classifier network and is combined with it in log space.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from ._counts import dense, row_blocks, weighted_depth

# Counts that a label's profile is given in advance for each gene, on average, in proportion to the mean profile; and
# how many all genes have that the reference does not have. Both from the first prototype, and not tuned since.
PROFILE_PSEUDOCOUNT, TRACE = 0.3, 1e-2
# A cell's counts are not independent draws, so its likelihood cannot grow with depth for ever: it is divided by
# 1 + depth / 300 before the weights are learned (issue 4's prototype, the best single number of its grid).
SATURATION_DEPTH = 300.0
# A gene is informative whose share of a label's counts is above 1e-4, and e^CONTRAST times its mean share of the other
# labels' (the thresholds of RCTD's gene selection are 2e-4 and 0.75; Cable et al., Nat Biotechnol 2022). The small
# differences of all other genes are as much the platform's or the donor's as the labels': a sparse cell needs them, in
# a deep one they would outvote the informative genes, so that they count 1 / (1 + depth / 100).
INFORMATIVE_SHARE, CONTRAST, OTHERS_DEPTH = 1e-4, 1.25, 100.0
# The depth at which weights and temperature of a model are as if depth played no part.
USUAL_DEPTH = 100.0
# Weights before anything is learned: the network as it is, the likelihood at a half, and the standard deviation of
# their logs around these. Held-out cells of the reference know nothing of another platform, where the likelihood holds
# better than the network: left to themselves they would give it less. Chosen on five pairs of real data and checked on
# five others, as the thresholds above (docs/benchmarks.md).
NETWORK_WEIGHT, COUNTS_WEIGHT = 1.0, 0.5
PRIOR_SPREAD = 0.15
# How far from their prior the logs of the weights may go: e^3 times; far beyond, their exponentials overflow.
FARTHEST = 3.0
# Quantiles that describe the depth of a matched query: percentiles, 0 to 100.
N_DEPTH_QUANTILES = 101


class CountEvidence(nn.Module):
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
        self.register_buffer("informative", torch.ones(n_genes))
        self.register_buffer("weights", prior_weights())
        self.register_buffer("deepest", torch.tensor(float("inf")))
        self.register_buffer("is_fitted", torch.tensor(False))

    def forward(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the log-likelihood of counts under each profile, but for the norms; see :func:`normalize`."""
        informative = self.informative.to(counts.dtype)
        others = others_weight(counts.sum(dim=1))[:, None]
        return (counts * (informative + others * (1 - informative))) @ self.log_profiles.T.to(counts.dtype)

    def fit_profiles(self, profiles: np.ndarray, genes_used: np.ndarray, deepest: float) -> None:
        """Take over the profiles of a reference, which genes tell them apart, and its depth."""
        self.log_profiles.copy_(torch.from_numpy(np.log(profiles)))
        self.informative.copy_(torch.from_numpy(informative_genes(profiles, genes_used)))
        self.deepest.fill_(deepest)
        self.is_fitted.fill_(True)


def prior_weights() -> Float[Tensor, "2 2"]:
    """Return the weights before anything is learned; see :class:`CountEvidence`."""
    return torch.tensor([[NETWORK_WEIGHT, COUNTS_WEIGHT], [1.0, 1.0]]).log()


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
    mean = shares.mean(axis=0) + TRACE / max(sums.sum(), 1) / n_genes
    profiles = sums + PROFILE_PSEUDOCOUNT * n_genes * mean / mean.sum()
    return profiles / profiles.sum(axis=1, keepdims=True)


def class_sums(counts, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the counts of each label by gene, shape (n_labels, n_genes); see :func:`class_profiles`."""
    takes_part = np.flatnonzero(codes < n_labels)
    ones, places = np.ones(len(takes_part)), (codes[takes_part], takes_part)
    membership = sparse.csr_array((ones, places), shape=(n_labels, counts.shape[0]))
    return sum(dense(membership[:, rows] @ block) for rows, block in row_blocks(counts))


def informative_genes(profiles: np.ndarray, genes_used: np.ndarray) -> np.ndarray:
    """Choose the genes whose share in some label stands out from the other labels' enough to do so on any platform.

    As RCTD (Cable et al., Nat Biotechnol 2022, doi:10.1038/s41587-021-00830-w) chooses genes; the thresholds are ours.

    Parameters
    ----------
    profiles
        Share of counts by gene, shape (n_labels, n_genes), all above zero.
    genes_used
        Which genes to choose from, shape (n_genes,).

    Returns
    -------
    Which genes were chosen, shape (n_genes,): all that are used where none stands out.

    Examples
    --------
    >>> informative_genes(np.array([[0.6, 0.4], [0.1, 0.9]]), np.array([True, True]))
    array([ True, False])
    """
    used = genes_used.astype(bool)
    shares = profiles * used / (profiles * used).sum(axis=1, keepdims=True)
    others = (shares.sum(axis=0) - shares) / (len(shares) - 1)
    chosen = used & ((shares > INFORMATIVE_SHARE) & (shares > np.exp(CONTRAST) * others)).any(axis=0)
    return chosen if chosen.any() else used


def others_weight(depth: Float[Tensor, " n_obs"]) -> Float[Tensor, " n_obs"]:
    """Return the weight of a count on a gene that is not informative, by the depth of the cell."""
    return 1 / (1 + depth / OTHERS_DEPTH)


def describe_match(
    counts,
    codes: np.ndarray | None,
    n_labels: int,
    present: np.ndarray,
    query_depth: np.ndarray,
) -> tuple[np.ndarray, dict[str, int | float]]:
    """Describe how a query's genes and depths lie to a reference's.

    Parameters
    ----------
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without; None without labels.
    n_labels
        Number of labels.
    present
        Which of the genes the query has, shape (n_genes,).
    query_depth
        Counts of each query cell on them.

    Returns
    -------
    The percentiles of the query's depth, 0 to 100, and the entries that :meth:`hrca.HRCA.match` returns.

    Raises
    ------
    ValueError
        If no cell of the query has counts.
    """
    query_depth = query_depth[query_depth > 0]
    if not len(query_depth):
        raise ValueError(
            "A query to match must have cells with counts on the model's genes, but none has: `layer=` names another "
            "matrix."
        )
    quantiles = np.quantile(query_depth, np.linspace(0, 1, N_DEPTH_QUANTILES))
    depth = weighted_depth(counts, present.astype(np.float32))
    information = np.nan
    if codes is not None:
        by_gene = gene_information(class_profiles(counts, codes, n_labels))
        information = float(by_gene[present].sum() / by_gene.sum())
    kept = np.minimum(1, np.quantile(query_depth, 0.5) / np.maximum(depth, 1)).mean()
    return quantiles.astype(np.float32), {
        "n_shared_genes": int(present.sum()),
        "n_genes": len(present),
        "shared_information": information,
        "query_depth": float(np.median(query_depth)),
        "reference_depth": float(np.median(depth)),
        "share_kept": float(kept),
    }


def gene_information(profiles: np.ndarray) -> np.ndarray:
    """Return what each gene adds to the Jensen-Shannon divergence of the profiles, in nats, shape (n_genes,)."""
    return (profiles * np.log(profiles / profiles.mean(axis=0))).mean(axis=0)


def combine(
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
        See :class:`CountEvidence`.

    Returns
    -------
    Logits, shape (n_obs, n_labels).
    """
    log_depth = (depth.clamp(min=1) / USUAL_DEPTH).log()[:, None]
    weight = (weights[0] + log_depth * weights[1]).exp()
    return weight[:, :1] * network + weight[:, 1:] * log_likelihood / (1 + depth[:, None] / SATURATION_DEPTH)


def fit_weights(
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
    See :class:`CountEvidence`.
    """
    network, log_likelihood, depth = network.double(), log_likelihood.double(), depth.double()
    prior = prior_weights().double()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat).reshape(2, 2).requires_grad_(True)
        value = F.cross_entropy(combine(network, log_likelihood, depth, weights), codes)
        value = value + (weights - prior).square().sum() / (2 * PRIOR_SPREAD**2 * n_cells)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.detach().item(), gradient.flatten().numpy()

    start = prior.flatten().numpy()
    with torch.enable_grad():
        # bounds, since a step of the line search could overflow the exponentials
        fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(x - FARTHEST, x + FARTHEST) for x in start])
    return torch.from_numpy(fit.x).reshape(2, 2).float()
