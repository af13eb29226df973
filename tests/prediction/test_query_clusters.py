"""Clusters of a query's cells, and their misfit, on simulated cells."""

import numpy as np
import pytest
from scipy import sparse
from simulated import random_profiles

from hrca.prediction._query_clusters import (
    MIN_CLUSTERS,
    N_CLUSTERINGS,
    LabelProfiles,
    QueryClusters,
    cluster_cells,
    cluster_misfit,
    mixture_misfit,
)


def cells(profiles: np.ndarray, n_cells: int, depth: int = 300, seed: int = 0) -> tuple[sparse.csr_array, np.ndarray]:
    """Cells of each profile in turn, and the index of their profile."""
    codes = np.arange(n_cells) % len(profiles)
    counts = np.random.default_rng(seed).multinomial(depth, profiles[codes]).astype(np.float32)
    return sparse.csr_array(counts), codes


def test_clusters_hold_cells_of_one_type():
    counts, codes = cells(random_profiles(3, 60), 900)
    clusters = cluster_cells(counts)
    n_by_type = np.zeros((len(clusters.n_cells), 3))
    for run in clusters.codes:
        np.add.at(n_by_type, (run, codes), 1)
    assert (n_by_type.max(axis=1) > 0.95 * clusters.n_cells).all()
    np.testing.assert_array_equal(n_by_type.sum(axis=1), clusters.n_cells)
    np.testing.assert_allclose(clusters.sums.sum(axis=0), N_CLUSTERINGS * counts.sum(axis=0))


@pytest.mark.parametrize(
    ("n_cells", "depth", "n_clusters"),
    [(159, 300, None), (160, 300, 4), (600, 300, 10), (600, 120, 4), (600, 30, None), (3000, 300, 40)],
)
def test_the_number_of_clusters_follows_cells_and_counts(n_cells, depth, n_clusters):
    clusters = cluster_cells(cells(random_profiles(3, 60), n_cells, depth)[0])
    assert (None if clusters is None else len(clusters.n_cells) / N_CLUSTERINGS) == n_clusters


@pytest.mark.parametrize("n_genes", [60, pytest.param(1500, id="more genes than cells")])
def test_the_clusters_do_not_depend_on_the_order_of_the_cells(n_genes):
    counts, _ = cells(random_profiles(3, n_genes), 900)
    order = np.random.default_rng(0).permutation(900)
    first, second = cluster_cells(counts), cluster_cells(counts[order])
    np.testing.assert_array_equal(second.codes, first.codes[:, order])
    np.testing.assert_allclose(second.sums, first.sums)


def test_each_run_has_clusters_of_its_own():
    counts, _ = cells(random_profiles(8, 60), 900)
    clusters = cluster_cells(counts)
    assert clusters.codes.shape == (N_CLUSTERINGS, 900)
    n_by_run = len(clusters.n_cells) // N_CLUSTERINGS
    np.testing.assert_array_equal(clusters.codes // n_by_run, np.arange(N_CLUSTERINGS)[:, None].repeat(900, axis=1))
    assert len({tuple(run % n_by_run) for run in clusters.codes}) == N_CLUSTERINGS


def test_identical_cells_have_no_clusters():
    assert cluster_cells(sparse.csr_array(np.tile([[100.0, 50.0, 3.0]], (600, 1)))) is None
    assert cluster_cells(sparse.csr_array(np.full((600, 1), 100.0))) is None


def clusters_of(sums: np.ndarray) -> QueryClusters:
    return QueryClusters(np.zeros(0, dtype=int), np.full(len(sums), 100), sums)


def test_the_misfit_is_0_for_the_right_label_whatever_the_sampling_error():
    profiles = random_profiles(4, 2000)
    rng = np.random.default_rng(1)
    reference = np.stack([rng.multinomial(200_000, row) for row in profiles])
    sums = np.stack([rng.multinomial(20_000, row) for row in profiles]).astype(float)
    estimated = (reference + 0.1) / (reference + 0.1).sum(axis=1, keepdims=True)
    misfit = cluster_misfit(clusters_of(sums), LabelProfiles(estimated, reference, np.ones(2000, dtype=bool)))
    np.testing.assert_array_equal(misfit.argmin(axis=1), np.arange(4))
    assert np.diag(misfit).max() < 0.05
    assert misfit[~np.eye(4, dtype=bool)].min() > 0.5


def test_the_misfit_is_the_variance_of_log_factors():
    rng = np.random.default_rng(0)
    profile = rng.dirichlet(np.full(3000, 5.0))
    factors = np.exp(rng.normal(0, 0.6, 3000))
    sums = np.round(1e9 * profile * factors / (profile * factors).sum())[None]
    found = cluster_misfit(
        clusters_of(sums), LabelProfiles(profile[None], 1e9 * profile[None], np.ones(3000, dtype=bool))
    )
    # the pseudocounts of a tenth of the mean shrink the log ratios by about a tenth
    assert 0.8 * 0.36 < found.item() < 0.36


def test_genes_that_are_not_used_do_not_matter():
    profiles = random_profiles(3, 50)
    sums, used = 1e5 * profiles[[0, 1]], np.arange(50) < 30
    changed = np.where(used, sums, 7e5 * np.random.default_rng(0).random((2, 50)))
    first, second = (
        cluster_misfit(clusters_of(x), LabelProfiles(np.where(used, profiles, 0), 1e6 * profiles, used))
        for x in (sums, changed)
    )
    np.testing.assert_allclose(first, second)


def test_the_log_profiles_are_0_for_absent_genes():
    sums = np.array([[10.0, 0.0, 30.0], [20.0, 0.0, 0.0]])
    log_profiles = clusters_of(sums).log_profiles()
    assert not log_profiles[:, 1].any()
    np.testing.assert_allclose(np.exp(log_profiles[:, [0, 2]]).sum(axis=1), 1)
    assert MIN_CLUSTERS > 1


def test_a_mixture_of_labels_fits_though_no_label_does():
    profiles = random_profiles(4, 2000)
    labels = LabelProfiles(profiles, 1e6 * profiles, np.ones(2000, dtype=bool))
    fractions = np.array([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]])
    sums = np.round(1e6 * fractions @ profiles)
    assert cluster_misfit(clusters_of(sums), labels)[0].min() > 0.2
    np.testing.assert_allclose(mixture_misfit(clusters_of(sums), fractions, labels), 0, atol=1e-3)
    # the mixture of one label is the label
    own = cluster_misfit(clusters_of(sums), labels)
    np.testing.assert_allclose(mixture_misfit(clusters_of(sums), np.eye(4)[[2, 3]], labels), [own[0, 2], own[1, 3]])
