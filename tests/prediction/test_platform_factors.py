"""Platform factors and the likelihood under them, against scipy and simulated queries."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from simulated import depths_of, likelihood_of, random_profiles, simulated_query, two_multinomials

from hrca.module._count_likelihood import CountLikelihood
from hrca.prediction._forward import BranchScores
from hrca.prediction._platform_factors import (
    fit_platform,
    median_platform_factors,
    normalize_log_likelihood,
    platform_factors,
    platform_log_likelihood,
    platform_profiles,
)


def normalized(count_likelihood: CountLikelihood, counts: np.ndarray, factors: np.ndarray) -> torch.Tensor:
    """The log-likelihood of counts under platform factors."""
    x = torch.from_numpy(counts).double()
    depth = depths_of(count_likelihood, x)
    return normalize_log_likelihood(count_likelihood, count_likelihood(x), depth, torch.from_numpy(factors).double())


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


def up_to_scale(factors: np.ndarray | torch.Tensor) -> np.ndarray:
    """Factors relative to their geometric mean: a common factor changes no label."""
    factors = np.asarray(factors)
    return factors / np.exp(np.log(factors).mean())


def fitted_to_composition(profiles: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Platform factors given the true labels."""
    by_label = np.bincount(codes, counts.sum(axis=1), minlength=5)
    arguments = (counts.sum(axis=0), by_label, profiles, np.ones(40))
    return platform_factors(*(torch.from_numpy(x) for x in arguments)).numpy()


def test_platform_factors_are_recovered_from_large_counts():
    profiles, factors, codes, counts = simulated_query(3000, depth=3000, log_sd=0.7)
    ours = fitted_to_composition(profiles, codes, counts)
    np.testing.assert_allclose(up_to_scale(ours), up_to_scale(factors), rtol=0.03)


def test_the_rounds_between_factors_and_norms_suffice():
    profiles, _, codes, counts = simulated_query(400, depth=60, log_sd=1.5)
    factors = fitted_to_composition(profiles, codes, counts)
    totals, by_label = counts.sum(axis=0), np.bincount(codes, counts.sum(axis=1), minlength=5)
    expected = np.zeros(40)
    for label in range(5):
        expected += by_label[label] * profiles[label] / (profiles[label] * factors).sum()
    np.testing.assert_allclose(up_to_scale((totals + 20) / (expected + 20)), up_to_scale(factors), rtol=1e-3)


def test_platform_factors_stay_1_without_counts_and_are_0_for_absent_genes():
    profiles, present = torch.from_numpy(random_profiles(5, 40)), torch.ones(40).double()
    present[:7] = 0
    factors = platform_factors(torch.zeros(40).double(), torch.zeros(5).double(), profiles, present)
    np.testing.assert_array_equal(factors, present)
    factors = platform_factors(torch.full((40,), 100.0).double() * present, torch.full((5,), 660.0), profiles, present)
    assert not factors[:7].any()
    assert (factors[7:] > 0).all()


def test_a_gene_with_few_expected_counts_keeps_its_factor_near_1():
    # two genes without counts: 1 count is expected of the first, 30,000 of the second
    profiles = np.tile([1e-5, 0.3, 1 - 0.3 - 1e-5], (2, 1))
    totals, by_label = np.array([0.0, 0.0, 1e5]), np.array([4e4, 6e4])
    few, many, _ = platform_factors(*(torch.from_numpy(x) for x in (totals, by_label, profiles, np.ones(3)))).tolist()
    assert few == pytest.approx(20 / 21, abs=0.01)
    assert many < 1e-3


def query_for_a_fit(profiles: np.ndarray, counts: np.ndarray) -> tuple:
    """The arguments of :func:`fit_platform` for a query."""
    count_likelihood, x = likelihood_of(profiles), torch.from_numpy(counts)
    return count_likelihood, count_likelihood(x), depths_of(count_likelihood, x), x.sum(dim=0), torch.ones(40).double()


def one_more_round(count_likelihood, log_likelihood, depth, totals, present, factors) -> torch.Tensor:
    """Labels by three times the tempered likelihood; then factors by these labels."""
    corrected, n = normalize_log_likelihood(count_likelihood, log_likelihood, depth, factors), depth[:, 0]
    weight = torch.exp(count_likelihood.pool_weights[0, 1] + count_likelihood.pool_weights[1, 1] * torch.log(n / 100))
    probabilities = (3 * (weight / (1 + n / 300))[:, None] * corrected).softmax(dim=1)
    return platform_factors(totals, n @ probabilities, count_likelihood.log_profiles.exp(), present)


@pytest.mark.parametrize("log_sd", [0.0, 0.7, 1.5])
def test_the_rounds_between_labels_and_factors_suffice(log_sd):
    profiles, _, _, counts = simulated_query(400, depth=60, log_sd=log_sd)
    query = query_for_a_fit(profiles, counts)
    factors = fit_platform(*query)
    np.testing.assert_allclose(one_more_round(*query, factors), factors, rtol=1e-3)


def pooled(count_likelihood, network, log_likelihood, depth, factors) -> torch.Tensor:
    """The log-probabilities of cells on a platform with these factors."""
    completed = platform_log_likelihood(count_likelihood, log_likelihood, depth, factors)
    return BranchScores(network, *completed).pool(count_likelihood.pool_weights)


def test_fitted_factors_improve_the_accuracy():
    profiles, factors, codes, counts = simulated_query(600, depth=100, log_sd=1.5)
    query = query_for_a_fit(profiles, counts)
    count_likelihood, log_likelihood, depth, _, present = query
    # a classifier that is right on most of the cells
    noise = np.random.default_rng(0).normal(size=(len(codes), 5))
    network = torch.from_numpy(np.eye(5)[codes] + noise).log_softmax(dim=1)
    accuracy = {}
    for name, used in {"none": present, "fitted": fit_platform(*query), "true": torch.from_numpy(factors)}.items():
        labels = pooled(count_likelihood, network, log_likelihood, depth, used).argmax(dim=1).numpy()
        accuracy[name] = (labels == codes).mean()
    assert accuracy["fitted"] > accuracy["none"] + 0.1
    assert accuracy["fitted"] > accuracy["true"] - 0.03


def test_fitted_factors_are_near_1_on_the_same_platform():
    profiles, _, _, counts = simulated_query(600, depth=100, log_sd=0.0)
    factors = fit_platform(*query_for_a_fit(profiles, counts))
    assert factors.log().std() < 0.1


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
    count_likelihood = likelihood_of(random_profiles(2, 5), 100.0)
    depth = torch.tensor([[0.0, 0.0], [60.0, 20.0], [400.0, 90.0]]).double()
    _, clipped = platform_log_likelihood(count_likelihood, torch.zeros(3, 2).double(), depth, torch.ones(5).double())
    assert clipped.tolist() == [0, 60, 100]


def test_a_cell_without_counts_has_the_classifiers_probabilities():
    count_likelihood = likelihood_of(random_profiles(5, 40))
    network = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5))).log_softmax(dim=1)
    no_counts = torch.zeros(2, 2).double()
    log_probabilities = pooled(
        count_likelihood, network, torch.zeros(2, 5).double(), no_counts, torch.ones(40).double()
    )
    np.testing.assert_allclose(log_probabilities, network, rtol=1e-6)


def cells_of_platform(
    n_labels: int = 6, unseen_fraction: float = 0.0
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Cells of labels and of one more type on another platform; profiles of the labels; factors."""
    rng = np.random.default_rng(0)
    profiles, factors = random_profiles(n_labels + 1, 50), np.exp(rng.normal(0, 0.5, 50))
    n_unseen = round(unseen_fraction * 200 * n_labels)
    types = np.concatenate([np.repeat(np.arange(n_labels), 200), np.full(n_unseen, n_labels)])
    counts = np.stack([rng.multinomial(500, row) for row in platform_profiles(profiles, factors)[types]])
    return sparse.csr_array(counts), profiles[:n_labels], factors


@pytest.mark.parametrize("unseen_fraction", [0.0, 0.3])
def test_median_factors_are_recovered_also_with_an_unseen_type(unseen_fraction):
    counts, profiles, factors = cells_of_platform(unseen_fraction=unseen_fraction)
    difference = np.log(median_platform_factors(counts, profiles)) - np.log(factors)
    np.testing.assert_allclose(difference - np.median(difference), 0, atol=0.35)
    assert np.corrcoef(difference + np.log(factors), np.log(factors))[0, 1] > 0.97


def test_an_unseen_type_moves_a_median_less_than_a_sum():
    counts, profiles, factors = cells_of_platform(unseen_fraction=0.3)
    of_sum = (counts.sum(axis=0) + 1) / (counts.sum() * profiles.mean(axis=0) + 1)
    of_median = median_platform_factors(counts, profiles)
    log_sd = [np.std(np.log(found / factors)) for found in (of_sum, of_median)]
    assert log_sd[1] < log_sd[0] / 2


@pytest.mark.parametrize(("n_labels", "n_cells"), [(2, 100), (4, 5)])
def test_median_factors_are_1_with_too_few_labels_or_cells(n_labels, n_cells):
    profiles = random_profiles(n_labels, 20)
    counts = sparse.csr_array(np.repeat(np.random.default_rng(0).poisson(5, (n_labels, 20)), n_cells, axis=0))
    assert (median_platform_factors(counts, profiles) == 1).all()


def test_platform_profiles_sum_to_one():
    profiles, factors = random_profiles(3, 8), np.random.default_rng(0).lognormal(size=8)
    expected = [[p * f / sum(row * factors) for p, f in zip(row, factors, strict=True)] for row in profiles]
    np.testing.assert_allclose(platform_profiles(profiles, factors), expected)
