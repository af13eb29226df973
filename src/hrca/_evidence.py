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

# Counts that a label's profile is given in advance for each gene, on average, in proportion to the mean profile.
PROFILE_PSEUDOCOUNT = 0.3
# A cell's counts are not independent draws, so its likelihood cannot grow with depth for ever: it is divided by
# 1 + depth / 300 before the weights are learned.
SATURATION_DEPTH = 300.0
# A gene is informative whose share of a label's counts is above 1e-4, and e^CONTRAST times its mean share of the other
# labels' (the thresholds of RCTD's gene selection are 2e-4 and 0.75; Cable et al., Nat Biotechnol 2022). The small
# differences of all other genes are as much the platform's or the donor's as the labels': a sparse cell needs them, in
# a deep one they would outvote the informative genes, so that they count 1 / (1 + depth / 100).
INFORMATIVE_SHARE, CONTRAST, OTHERS_DEPTH = 1e-4, 1.25, 100.0
# The depth at which the weights of a model are as if depth played no part.
USUAL_DEPTH = 100.0
# Weights before anything is learned: the network as it is, the likelihood at a half, and the standard deviation of
# their logs around these. Held-out cells of the reference know nothing of another platform, where the likelihood holds
# better than the network: left to themselves they would give it less. Chosen on five pairs of real data and checked on
# five others, as the thresholds above (docs/benchmarks.md).
NETWORK_WEIGHT, COUNTS_WEIGHT = 1.0, 0.5
PRIOR_SPREAD = 0.15
# How far from their prior the logs of the weights may go; beyond, their exponentials overflow.
FARTHEST = 3.0
# Gamma prior of a platform factor, in counts: a gene needs more than these before its factor leaves 1.
PLATFORM_PRIOR_COUNTS = 20.0
# How much more the likelihood is trusted, alone, than its weight beside the network says; 3 was best of 1 (with the
# network), 2 and 3 on four pairs of real data (benchmarks/accuracy.py, docs).
PLATFORM_TRUST = 3.0
# Both loops settle within these (tests/test_evidence.py): the outer one between labels and factors, the inner one
# between factors and the profiles' norms.
PLATFORM_ROUNDS, NORM_ROUNDS = 10, 20
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
        Counts to which a deeper cell is thinned before the network sees it; the network has not learned deeper ones.
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


def class_profiles(counts: sparse.csr_array | np.ndarray, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Return each label's share of counts by gene, smoothed towards the mean of all labels.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense.
    codes
        Index of each cell's label, shape (n_obs,).
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
    membership = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_labels, len(codes)))
    sums = membership @ counts
    sums = np.asarray(sums.todense() if sparse.issparse(sums) else sums, dtype=np.float64)
    n_genes = sums.shape[1]
    shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1)
    # a gene without counts in the reference keeps a trace, so that a query's counts of it are possible
    mean = shares.mean(axis=0) + 1e-2 / max(sums.sum(), 1) / n_genes
    profiles = sums + PROFILE_PSEUDOCOUNT * n_genes * mean / mean.sum()
    return profiles / profiles.sum(axis=1, keepdims=True)


def informative_genes(profiles: np.ndarray, genes_used: np.ndarray) -> np.ndarray:
    """Choose the genes whose share in some label stands out from the other labels' enough to do so on any platform.

    As RCTD (Cable et al., Nat Biotechnol 2022) chooses genes; the thresholds are ours.

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
    counts: sparse.csr_array | np.ndarray,
    codes: np.ndarray | None,
    n_labels: int,
    present: np.ndarray,
    query_depth: np.ndarray,
) -> tuple[np.ndarray, dict[str, float]]:
    """Describe how a query's genes and depths lie to a reference's.

    Parameters
    ----------
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense.
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
            "A query to match must have cells with counts on the model's genes, but none has. Is it the right layer?"
        )
    quantiles = np.quantile(query_depth, np.linspace(0, 1, N_DEPTH_QUANTILES))
    depth = np.asarray(counts @ present.astype(np.float32)).ravel()
    information = np.nan
    if codes is not None:
        labelled = np.flatnonzero(codes < n_labels)
        by_gene = gene_information(class_profiles(counts[labelled], codes[labelled], n_labels))
        information = float(by_gene[present].sum() / by_gene.sum())
    kept = np.minimum(1, np.quantile(query_depth, 0.5) / np.maximum(depth, 1)).mean()
    return quantiles.astype(np.float32), {
        "n_shared_genes": int(present.sum()),
        "n_genes": len(present),
        "shared_information": information,
        "query_depth": float(np.median(query_depth)),
        "reference_depth": float(np.median(depth)),
        "thinned": float(kept),
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


def normalize(
    evidence: CountEvidence,
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
    others = others_weight(depth[:, 0])
    profiles = evidence.log_profiles.to(depth).exp()
    sums = torch.stack([profiles @ factors, profiles @ (factors * evidence.informative.to(depth))])
    # no counts, no matter: a query may lack all informative genes
    all_genes, informative = sums.clamp(min=torch.finfo(depth.dtype).tiny).log()
    by_all, by_informative = others * depth[:, 0], (1 - others) * depth[:, 1]
    return log_likelihood - by_all[:, None] * all_genes - by_informative[:, None] * informative


def platform_factors(
    totals: Float[Tensor, " n_genes"],
    expected_depth: Float[Tensor, " n_labels"],
    profiles: Float[Tensor, "n_labels n_genes"],
    present: Float[Tensor, " n_genes"],
) -> Float[Tensor, " n_genes"]:
    """Return how many times more counts each gene has than its profiles and the query's composition would give.

    As RCTD (Cable et al., Nat Biotechnol 2022) and InSituType fit them, per gene, with a Gamma prior around 1.

    Parameters
    ----------
    totals
        Counts of each gene in the query, shape (n_genes,).
    expected_depth
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
        expected = (expected_depth / (profiles @ factors).clamp(min=1e-12)) @ profiles
        factors = present * (totals + PLATFORM_PRIOR_COUNTS) / (expected + PLATFORM_PRIOR_COUNTS)
    return factors


def judge(
    evidence: CountEvidence,
    network: Float[Tensor, "n_obs n_labels"],
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    factors: Float[Tensor, " n_genes"],
) -> Float[Tensor, "n_obs n_labels"]:
    """Return the log-probabilities of cells from what network and counts say, not calibrated.

    Parameters
    ----------
    evidence
        The fitted count branch.
    network
        Log-probabilities, shape (n_obs, n_labels).
    log_likelihood
        What the count branch returned, shape (n_obs, n_labels).
    depth
        As in :func:`normalize`.
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    Log-probabilities, shape (n_obs, n_labels).
    """
    log_likelihood, seen = _as_seen(evidence, log_likelihood, depth, factors)
    return combine(network, log_likelihood, seen, evidence.weights.to(depth)).log_softmax(dim=1)


def _as_seen(
    evidence: CountEvidence, log_likelihood: Tensor, depth: Tensor, factors: Tensor
) -> tuple[Float[Tensor, "n_obs n_labels"], Float[Tensor, " n_obs"]]:
    log_likelihood, counts = normalize(evidence, log_likelihood, depth, factors), depth[:, 0]
    # the network judges a deep cell by thinned draws of it, and the likelihood of a draw is that share of the whole
    seen = counts.clamp(max=evidence.deepest.to(depth))
    return log_likelihood * (seen / counts.clamp(min=1))[:, None], seen


def fit_platform(
    evidence: CountEvidence,
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
        As in :func:`judge`.
    depth
        As in :func:`judge`.
    totals
        As in :func:`platform_factors`.
    present
        As in :func:`platform_factors`.

    Returns
    -------
    Shape (n_genes,).
    """
    profiles, factors = evidence.log_profiles.exp().to(totals), present
    silent, weights = torch.zeros_like(log_likelihood), evidence.weights.to(depth)
    for _ in range(PLATFORM_ROUNDS):
        corrected, seen = _as_seen(evidence, log_likelihood, depth, factors)
        probabilities = combine(silent, PLATFORM_TRUST * corrected, seen, weights).softmax(dim=1)
        factors = platform_factors(totals, depth[:, 0] @ probabilities, profiles, present)
    return factors
