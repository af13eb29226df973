"""Tests of hrca.module._sparse_linear."""

import pytest
import torch
from torch import nn

from hrca.module._components import initialize
from hrca.module._sparse_counts import SparseCounts
from hrca.module._sparse_linear import InputMajorLinear


@pytest.mark.parametrize("density", [0.01, 0.1, 0.9])
def test_linear_equals_torch(density):
    """Output and gradients are those of torch's linear layer, for sparse and for dense batches."""
    dense = torch.rand(30, 50) * (torch.rand(30, 50) < density)
    batch = SparseCounts.from_dense(dense)
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
