"""Count likelihood and pooling weights, against written-out loops and scipy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from simulated import likelihood_of, random_profiles

from hrca.module._count_likelihood import (
    COUNTS_WEIGHT,
    NETWORK_WEIGHT,
    REFERENCE_DEPTH,
    SATURATION_DEPTH,
    CountLikelihood,
    background_weight,
    fit_pool_weights,
    pool_log_scores,
    prior_pool_weights,
)


def test_a_count_on_other_genes_weighs_less_the_deeper_the_cell():
    profiles = random_profiles(4, 9)
    count_likelihood = likelihood_of(profiles)
    count_likelihood.is_informative.fill_(1)
    count_likelihood.is_informative[[1, 3, 8]] = 0
    counts = np.random.default_rng(1).poisson([[1.0], [30.0]], (2, 9)).astype(float)
    expected = np.zeros((2, 4))
    for cell in range(2):
        for gene in range(9):
            weight = 1 / (1 + counts[cell].sum() / 100) if gene in (1, 3, 8) else 1
            expected[cell] += weight * counts[cell, gene] * np.log(profiles[:, gene])
    np.testing.assert_allclose(count_likelihood(torch.from_numpy(counts)), expected, rtol=1e-12)
    np.testing.assert_allclose(background_weight(torch.tensor([0.0, 100.0, 300.0])), [1, 0.5, 0.25])


def test_a_count_likelihood_is_not_fitted_before_it_has_profiles():
    count_likelihood = CountLikelihood(3, 5)
    assert not count_likelihood.is_fitted
    profiles = random_profiles(3, 5)
    count_likelihood.fit_profiles(profiles, np.ones(5), 70.0)
    assert count_likelihood.is_fitted
    assert float(count_likelihood.max_depth) == 70
    np.testing.assert_allclose(count_likelihood.log_profiles.exp(), profiles, rtol=1e-5)
    np.testing.assert_allclose(count_likelihood.pool_weights[0].exp(), [NETWORK_WEIGHT, COUNTS_WEIGHT])


def test_only_genes_of_the_mask_are_informative():
    count_likelihood, profiles = CountLikelihood(2, 4), np.array([[0.3, 0.02, 0.08, 0.6], [0.02, 0.3, 0.08, 0.6]])
    count_likelihood.fit_profiles(profiles, np.ones(4), 70.0)
    assert count_likelihood.is_informative.tolist() == [1, 1, 0, 0]
    count_likelihood.fit_profiles(profiles, np.array([0.0, 1.0, 1.0, 1.0]), 70.0)
    assert count_likelihood.is_informative.tolist() == [0, 1, 0, 0]


def test_pooling_weighs_network_and_likelihood_by_depth():
    rng = np.random.default_rng(0)
    network, likelihood = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    depth, weights = np.array([0.0, 1.0, 20.0, REFERENCE_DEPTH, 4000.0]), rng.normal(size=(2, 2))
    expected = np.empty((5, 3))
    for cell in range(5):
        log_depth = np.log(max(depth[cell], 1) / REFERENCE_DEPTH)
        w_network = np.exp(weights[0, 0] + weights[1, 0] * log_depth)
        w_counts = np.exp(weights[0, 1] + weights[1, 1] * log_depth)
        for label in range(3):
            tempered = likelihood[cell, label] / (1 + depth[cell] / SATURATION_DEPTH)
            expected[cell, label] = w_network * network[cell, label] + w_counts * tempered
    ours = pool_log_scores(*(torch.from_numpy(x) for x in (network, likelihood, depth, weights)))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def noisy_log_scores(codes: np.ndarray, strength: float | np.ndarray, seed: int) -> torch.Tensor:
    """Log-probabilities of three labels; the larger the strength, the more confident and accurate."""
    noise = np.random.default_rng(seed).normal(size=(len(codes), 3))
    return torch.from_numpy(np.eye(3)[codes] * np.reshape(strength, (-1, 1)) + noise).log_softmax(dim=1)


def fitted(n_cells: int, likelihood_strength: float | np.ndarray, depth: float | np.ndarray) -> np.ndarray:
    codes = np.random.default_rng(0).integers(3, size=n_cells)
    depth = torch.from_numpy(np.broadcast_to(np.asarray(depth, dtype=float), n_cells).copy())
    # the divisor of the pooling is multiplied in, so that the strength is the same at every depth
    likelihood = noisy_log_scores(codes, likelihood_strength, 2) * (1 + depth[:, None] / SATURATION_DEPTH)
    network = noisy_log_scores(codes, 1.0, 1)
    return fit_pool_weights(network, likelihood, depth, torch.from_numpy(codes), n_cells).numpy()


def test_a_random_likelihood_gets_a_smaller_weight_than_an_informative_one():
    random, informative = (np.exp(fitted(2000, strength, REFERENCE_DEPTH)[0]) for strength in (0.0, 1.0))
    assert random[1] < 0.25 * informative[1]
    # both are equally good and independent: the best weights are 1
    np.testing.assert_allclose(informative, [1, 1], atol=0.15)


def test_few_cells_leave_the_weights_near_the_prior():
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


def test_the_fitted_weights_minimise_the_penalised_cross_entropy():
    # the oracle: the same loss, written out and minimised by scipy
    codes = np.random.default_rng(0).integers(3, size=60)
    depth = np.random.default_rng(3).integers(5, 500, 60).astype(float)
    network, likelihood = noisy_log_scores(codes, 1.0, 1), noisy_log_scores(codes, 0.5, 2)
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


@pytest.mark.parametrize("strength", [100.0, -100.0])
def test_extreme_scores_keep_the_weights_finite(strength):
    weights = fitted(300, strength, 1e5)
    assert np.isfinite(weights).all()
    assert np.abs(weights - prior_pool_weights().numpy()).max() <= 3 + 1e-6
