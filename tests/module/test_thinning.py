"""Thinned draws of deep cells, against scipy's binomial distribution."""

import numpy as np
import pytest
import torch
from scipy import stats

from hrca.module import _thinning
from hrca.module._sparse_counts import SparseCounts
from hrca.module._thinning import thin_to_depth


def draws_of(counts: torch.Tensor, depth: float, n_draws: int, seed: int = 0) -> torch.Tensor:
    """Dense draws, shape (n_draws, n_cells, n_genes)."""
    thinned = thin_to_depth(SparseCounts.from_dense(counts), depth, n_draws, seed)
    assert (thinned.values > 0).all()
    return thinned.to_dense().unflatten(0, (n_draws, -1))


def different_cells(counts: list[float], n_cells: int) -> torch.Tensor:
    """Cells of these counts and of a gene of their own each: equal cells would be thinned alike."""
    return torch.cat([torch.tensor(counts).expand(n_cells, -1), 10 * torch.eye(n_cells)], dim=1)


@pytest.mark.parametrize("count", [1, 3, 7, 15, 16, 30, 200])
@pytest.mark.parametrize("draw", [0, 2])
def test_each_draw_is_binomial(count, draw):
    n_cells = 3000
    counts = different_cells([float(count), 40.0], n_cells)
    depth = 0.4 * float(counts[0].sum())
    thinned = draws_of(counts, depth, 4)[draw]
    assert (thinned <= counts).all()
    observed = np.bincount(thinned[:, 0].int().numpy(), minlength=count + 1)
    expected = stats.binom.pmf(np.arange(count + 1), count, 0.4) * n_cells
    likely = expected >= 5
    observed = np.append(observed[likely], observed[~likely].sum())
    expected = np.append(expected[likely], expected[~likely].sum())
    assert stats.chisquare(observed + 1e-9, expected + 1e-9, sum_check=False).pvalue > 1e-3
    depths = thinned.sum(dim=1)
    sd = np.sqrt(depth * 0.6)
    assert float(depths.mean()) == pytest.approx(depth, abs=4 * sd / np.sqrt(n_cells))
    assert float(depths.std()) == pytest.approx(sd, rel=0.1)


def test_genes_are_drawn_independently():
    thinned = draws_of(different_cells([30.0, 30.0, 1.0, 4.0], 4000), 30.0, 2)
    for draw in thinned:
        correlations = np.corrcoef(draw[:, :4].T)
        assert np.abs(correlations - np.eye(4)).max() < 0.06


def test_of_a_single_count_the_draws_are_balanced():
    thinned = draws_of(different_cells([1.0, 79.0], 500), 45.0, 8)
    # half of the 90 counts of a cell stay
    np.testing.assert_array_equal(thinned[:, :, 0].sum(dim=0), 4)


def test_means_of_balanced_draws_vary_less_than_those_of_independent_ones():
    counts = torch.poisson(torch.full((400, 300), 1.0), torch.Generator().manual_seed(0))
    gene_weights = torch.randn(300, generator=torch.Generator().manual_seed(1))
    means = [(draws_of(counts, 100.0, 4, seed) @ gene_weights).mean(dim=0) for seed in range(2)]
    alone = [(draws_of(counts, 100.0, 1, seed) @ gene_weights)[0] for seed in range(2)]
    assert (means[0] - means[1]).std() < 0.65 * (alone[0] - alone[1]).std() / 4**0.5


def test_over_its_draws_a_cell_has_independent_genes():
    # in one order for all genes, the covariance of two genes would not vanish with more draws
    counts = different_cells([7.0, 9.0], 300)
    covariances = {}
    for n_draws in (4, 64):
        first, second = draws_of(counts, 13.0, n_draws)[:, :, :2].unbind(dim=2)
        covariances[n_draws] = ((first - first.mean(dim=0)) * (second - second.mean(dim=0))).mean(dim=0)
    assert covariances[64].std() < 0.4 * covariances[4].std()


def test_a_cell_is_thinned_alike_whichever_stand_beside_it():
    counts = torch.poisson(torch.full((30, 50), 6.0))
    counts[3] *= 10
    together = draws_of(counts, 60.0, 4)
    alone = torch.cat([draws_of(counts[i : i + 1], 60.0, 4) for i in range(30)], dim=1)
    assert torch.equal(together, alone)
    order = torch.randperm(30)
    assert torch.equal(draws_of(counts[order], 60.0, 4), together[:, order])


@pytest.mark.parametrize("total", [1e5, 1e7, 4e9])
def test_very_deep_cells_are_thinned_at_the_cost_of_others(total, monkeypatch):
    # single counts above 2^31 are read as such
    counts = torch.full((20, 50), total / 50) + 10 * torch.eye(20, 50)
    sizes, original = [], _thinning._Pieces.of
    monkeypatch.setattr(_thinning._Pieces, "of", lambda counts: sizes.append(counts.sums().max()) or original(counts))
    thinned = draws_of(counts, 200.0, 8)
    assert max(sizes) < 1.1 * _thinning.MAX_DEPTH_RATIO * 200
    # 160 draws: their standard error, and that of the depth to which the cells are thinned first
    assert float(thinned.sum(dim=2).mean()) == pytest.approx(200, abs=4 * (200 / 160 + 200 / 20 / 32) ** 0.5)
    assert float(thinned[0].mean(dim=0).std()) < 2 * (4 / 20) ** 0.5
    assert torch.equal(thinned[:, 7:8], draws_of(counts[7:8], 200.0, 8))
    assert not torch.equal(thinned[:, 7], thinned[:, 8])


@pytest.mark.parametrize("n_draws", [0, 3, 12])
def test_the_number_of_draws_is_a_power_of_two(n_draws):
    with pytest.raises(ValueError, match=f"power of 2, got {n_draws}"):
        draws_of(torch.ones(1, 5), 2.0, n_draws)


def test_another_draw_seed_or_cell_is_thinned_otherwise():
    counts = torch.full((2, 50), 6.0)
    counts[1, 0] = 7
    first, second = draws_of(counts, 60.0, 2)
    assert torch.equal(first, draws_of(counts, 60.0, 2)[0])
    assert (first != second).any(dim=1).all()
    assert (first[0, 1:] != first[1, 1:]).any()
    assert (draws_of(counts, 60.0, 2, seed=12345)[0] != first).any(dim=1).all()
