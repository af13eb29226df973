"""The layers, against loops that write their formulas out."""

import math

import pytest
import torch
from torch import nn

from hrca.module._components import (
    Dropout,
    EncoderLayer,
    FeatureSelfAttention,
    SEResidualBlock,
    SqueezeExcitation,
    initialize,
)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_attention_equals_written_out_loop(n_heads):
    attention = FeatureSelfAttention(n_latent=8, n_heads=n_heads).double()
    x = torch.randn(3, 8, dtype=torch.float64)
    query, key, value = (layer(x).detach() for layer in (attention.query, attention.key, attention.value))
    d = 8 // n_heads
    attended = torch.zeros_like(x)
    for cell in range(3):
        for i in range(8):
            head = range(i // d * d, i // d * d + d)
            scores = [math.exp(float(query[cell, i] * key[cell, j]) / math.sqrt(d)) for j in head]
            attended[cell, i] = sum(s * value[cell, j] for s, j in zip(scores, head, strict=True)) / sum(scores)
    torch.testing.assert_close(attention(x), attention.output(attended), rtol=0, atol=1e-12)


def test_padded_tokens_attend_alike():
    # on CUDA scalar tokens are padded with zeros; that this changes nothing can be seen here
    query, key, value = torch.randn(3, 2, 4, 16, 1, dtype=torch.float64)
    plain = nn.functional.scaled_dot_product_attention(query, key, value, scale=0.25)
    padded = nn.functional.scaled_dot_product_attention(
        *(nn.functional.pad(tokens, (0, 7)) for tokens in (query, key, value)), scale=0.25
    )
    torch.testing.assert_close(padded[..., :1], plain)


def test_attention_never_writes_the_scores_out():
    # scores of 64 cells with 2 heads of 1024 would be 64 x 2 x 1024 x 1024 x 4 B = 537 MB; nothing near that is kept
    attention = FeatureSelfAttention(n_latent=2048, n_heads=2)
    x = torch.randn(64, 2048, requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        attention(x)
    assert max(sizes) <= 2048 * 2048


def test_encoder_layer_is_two_pre_norm_residuals_and_a_closing_norm():
    layer = EncoderLayer(n_latent=8, n_heads=2, n_feedforward=6, dropout_rate=0.5).eval()
    x = torch.randn(4, 8)
    features = x + layer.attention(layer.attention_norm(x))
    expected = layer.closing_norm(features + layer.feedforward(layer.feedforward_norm(features)))
    torch.testing.assert_close(layer(x), expected)
    assert not torch.equal(layer.train()(x), expected)


def test_squeeze_excitation_gates_without_biases():
    layer = SqueezeExcitation(6)
    x = torch.randn(3, 6)
    hidden = torch.relu(x @ layer.gate[0].weight.T)
    torch.testing.assert_close(layer(x), x * torch.sigmoid(hidden @ layer.gate[2].weight.T))
    assert [tuple(p.shape) for p in layer.parameters()] == [(3, 6), (6, 3)]


def test_residual_block_adds_a_plain_and_a_gated_branch():
    block = SEResidualBlock(n_in=6, n_out=4, dropout_rate=0.0).eval()
    x = torch.randn(5, 6)
    torch.testing.assert_close(block(x), block.plain(x) + block.excitation(block.gated(x)))


def test_initialize_is_kaiming_normal_with_zero_biases():
    linear = nn.Linear(400, 300)
    linear.apply(initialize)
    assert not linear.bias.any()
    assert float(linear.weight.detach().std()) == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    norm = nn.BatchNorm1d(5000)
    norm.apply(initialize)
    assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.002)
    assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate):
    layer, x = Dropout(rate), torch.full((1000, 333), 2.0, requires_grad=True)
    dropped = layer(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=3e-3)
    assert sorted(dropped.unique().tolist()) == [0.0, pytest.approx(2 / (1 - rate), rel=1e-4)]
    assert float(dropped.detach().mean()) == pytest.approx(2, rel=1e-2)
    # neighbours share a word of the generator, and are dropped independently all the same
    pairs = (dropped.detach().ravel()[:332_000].view(-1, 4) == 0).float()
    assert torch.corrcoef(pairs.T).fill_diagonal_(0).abs().max() < 0.02
    dropped.sum().backward()
    torch.testing.assert_close(x.grad, dropped.detach() / 2)
    assert torch.equal(layer.eval()(x), x)


def test_dropout_follows_torchs_seed():
    layer, x, drawn = Dropout(0.3), torch.ones(50, 7), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
