"""Simulated label profiles, count likelihoods and queries, and written-out oracles for them."""

import numpy as np
import torch
from scipy import sparse, stats

from hrca.module._branch_scorer import N_NETWORK_DRAWS, BranchScorer
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._profiles import PROFILE_PSEUDOCOUNT
from hrca.module._sparse_counts import SparseCounts
from hrca.module._thinning import thin_to_depth

N_QUERY_GENES, N_QUERY_LABELS = 40, 5

# Sizes of :func:`prediction_module`, and the genes that its queries have.
N_GENES, N_LABELS, MAX_DEPTH = 40, 4, 300.0
PRESENT = np.arange(N_GENES) % 5 != 0


def random_profiles(n_labels: int, n_genes: int, seed: int = 0) -> np.ndarray:
    """Profiles, shape (n_labels, n_genes), all above zero."""
    return np.random.default_rng(seed).dirichlet(np.full(n_genes, 0.5), size=n_labels) * 0.99 + 0.01 / n_genes


def profiles_in_a_loop(counts: np.ndarray, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """The smoothed profiles of dense counts, one number at a time."""
    n_genes = counts.shape[1]
    sums = [[float(counts[codes == label, gene].sum()) for gene in range(n_genes)] for label in range(n_labels)]
    fractions = [[value / max(sum(row), 1) for value in row] for row in sums]
    trace = 0.01 / max(sum(map(sum, sums)), 1) / n_genes
    mean = [sum(row[gene] for row in fractions) / n_labels + trace for gene in range(n_genes)]
    added = [PROFILE_PSEUDOCOUNT * n_genes * value / sum(mean) for value in mean]
    smoothed = [[value + more for value, more in zip(row, added, strict=True)] for row in sums]
    return np.array([[value / sum(row) for value in row] for row in smoothed])


def labelled_counts() -> tuple[np.ndarray, np.ndarray]:
    """Counts of 40 cells x 12 genes, and codes of four labels: one has one cell, and the last gene has no counts."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (40, 12)).astype(np.float32)
    counts[:, 11] = 0
    codes = rng.integers(3, size=40)
    codes[17] = 3
    return counts, codes


def likelihood_of(profiles: np.ndarray, max_depth: float = np.inf) -> CountLikelihood:
    """A fitted count likelihood in double precision."""
    count_likelihood = CountLikelihood(*profiles.shape).double()
    count_likelihood.fit_profiles(profiles, np.ones(profiles.shape[1]), max_depth)
    return count_likelihood


def depths_of(count_likelihood: CountLikelihood, counts: torch.Tensor) -> torch.Tensor:
    """Counts of each cell on all genes and on the informative ones, shape (n_obs, 2)."""
    return torch.stack([counts.sum(dim=1), counts @ count_likelihood.is_informative], dim=1)


def two_multinomials(count_likelihood: CountLikelihood, counts: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Geometric mean of the multinomials of all counts and of those on informative genes, relative to the first label.

    The multinomial coefficients are the same for each label.
    """
    expected, is_informative = np.zeros((len(counts), len(profiles))), count_likelihood.is_informative.numpy() > 0
    for i, cell in enumerate(counts):
        weight = 1 / (1 + cell.sum() / 100)
        for genes, fraction in ((np.ones(len(is_informative), bool), weight), (is_informative, 1 - weight)):
            among = profiles[:, genes] / profiles[:, genes].sum(axis=1, keepdims=True)
            own = cell[genes].astype(int)
            expected[i] += fraction * np.array([stats.multinomial.logpmf(own, own.sum(), row) for row in among])
    return expected - expected[:, :1]


def simulated_query(
    n_obs: int, *, depth: float, log_sd: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells of five labels, in uneven numbers, on 40 genes, with a platform factor of each gene.

    Returns
    -------
    Profiles, factors, codes and counts.
    """
    rng = np.random.default_rng(seed)
    # labels that express most genes alike
    profiles = 0.7 * random_profiles(1, N_QUERY_GENES, seed + 100) + 0.3 * random_profiles(
        N_QUERY_LABELS, N_QUERY_GENES, seed
    )
    factors = rng.lognormal(0, log_sd, N_QUERY_GENES)
    codes = rng.choice(N_QUERY_LABELS, n_obs, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    observed = profiles * factors
    counts = np.array([rng.multinomial(rng.poisson(depth), observed[code] / observed[code].sum()) for code in codes])
    return profiles, factors, codes, counts.astype(float)


def prediction_module() -> HRCAModule:
    """A module with random networks, a fitted count likelihood, and one gene hidden."""
    torch.manual_seed(0)
    module = HRCAModule(
        GeneAE(n_genes=N_GENES, n_hidden=16, n_latent=8, n_heads=2, n_layers=1, n_feedforward=8, dropout_rate=0.1),
        SEClassifier(n_latent=8, n_labels=N_LABELS, widths=(6, 4), dropout_rate=0.5),
        CountLikelihood(N_LABELS, N_GENES),
    ).eval()
    module.count_likelihood.fit_profiles(random_profiles(N_LABELS, N_GENES), np.ones(N_GENES), MAX_DEPTH)
    module.gene_mask[7] = 0
    module.count_likelihood.is_informative[::3] = 0
    module.calibration.temperature_coef[:] = torch.tensor([0.3, 0.1, 0.0, -0.1, 0.0])
    module.calibration.outlier_rate.fill_(0.1)
    return module


def query_counts(n_obs: int) -> np.ndarray:
    """Counts of a query for this module, zero for absent genes; the first cell is empty, the second deep."""
    rng = np.random.default_rng(0)
    codes = np.arange(n_obs) % N_LABELS
    rates = 100 * random_profiles(N_LABELS, N_GENES)[codes] * rng.lognormal(0, 0.8, N_GENES)
    rates[1] *= 20
    counts = (rng.poisson(rates) * PRESENT).astype(np.float32)
    counts[0] = 0
    return counts


def thinned_draws(counts: torch.Tensor, depth: float) -> torch.Tensor:
    """The draws by which the network judges deep cells, shape (n_draws, n_cells, n_genes)."""
    draws = thin_to_depth(SparseCounts.from_dense(counts), depth, N_NETWORK_DRAWS)
    return draws.to_dense().unflatten(0, (N_NETWORK_DRAWS, -1))


def network_scores(module: HRCAModule, counts: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the network as in a prediction, of dense counts."""
    return BranchScorer(module)(SparseCounts.from_dense(counts)).network


def batched(counts: np.ndarray, size: int):
    """Yield rows and sparse counts of batches."""
    for start in range(0, len(counts), size):
        rows = slice(start, min(start + size, len(counts)))
        yield rows, sparse.csr_array(counts[rows])
