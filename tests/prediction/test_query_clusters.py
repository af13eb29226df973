"""Clusters of a query's cells, on simulated cells."""

import numpy as np
import pytest
from scipy import sparse
from simulated import random_profiles

from hrca.prediction._query_clusters import (
    N_CLUSTERINGS,
    QueryClusters,
    cluster_cells,
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


@pytest.mark.parametrize(
    ("n_types", "n_genes", "depth"),
    [
        (3, 60, 300),
        pytest.param(3, 1500, 300, id="more genes than cells"),
        # the first component is then hundreds of times as large as the others
        pytest.param(1, 60, 30_000, id="deep cells of one type"),
    ],
)
def test_the_clusters_do_not_depend_on_the_order_of_the_cells(n_types, n_genes, depth):
    counts, _ = cells(random_profiles(n_types, n_genes), 900, depth)
    order = np.random.default_rng(0).permutation(900)
    first, second = cluster_cells(counts), cluster_cells(counts[order])
    np.testing.assert_array_equal(second.codes, first.codes[:, order])
    np.testing.assert_allclose(second.sums, first.sums)


def test_without_a_cell_nearly_all_others_keep_their_clusters():
    # one cluster per 60 cells: as many without one
    counts, _ = cells(random_profiles(8, 60), 930)
    codes = cluster_cells(counts).codes
    changed = []
    for cell in range(0, 930, 93):
        kept = np.arange(930) != cell
        changed.append((cluster_cells(counts[kept]).codes != codes[:, kept]).mean())
    assert np.mean(changed) < 0.15


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


def test_the_log_profiles_are_0_for_absent_genes():
    sums = np.array([[10.0, 0.0, 30.0], [20.0, 0.0, 0.0]])
    log_profiles = QueryClusters(np.zeros(0, dtype=int), np.full(len(sums), 100), sums).log_profiles()
    assert not log_profiles[:, 1].any()
    np.testing.assert_allclose(np.exp(log_profiles[:, [0, 2]]).sum(axis=1), 1)
