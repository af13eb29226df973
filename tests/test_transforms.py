"""Normalisation against scanpy; corruption against what it promises of the distribution."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch
from scipy import stats

from hrca._transforms import THINNEST_DEPTH, corrupt, log_normalize, thin_counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_normalize_equals_scanpy(dtype):
    counts = torch.poisson(torch.full((20, 30), 1.5, dtype=dtype))
    adata = ad.AnnData(counts.numpy().copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    np.testing.assert_allclose(log_normalize(counts).numpy(), adata.X, rtol=1e-5 if dtype is torch.float32 else 1e-12)


def test_log_normalize_leaves_an_empty_cell_empty():
    assert not log_normalize(torch.zeros(2, 5)).any()


def test_thinned_counts_are_binomial():
    counts = torch.full((4000, 2), 20.0)
    counts[:, 1] = 0
    thinned = thin_counts(counts, torch.full((4000, 1), 0.3))
    assert not thinned[:, 1].any()
    observed = np.bincount(thinned[:, 0].int().numpy(), minlength=21)
    expected = stats.binom.pmf(np.arange(21), 20, 0.3) * 4000
    likely = expected >= 5
    observed = np.append(observed[likely], observed[~likely].sum())
    expected = np.append(expected[likely], expected[~likely].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_each_cell_is_thinned_by_its_own_fraction():
    counts = torch.full((2, 5), 9.0)
    assert thin_counts(counts, torch.tensor([[1.0], [0.0]])).sum(dim=1).tolist() == [45, 0]


def test_thin_draws_depths_log_uniform_down_to_the_thinnest():
    # a million genes' worth of counts in one, so that the draw itself is as good as exact
    counts = torch.full((3000, 1), 1e12, dtype=torch.float64)
    depths = torch.log10(corrupt(counts, "thin")[:, 0]).numpy()
    lowest = np.log10(THINNEST_DEPTH)
    assert stats.kstest(depths[depths > 4], stats.uniform(4, 8).cdf).pvalue > 1e-3
    assert depths.min() > lowest - 0.5
    assert depths.min() < lowest + 0.5


def test_a_cell_below_the_thinnest_depth_is_left_as_it_is():
    counts = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    assert torch.equal(corrupt(counts, "thin"), counts)


def test_mask_hides_70_percent_of_the_entries_whole():
    counts = torch.full((200, 200), 7.0)
    masked = corrupt(counts, "mask")
    assert set(masked.unique().tolist()) == {0.0, 7.0}
    assert float((masked == 0).float().mean()) == pytest.approx(0.7, abs=0.01)


def test_none_changes_nothing():
    counts = torch.ones(2, 3)
    assert corrupt(counts, "none") is counts


@pytest.mark.parametrize("corruption", ["thin", "mask"])
def test_a_generator_makes_it_repeatable_and_its_input_stays(corruption):
    counts = torch.full((5, 6), 50.0)
    first, second = (corrupt(counts, corruption, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupt(counts, corruption, torch.Generator().manual_seed(4)))
    assert (counts == 50).all()
