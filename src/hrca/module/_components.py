"""Layers of Gene-AE and SE-Classifier, the two networks of the HRCA Training Document.

The HRCA Training Document is the specification of the algorithm; docs/published_code.md compares it with the published
code, row by row.
"""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ._sparse_linear import InputMajorLinear

# torch's memory-efficient attention on CUDA requires the last axis to be a multiple of 8. Otherwise torch uses a kernel
# that stores all scores. The tokens here are scalars. They are padded with zeros, which leaves the result unchanged.
CUDA_TOKEN_WIDTH = 8
# Random bits that decide whether a feature is dropped: the rate is exact to 2**-16. torch draws words, each
# of which has the bits of several features.
DROPOUT_BITS, RANDOM_WORD = torch.int16, torch.int64
N_DROPOUTS_PER_WORD = RANDOM_WORD.itemsize // DROPOUT_BITS.itemsize
N_DROPOUT_LEVELS = 2**16


class FeatureSelfAttention(nn.Module):
    r"""Multi-head self-attention among the features of one cell.

    Each of the `n_latent` features is a token. A token is a scalar within its head.

    Parameters
    ----------
    n_latent
        Number of features.
    n_heads
        Number of heads, each a contiguous block of features; divides `n_latent`.

    Notes
    -----
    Within a head of :math:`d` features, with the scalars :math:`q_i, k_j, v_j`,

    .. math:: o_i = \sum_j \operatorname{softmax}_j \Big( \frac{q_i k_j}{\sqrt d} \Big) v_j .

    Scaled dot-product attention is due to :cite:t:`vaswani2017attention`. The specification ("Gene-AE", SelfAtten and
    MultiHeadSelfAtten) places V inside the softmax, a misprint; the published code does not (row 2 of
    docs/published_code.md). The published code omits the output projection for a single head; here it is always
    applied, as in the specification (row 3). The d x d scores are never stored, since
    :func:`torch.nn.functional.scaled_dot_product_attention` computes them in blocks.
    """

    def __init__(self, *, n_latent: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(n_latent, n_latent)
        self.key = nn.Linear(n_latent, n_latent)
        self.value = nn.Linear(n_latent, n_latent)
        self.output = nn.Linear(n_latent, n_latent)

    def forward(self, x: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the attended features.

        Parameters
        ----------
        x
            Features, shape (n_obs, n_latent).

        Returns
        -------
        Features, shape (n_obs, n_latent).
        """
        # (n_obs, n_heads, d, 1): d scalar tokens in each head
        query, key, value = (
            layer(x).unflatten(1, (self.n_heads, -1)).unsqueeze(-1) for layer in (self.query, self.key, self.value)
        )
        scale = query.shape[2] ** -0.5
        if x.is_cuda:
            query, key, value = (F.pad(tokens, (0, CUDA_TOKEN_WIDTH - 1)) for tokens in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=scale)[..., 0]
        return self.output(attended.flatten(1))


class Dropout(nn.Dropout):
    """torch's dropout, with cheaper random numbers on a CPU: 16 random bits for each feature."""

    def forward(self, x: Float[Tensor, "n_obs n_features"]) -> Float[Tensor, "n_obs n_features"]:
        """Return the features, in training some of them zero and the others scaled up.

        Parameters
        ----------
        x
            Features, shape (n_obs, n_features).

        Returns
        -------
        Features, shape (n_obs, n_features).
        """
        n_dropped = round(self.p * N_DROPOUT_LEVELS)
        if not self.training or n_dropped == 0:
            return x
        if x.device.type != "cpu" or n_dropped == N_DROPOUT_LEVELS:
            return super().forward(x)
        # the lower bound is given, since torch otherwise leaves the sign bit zero
        words = torch.empty(-(-x.numel() // N_DROPOUTS_PER_WORD), dtype=RANDOM_WORD)
        words.random_(torch.iinfo(RANDOM_WORD).min, None)
        levels = words.view(DROPOUT_BITS)[: x.numel()].view(x.shape)
        is_kept = levels >= torch.iinfo(DROPOUT_BITS).min + n_dropped
        return x * is_kept.to(x.dtype).mul_(N_DROPOUT_LEVELS / (N_DROPOUT_LEVELS - n_dropped))


class EncoderLayer(nn.Module):
    """Transformer layer: attention and feed-forward network as pre-norm residuals, followed by a LayerNorm.

    Parameters
    ----------
    n_latent
        Number of features.
    n_heads
        Number of attention heads.
    n_feedforward
        Width of the feed-forward network.
    dropout_rate
        Dropout rate of both residuals.

    Notes
    -----
    The specification ("Gene-AE", TransformerLayer) leaves the places of LayerNorm and dropout open; they are those of
    the published code (row 4 of docs/published_code.md).
    """

    def __init__(self, *, n_latent: int, n_heads: int, n_feedforward: int, dropout_rate: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_latent)
        self.attention = FeatureSelfAttention(n_latent=n_latent, n_heads=n_heads)
        self.feedforward_norm = nn.LayerNorm(n_latent)
        self.feedforward = nn.Sequential(
            nn.Linear(n_latent, n_feedforward), nn.ReLU(), nn.Linear(n_feedforward, n_latent)
        )
        self.dropout = Dropout(dropout_rate)
        self.closing_norm = nn.LayerNorm(n_latent)

    def forward(self, x: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the features of the layer.

        Parameters
        ----------
        x
            Features, shape (n_obs, n_latent).

        Returns
        -------
        Features, shape (n_obs, n_latent).
        """
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        x = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return self.closing_norm(x)


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation gate: each feature is multiplied by a gate that depends on all features.

    Parameters
    ----------
    n_features
        Number of features.

    Notes
    -----
    SELayer(x) = x * Sigmoid(FeedForward(x)) in the specification ("SE-Classifier"), after :cite:t:`hu2018squeeze`. The
    hidden width is half the input and there are no biases, as in the published code (row 6 of docs/published_code.md).
    """

    def __init__(self, n_features: int):
        super().__init__()
        # at least 1: a single feature would make an empty layer
        n_squeezed = max(1, n_features // 2)
        self.gate = nn.Sequential(
            nn.Linear(n_features, n_squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(n_squeezed, n_features, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "n_obs n_features"]) -> Float[Tensor, "n_obs n_features"]:
        """Return the gated features.

        Parameters
        ----------
        x
            Features, shape (n_obs, n_features).

        Returns
        -------
        Gated features, shape (n_obs, n_features).
        """
        return x * self.gate(x)


class SEResidualBlock(nn.Module):
    """One stage of dimension reduction: a linear branch plus a gated one.

    Parameters
    ----------
    n_in
        Number of input features.
    n_out
        Number of output features.
    dropout_rate
        Dropout rate before both linear layers.

    Notes
    -----
    SEres(x) = W^p x + SELayer(W^q x) in the specification ("SE-Classifier"). W^p and W^q are each dropout, Linear,
    BatchNorm and ReLU, with separate weights and batch statistics (row 7 of docs/published_code.md).
    """

    def __init__(self, *, n_in: int, n_out: int, dropout_rate: float):
        super().__init__()
        self.plain = _linear_stage(n_in, n_out, dropout_rate)
        self.gated = _linear_stage(n_in, n_out, dropout_rate)
        self.excitation = SqueezeExcitation(n_out)

    def forward(self, x: Float[Tensor, "n_obs n_in"]) -> Float[Tensor, "n_obs n_out"]:
        """Return the reduced features.

        Parameters
        ----------
        x
            Features, shape (n_obs, n_in).

        Returns
        -------
        Features, shape (n_obs, n_out).
        """
        return self.plain(x) + self.excitation(self.gated(x))


def _linear_stage(n_in: int, n_out: int, dropout_rate: float) -> nn.Sequential:
    return nn.Sequential(Dropout(dropout_rate), nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())


def initialize(module: nn.Module) -> None:
    """Initialise a layer as in the published code (row 13 of docs/published_code.md).

    Linear weights are Kaiming-normal, their biases 0. BatchNorm weights are normal with mean 1 and standard deviation
    0.02.

    Parameters
    ----------
    module
        The layer; other layers than these stay unchanged.
    """
    if isinstance(module, nn.Linear | InputMajorLinear):
        # drawn in the order of torch.nn.Linear, also for a layer that stores its weights in another order
        drawn = nn.init.kaiming_normal_(torch.empty(module.weight.shape), nonlinearity="relu")
        with torch.no_grad():
            module.weight.copy_(drawn)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)


def two_linears(
    n_in: int, n_hidden: int, n_out: int, dropout_rate: float, *, is_sparse: bool = False
) -> list[nn.Module]:
    """Return the layers of the network that opens the encoder and, mirrored, closes the decoder.

    Parameters
    ----------
    n_in
        Number of input features.
    n_hidden
        Width between both linear layers.
    n_out
        Number of output features.
    dropout_rate
        Dropout rate before the second linear layer.
    is_sparse
        Whether the input may be sparse; see :class:`hrca.module._sparse_linear.InputMajorLinear`.

    Returns
    -------
    Five layers, in order.
    """
    return [
        InputMajorLinear(n_in, n_hidden) if is_sparse else nn.Linear(n_in, n_hidden),
        nn.LayerNorm(n_hidden),
        nn.ReLU(),
        Dropout(dropout_rate),
        nn.Linear(n_hidden, n_out),
    ]
