"""Sparse counts as tensors, against dense ones."""

import numpy as np
import pytest
import torch
from scipy import sparse

from hrca.module import _sparse_counts
from hrca.module._sparse_counts import SparseCounts


@pytest.fixture
def dense() -> torch.Tensor:
    """Counts of 20 cells and 30 genes; the first and the last cell are empty."""
    counts = torch.poisson(torch.full((20, 30), 0.7), torch.Generator().manual_seed(0))
    counts[[0, 19]] = 0
    return counts


@pytest.fixture
def counts(dense) -> SparseCounts:
    return SparseCounts.from_csr(sparse.csr_array(dense.numpy()))


def test_both_kinds_of_input_give_the_same(dense, counts):
    other = SparseCounts.from_dense(dense)
    for name in ("offsets", "genes", "values"):
        assert torch.equal(getattr(counts, name), getattr(other, name))
        assert getattr(counts, name).dtype == getattr(other, name).dtype
    assert torch.equal(counts.to_dense(), dense)
    np.testing.assert_array_equal(counts.to_csr().toarray(), dense)
    assert len(counts) == 20


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("indices", [torch.int32, torch.int64])
@pytest.mark.parametrize("values", [torch.float32, torch.float64])
def test_a_csr_tensor_shares_its_values(dense, counts, indices, values):
    whole = dense.to(values).to_sparse_csr()
    batch = torch.sparse_csr_tensor(
        whole.crow_indices().to(indices), whole.col_indices().to(indices), whole.values(), whole.shape
    )
    found = SparseCounts.from_csr_tensor(batch)
    assert torch.equal(found.to_dense(), dense.to(values))
    assert found.values.data_ptr() == batch.values().data_ptr()
    assert (found.offsets.dtype, found.genes.dtype, found.values.dtype) == (torch.int32, torch.int32, values)


def test_arrays_that_must_not_be_written_are_copied(dense):
    matrix = sparse.csr_array(dense.numpy())
    matrix.data.flags.writeable = False
    assert torch.equal(SparseCounts.from_csr(matrix).to_dense(), dense)


@pytest.mark.parametrize(
    ("fraction", "n_columns", "is_sparse"),
    [(0.05, 7, True), (0.2, 7, True), (0.5, 7, False), (0.05, 20, True), (0.2, 20, False), (0.5, 20, False)],
)
def test_products_are_those_of_dense_counts(fraction, n_columns, is_sparse, monkeypatch):
    # a table of 7 columns has 840 bytes, one of 20 columns 2,400
    monkeypatch.setattr(_sparse_counts, "LARGE_TABLE_BYTES", 1000)
    calls, product = [], _sparse_counts.F.embedding_bag
    monkeypatch.setattr(_sparse_counts.F, "embedding_bag", lambda *args, **kw: calls.append(1) or product(*args, **kw))
    dense = torch.poisson(torch.full((40, 30), 3.0)) + 1
    dense[torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) >= fraction] = 0
    table = torch.randn(30, n_columns)
    torch.testing.assert_close(SparseCounts.from_dense(dense).matmul(table), dense @ table)
    assert len(calls) == is_sparse


@pytest.mark.parametrize("fraction", [0.05, 0.9])
def test_gradients_reach_the_table(fraction):
    dense = (torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) < fraction).double() * 3
    # the last gene has no counts, and its row of the gradient is zero
    dense[:, 29] = 0
    table = torch.randn(30, 7, dtype=torch.float64, requires_grad=True)
    gradients = []
    for product in (SparseCounts.from_dense(dense).matmul(table), dense @ table):
        gradients += torch.autograd.grad(product.square().sum(), table)
    torch.testing.assert_close(*gradients)
    assert not gradients[0][29].any()


def test_transposed_and_stored_entries(dense, counts):
    assert torch.equal(counts.transpose().to_dense(), dense.T)
    assert torch.equal(counts.cells(), dense.nonzero()[:, 0].int())
    assert counts.fraction_stored == pytest.approx(float((dense > 0).float().mean()))
    halved = counts.with_values(counts.values * (counts.genes % 2))
    assert len(halved.without_zeros().genes) < len(halved.genes)
    assert torch.equal(halved.without_zeros().to_dense(), dense * (torch.arange(30) % 2))
    assert (halved.without_zeros().values > 0).all()


def test_sums_selections_and_parts(dense, counts):
    assert torch.equal(counts.sums(), dense.sum(dim=1))
    mask = (torch.arange(30) % 3 > 0).float()
    assert torch.equal(counts.on_genes(mask).to_dense(), dense * mask)
    assert counts.on_genes(torch.ones(30)) is counts
    chosen = torch.arange(20) % 4 < 2
    assert torch.equal(counts.take(chosen).to_dense(), dense[chosen])
    parts = counts.split(6)
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    assert torch.equal(torch.cat([part.to_dense() for part in parts]), dense)
    assert torch.equal(SparseCounts.concat(parts).to_dense(), dense)
    assert torch.equal(SparseCounts.concat(parts).offsets, counts.offsets)


def test_no_cell_at_all():
    empty = SparseCounts.from_dense(torch.zeros(0, 5))
    assert empty.matmul(torch.ones(5, 2)).shape == (0, 2)
    assert empty.fraction_stored == 0
    assert empty.without_zeros().transpose().to_dense().shape == (5, 0)
    assert [len(part) for part in empty.split(3)] == [0]
