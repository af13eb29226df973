"""Platform factors and the likelihood under them, against scipy and simulated queries."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from simulated import depths_of, likelihood_of, random_profiles, simulated_query, two_multinomials

from hrca.module._count_likelihood import CountLikelihood
from hrca.prediction._forward import BranchScores
from hrca.prediction._platform_factors import fit_platform, platform_profiles
from hrca.prediction._platform_likelihood import (
    LikelihoodLabels,
    QueryCellSample,
    normalize_log_likelihood,
    platform_log_likelihood,
    platform_log_norms,
)
from hrca.prediction._random_effects import between_variance, excess_variance


def normalized(count_likelihood: CountLikelihood, counts: np.ndarray, factors: np.ndarray) -> torch.Tensor:
    """The log-likelihood of counts under platform factors."""
    x = torch.from_numpy(counts).double()
    depth = depths_of(count_likelihood, x)
    log_norms = platform_log_norms(count_likelihood, torch.from_numpy(factors).double())
    return normalize_log_likelihood(count_likelihood(x), depth, log_norms)


@pytest.mark.parametrize("absent", [[], [0, 3, 7]], ids=["all genes", "some genes absent"])
def test_the_likelihood_is_of_two_multinomials_on_the_present_genes(absent):
    profiles = random_profiles(4, 9)
    count_likelihood = likelihood_of(profiles)
    count_likelihood.is_informative[[1, 3, 8]] = 0
    present = np.isin(np.arange(9), absent, invert=True)
    counts = np.random.default_rng(1).poisson(30.0, (6, 9)) * present
    ours = normalized(count_likelihood, counts, present)
    expected = two_multinomials(count_likelihood, counts, np.where(present, profiles, 1e-300))
    np.testing.assert_allclose(ours - ours[:, :1], expected, atol=1e-8)


def test_platform_factors_in_the_norms_are_factors_on_the_profiles():
    profiles, factors = random_profiles(4, 9), np.random.default_rng(2).lognormal(size=9)
    count_likelihood, counts = likelihood_of(profiles), np.random.default_rng(1).poisson(30.0, (6, 9))
    count_likelihood.is_informative[[1, 3, 8]] = 0
    ours = normalized(count_likelihood, counts, factors)
    expected = two_multinomials(count_likelihood, counts, profiles * factors)
    np.testing.assert_allclose(ours - ours[:, :1], expected, atol=1e-8)


def test_a_query_without_informative_genes_is_scored_by_the_others():
    profiles = random_profiles(4, 9)
    count_likelihood = likelihood_of(profiles)
    count_likelihood.is_informative[:] = torch.arange(9) < 3
    counts = np.random.default_rng(1).poisson(3.0, (6, 9)) * (np.arange(9) >= 3)
    ours = normalized(count_likelihood, counts, np.arange(9) >= 3)
    assert ours.isfinite().all()
    among = profiles[:, 3:] / profiles[:, 3:].sum(axis=1, keepdims=True)
    expected = np.array([stats.multinomial.logpmf(cell[3:], cell.sum(), among) for cell in counts])
    expected *= 1 / (1 + counts.sum(axis=1, keepdims=True) / 100)
    np.testing.assert_allclose(ours - ours[:, :1], expected - expected[:, :1], atol=1e-9)


def cells_for_a_fit(profiles: np.ndarray, counts: np.ndarray) -> tuple[CountLikelihood, QueryCellSample]:
    """The likelihood and the cells of a query for :func:`fit_platform`."""
    count_likelihood, x = likelihood_of(profiles), torch.from_numpy(counts).double()
    depth = depths_of(count_likelihood, x)
    return count_likelihood, QueryCellSample(sparse.csr_array(counts), count_likelihood(x), depth)


def fitted(profiles: np.ndarray, counts: np.ndarray, mask: np.ndarray | None = None, weights=None) -> np.ndarray:
    """Platform factors of a query, from a reference with a million counts of each label."""
    mask = np.ones(profiles.shape[1]) if mask is None else mask
    return fit_platform(LikelihoodLabels(*cells_for_a_fit(profiles, counts * mask)), mask, 1e6 * profiles, weights)


def centred_error(factors: np.ndarray, true_factors: np.ndarray) -> np.ndarray:
    """Errors of log factors: a common factor changes no label."""
    error = np.log(factors) - np.log(true_factors)
    return error - np.median(error)


def test_factors_are_recovered_from_many_counts():
    profiles, factors, _, counts = simulated_query(3000, depth=2000, log_sd=0.7)
    assert np.abs(centred_error(fitted(profiles, counts), factors)).max() < 0.15


def test_one_label_with_other_counts_of_a_gene_hardly_changes_its_factor():
    profiles, factors, codes, counts = simulated_query(3000, depth=2000, log_sd=0.3)
    before = np.log(fitted(profiles, counts)[0])
    rng, one_label = np.random.default_rng(0), codes == np.bincount(codes).argmax()
    counts[one_label, 0] += rng.poisson(20 * counts[one_label, 0].mean() + 20, one_label.sum())
    sum_of_counts = np.log(counts[:, 0].sum() / simulated_query(3000, depth=2000, log_sd=0.3)[3][:, 0].sum())
    assert sum_of_counts > 1
    assert abs(np.log(fitted(profiles, counts)[0]) - before) < 0.35 * sum_of_counts


def test_a_gene_with_few_counts_keeps_its_factor_near_1():
    profiles, _, _, counts = simulated_query(600, depth=100, log_sd=0.0)
    rare = profiles.copy()
    rare[:, 0] = 1e-7
    rare /= rare.sum(axis=1, keepdims=True)
    counts[:, 0] = 0
    counts[3, 0] = 1
    assert abs(np.log(fitted(rare, counts)[0])) < 0.2


def test_factors_are_0_for_absent_genes_and_above_0_for_others():
    profiles, _, _, counts = simulated_query(600, depth=100, log_sd=0.7)
    mask = (np.arange(40) >= 7).astype(float)
    factors = fitted(profiles, counts, mask)
    assert not factors[:7].any()
    assert (factors[7:] > 0).all()


@pytest.mark.parametrize("n_cells", [0, 20])
def test_factors_are_1_with_too_few_cells_of_too_few_labels(n_cells):
    profiles, _, codes, counts = simulated_query(600, depth=300, log_sd=0.7)
    rows = np.flatnonzero(np.isin(codes, [0, 1]))[: max(n_cells, 1)]
    mask = (np.arange(40) != 3).astype(float)
    assert fitted(profiles, counts[rows], mask) is None


def test_of_many_labels_the_largest_serve(monkeypatch):
    profiles, rng = random_profiles(12, 40), np.random.default_rng(0)
    factors, codes = np.exp(rng.normal(0, 0.5, 40)), np.repeat(np.arange(12), [300] * 8 + [15] * 4)
    # the four small labels are on a platform of their own
    other_factors = np.where((codes < 8)[:, None], factors, factors[::-1])
    shifted = profiles[codes] * other_factors
    counts = rng.multinomial(500, shifted / shifted.sum(axis=1, keepdims=True)).astype(float)
    only_large, every = fitted(profiles, counts[codes < 8]), fitted(profiles, counts)
    monkeypatch.setattr("hrca.prediction._platform_factors.MAX_PLATFORM_LABELS", 8)
    np.testing.assert_allclose(fitted(profiles, counts), only_large, rtol=0.02)
    assert np.abs(np.log(every / only_large)).max() > 0.1


def test_cells_of_weight_0_do_not_contribute():
    profiles, _, _, counts = simulated_query(600, depth=200, log_sd=0.5)
    others = np.random.default_rng(0).poisson(5.0, (300, 40)).astype(float)
    weights = np.repeat([1.0, 0.0], [600, 300])
    with_others = fitted(profiles, np.vstack([counts, others]), weights=weights)
    np.testing.assert_allclose(with_others, fitted(profiles, counts), rtol=1e-9)


def test_the_meta_analysis_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    values, variance = rng.normal(0, 1, (5, 7)), rng.uniform(0.05, 0.5, (5, 7))
    expected = []
    for y, v in zip(values.T, variance.T, strict=True):
        # DerSimonian and Laird (1986), equations 7 and 8
        w = 1 / v
        q = sum(w * (y - sum(w * y) / sum(w)) ** 2)
        expected.append(max(0.0, (q - 4) / (sum(w) - sum(w**2) / sum(w))))
    np.testing.assert_allclose(between_variance(values, variance), expected)


@pytest.mark.parametrize("sd", [0.0, 0.5, 2.0])
def test_the_excess_variance_is_that_of_the_values_without_their_errors(sd):
    rng = np.random.default_rng(0)
    variance = rng.uniform(0.01, 4, (2, 20_000))
    values = rng.normal(0, sd, variance.shape) + rng.normal(0, np.sqrt(variance))
    np.testing.assert_allclose(excess_variance(values, variance), sd**2, atol=0.02 + 0.05 * sd**2)


def pooled(count_likelihood, network, log_likelihood, depth, factors) -> torch.Tensor:
    """The log-probabilities of cells on a platform with these factors."""
    log_norms = platform_log_norms(count_likelihood, factors)
    completed = platform_log_likelihood(log_likelihood, depth, log_norms, float(count_likelihood.max_depth))
    return BranchScores(network, *completed).pool(count_likelihood.pool_weights)


def test_fitted_factors_improve_the_accuracy():
    profiles, factors, codes, counts = simulated_query(600, depth=100, log_sd=1.5)
    count_likelihood, cells = cells_for_a_fit(profiles, counts)
    # a classifier that is right on most of the cells
    noise = np.random.default_rng(0).normal(size=(len(codes), 5))
    network = torch.from_numpy(np.eye(5)[codes] + noise).log_softmax(dim=1)
    accuracy = {}
    for name, used in {"none": np.ones(40), "fitted": fitted(profiles, counts), "true": factors}.items():
        corrected = torch.from_numpy(used).double()
        labels = pooled(count_likelihood, network, cells.log_likelihood, cells.depth, corrected).argmax(dim=1).numpy()
        accuracy[name] = (labels == codes).mean()
    assert accuracy["fitted"] > accuracy["none"] + 0.1
    assert accuracy["fitted"] > accuracy["true"] - 0.03


def test_fitted_factors_are_near_1_on_the_same_platform():
    profiles, _, _, counts = simulated_query(600, depth=100, log_sd=0.0)
    assert np.log(fitted(profiles, counts)).std() < 0.1


def test_a_deep_cell_is_scored_at_the_maximum_depth():
    profiles = simulated_query(1, depth=1, log_sd=0)[0]
    counts = np.random.default_rng(0).multinomial(1000, profiles.mean(axis=0), size=3).astype(float)
    network = torch.full((3, 5), np.log(0.2)).double()

    def scores(max_depth: float, x: np.ndarray) -> np.ndarray:
        count_likelihood, x = likelihood_of(profiles, max_depth), torch.from_numpy(x)
        # the weight of the other genes depends on the depth of the cell
        count_likelihood.is_informative[:] = 1
        depth = depths_of(count_likelihood, x)
        return pooled(count_likelihood, network, count_likelihood(x), depth, torch.ones(40).double()).numpy()

    # a tenth of each count is a tenth of the log-likelihood
    np.testing.assert_allclose(scores(100.0, counts), scores(np.inf, counts / 10), rtol=1e-6)
    assert np.abs(scores(100.0, counts) - scores(np.inf, counts)).max() > 0.1


def test_the_depth_is_clipped_to_the_maximum():
    log_norms = platform_log_norms(likelihood_of(random_profiles(2, 5)), torch.ones(5).double())
    depth = torch.tensor([[0.0, 0.0], [60.0, 20.0], [400.0, 90.0]]).double()
    _, clipped = platform_log_likelihood(torch.zeros(3, 2).double(), depth, log_norms, 100.0)
    assert clipped.tolist() == [0, 60, 100]


def test_a_cell_without_counts_has_the_classifiers_probabilities():
    count_likelihood = likelihood_of(random_profiles(5, 40))
    network = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5))).log_softmax(dim=1)
    no_counts = torch.zeros(2, 2).double()
    log_probabilities = pooled(
        count_likelihood, network, torch.zeros(2, 5).double(), no_counts, torch.ones(40).double()
    )
    np.testing.assert_allclose(log_probabilities, network, rtol=1e-6)


def test_platform_profiles_sum_to_one():
    profiles, factors = random_profiles(3, 8), np.random.default_rng(0).lognormal(size=8)
    expected = [[p * f / sum(row * factors) for p, f in zip(row, factors, strict=True)] for row in profiles]
    np.testing.assert_allclose(platform_profiles(profiles, factors), expected)
