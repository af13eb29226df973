"""Tests of hrca.module._sparse_batch."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from hrca.module._components import initialize
from hrca.module._sparse_batch import (
    InputMajorLinear,
    drop_zeros,
    is_dense_for_cpu,
    is_sparse,
    row_sums,
    to_csr_tensor,
    to_dense,
)
from hrca.module._transforms import corrupt, keep_genes, log_normalize


@pytest.fixture
def counts() -> sparse.csr_matrix:
    """40 cells x 90 genes; the second cell and the last gene are empty."""
    found = sparse.random(40, 90, 0.1, format="lil", random_state=0)
    found[1], found[:, 89] = 0, 0
    found = found.tocsr()
    found.data = np.random.default_rng(0).geometric(0.4, found.nnz).astype(np.float32)
    return found


@pytest.fixture
def pair(counts) -> tuple[torch.Tensor, torch.Tensor]:
    """The counts as a CSR tensor and dense."""
    return to_csr_tensor(counts), torch.from_numpy(counts.toarray())


def test_round_trip(pair):
    """A CSR tensor has the entries and the sums of the dense batch."""
    batch, dense = pair
    assert is_sparse(batch)
    assert not is_sparse(dense)
    assert torch.equal(to_dense(batch), dense)
    assert torch.equal(row_sums(batch), dense.sum(dim=1, keepdim=True))


def test_dropped_zeros(counts):
    """Stored zeros vanish, and the other entries stay in their cells."""
    counts.data[::3] = 0
    batch = drop_zeros(to_csr_tensor(counts))
    assert len(batch.values()) == np.count_nonzero(counts.data)
    assert torch.equal(to_dense(batch), torch.from_numpy(counts.toarray()))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.9])
def test_linear_equals_torch(density):
    """Output and gradients are those of torch's linear layer, for sparse and for dense batches."""
    matrix = sparse.random(30, 50, density, format="csr", dtype=np.float32, random_state=0)
    batch, dense = to_csr_tensor(matrix), torch.from_numpy(matrix.toarray())
    assert is_dense_for_cpu(batch) == (density > 0.5)
    expected, layer = nn.Linear(50, 8), InputMajorLinear(50, 8)
    layer.load_state_dict(expected.state_dict())
    for inputs in (batch, dense):
        layer.zero_grad()
        expected.zero_grad()
        outputs = layer(inputs)
        torch.testing.assert_close(outputs, expected(dense))
        outputs.square().sum().backward()
        expected(dense).square().sum().backward()
        torch.testing.assert_close(layer.input_weight.grad.t(), expected.weight.grad)
        torch.testing.assert_close(layer.bias.grad, expected.bias.grad)


def test_linear_has_the_state_of_torch():
    """Initial weights, names and shapes are those of torch's linear layer, and a missing one is named."""
    layers = []
    for cls in (nn.Linear, InputMajorLinear):
        torch.manual_seed(0)
        layers.append(cls(7, 5).apply(initialize))
    states = [layer.state_dict() for layer in layers]
    assert list(states[0]) == list(states[1]) == ["weight", "bias"]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(RuntimeError, match='Missing key.*: "weight"'):
        layers[1].load_state_dict({"bias": states[0]["bias"]})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        layers[1].load_state_dict({**states[0], "other": states[0]["bias"]})


def test_transforms_agree(pair):
    """Normalised and restricted to genes, both kinds of batch are equal; a cell without counts stays zero."""
    batch, dense = pair
    mask = (torch.arange(90) % 2).float()
    for expected in (dense, dense * mask):
        found = keep_genes(batch, mask) if expected is not dense else batch
        torch.testing.assert_close(to_dense(log_normalize(found)), log_normalize(expected))


@pytest.mark.parametrize("corruption", ["thin", "mask"])
def test_corrupted_alike(corruption):
    """Of many cells, sparse and dense batches keep the same mean and the same variance of the counts."""
    row = np.array([1, 2, 3, 4, 9, 40, 0, 0], dtype=np.float32)
    matrix = sparse.csr_matrix(np.tile(row, (40_000, 1)))
    torch.manual_seed(0)
    found = to_dense(corrupt(to_csr_tensor(matrix), corruption))
    expected = corrupt(torch.from_numpy(matrix.toarray()), corruption)
    assert (found <= torch.from_numpy(row)).all()
    torch.testing.assert_close(found.mean(dim=0), expected.mean(dim=0), rtol=0.03, atol=0.01)
    torch.testing.assert_close(found.std(dim=0), expected.std(dim=0), rtol=0.03, atol=0.01)
