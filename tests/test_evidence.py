"""The count branch: profiles, likelihoods, weights and platform factors, against scipy and written-out loops."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.optimize import minimize
from scipy.spatial.distance import jensenshannon

from hrca.module._count_likelihood import (
    COUNTS_WEIGHT,
    NETWORK_WEIGHT,
    REFERENCE_DEPTH,
    SATURATION_DEPTH,
    CountLikelihood,
    fit_pool_weights,
    pool_log_scores,
    prior_pool_weights,
)
from hrca.module._module import N_DEPTH_QUANTILES
from hrca.module._profiles import PROFILE_PSEUDOCOUNT, class_profiles, informative_genes, js_divergence_by_gene
from hrca.prediction._forward import BranchScores
from hrca.prediction._platform_factors import (
    fit_platform,
    median_platform_factors,
    normalize_log_likelihood,
    platform_factors,
    platform_log_likelihood,
    platform_profiles,
)
from hrca.train._query_matching import summarize_query_match


def random_profiles(n_labels: int, n_genes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_genes, 0.5), size=n_labels) * 0.99 + 0.01 / n_genes


def evidence_of(profiles: np.ndarray, max_depth: float = np.inf) -> CountLikelihood:
    count_likelihood = CountLikelihood(*profiles.shape).double()
    count_likelihood.fit_profiles(profiles, np.ones(profiles.shape[1]), max_depth)
    return count_likelihood


def depths_of(count_likelihood: CountLikelihood, counts: torch.Tensor) -> torch.Tensor:
    """Counts of each cell on all genes and on the informative ones."""
    return torch.stack([counts.sum(dim=1), counts @ count_likelihood.is_informative], dim=1)


def two_multinomials(count_likelihood: CountLikelihood, counts: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Geometric mean of the multinomials of all counts and of those on informative genes, relative to the first label.

    The multinomial coefficients are the same for each label.
    """
    expected, is_informative = np.zeros((len(counts), len(profiles))), count_likelihood.is_informative.numpy() > 0
    for i, cell in enumerate(counts):
        weight = 1 / (1 + cell.sum() / 100)
        for genes, share in ((np.ones(len(is_informative), bool), weight), (is_informative, 1 - weight)):
            among = profiles[:, genes] / profiles[:, genes].sum(axis=1, keepdims=True)
            own = cell[genes].astype(int)
            expected[i] += share * np.array([stats.multinomial.logpmf(own, own.sum(), row) for row in among])
    return expected - expected[:, :1]


# Profiles ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled() -> tuple[np.ndarray, np.ndarray]:
    """40 cells x 12 genes of four labels: one has one cell, and the last gene has no counts."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (40, 12)).astype(np.float32)
    counts[:, 11] = 0
    codes = rng.integers(3, size=40)
    codes[17] = 3
    return counts, codes


def profiles_in_a_loop(counts, codes, n_labels):
    n_genes = counts.shape[1]
    sums = [[float(counts[codes == label, gene].sum()) for gene in range(n_genes)] for label in range(n_labels)]
    shares = [[value / max(sum(row), 1) for value in row] for row in sums]
    trace = 0.01 / max(sum(map(sum, sums)), 1) / n_genes
    mean = [sum(row[gene] for row in shares) / n_labels + trace for gene in range(n_genes)]
    added = [PROFILE_PSEUDOCOUNT * n_genes * value / sum(mean) for value in mean]
    smoothed = [[value + more for value, more in zip(row, added, strict=True)] for row in sums]
    return np.array([[value / sum(row) for value in row] for row in smoothed])


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
def test_profiles_are_smoothed_shares_in_every_container(labelled, container):
    counts, codes = labelled
    profiles = class_profiles(container(counts), codes, 4)
    np.testing.assert_allclose(profiles, profiles_in_a_loop(counts, codes, 4), rtol=1e-6)
    np.testing.assert_allclose(profiles.sum(axis=1), 1)


def test_a_gene_without_counts_is_rarer_than_any_other_but_possible(labelled):
    profiles = class_profiles(*labelled, 4)
    assert (profiles[:, 11] > 0).all()
    assert (profiles[:, 11, None] < 1e-3 * profiles[:, :11]).all()


def test_the_fewer_counts_a_label_has_the_closer_its_profile_is_to_the_mean(labelled):
    counts, codes = labelled
    shares = np.array([counts[codes == label].sum(axis=0) / counts[codes == label].sum() for label in range(4)])
    mean, profiles = shares.mean(axis=0), class_profiles(counts, codes, 4)
    way_left = np.abs(profiles - mean).sum(axis=1) / np.abs(shares - mean).sum(axis=1)
    assert way_left.argmin() == 3  # the label of one cell
    # pseudocounts for 12 genes beside the label's own counts
    totals = np.array([counts[codes == label].sum() for label in range(4)])
    expected = totals / (totals + 12 * PROFILE_PSEUDOCOUNT)
    np.testing.assert_allclose(way_left, expected, atol=1e-3)


def test_profiles_without_any_counts_are_even():
    np.testing.assert_allclose(class_profiles(np.zeros((3, 4), dtype=np.float32), np.array([0, 1, 1]), 2), 0.25)


# Likelihood ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [[], [0, 3, 7]], ids=["all genes", "some genes absent"])
def test_the_likelihood_is_of_two_multinomials_on_the_genes_that_are_there(absent):
    profiles = random_profiles(4, 9)
    count_likelihood = evidence_of(profiles)
    count_likelihood.is_informative[[1, 3, 8]] = 0
    present = np.isin(np.arange(9), absent, invert=True)
    counts = np.random.default_rng(1).poisson(30.0, (6, 9)) * present
    x = torch.from_numpy(counts).double()
    ours = normalize_log_likelihood(
        count_likelihood, count_likelihood(x), depths_of(count_likelihood, x), torch.from_numpy(present.astype(float))
    )
    expected = two_multinomials(count_likelihood, counts, np.where(present, profiles, 1e-300))
    np.testing.assert_allclose(ours - ours[:, :1], expected, atol=1e-8)


def test_platform_factors_in_the_norms_are_factors_on_the_profiles():
    profiles, factors = random_profiles(4, 9), np.random.default_rng(2).lognormal(size=9)
    count_likelihood, counts = evidence_of(profiles), np.random.default_rng(1).poisson(30.0, (6, 9))
    count_likelihood.is_informative[[1, 3, 8]] = 0
    x = torch.from_numpy(counts).double()
    ours = normalize_log_likelihood(
        count_likelihood, count_likelihood(x), depths_of(count_likelihood, x), torch.from_numpy(factors)
    )
    np.testing.assert_allclose(
        ours - ours[:, :1], two_multinomials(count_likelihood, counts, profiles * factors), atol=1e-8
    )


def test_a_query_without_informative_genes_is_judged_by_the_others():
    profiles = random_profiles(4, 9)
    count_likelihood = evidence_of(profiles)
    count_likelihood.is_informative[:] = torch.arange(9) < 3
    counts = np.random.default_rng(1).poisson(3.0, (6, 9)) * (np.arange(9) >= 3)
    x = torch.from_numpy(counts).double()
    ours = normalize_log_likelihood(
        count_likelihood, count_likelihood(x), depths_of(count_likelihood, x), (torch.arange(9) >= 3).double()
    )
    assert ours.isfinite().all()
    among = profiles[:, 3:] / profiles[:, 3:].sum(axis=1, keepdims=True)
    expected = np.array([stats.multinomial.logpmf(cell[3:], cell.sum(), among) for cell in counts])
    expected *= 1 / (1 + counts.sum(axis=1, keepdims=True) / 100)
    np.testing.assert_allclose(ours - ours[:, :1], expected - expected[:, :1], atol=1e-9)


def test_informative_genes_stand_out_in_some_label():
    profiles = np.full((3, 6), 1e-2)
    profiles[0, 0] = 3.4e-2  # less than e^1.25 = 3.49 times the others
    profiles[1, 1] = 3.6e-2
    profiles[:, 2] = [2e-5, 9e-5, 2e-5]  # stands out, but too rare
    profiles[:, 3] = [2e-5, 2e-5, 2e-4]
    profiles[:, 4] = [1e-3, 1e-2, 1e-2]  # lacking in a label, in none more than in the others
    profiles[:, 5] = 1 - profiles[:, :5].sum(axis=1)
    every = np.ones(6, bool)
    np.testing.assert_array_equal(informative_genes(profiles, every), [False, True, False, True, False, False])
    # among the genes used, the rare one is not as rare
    np.testing.assert_array_equal(np.flatnonzero(informative_genes(profiles, np.isin(np.arange(6), [2, 4]))), [2])
    # none stands out: all
    np.testing.assert_array_equal(informative_genes(profiles[:, [0, 4, 5]], every[:3]), every[:3])


def test_a_count_branch_is_not_fitted_before_it_has_profiles():
    count_likelihood = CountLikelihood(3, 5)
    assert not count_likelihood.is_fitted
    count_likelihood.fit_profiles(random_profiles(3, 5), np.ones(5), 70.0)
    assert count_likelihood.is_fitted
    assert float(count_likelihood.max_depth) == 70
    np.testing.assert_allclose(count_likelihood.pool_weights[0].exp(), [NETWORK_WEIGHT, COUNTS_WEIGHT])


# Weights -------------------------------------------------------------------------------------------------------------


def test_combine_weighs_network_and_likelihood_by_depth():
    rng = np.random.default_rng(0)
    network, likelihood = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    depth, weights = np.array([0.0, 1.0, 20.0, REFERENCE_DEPTH, 4000.0]), rng.normal(size=(2, 2))
    expected = np.empty((5, 3))
    for cell in range(5):
        log_depth = np.log(max(depth[cell], 1) / REFERENCE_DEPTH)
        w_network = np.exp(weights[0, 0] + weights[1, 0] * log_depth)
        w_counts = np.exp(weights[0, 1] + weights[1, 1] * log_depth)
        for label in range(3):
            counts_say = likelihood[cell, label] / (1 + depth[cell] / SATURATION_DEPTH)
            expected[cell, label] = w_network * network[cell, label] + w_counts * counts_say
    ours = pool_log_scores(*(torch.from_numpy(x) for x in (network, likelihood, depth, weights)))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def votes(codes: np.ndarray, strength, seed: int) -> torch.Tensor:
    """Log-probabilities of three labels that lean to the true one; the larger the strength, the surer and righter."""
    noise = np.random.default_rng(seed).normal(size=(len(codes), 3))
    return torch.from_numpy(np.eye(3)[codes] * np.reshape(strength, (-1, 1)) + noise).log_softmax(dim=1)


def fitted(n_cells: int, likelihood_strength, depth) -> np.ndarray:
    codes = np.random.default_rng(0).integers(3, size=n_cells)
    depth = torch.from_numpy(np.broadcast_to(np.asarray(depth, dtype=float), n_cells).copy())
    # what `combine` divides by is multiplied in, so that the strength is the same at every depth
    likelihood = votes(codes, likelihood_strength, 2) * (1 + depth[:, None] / SATURATION_DEPTH)
    return fit_pool_weights(votes(codes, 1.0, 1), likelihood, depth, torch.from_numpy(codes), n_cells).numpy()


def test_a_likelihood_that_knows_nothing_gets_a_smaller_weight_than_one_that_knows():
    random, is_informative = (np.exp(fitted(2000, strength, REFERENCE_DEPTH)[0]) for strength in (0.0, 1.0))
    assert random[1] < 0.25 * is_informative[1]
    # each is as good as the other, and independent of it: the best weights are equal, and 1
    np.testing.assert_allclose(is_informative, [1, 1], atol=0.15)


def test_few_cells_leave_the_weights_near_what_was_known_in_advance():
    prior = prior_pool_weights().numpy()
    few, many = (np.abs(fitted(n_cells, 0.0, REFERENCE_DEPTH) - prior).max() for n_cells in (2, 2000))
    assert few < 0.2
    assert many > 0.8


def test_the_weights_depend_on_depth_where_the_cells_do():
    depth = np.resize([10.0, 1000.0], 4000)
    weights = fitted(4000, np.where(depth > 100, 1.5, 0.0), depth)
    at = {d: np.exp(weights[0] + weights[1] * np.log(d / REFERENCE_DEPTH)) for d in (10, 1000)}
    slope = fitted(4000, 1.0, depth)[1, 1]
    assert weights[1, 1] > slope + 0.3
    assert at[10][1] < 0.3 * at[10][0]
    assert at[1000][1] > at[1000][0]


def test_the_learned_weights_are_the_lowest_point_of_what_they_minimise():
    # the oracle: the same loss, written out and minimised by scipy
    codes = np.random.default_rng(0).integers(3, size=60)
    depth = np.random.default_rng(3).integers(5, 500, 60).astype(float)
    network, likelihood = votes(codes, 1.0, 1), votes(codes, 0.5, 2)
    ours = fit_pool_weights(network, likelihood, torch.from_numpy(depth), torch.from_numpy(codes), 20).numpy()
    prior = np.log([[1.0, 0.5], [1.0, 1.0]])

    def loss(flat):
        w = flat.reshape(2, 2)
        at_depth = np.exp(w[0] + np.log(depth / 100)[:, None] * w[1])
        logits = at_depth[:, :1] * network.numpy() + at_depth[:, 1:] * likelihood.numpy() / (1 + depth[:, None] / 300)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -log_p[np.arange(60), codes].mean() + ((w - prior) ** 2).sum() / (2 * 0.15**2 * 20)

    best = minimize(loss, prior.ravel(), tol=1e-10).x.reshape(2, 2)
    np.testing.assert_allclose(ours, best, atol=1e-3)


# Platform factors ----------------------------------------------------------------------------------------------------


def simulated_query(n_obs: int, *, depth: float, spread: float, seed: int = 0):
    """Cells of five labels, uneven, on 40 genes; a platform that sees each gene by a factor of its own.

    Returns
    -------
    Profiles, factors, codes and counts.
    """
    rng = np.random.default_rng(seed)
    # labels that are alike in most of what they express
    profiles = 0.7 * random_profiles(1, 40, seed + 100) + 0.3 * random_profiles(5, 40, seed)
    factors = rng.lognormal(0, spread, 40)
    codes = rng.choice(5, n_obs, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    seen = profiles * factors
    counts = np.array([rng.multinomial(rng.poisson(depth), seen[code] / seen[code].sum()) for code in codes])
    return profiles, factors, codes, counts.astype(float)


def up_to_scale(factors) -> np.ndarray:
    """Factors relative to their geometric mean: a common one changes no label."""
    factors = np.asarray(factors)
    return factors / np.exp(np.log(factors).mean())


def test_platform_factors_are_recovered_from_large_counts():
    profiles, factors, codes, counts = simulated_query(3000, depth=3000, spread=0.7)
    by_label = np.bincount(codes, counts.sum(axis=1), minlength=5)
    ours = platform_factors(*(torch.from_numpy(x) for x in (counts.sum(axis=0), by_label, profiles, np.ones(40))))
    np.testing.assert_allclose(up_to_scale(ours), up_to_scale(factors), rtol=0.03)


def cells_of_platform(n_labels: int = 6, share: float = 0.0):
    """Cells of labels, and of one more type, as another platform sees them; profiles and factors."""
    rng = np.random.default_rng(0)
    profiles, factors = random_profiles(n_labels + 1, 50), np.exp(rng.normal(0, 0.5, 50))
    types = np.concatenate([np.repeat(np.arange(n_labels), 200), np.full(round(share * 200 * n_labels), n_labels)])
    counts = np.stack([rng.multinomial(500, row) for row in platform_profiles(profiles, factors)[types]])
    return sparse.csr_array(counts), profiles[:n_labels], factors


def test_median_factors_are_recovered_also_beside_an_unseen_type():
    for share in (0.0, 0.3):
        counts, profiles, factors = cells_of_platform(share=share)
        found = np.log(median_platform_factors(counts, profiles)) - np.log(factors)
        np.testing.assert_allclose(found - np.median(found), 0, atol=0.35)
        assert np.corrcoef(found + np.log(factors), np.log(factors))[0, 1] > 0.97


def test_an_unseen_type_moves_a_median_less_than_a_sum():
    counts, profiles, factors = cells_of_platform(share=0.3)
    of_sum = (counts.sum(axis=0) + 1) / (counts.sum() * profiles.mean(axis=0) + 1)
    of_median = median_platform_factors(counts, profiles)
    spread = [np.std(np.log(found / factors)) for found in (of_sum, of_median)]
    assert spread[1] < spread[0] / 2


@pytest.mark.parametrize(("n_labels", "n_cells"), [(2, 100), (4, 5)])
def test_without_enough_labels_or_cells_of_them_median_factors_are_1(n_labels, n_cells):
    profiles = random_profiles(n_labels, 20)
    counts = sparse.csr_array(np.repeat(np.random.default_rng(0).poisson(5, (n_labels, 20)), n_cells, axis=0))
    assert (median_platform_factors(counts, profiles) == 1).all()


def test_platform_factors_stay_1_without_counts_and_are_0_for_absent_genes():
    profiles, present = torch.from_numpy(random_profiles(5, 40)), torch.ones(40).double()
    present[:7] = 0
    factors = platform_factors(torch.zeros(40).double(), torch.zeros(5).double(), profiles, present)
    np.testing.assert_array_equal(factors, present)
    factors = platform_factors(torch.full((40,), 100.0).double() * present, torch.full((5,), 660.0), profiles, present)
    assert not factors[:7].any()
    assert (factors[7:] > 0).all()


def test_a_gene_of_which_few_counts_are_expected_keeps_its_factor_near_1():
    # of two genes without counts, 1 was expected of the one and 30,000 of the other
    profiles = np.tile([1e-5, 0.3, 1 - 0.3 - 1e-5], (2, 1))
    totals, by_label = np.array([0.0, 0.0, 1e5]), np.array([4e4, 6e4])
    few, many, _ = platform_factors(*(torch.from_numpy(x) for x in (totals, by_label, profiles, np.ones(3)))).tolist()
    assert few == pytest.approx(20 / 21, abs=0.01)
    assert many < 1e-3


def one_more_round(count_likelihood, log_likelihood, depth, totals, present, factors):
    """Labels by the tempered likelihood, three times as sure of itself; then factors by these labels."""
    corrected, n = normalize_log_likelihood(count_likelihood, log_likelihood, depth, factors), depth[:, 0]
    weight = torch.exp(count_likelihood.pool_weights[0, 1] + count_likelihood.pool_weights[1, 1] * torch.log(n / 100))
    probabilities = (3 * (weight / (1 + n / 300))[:, None] * corrected).softmax(dim=1)
    return platform_factors(totals, n @ probabilities, count_likelihood.log_profiles.exp(), present)


def query_for_a_fit(profiles, counts):
    """What :func:`fit_platform` takes of a query."""
    count_likelihood, x = evidence_of(profiles), torch.from_numpy(counts)
    return count_likelihood, count_likelihood(x), depths_of(count_likelihood, x), x.sum(dim=0), torch.ones(40).double()


@pytest.mark.parametrize("spread", [0.0, 0.7, 1.5])
def test_the_rounds_suffice(spread):
    profiles, _, _, counts = simulated_query(400, depth=60, spread=spread)
    query = query_for_a_fit(profiles, counts)
    factors = fit_platform(*query)
    np.testing.assert_allclose(one_more_round(*query, factors), factors, rtol=1e-3)


def test_the_rounds_between_factors_and_norms_suffice():
    profiles, _, codes, counts = simulated_query(400, depth=60, spread=1.5)
    totals, by_label = counts.sum(axis=0), np.bincount(codes, counts.sum(axis=1), minlength=5)
    factors = platform_factors(*(torch.from_numpy(x) for x in (totals, by_label, profiles, np.ones(40)))).numpy()
    expected = np.zeros(40)
    for label in range(5):
        expected += by_label[label] * profiles[label] / (profiles[label] * factors).sum()
    np.testing.assert_allclose(up_to_scale((totals + 20) / (expected + 20)), up_to_scale(factors), rtol=1e-3)


def branch_log_scores(count_likelihood, network, log_likelihood, depth, factors) -> torch.Tensor:
    """The log-probabilities of cells on a platform with these factors."""
    return BranchScores(network, *platform_log_likelihood(count_likelihood, log_likelihood, depth, factors)).pool(
        count_likelihood.pool_weights
    )


def test_fitting_the_platform_labels_more_cells_right():
    profiles, factors, codes, counts = simulated_query(600, depth=100, spread=1.5)
    query = query_for_a_fit(profiles, counts)
    count_likelihood, log_likelihood, depth, _, present = query
    # a network that is right on most of them
    noise = np.random.default_rng(0).normal(size=(len(codes), 5))
    network = torch.from_numpy(np.eye(5)[codes] + noise).log_softmax(dim=1)
    right = {}
    for name, used in {"none": present, "fitted": fit_platform(*query), "true": torch.from_numpy(factors)}.items():
        labels = branch_log_scores(count_likelihood, network, log_likelihood, depth, used).argmax(dim=1).numpy()
        right[name] = (labels == codes).mean()
    assert right["fitted"] > right["none"] + 0.1
    assert right["fitted"] > right["true"] - 0.03


def test_fitting_the_platform_finds_little_where_there_is_no_difference():
    profiles, _, _, counts = simulated_query(600, depth=100, spread=0.0)
    factors = fit_platform(*query_for_a_fit(profiles, counts))
    assert factors.log().std() < 0.1


def test_a_deep_cell_is_judged_as_if_it_had_the_depth_of_the_reference():
    profiles = simulated_query(1, depth=1, spread=0)[0]
    counts = np.random.default_rng(0).multinomial(1000, profiles.mean(axis=0), size=3).astype(float)
    network = torch.full((3, 5), np.log(0.2)).double()

    def judged(max_depth: float, x: np.ndarray) -> np.ndarray:
        count_likelihood, x = evidence_of(profiles, max_depth), torch.from_numpy(x)
        # how much the other genes count depends on the counts that the cell has
        count_likelihood.is_informative[:] = 1
        return branch_log_scores(
            count_likelihood, network, count_likelihood(x), depths_of(count_likelihood, x), torch.ones(40).double()
        ).numpy()

    # a tenth of each count, which is a tenth of the log-likelihood
    np.testing.assert_allclose(judged(100.0, counts), judged(np.inf, counts / 10), rtol=1e-6)
    assert np.abs(judged(100.0, counts) - judged(np.inf, counts)).max() > 0.1


def test_a_cell_without_counts_is_left_to_the_network():
    count_likelihood = evidence_of(random_profiles(5, 40))
    network = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5))).log_softmax(dim=1)
    none = torch.zeros(2, 2).double()
    log_probabilities = branch_log_scores(
        count_likelihood, network, torch.zeros(2, 5).double(), none, torch.ones(40).double()
    )
    np.testing.assert_allclose(log_probabilities, network, rtol=1e-6)


# Description of a match ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_labels", [2, 5])
def test_the_information_of_all_genes_is_the_jensen_shannon_divergence(n_labels):
    profiles = random_profiles(n_labels, 30)
    information = js_divergence_by_gene(profiles)
    assert information.shape == (30,)
    assert (information >= 0).all()
    entropies = stats.entropy(profiles, axis=1)
    assert information.sum() == pytest.approx(stats.entropy(profiles.mean(axis=0)) - entropies.mean())
    if n_labels == 2:
        assert information.sum() == pytest.approx(jensenshannon(*profiles) ** 2)


def test_a_gene_that_is_alike_in_all_labels_tells_nothing():
    profiles = np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2]])
    information = js_divergence_by_gene(profiles)
    assert information[0] == 0
    assert information[1] > 0


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_a_match_is_described_by_what_numpy_counts(labelled, container):
    counts, codes = labelled
    present = np.arange(12) < 7
    query_depth = np.random.default_rng(4).poisson(6.0, 200).astype(np.float32)
    query_depth[:3] = 0
    # three labels: the cell of code 3 has none
    quantiles, described = summarize_query_match(container(counts), codes, 3, present, query_depth)

    deep_enough = query_depth[query_depth > 0]
    assert quantiles.dtype == np.float32
    np.testing.assert_allclose(quantiles, np.percentile(deep_enough, range(101)))
    assert len(quantiles) == N_DEPTH_QUANTILES
    profiles = profiles_in_a_loop(counts[codes < 3], codes[codes < 3], 3)
    terms = profiles * np.log(profiles / profiles.mean(axis=0))
    depth = counts[:, :7].sum(axis=1)
    assert described == pytest.approx(
        {
            "n_shared_genes": 7,
            "n_genes": 12,
            "shared_information": terms[:, :7].sum() / terms.sum(),
            "query_depth": np.median(deep_enough),
            "reference_depth": np.median(depth),
            "kept_fraction": np.mean([min(1, np.median(deep_enough) / max(one, 1)) for one in depth]),
        }
    )


def test_a_match_without_labels_has_no_information(labelled):
    _, described = summarize_query_match(labelled[0], None, 0, np.ones(12, dtype=bool), np.array([3.0]))
    assert np.isnan(described["shared_information"])
    assert described["query_depth"] == 3


def test_a_query_without_counts_cannot_be_matched(labelled):
    with pytest.raises(ValueError, match="must have cells with counts.*none has"):
        summarize_query_match(labelled[0], labelled[1], 4, np.ones(12, dtype=bool), np.zeros(5))
