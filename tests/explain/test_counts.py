"""The count likelihood's contributions are exact."""

import numpy as np
import pytest
import torch

from hrca.explain._counts import count_contributions
from hrca.explain._label_scores import pooling_weights
from hrca.module._count_likelihood import CountLikelihood
from hrca.prediction._platform_likelihood import platform_log_likelihood, platform_log_norms

N_LABELS, N_GENES = 4, 30


@pytest.fixture
def likelihood() -> CountLikelihood:
    """Random profiles; half of the genes are informative, and cells above 60 counts are deep."""
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.full(N_GENES, 0.5), N_LABELS) + 1e-6
    fitted = CountLikelihood(N_LABELS, N_GENES).double()
    fitted.log_profiles.copy_(torch.from_numpy(np.log(profiles / profiles.sum(axis=1, keepdims=True))))
    fitted.is_informative.copy_(torch.arange(N_GENES) % 2)
    fitted.max_depth.fill_(60.0)
    fitted.pool_weights.copy_(torch.tensor([[0.1, -0.6], [0.3, -0.2]]))
    fitted.is_fitted.fill_(True)
    return fitted


def by_hand(likelihood: CountLikelihood, x: np.ndarray, factors: np.ndarray, label: int) -> float:
    """The pooled log-likelihood of one cell, as decision 3 has it, gene by gene."""
    p, informative = likelihood.log_profiles.exp().numpy()[label], likelihood.is_informative.numpy()
    n, beta = x.sum(), 1 / (1 + x.sum() / 100)
    score = sum(x[g] * (1 if informative[g] else beta) * np.log(p[g]) for g in range(N_GENES))
    score -= beta * n * np.log(sum(p * factors))
    score -= (1 - beta) * sum(x * informative) * np.log(sum(p * factors * informative))
    clipped = min(n, 60)
    weights = likelihood.pool_weights.double().numpy()
    return np.exp(weights[0, 1] + weights[1, 1] * np.log(clipped / 100)) * score * clipped / n / (1 + clipped / 300)


@pytest.mark.parametrize("depth", [3, 40, 60, 500])
def test_contributions_sum_to_the_difference(likelihood, depth):
    rng = np.random.default_rng(depth)
    factors = rng.lognormal(0, 0.5, N_GENES)
    factors[[3, 4]] = 0
    counts = rng.multinomial(depth, np.where(factors > 0, 1, 0) / (factors > 0).sum(), 5)
    codes, against = np.array([0, 1, 2, 3, 0]), np.array([1, 0, 3, 0, 2])
    contributions = count_contributions(likelihood, counts, factors, codes, against)
    expected = [
        by_hand(likelihood, x, factors, a) - by_hand(likelihood, x, factors, b)
        for x, a, b in zip(counts, codes, against, strict=True)
    ]
    np.testing.assert_allclose(contributions.sum(axis=1), expected, rtol=1e-6)
    assert (contributions[counts == 0] == 0).all()


def test_a_contribution_is_the_counts_times_a_log_ratio_of_two_profiles(likelihood):
    factors = np.random.default_rng(1).lognormal(0, 0.5, N_GENES)
    likelihood.is_informative.fill_(1)
    counts = np.zeros((1, N_GENES))
    counts[0, [2, 5]] = 3, 7
    contributions = count_contributions(likelihood, counts, factors, np.array([1]), np.array([2]))
    on_platform = likelihood.log_profiles.exp().numpy() * factors
    on_platform /= on_platform.sum(axis=1, keepdims=True)
    weight = pooling_weights(likelihood, np.array([10.0]))[1][0]
    for gene in (2, 5):
        expected = weight * counts[0, gene] * np.log(on_platform[1, gene] / on_platform[2, gene])
        np.testing.assert_allclose(contributions[0, gene], expected, rtol=1e-6)


def test_they_agree_with_the_score_of_a_prediction(likelihood):
    rng = np.random.default_rng(2)
    factors, counts = rng.lognormal(0, 0.5, N_GENES), rng.poisson(4.0, (6, N_GENES)).astype(float)
    x = torch.from_numpy(counts)
    depth = torch.stack([x.sum(dim=1), x @ likelihood.is_informative], dim=1)
    log_norms = platform_log_norms(likelihood, torch.from_numpy(factors))
    scores, clipped = platform_log_likelihood(likelihood(x), depth, log_norms, float(likelihood.max_depth))
    scores = scores * torch.from_numpy(pooling_weights(likelihood, clipped.numpy())[1])[:, None]
    zeros, ones = np.zeros(6, dtype=int), np.ones(6, dtype=int)
    contributions = count_contributions(likelihood, counts, factors, zeros, ones)
    np.testing.assert_allclose(contributions.sum(axis=1), scores[:, 0] - scores[:, 1], rtol=1e-6)


def test_a_cell_without_counts_has_no_contributions(likelihood):
    nothing = count_contributions(likelihood, np.zeros((1, N_GENES)), np.ones(N_GENES), np.array([0]), np.array([1]))
    assert (nothing == 0).all()
