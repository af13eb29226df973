"""Sparse counts as tensors, against dense ones."""

import numpy as np
import pytest
import torch
from scipy import sparse

from hrca.module import _sparse_counts
from hrca.module._sparse_counts import SparseCounts
from hrca.module._transforms import log_normalize


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


def test_normalisation_is_that_of_dense_counts(dense, counts):
    torch.testing.assert_close(counts.log_normalize().to_dense(), log_normalize(dense))


def test_no_cell_at_all():
    empty = SparseCounts.from_dense(torch.zeros(0, 5))
    assert empty.matmul(torch.ones(5, 2)).shape == (0, 2)
    assert empty.log_normalize().to_dense().shape == (0, 5)
    assert [len(part) for part in empty.split(3)] == [0]
