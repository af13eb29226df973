"""Label profiles and informative genes, against written-out loops and scipy."""

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.spatial.distance import jensenshannon
from simulated import labelled_counts, profiles_in_a_loop, random_profiles

from hrca.module._profiles import (
    PROFILE_PSEUDOCOUNT,
    class_profiles,
    class_sums,
    informative_genes,
    js_divergence_by_gene,
    normalize_rows,
)

CONTAINERS = [np.asarray, sparse.csr_array, sparse.csr_matrix, sparse.csc_array]


@pytest.fixture
def labelled() -> tuple[np.ndarray, np.ndarray]:
    return labelled_counts()


def test_normalize_rows_divides_by_the_sum_of_each_row():
    np.testing.assert_array_equal(normalize_rows(np.array([[1.0, 3.0], [2.0, 2.0]])), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(normalize_rows(np.array([1.0, 3.0])), [0.25, 0.75])


@pytest.mark.parametrize("container", CONTAINERS)
def test_class_sums_are_the_counts_of_each_label_in_every_container(labelled, container):
    counts, codes = labelled
    codes[::7] = 4  # the code of cells to leave out
    sums = class_sums(container(counts), codes, 4)
    assert sums.dtype == np.float64
    np.testing.assert_array_equal(sums, [counts[codes == label].sum(axis=0) for label in range(4)])


def test_class_sums_of_a_matrix_without_cells_are_zeros():
    np.testing.assert_array_equal(class_sums(sparse.csr_array((0, 5)), np.zeros(0, dtype=int), 2), np.zeros((2, 5)))


@pytest.mark.parametrize("container", CONTAINERS)
def test_profiles_are_smoothed_fractions_in_every_container(labelled, container):
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
    fractions = np.array([counts[codes == label].sum(axis=0) / counts[codes == label].sum() for label in range(4)])
    mean, profiles = fractions.mean(axis=0), class_profiles(counts, codes, 4)
    distance = np.abs(profiles - mean).sum(axis=1) / np.abs(fractions - mean).sum(axis=1)
    assert distance.argmin() == 3  # the label of one cell
    # pseudocounts for 12 genes beside the label's own counts
    totals = np.array([counts[codes == label].sum() for label in range(4)])
    expected = totals / (totals + 12 * PROFILE_PSEUDOCOUNT)
    np.testing.assert_allclose(distance, expected, atol=1e-3)


def test_profiles_without_any_counts_are_even():
    np.testing.assert_allclose(class_profiles(np.zeros((3, 4), dtype=np.float32), np.array([0, 1, 1]), 2), 0.25)


def test_pseudocount_and_trace_counts_are_parameters(labelled):
    counts, codes = labelled
    profiles = class_profiles(counts, codes, 4, pseudocount=1.0, trace_counts=1.0)
    sums = np.array([counts[codes == label].sum(axis=0, dtype=float) for label in range(4)])
    mean = (sums / sums.sum(axis=1, keepdims=True)).mean(axis=0) + 1 / (12 * sums.sum())
    smoothed = sums + 12 * mean / mean.sum()
    np.testing.assert_allclose(profiles, smoothed / smoothed.sum(axis=1, keepdims=True), rtol=1e-12)


def test_informative_genes_stand_out_in_some_label():
    profiles = np.full((3, 6), 1e-2)
    profiles[0, 0] = 3.4e-2  # less than e^1.25 = 3.49 times the others
    profiles[1, 1] = 3.6e-2
    profiles[:, 2] = [2e-5, 9e-5, 2e-5]  # stands out, but too rare
    profiles[:, 3] = [2e-5, 2e-5, 2e-4]
    profiles[:, 4] = [1e-3, 1e-2, 1e-2]  # low in one label, in none higher than in the others
    profiles[:, 5] = 1 - profiles[:, :5].sum(axis=1)
    every = np.ones(6, bool)
    np.testing.assert_array_equal(informative_genes(profiles, every), [False, True, False, True, False, False])
    # the rare gene is less rare among these two genes
    np.testing.assert_array_equal(np.flatnonzero(informative_genes(profiles, np.isin(np.arange(6), [2, 4]))), [2])
    # none stands out: all
    np.testing.assert_array_equal(informative_genes(profiles[:, [0, 4, 5]], every[:3]), every[:3])


@pytest.mark.parametrize("n_labels", [2, 5])
def test_the_sum_over_genes_is_the_jensen_shannon_divergence(n_labels):
    profiles = random_profiles(n_labels, 30)
    divergence = js_divergence_by_gene(profiles)
    assert divergence.shape == (30,)
    assert (divergence >= 0).all()
    entropies = stats.entropy(profiles, axis=1)
    assert divergence.sum() == pytest.approx(stats.entropy(profiles.mean(axis=0)) - entropies.mean())
    if n_labels == 2:
        assert divergence.sum() == pytest.approx(jensenshannon(*profiles) ** 2)


def test_a_gene_with_the_same_fraction_in_all_labels_contributes_nothing():
    profiles = np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2]])
    divergence = js_divergence_by_gene(profiles)
    assert divergence[0] == 0
    assert divergence[1] > 0
