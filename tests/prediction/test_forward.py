"""Batched forward passes, against whole ones and written-out pooling."""

import numpy as np
import pytest
import torch
from simulated import MAX_DEPTH, N_GENES, PRESENT, batched, prediction_module, query_counts, two_multinomials

from hrca.module._count_likelihood import pool_log_scores
from hrca.module._module import HRCAModule
from hrca.prediction._forward import BranchScores, score_cells, shared_genes, write_network_outputs

N_OBS = 23


@pytest.fixture
def module() -> HRCAModule:
    """A module with random networks, a fitted count likelihood, and one gene hidden."""
    return prediction_module()


@pytest.fixture
def networks() -> HRCAModule:
    """The same module without a count likelihood."""
    module = prediction_module()
    module.count_likelihood = None
    return module


@pytest.fixture
def counts() -> np.ndarray:
    """Counts of a query, zero for absent genes; the first cell is empty, the second deep."""
    return query_counts(N_OBS)


def used_genes() -> np.ndarray:
    return PRESENT & (np.arange(N_GENES) != 7)


@pytest.mark.parametrize("batch_size", [10, 100])
def test_outputs_of_a_network_are_in_the_rows_of_each_batch(counts, batch_size):
    outputs = np.zeros(counts.shape, dtype=np.float32)
    write_network_outputs(lambda x: x.double() * 2, batched(counts, batch_size), outputs, torch.device("cpu"))
    np.testing.assert_array_equal(outputs, 2 * counts)


@pytest.mark.parametrize("batch_size", [10, 100])
def test_outputs_of_a_network_record_no_gradients(counts, batch_size):
    weight, outputs = torch.ones(N_GENES, requires_grad=True), np.zeros(counts.shape, dtype=np.float32)
    write_network_outputs(lambda x: x * weight, batched(counts, batch_size), outputs, torch.device("cpu"))
    np.testing.assert_array_equal(outputs, counts)


@pytest.mark.parametrize("batch_size", [1, 10, 100])
def test_without_a_count_likelihood_the_scores_are_the_classifiers(networks, counts, batch_size):
    scores = score_cells(networks, batched(counts, batch_size), shared_genes(networks, PRESENT))
    expected = networks.classify(torch.from_numpy(counts)).log_softmax(dim=1).detach()
    assert scores.network.dtype == torch.float64
    np.testing.assert_allclose(scores.network, expected, rtol=1e-5, atol=1e-6)
    assert scores.log_likelihood is None
    np.testing.assert_array_equal(scores.depth, counts[:, used_genes()].sum(axis=1))


def test_without_correction_the_likelihood_is_of_two_multinomials_at_the_clipped_depth(module, counts):
    scores = score_cells(module, batched(counts, 10), shared_genes(module, PRESENT))
    used, depth = used_genes(), counts[:, used_genes()].sum(axis=1)
    profiles = np.where(used, module.count_likelihood.log_profiles.double().exp().numpy(), 1e-300)
    expected = two_multinomials(module.count_likelihood, counts * used, profiles)
    expected *= (np.minimum(depth, MAX_DEPTH) / np.maximum(depth, 1))[:, None]
    relative = scores.log_likelihood - scores.log_likelihood[:, :1]
    np.testing.assert_allclose(relative, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(scores.depth, np.minimum(depth, MAX_DEPTH))
    assert depth.max() > MAX_DEPTH


def test_the_scores_depend_neither_on_the_batches_nor_on_the_order(module, counts):
    order = np.random.default_rng(1).permutation(N_OBS)
    first = score_cells(module, batched(counts, 4), shared_genes(module, PRESENT))
    second = score_cells(module, batched(counts[order], 9), shared_genes(module, PRESENT))
    for name in ("network", "log_likelihood", "depth"):
        np.testing.assert_allclose(getattr(first, name)[order], getattr(second, name), rtol=1e-5, atol=1e-6)


def test_a_query_without_any_gene_of_the_model_has_no_counts(module):
    batches = batched(np.zeros((3, N_GENES), dtype=np.float32), 2)
    scores = score_cells(module, batches, np.zeros(N_GENES))
    assert not scores.depth.any()
    assert scores.log_likelihood.isfinite().all()


def random_scores(n_obs: int, seed: int, *, with_counts: bool = True) -> BranchScores:
    rng = np.random.default_rng(seed)
    network, log_likelihood = (torch.from_numpy(rng.normal(size=(n_obs, 3))).log_softmax(dim=1) for _ in range(2))
    depth = torch.from_numpy(rng.integers(1, 500, n_obs).astype(float))
    return BranchScores(network, log_likelihood if with_counts else None, depth)


def test_pooled_scores_are_log_probabilities():
    scores, weights = random_scores(6, 0), torch.randn(2, 2)
    pooled = scores.pool(weights)
    np.testing.assert_allclose(pooled.exp().sum(dim=1), 1)
    logits = pool_log_scores(scores.network, scores.log_likelihood, scores.depth, weights.double())
    torch.testing.assert_close(pooled, logits.log_softmax(dim=1))
    with pytest.raises(ValueError, match="`pool_weights` must be given"):
        scores.pool(None)


def test_without_a_likelihood_pooling_returns_the_classifiers_scores():
    scores = random_scores(6, 0, with_counts=False)
    assert scores.pool(None) is scores.network
    assert scores.pool(torch.zeros(2, 2)) is scores.network


@pytest.mark.parametrize("with_counts", [False, True])
@pytest.mark.parametrize("rows", [np.array([4, 0, 2]), np.arange(6) % 2 == 0], ids=["indices", "mask"])
def test_a_subset_has_the_scores_of_these_cells(rows, with_counts):
    scores = random_scores(6, 0, with_counts=with_counts)
    subset = scores.subset(rows)
    np.testing.assert_array_equal(subset.network, scores.network.numpy()[rows])
    np.testing.assert_array_equal(subset.depth, scores.depth.numpy()[rows])
    if with_counts:
        np.testing.assert_array_equal(subset.log_likelihood, scores.log_likelihood.numpy()[rows])
    else:
        assert subset.log_likelihood is None


@pytest.mark.parametrize("with_counts", [False, True])
def test_concatenated_subsets_are_the_whole(with_counts):
    scores = random_scores(6, 0, with_counts=with_counts)
    whole = BranchScores.concat([scores.subset(np.arange(2)), scores.subset(np.arange(2, 6))])
    torch.testing.assert_close(whole.network, scores.network)
    torch.testing.assert_close(whole.depth, scores.depth)
    if with_counts:
        torch.testing.assert_close(whole.log_likelihood, scores.log_likelihood)
    else:
        assert whole.log_likelihood is None
