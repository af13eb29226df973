"""Novel probabilities that cells would have without their label, against fits to a reference that lacks it."""

import numpy as np
import pytest
import torch
from scipy import sparse
from simulated import depths_of, likelihood_of, random_profiles

from hrca.prediction._cluster_novelty import cluster_novel_probabilities
from hrca.prediction._open_set import QueryFit, fit_query
from hrca.prediction._platform_likelihood import QueryCellSample

N_LABELS, N_GENES, N_CELLS, DEPTH = 6, 300, 1800, 300
# The last two labels are hardly different.
SIMILAR = [4, 5]


@pytest.fixture(scope="module")
def profiles() -> np.ndarray:
    found = random_profiles(N_LABELS, N_GENES)
    found[5] = found[4] * np.exp(np.random.default_rng(1).normal(0, 0.1, N_GENES))
    return found / found.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def types() -> np.ndarray:
    return np.random.default_rng(2).integers(N_LABELS, size=N_CELLS)


@pytest.fixture(scope="module")
def counts(profiles, types) -> np.ndarray:
    rng = np.random.default_rng(0)
    elsewhere = profiles * np.exp(rng.normal(0, 0.4, N_GENES))
    elsewhere /= elsewhere.sum(axis=1, keepdims=True)
    return rng.multinomial(DEPTH, elsewhere[types]).astype(np.float32)


def fit(profiles: np.ndarray, counts: np.ndarray) -> QueryFit:
    count_likelihood, x = likelihood_of(profiles), torch.from_numpy(counts).double()
    cells = QueryCellSample(sparse.csr_array(counts), count_likelihood(x), depths_of(count_likelihood, x))
    mask = np.ones(N_GENES)
    return fit_query(count_likelihood, cells, mask, 1e6 * profiles, platform_correction=True, open_set=True)


def test_it_is_the_novel_probability_under_a_reference_without_the_label(profiles, types, counts):
    found = fit(profiles, counts).left_out_novel_probability
    without = [
        fit(np.delete(profiles, label, axis=0), counts).score_cells(sparse.csr_array(counts)).novel_probability
        for label in range(N_LABELS)
    ]
    expected = [novel[types == label].mean() for label, novel in enumerate(without)]
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert (np.flatnonzero(found < 0.5) == SIMILAR).all()


def test_the_fit_with_all_labels_is_not_changed(profiles, counts, monkeypatch):
    novel = fit(profiles, counts).score_cells(sparse.csr_array(counts)).novel_probability
    monkeypatch.setattr("hrca.prediction._open_set.left_out_novel_probability", lambda misfits, labels: None)
    np.testing.assert_array_equal(fit(profiles, counts).score_cells(sparse.csr_array(counts)).novel_probability, novel)


def test_of_many_labels_it_is_nearly_that_of_a_full_comparison(profiles, counts, monkeypatch):
    every = fit(profiles, counts).left_out_novel_probability
    # the labels 0, 2 and 5 are common, the others are not
    monkeypatch.setattr("hrca.prediction._cluster_misfit.N_COMMON_LABELS", 3)
    monkeypatch.setattr("hrca.prediction._cluster_misfit.N_LIKELY_LABELS", 2)
    some = fit(profiles, counts)
    assert np.isnan(some.misfits.by_label).any()
    np.testing.assert_allclose(some.left_out_novel_probability, every, atol=0.15)
    assert (np.flatnonzero(some.left_out_novel_probability < 0.5) == SIMILAR).all()


def test_more_iterations_of_the_fraction_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    features, n_cells = rng.normal(0, 1, (50, 3)), rng.integers(20, 200, 50)
    found = cluster_novel_probabilities(features, n_cells)
    monkeypatch.setattr("hrca.prediction._cluster_novelty.MAX_FRACTION_CHANGE", -1)
    np.testing.assert_allclose(cluster_novel_probabilities(features, n_cells), found, atol=1e-6)


def test_a_label_without_cells_has_none(profiles, types, counts):
    found = fit(profiles, counts[types != 2]).left_out_novel_probability
    assert np.isnan(found[2])
    assert not np.isnan(np.delete(found, 2)).any()


def test_of_two_labels_none_is_left_out(profiles, types, counts):
    assert np.isnan(fit(profiles[:2], counts[types < 2]).left_out_novel_probability).all()


def test_too_few_cells_have_no_clusters(profiles, counts):
    assert fit(profiles, counts[:100]).left_out_novel_probability is None
