"""Combined ranks of deviance and distance."""

import numpy as np
import pytest
from scipy import sparse, stats

from hrca.uncertainty._depth_ranks import DepthRanks
from hrca.uncertainty._novelty_ranks import _combine_ranks, _NearestCells, fit_novelty_ranks
from hrca.uncertainty._thinned_reference import ThinnedReference


def thinned_reference(n_cells: int, n_draws: int, seed: int = 0, n_genes: int = 40) -> ThinnedReference:
    """Poisson counts of two types, each cell several times; deviances that grow with the depth."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.5, 2, (2, n_genes))
    cells = np.tile(np.arange(n_cells), n_draws)
    counts = rng.poisson(rates[cells % 2] * rng.uniform(0.5, 3, (len(cells), 1))).astype(np.float32) + np.eye(
        len(cells), n_genes, dtype=np.float32
    )
    counts[:, 0] += 1
    depth = counts.sum(axis=1, dtype=float)
    return ThinnedReference(sparse.csr_array(counts), depth, depth * rng.gamma(4, 0.25, len(cells)), cells)


def test_ranks_are_combined_by_fishers_method():
    rng = np.random.default_rng(0)
    deviance_rank, distance_rank = rng.random(20), rng.random(20)
    for combined, *ranks in zip(
        _combine_ranks(deviance_rank, distance_rank), deviance_rank, distance_rank, strict=True
    ):
        statistic, _ = stats.combine_pvalues([1 - rank for rank in ranks], method="fisher")
        assert 2 * np.log(combined) == pytest.approx(statistic)


def test_the_distance_is_to_the_nearest_three_cells():
    # as many components as genes but one: distances are nearly those of the log-normalised counts
    thinned = thinned_reference(60, 2, n_genes=21)
    nearest = _NearestCells.fit(thinned, 2)
    query = thinned_reference(10, 1, seed=1, n_genes=21).counts
    coordinates = nearest.components.transform(
        np.log1p(thinned.counts.toarray() / thinned.depth[:, None] * np.median(thinned.depth))
    )
    counts = query.toarray()
    ours = nearest.components.transform(np.log1p(counts / counts.sum(axis=1, keepdims=True) * np.median(thinned.depth)))
    expected = [np.sort(np.linalg.norm(coordinates - cell, axis=1))[:6].mean() for cell in ours]
    np.testing.assert_allclose(nearest.distance(query), expected, rtol=1e-4)


def test_each_half_is_measured_to_the_other():
    thinned = thinned_reference(80, 4)
    ranks = fit_novelty_ranks(thinned)(thinned.depth, thinned.deviance, thinned.counts)
    assert ((ranks >= 0) & (ranks < 1)).all()
    # a cell's own thinned draws are near it, in one of the halves alone
    query = thinned_reference(80, 4, seed=0)
    others = fit_novelty_ranks(thinned)(query.depth, query.deviance, query.counts)
    np.testing.assert_array_equal(ranks, others)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(39, 40), (200, 2)])
def test_with_few_cells_or_genes_only_the_deviance_is_ranked(n_cells, n_genes):
    thinned = thinned_reference(n_cells, 2, n_genes=n_genes)
    query = thinned_reference(30, 1, seed=1, n_genes=n_genes)
    expected = DepthRanks.fit(thinned.depth, thinned.deviance).rank(query.depth, query.deviance)
    found = fit_novelty_ranks(thinned)(query.depth, query.deviance, query.counts)
    np.testing.assert_array_equal(found, expected)


def test_ranks_of_cells_like_the_reference_are_uniform():
    thinned, query = thinned_reference(400, 4), thinned_reference(400, 1, seed=0)
    fresh = np.random.default_rng(7).permutation(400)
    ranks = fit_novelty_ranks(thinned)(query.depth[fresh], query.deviance[fresh], query.counts[fresh])
    assert stats.kstest(ranks, "uniform").statistic < 0.12
