"""The layers that Gene-AE and SE-Classifier are built from.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# torch's memory-efficient attention on CUDA wants the last axis in multiples of 8 and else falls back to a kernel
# that writes the scores out; our tokens are scalars, so there they are padded with zeros, which changes nothing.
CUDA_TOKEN_WIDTH = 8


class FeatureSelfAttention(nn.Module):
    """Multi-head self-attention among the features of one cell.

    A cell is one vector of `n_latent` numbers, and every number is a token of its own: within a head of width
    d = n_latent / n_heads, ``out_i = sum_j softmax_j(q_i k_j / sqrt(d)) v_j``, where q_i, k_j and v_j are scalars.

    Parameters
    ----------
    n_latent
        Number of features.
    n_heads
        Number of contiguous blocks that the features are split into; divides `n_latent`.

    Notes
    -----
    Training Document, "Gene-AE": SelfAtten and MultiHeadSelfAtten. Its formula closes the softmax's bracket after V,
    a misprint; the published code, whose numbers the golden files hold, has softmax(...) V
    (docs/published_code.md, row 2).
    The published code leaves W^O out when there is a single head; here it is always applied, as the Document says.
    The (d, d) scores are never written out: :func:`torch.nn.functional.scaled_dot_product_attention`.
    """

    def __init__(self, *, n_latent: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(n_latent, n_latent)
        self.key = nn.Linear(n_latent, n_latent)
        self.value = nn.Linear(n_latent, n_latent)
        self.output = nn.Linear(n_latent, n_latent)

    def forward(self, x: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the attended features, shape (n_obs, n_latent)."""
        # (n_obs, n_heads, d, 1): d scalar tokens in each head
        query, key, value = (
            layer(x).unflatten(1, (self.n_heads, -1)).unsqueeze(-1) for layer in (self.query, self.key, self.value)
        )
        scale = query.shape[2] ** -0.5
        if x.is_cuda:
            query, key, value = (F.pad(tokens, (0, CUDA_TOKEN_WIDTH - 1)) for tokens in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=scale)[..., 0]
        return self.output(attended.flatten(1))


class EncoderLayer(nn.Module):
    """Attention and feed-forward as residuals on normalised features, closed by a LayerNorm.

    Parameters
    ----------
    n_latent
        Number of features.
    n_heads
        Heads of the attention.
    n_feedforward
        Width of the feed-forward network.
    dropout_rate
        Dropout on either residual.

    Notes
    -----
    Training Document, "Gene-AE": TransformerLayer. It does not say where its LayerNorms and dropouts are; they stand
    as in the published code: pre-norm, and one more LayerNorm at the end of every layer
    (docs/published_code.md, row 4).
    """

    def __init__(self, *, n_latent: int, n_heads: int, n_feedforward: int, dropout_rate: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_latent)
        self.attention = FeatureSelfAttention(n_latent=n_latent, n_heads=n_heads)
        self.feedforward_norm = nn.LayerNorm(n_latent)
        self.feedforward = nn.Sequential(
            nn.Linear(n_latent, n_feedforward), nn.ReLU(), nn.Linear(n_feedforward, n_latent)
        )
        self.dropout = nn.Dropout(dropout_rate)
        self.closing_norm = nn.LayerNorm(n_latent)

    def forward(self, x: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the layer's features, shape (n_obs, n_latent)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        x = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return self.closing_norm(x)


class SqueezeExcitation(nn.Module):
    """Weigh each feature by a gate that is computed from all of them.

    Training Document, "SE-Classifier": SELayer(x) = x * Sigmoid(FeedForward(x)). The hidden width is half the input
    and there are no biases, as in the published code (docs/published_code.md, row 6).

    Parameters
    ----------
    n_features
        Number of features.
    """

    def __init__(self, n_features: int):
        super().__init__()
        # at least 1, so that a width of 1 does not make an empty layer
        n_squeezed = max(1, n_features // 2)
        self.gate = nn.Sequential(
            nn.Linear(n_features, n_squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(n_squeezed, n_features, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "n_obs n_features"]) -> Float[Tensor, "n_obs n_features"]:
        """Return the gated features, shape (n_obs, n_features)."""
        return x * self.gate(x)


def _linear_stage(n_in: int, n_out: int, dropout_rate: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout_rate), nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())


class SEResidualBlock(nn.Module):
    """One stage of dimension reduction: a linear branch plus a gated one.

    Training Document, "SE-Classifier": SEres(x) = W^p x + SELayer(W^q x), with Linear + BatchNorm + ReLU for W^p and
    W^q. Either branch has weights, batch statistics and a dropout of its own (docs/published_code.md, row 7).

    Parameters
    ----------
    n_in
        Number of features that come in.
    n_out
        Number of features that go out.
    dropout_rate
        Dropout before either Linear.
    """

    def __init__(self, *, n_in: int, n_out: int, dropout_rate: float):
        super().__init__()
        self.plain = _linear_stage(n_in, n_out, dropout_rate)
        self.gated = _linear_stage(n_in, n_out, dropout_rate)
        self.excitation = SqueezeExcitation(n_out)

    def forward(self, x: Float[Tensor, "n_obs n_in"]) -> Float[Tensor, "n_obs n_out"]:
        """Return the reduced features, shape (n_obs, n_out)."""
        return self.plain(x) + self.excitation(self.gated(x))


def initialize(module: nn.Module) -> None:
    """Kaiming-normal Linear weights with zero biases; BatchNorm weights N(1, 0.02) (docs/published_code.md, row 13)."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)


def two_linears(n_in: int, n_hidden: int, n_out: int, dropout_rate: float) -> list[nn.Module]:
    """The two-Linear feed-forward network that opens the encoder and, mirrored, closes the decoder."""
    return [
        nn.Linear(n_in, n_hidden),
        nn.LayerNorm(n_hidden),
        nn.ReLU(),
        nn.Dropout(dropout_rate),
        nn.Linear(n_hidden, n_out),
    ]
