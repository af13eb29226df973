"""Gene-AE and SE-Classifier."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ._components import EncoderLayer, SEResidualBlock, SqueezeExcitation, initialize, two_linears


class GeneAE(nn.Module):
    """The transfer network: normalised expression to latent features and back.

    Training Document, "Gene-AE": encoder n_genes-5000-1024 and K TransformerLayers, decoder 1024-5000-n_genes with
    Softplus. LayerNorm, ReLU and dropout stand between the two Linears of the input layer and of its mirror, as in
    the published code (docs/published_code.md, row 1).

    Parameters
    ----------
    n_genes
        Number of genes.
    n_hidden
        Width between genes and latent features.
    n_latent
        Number of latent features.
    n_heads
        Heads of the attention in each encoder layer.
    n_layers
        Number of encoder layers.
    n_feedforward
        Width of the feed-forward network in each encoder layer.
    dropout_rate
        Dropout in the input layer, its mirror and the encoder layers.
    """

    def __init__(
        self,
        *,
        n_genes: int,
        n_hidden: int,
        n_latent: int,
        n_heads: int,
        n_layers: int,
        n_feedforward: int,
        dropout_rate: float,
    ):
        super().__init__()
        self.sizes = {
            "n_hidden": n_hidden,
            "n_latent": n_latent,
            "n_heads": n_heads,
            "n_layers": n_layers,
            "n_feedforward": n_feedforward,
            "dropout_rate": dropout_rate,
        }
        self.encoder_input = nn.Sequential(*two_linears(n_genes, n_hidden, n_latent, dropout_rate))
        self.encoder_layers = nn.Sequential(
            *(
                EncoderLayer(n_latent=n_latent, n_heads=n_heads, n_feedforward=n_feedforward, dropout_rate=dropout_rate)
                for _ in range(n_layers)
            )
        )
        self.decoder = nn.Sequential(*two_linears(n_latent, n_hidden, n_genes, dropout_rate), nn.Softplus())
        self.apply(initialize)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Go through the parameters that :meth:`encode` uses."""
        yield from self.encoder_input.parameters()
        yield from self.encoder_layers.parameters()

    def encode(self, x_norm: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the latent features of log-normalised expression, shape (n_obs, n_latent)."""
        return self.encoder_layers(self.encoder_input(x_norm))

    def copy_weights_from(self, other: "GeneAE", shared: np.ndarray, where: np.ndarray) -> None:
        """Take another network's parameters over, those of a gene only where both have it.

        Parameters
        ----------
        other
            A network of the same sizes but for the genes.
        shared
            Genes of this one that the other has, shape (n_shared,).
        where
            Their positions in the other, shape (n_shared,).
        """
        own, theirs = self.state_dict(), other.state_dict()
        gene_axes = {"encoder_input.0.weight": 1, "decoder.4.weight": 0, "decoder.4.bias": 0}
        for name, value in theirs.items():
            if name in gene_axes:
                index = (slice(None), shared) if gene_axes[name] else shared
                source = (slice(None), where) if gene_axes[name] else where
                own[name][index] = value[source].to(own[name].device)
            else:
                own[name].copy_(value)

    def decode(self, z: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_genes"]:
        """Return the reconstructed log-normalised expression, shape (n_obs, n_genes)."""
        return self.decoder(z)


class SEClassifier(nn.Module):
    """The classifier network: latent features to one logit a label.

    Training Document, "SE-Classifier": an SELayer, J stages of SEres, a Linear. The published code has one stage
    more (512, 256, 128, 64), because it counts its stages after the first (docs/published_code.md, row 5); the
    Document's three are HRCA's default. No dropout in the first stage, as there.

    Parameters
    ----------
    n_latent
        Number of latent features.
    n_labels
        Number of labels.
    widths
        Width of each stage, in order.
    dropout_rate
        Dropout in each stage but the first.
    """

    def __init__(self, *, n_latent: int, n_labels: int, widths: tuple[int, ...], dropout_rate: float):
        super().__init__()
        self.sizes = {"classifier_widths": tuple(widths), "classifier_dropout_rate": dropout_rate}
        self.excitation = SqueezeExcitation(n_latent)
        self.stages = nn.Sequential(
            *(
                SEResidualBlock(n_in=n_in, n_out=n_out, dropout_rate=dropout_rate if i else 0.0)
                for i, (n_in, n_out) in enumerate(zip((n_latent, *widths), widths, strict=False))
            )
        )
        self.output = nn.Linear(widths[-1], n_labels)
        self.apply(initialize)

    def forward(self, z: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the logits, shape (n_obs, n_labels)."""
        return self.output(self.stages(self.excitation(z)))
