"""Starts of k-means, against those of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin_min

from hrca.prediction._kmeans_starts import kmeans_starts


def simulate(n_cells: int = 2000, n_groups: int = 12, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    """Coordinates of cells of overlapping groups, and a hash for each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (n_groups, 8))
    coordinates = centres[rng.integers(n_groups, size=n_cells)] + rng.normal(size=(n_cells, 8))
    return coordinates, torch.from_numpy(rng.integers(-(2**63), 2**63, n_cells))


def mean_square_distance(coordinates: np.ndarray, start: np.ndarray) -> float:
    return (pairwise_distances_argmin_min(coordinates, start)[1] ** 2).mean()


def test_the_starts_are_different_cells_and_the_same_in_any_order():
    coordinates, hashes = simulate()
    starts = kmeans_starts(coordinates, hashes, 20, 5)
    assert starts.shape == (5, 20, 8)
    cells = {tuple(cell) for cell in coordinates}
    for start in starts:
        assert len({tuple(cell) for cell in start}) == 20
        assert {tuple(cell) for cell in start} <= cells
    assert len({tuple(start[0]) for start in starts}) == 5
    order = np.random.default_rng(1).permutation(len(coordinates))
    np.testing.assert_array_equal(kmeans_starts(coordinates[order], hashes[order], 20, 5), starts)


def test_without_a_cell_most_runs_start_at_the_same_cells():
    coordinates, hashes = simulate()
    starts = kmeans_starts(coordinates, hashes, 20, 5)
    n_same = 0
    for cell in range(0, 2000, 100):
        kept = np.arange(2000) != cell
        n_same += (kmeans_starts(coordinates[kept], hashes[kept], 20, 5) == starts).all(axis=(1, 2)).sum()
    # of 100 runs; a dropped cell can be a start itself
    assert n_same >= 90


def test_the_starts_are_as_near_to_the_cells_as_those_of_scikit_learn():
    coordinates, hashes = simulate()
    ours = [mean_square_distance(coordinates, start) for start in kmeans_starts(coordinates, hashes, 20, 40)]
    theirs = [
        mean_square_distance(coordinates, kmeans_plusplus(coordinates, 20, random_state=seed)[0]) for seed in range(40)
    ]
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(40)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.6)


def test_a_rare_distant_group_has_a_start():
    coordinates, hashes = simulate()
    coordinates[:5] += 100
    for start in kmeans_starts(coordinates, hashes, 4, 10):
        assert (start[:, 0] > 50).any()


def test_as_many_clusters_as_different_cells():
    coordinates = np.repeat(np.arange(4.0)[:, None] * 10, 50, axis=0)
    hashes = torch.arange(200)
    for start in kmeans_starts(coordinates, hashes, 4, 3):
        np.testing.assert_array_equal(np.sort(start[:, 0]), [0, 10, 20, 30])
