"""Normalisation against scanpy; corruption against what it promises of the distribution."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch
from golden import close, recipe
from scipy import sparse, stats

from hrca.module._sparse_counts import SparseCounts
from hrca.module._transforms import (
    MIN_THINNED_DEPTH,
    corrupt,
    keep_genes,
    log_normalize,
    log_normalize_sparse,
    mask_counts,
    thin_counts,
    thin_sparse,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_normalize_equals_scanpy(dtype):
    counts = torch.poisson(torch.full((20, 30), 1.5, dtype=dtype))
    adata = ad.AnnData(counts.numpy().copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    np.testing.assert_allclose(log_normalize(counts).numpy(), adata.X, rtol=1e-5 if dtype is torch.float32 else 1e-12)


def test_log_normalize_leaves_an_empty_cell_empty():
    assert not log_normalize(torch.zeros(2, 5)).any()


def test_normalised_and_restricted_sparse_cells_are_those_of_dense_ones():
    counts = torch.poisson(torch.full((40, 90), 0.2))
    counts[1], mask = 0, (torch.arange(90) % 2).float()
    cells = SparseCounts.from_dense(counts)
    torch.testing.assert_close(log_normalize(cells).to_dense(), log_normalize(counts))
    restricted = keep_genes(cells, mask)
    assert torch.equal(restricted.to_dense(), counts * mask)
    torch.testing.assert_close(log_normalize(restricted).to_dense(), log_normalize(counts * mask))


@pytest.mark.parametrize("corruption", ["thin", "mask"])
def test_sparse_cells_are_corrupted_like_dense_ones(corruption):
    row = torch.tensor([1.0, 2, 3, 4, 9, 40, 0, 0])
    counts = row.repeat(40_000, 1)
    corrupted = corrupt(SparseCounts.from_dense(counts), corruption)
    assert (corrupted.values > 0).all()
    found, expected = corrupted.to_dense(), corrupt(counts, corruption)
    assert (found <= row).all()
    torch.testing.assert_close(found.mean(dim=0), expected.mean(dim=0), rtol=0.03, atol=0.01)
    torch.testing.assert_close(found.std(dim=0), expected.std(dim=0), rtol=0.03, atol=0.01)


def test_thinning_draws_the_same_numbers_for_sparse_and_dense_cells():
    counts = torch.poisson(torch.full((50, 30), 0.8))
    drawn = [
        corrupt(cells, "thin", torch.Generator().manual_seed(0)) for cells in (SparseCounts.from_dense(counts), counts)
    ]
    assert torch.equal(drawn[0].to_dense(), drawn[1])
    assert (drawn[1] < counts).any()


def test_masked_normalisation_equals_golden(golden_dir):
    golden = recipe(golden_dir).golden()
    counts = torch.from_numpy(golden["counts"].astype(np.float64))
    close(
        log_normalize(mask_counts(counts, torch.from_numpy(golden["mask"]))), golden["masked_norm_f64"], torch.float64
    )


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_log_normalisation_equals_that_of_tensors(container):
    counts = np.random.default_rng(0).poisson(1.0, (20, 30)).astype(np.float32)
    counts[4] = 0
    normalized = log_normalize_sparse(container(counts), 1e4)
    assert isinstance(normalized, container)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized.toarray(), log_normalize(torch.from_numpy(counts)), rtol=1e-6)
    scaled = log_normalize_sparse(container(counts), 50.0)
    np.testing.assert_allclose(np.expm1(scaled.toarray()).sum(axis=1), 50 * (counts.sum(axis=1) > 0), rtol=1e-5)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("fraction", ["one", "by cell"])
def test_sparse_thinning_draws_a_binomial_number_for_each_entry_in_order(container, fraction):
    counts = container(np.random.default_rng(0).poisson(3.0, (40, 30)).astype(np.float32))
    before, kept = counts.copy(), 0.3 if fraction == "one" else np.linspace(0, 1, 40)
    thinned = thin_sparse(counts, kept, np.random.default_rng(1))
    rng, expected = np.random.default_rng(1), []
    for cell in range(40):
        for value in counts.data[counts.indptr[cell] : counts.indptr[cell + 1]]:
            expected.append(rng.binomial(int(value), kept if fraction == "one" else kept[cell]))
    assert isinstance(thinned, container)
    assert thinned.dtype == np.float32
    np.testing.assert_array_equal(thinned.data, expected)
    np.testing.assert_array_equal(thinned.indices, counts.indices)
    assert abs(counts - before).nnz == 0


def test_thinned_counts_are_binomial():
    counts = torch.full((4000, 2), 20.0)
    counts[:, 1] = 0
    thinned = thin_counts(counts, torch.full((4000,), 0.3))
    assert not thinned[:, 1].any()
    observed = np.bincount(thinned[:, 0].int().numpy(), minlength=21)
    expected = stats.binom.pmf(np.arange(21), 20, 0.3) * 4000
    likely = expected >= 5
    observed = np.append(observed[likely], observed[~likely].sum())
    expected = np.append(expected[likely], expected[~likely].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_each_cell_is_thinned_by_its_own_fraction():
    counts = torch.full((2, 5), 9.0)
    assert thin_counts(counts, torch.tensor([1.0, 0.0])).sum(dim=1).tolist() == [45, 0]


def test_thin_draws_depths_log_uniform_down_to_the_thinnest():
    # a million genes' worth of counts in one, so that the draw itself is as good as exact
    counts = torch.full((3000, 1), 1e12, dtype=torch.float64)
    depths = torch.log10(corrupt(counts, "thin")[:, 0]).numpy()
    lowest = np.log10(MIN_THINNED_DEPTH)
    assert stats.kstest(depths[depths > 4], stats.uniform(4, 8).cdf).pvalue > 1e-3
    # the counts of a cell at the lowest depth are Poisson-distributed around 10
    assert depths.min() > lowest - 1
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


def quantiles_of(depths: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.quantile(depths, np.linspace(0, 1, 101))).float()


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_deep_cells_are_brought_to_the_depths_of_a_query(spread):
    depths = np.random.default_rng(0).lognormal(np.log(500), spread, 5000)
    counts = torch.full((8000, 100), 1000.0)
    thinned = corrupt(counts, "thin", torch.Generator().manual_seed(0), quantiles_of(depths)).sum(dim=1)
    percentiles = [5, 25, 50, 75, 95]
    np.testing.assert_allclose(np.percentile(thinned, percentiles), np.percentile(depths, percentiles), rtol=0.05)


def test_cells_that_are_shallower_than_a_query_stay_as_they_are():
    counts = torch.poisson(torch.full((300, 50), 1.0))
    counts[7] = 0
    assert torch.equal(corrupt(counts, "thin", None, quantiles_of(np.array([200.0, 400.0]))), counts)
    # of a query that is sometimes deeper and sometimes not, a cell is as often left alone
    changed = (corrupt(counts, "thin", None, torch.tensor([1.0, 99.0])) != counts).any(dim=1).float().mean()
    assert float(changed) == pytest.approx(0.5, abs=0.1)


def test_a_querys_depths_play_no_part_in_other_corruptions():
    counts, depths = torch.full((5, 6), 50.0), torch.tensor([10.0, 20.0])
    assert corrupt(counts, "none", None, depths) is counts
    masked = [corrupt(counts, "mask", torch.Generator().manual_seed(0), known) for known in (depths, None)]
    assert torch.equal(*masked)
