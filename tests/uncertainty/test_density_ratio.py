"""Density ratios, against the ratio of two known densities."""

import numpy as np
import pytest
from scipy import stats

from hrca.uncertainty import _density_ratio
from hrca.uncertainty._density_ratio import density_ratio


def lognormal_depths(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Depths of held-out and of query cells: the log of their ratio of densities is a line in the log depth."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(4, 1, n)), np.exp(rng.normal(5, 1, n))


def test_ratios_are_those_of_the_densities(monkeypatch):
    monkeypatch.setattr(_density_ratio, "INVERSE_PENALTY", 1.0)
    depth, query_depth = lognormal_depths(20_000)
    same = np.full((20_000, 2), 0.5)
    for at, found in zip(
        (depth, query_depth), density_ratio(same, depth, same, query_depth, np.arange(20_000)), strict=True
    ):
        log_depth = np.log(at)
        expected = stats.norm(5, 1).logpdf(log_depth) - stats.norm(4, 1).logpdf(log_depth)
        inner = np.abs(expected) < 3
        np.testing.assert_allclose(np.log(found)[inner], expected[inner], atol=0.25)
        slope, _ = np.polyfit(log_depth, np.log(found), 1)
        assert slope == pytest.approx(1, abs=0.1)


def test_log_ratios_are_bounded(monkeypatch):
    monkeypatch.setattr(_density_ratio, "INVERSE_PENALTY", 1e3)
    same = np.full((100, 2), 0.5)
    ratios, query_ratios = density_ratio(same, np.full(100, 10.0), same, np.full(100, 1e6), np.arange(100))
    np.testing.assert_allclose(np.log(ratios), -4)
    np.testing.assert_allclose(np.log(query_ratios), 4)


def test_where_all_cells_are_the_same_all_ratios_are_1():
    same, depth = np.full((50, 3), 1 / 3), np.full(50, 20.0)
    for found in density_ratio(same.astype(np.float32), depth, same.astype(np.float32), depth, np.arange(50)):
        np.testing.assert_allclose(found, 1)


def test_a_sample_of_many_query_cells_does_not_depend_on_their_order(monkeypatch):
    monkeypatch.setattr(_density_ratio, "MAX_FITTED_CELLS", 50)
    depth, query_depth = lognormal_depths(500)
    rng = np.random.default_rng(1)
    probabilities, query_probabilities = rng.dirichlet(np.ones(4), size=(2, 500))
    uniform, order = rng.random(500), rng.permutation(500)
    _, ratios = density_ratio(probabilities, depth, query_probabilities, query_depth, uniform)
    _, shuffled = density_ratio(probabilities, depth, query_probabilities[order], query_depth[order], uniform[order])
    np.testing.assert_allclose(shuffled, ratios[order])
    _, others = density_ratio(probabilities, depth, query_probabilities, query_depth, uniform[::-1])
    assert (others != ratios).any()
