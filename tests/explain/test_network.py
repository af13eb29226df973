"""Integrated gradients of the classifier: complete, of a linear network exact, and by expressed genes alone."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from conftest import synthetic
from simulated import network_scores
from torch import nn

from hrca.explain import _network
from hrca.explain._network import check_captum, network_contributions
from hrca.module._transforms import log_normalize


def differences(module, counts: np.ndarray, codes: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Difference of the pooled log-probabilities of the classifier, from the module's own scores."""
    scores = network_scores(module, torch.from_numpy(counts)).double().numpy()
    likelihood = module.count_likelihood
    if likelihood is None:
        weight = np.ones(len(counts))
    else:
        depth = np.minimum(counts.sum(axis=1), float(likelihood.max_depth))
        pool_weights = likelihood.pool_weights.double().numpy()
        weight = np.exp(pool_weights[0, 0] + pool_weights[1, 0] * np.log(depth / 100))
    rows = np.arange(len(counts))
    return weight * (scores[rows, codes] - scores[rows, against])


@pytest.mark.parametrize("name", ["tiny_model", "tiny_networks"])
def test_contributions_and_baseline_sum_to_the_difference(name, request):
    module = request.getfixturevalue(name).module
    counts = synthetic(40, seed=3).X.toarray()
    if module.count_likelihood is not None:
        # cells that the classifier sees as thinned draws, and others
        is_deep = counts.sum(axis=1) > float(module.count_likelihood.max_depth)
        assert 0 < is_deep.sum() < len(counts)
    codes, against = np.arange(40) % 3, (np.arange(40) + 1) % 3
    expected = differences(module, counts, codes, against)
    contributions, baseline = network_contributions(module, counts, codes, against, expected)
    error = np.abs(contributions.sum(axis=1) + baseline - expected)
    assert (error < np.maximum(0.05 * np.abs(expected), 0.02)).all()
    assert (contributions[counts == 0] == 0).all()


def test_of_a_linear_network_they_are_input_times_weight(tiny_networks):
    module = copy.deepcopy(tiny_networks.module)
    linear = nn.Linear(60, 3)

    class Linear(nn.Module):
        def encode(self, x):
            return x

    module.gene_ae, module.se_classifier = Linear(), linear
    counts = synthetic(3, seed=4).X.toarray()
    contributions, baseline = network_contributions(
        module, counts, np.array([0, 1, 2]), np.array([1, 2, 0]), np.ones(3)
    )
    x = log_normalize(torch.from_numpy(counts)).numpy()
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    rolled = np.roll(np.arange(3), -1)
    np.testing.assert_allclose(contributions, x * (weight - weight[rolled]), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(baseline, bias - bias[rolled], rtol=1e-5)


def test_more_steps_are_taken_where_the_sum_is_off(tiny_networks, monkeypatch):
    counts = synthetic(12, seed=5).X.toarray()
    codes, against = np.arange(12) % 3, (np.arange(12) + 1) % 3

    def error() -> float:
        expected = differences(tiny_networks.module, counts, codes, against)
        contributions, baseline = network_contributions(tiny_networks.module, counts, codes, against, expected)
        return float(np.abs(contributions.sum(axis=1) + baseline - expected).max())

    monkeypatch.setattr(_network, "MIN_STEPS", 2)
    adaptive = error()
    monkeypatch.setattr(_network, "MAX_STEPS", 2)
    assert adaptive < error()


def test_without_captum_the_error_names_the_extra(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(_network, "find_spec", lambda name: None if name == "captum" else real(name))
    with pytest.raises(ImportError, match=r"hrca\[explain\].*network_genes=False"):
        check_captum()
