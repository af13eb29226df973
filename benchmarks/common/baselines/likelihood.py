"""Likelihood of a cell's counts under the mean profile of each type, four variants.

``multinomial`` and ``negative_binomial`` differ in the noise; with ``_platform``, the profiles are first multiplied by
factors of the genes for the difference between the two technologies, which are fitted to the unlabelled query, once,
after RCTD (doi:10.1038/s41587-021-00830-w) and InSituType (doi:10.1101/2022.10.19.512902). All types are equally likely
beforehand; the confidence is the posterior probability.
"""

from collections.abc import Callable
from dataclasses import dataclass

import anndata as ad
import common
import numpy as np
import scipy
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.special import softmax

# Weight of the mean profile in that of each type, in counts per gene: add-one smoothing.
PSEUDO_COUNT = 1.0
# Size parameter of the negative binomial: InSituType's default.
SIZE = 10.0
# Counts that pull the factor of each gene to one: a gene with as many is half way.
PRIOR_COUNTS = 10.0
# Depths between which the part of the negative binomial that all genes have is interpolated: with these, the result is
# scipy's to 1e-6 (tests/test_benchmarks.py).
N_KNOTS = 200

Likelihood = Callable[[sparse.csr_matrix, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Model:
    """Types, the share of each gene in each of them, shape (n_labels, n_genes), and how to compare cells with these."""

    labels: np.ndarray
    profiles: np.ndarray
    likelihood: Likelihood
    use_platform: bool


def class_profiles(counts: sparse.csr_matrix, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Shares of the genes in the summed counts of each type, smoothed by the mean of these; rows sum to one."""
    members = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_labels, len(codes)))
    sums = (members @ counts).toarray().astype(float)
    n_genes = counts.shape[1]
    # a gene that no cell has gets a share too: a count of it says little, but is possible
    base = (sums / sums.sum(axis=1, keepdims=True)).mean(axis=0) + 1 / (n_genes * sums.sum())
    sums += PSEUDO_COUNT * n_genes * base / base.sum()
    return sums / sums.sum(axis=1, keepdims=True)


def multinomial(counts: sparse.csr_matrix, profiles: np.ndarray) -> np.ndarray:
    """Log-likelihood of each cell under each profile, shape (n_obs, n_labels), up to a constant of the cell."""
    return counts @ np.log(profiles).T


def negative_binomial(counts: sparse.csr_matrix, profiles: np.ndarray) -> np.ndarray:
    """Like :func:`multinomial`; the mean of a gene is its share of the cell's counts."""
    # x log(mu) - (x + size) log(size + mu): what has the factor x needs only the counts that are not zero, and the sum
    # of the rest over the genes is a smooth function of the cell's total
    totals = np.asarray(counts.sum(axis=1)).ravel()
    knots = np.geomspace(totals.min() * 0.99, totals.max() * 1.01, N_KNOTS)
    cells = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    log_likelihood = np.empty((counts.shape[0], len(profiles)))
    for label, profile in enumerate(profiles):
        of_all_genes = CubicSpline(np.log(knots), -SIZE * np.log1p(np.outer(knots / SIZE, profile)).sum(axis=1))
        mean = totals[cells] * profile[counts.indices]
        present = counts.data * np.log(mean / (SIZE + mean))
        log_likelihood[:, label] = of_all_genes(np.log(totals)) + np.bincount(cells, present, counts.shape[0])
    return log_likelihood


def platform_profiles(counts: sparse.csr_matrix, profiles: np.ndarray, likelihood: Likelihood) -> np.ndarray:
    """Multiply the profiles by factors of the genes that are fitted to unlabelled cells; rows sum to one.

    A factor is the gene's counts in all cells by those that the cells' posterior types make expect. This is one step of
    expectation-maximization, and not more: with 20, the factors come to stand for differences between types too (facs
    to pbmc3k at full depth falls from a macro-F1 of 0.75 to 0.68).
    """
    posterior = softmax(likelihood(counts, profiles), axis=1)
    totals, observed = (np.asarray(counts.sum(axis=axis)).ravel() for axis in (1, 0))
    expected = totals @ posterior @ profiles
    # the mode under a gamma prior whose mode is one
    fitted = profiles * (observed + PRIOR_COUNTS) / (expected + PRIOR_COUNTS)
    return fitted / fitted.sum(axis=1, keepdims=True)


def train(task: common.Task) -> Model:
    """Sum the counts of each type."""
    labels, codes = np.unique(task.reference.obs[task.labels_key].to_numpy(), return_inverse=True)
    noise, _, platform = task.variant.partition("_platform")
    likelihood = {"multinomial": multinomial, "negative_binomial": negative_binomial}[noise]
    use_platform = task.variant.endswith("_platform")
    return Model(labels, class_profiles(task.reference.X, codes, len(labels)), likelihood, use_platform)


def predict(model: Model, query: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Label cells."""
    counts = query.X.tocsr().astype(float)
    profiles = platform_profiles(counts, model.profiles, model.likelihood) if model.use_platform else model.profiles
    posterior = softmax(model.likelihood(counts, profiles), axis=1)
    return model.labels[posterior.argmax(axis=1)], posterior.max(axis=1)


if __name__ == "__main__":
    common.run(train, predict, f"scipy {scipy.__version__}")
