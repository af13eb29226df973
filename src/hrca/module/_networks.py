"""Gene-AE, the autoencoder of expression, and SE-Classifier, the classifier of its latent features.

Both are networks of the HRCA Training Document, the specification of the algorithm.
"""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ._components import EncoderLayer, SEResidualBlock, SqueezeExcitation, initialize, two_linears
from ._sparse_counts import SparseCounts

# Parameters of Gene-AE with an axis of genes, and that axis.
GENE_AXES = {"encoder_input.0.weight": 1, "decoder.4.weight": 0, "decoder.4.bias": 0}


class GeneAE(nn.Module):
    """Autoencoder of log-normalised expression, with self-attention among the latent features.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_hidden
        Width between genes and latent features.
    n_latent
        Number of latent features.
    n_heads
        Number of attention heads in each encoder layer.
    n_layers
        Number of encoder layers.
    n_feedforward
        Width of the feed-forward network in each encoder layer.
    dropout_rate
        Dropout rate of the input network, its mirror image and the encoder layers.

    Notes
    -----
    The specification ("Gene-AE") has an encoder n_genes-5000-1024 with K TransformerLayers, and a decoder
    1024-5000-n_genes with Softplus. LayerNorm, ReLU and dropout are between the two linear layers of the input
    network and of its mirror image, as in the published code (row 1 of :doc:`/published_code`).

    Examples
    --------
    >>> import hrca
    >>> import torch
    >>> gene_ae = hrca.compat.GeneAE(
    ...     n_genes=100,
    ...     n_hidden=32,
    ...     n_latent=16,
    ...     n_heads=4,
    ...     n_layers=1,
    ...     n_feedforward=32,
    ...     dropout_rate=0.1,
    ... )
    >>> gene_ae.encode(torch.zeros(2, 100)).shape
    torch.Size([2, 16])
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
        self.n_genes = n_genes
        self.sizes = {
            "n_hidden": n_hidden,
            "n_latent": n_latent,
            "n_heads": n_heads,
            "n_layers": n_layers,
            "n_feedforward": n_feedforward,
            "dropout_rate": dropout_rate,
        }
        self.encoder_input = nn.Sequential(*two_linears(n_genes, n_hidden, n_latent, dropout_rate, is_sparse=True))
        self.encoder_layers = nn.Sequential(
            *(
                EncoderLayer(n_latent=n_latent, n_heads=n_heads, n_feedforward=n_feedforward, dropout_rate=dropout_rate)
                for _ in range(n_layers)
            )
        )
        self.decoder = nn.Sequential(*two_linears(n_latent, n_hidden, n_genes, dropout_rate), nn.Softplus())
        self.apply(initialize)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that :meth:`encode` uses.

        Yields
        ------
        Parameters of the input network, then of the encoder layers.
        """
        yield from self.encoder_input.parameters()
        yield from self.encoder_layers.parameters()

    def encode(self, x_norm: Float[Tensor, "n_obs n_genes"] | SparseCounts) -> Float[Tensor, "n_obs n_latent"]:
        """Return latent features.

        Parameters
        ----------
        x_norm
            Log-normalised expression, shape (n_obs, n_genes), dense or sparse.

        Returns
        -------
        Latent features, shape (n_obs, n_latent).
        """
        return self.encoder_layers(self.encoder_input(x_norm))

    def decode(self, z: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_genes"]:
        """Return the reconstructed expression.

        Parameters
        ----------
        z
            Latent features, shape (n_obs, n_latent).

        Returns
        -------
        Log-normalised expression, shape (n_obs, n_genes).
        """
        return self.decoder(z)

    def copy_weights_from(self, other: "GeneAE", own_genes: np.ndarray, other_genes: np.ndarray) -> None:
        """Copy all parameters of another network; those of a gene only if both networks have it.

        Parameters
        ----------
        other
            A network of the same sizes, except the number of genes.
        own_genes
            Indices of the shared genes in this network, shape (n_shared,).
        other_genes
            Indices of the same genes in the other network, shape (n_shared,).
        """
        own_state = self.state_dict()
        for name, value in other.state_dict().items():
            if name in GENE_AXES:
                columns = (slice(None),) * GENE_AXES[name]
                own_state[name][(*columns, own_genes)] = value[(*columns, other_genes)].to(own_state[name].device)
            else:
                own_state[name].copy_(value)


class SEClassifier(nn.Module):
    """Classifier of latent features by squeeze-and-excitation stages.

    Parameters
    ----------
    n_latent
        Number of latent features.
    n_labels
        Number of labels.
    widths
        Width of each stage, in order.
    dropout_rate
        Dropout rate of each stage except the first.

    Notes
    -----
    The specification ("SE-Classifier") has an SELayer, J = 3 stages of SEres (512, 256, 128) and a linear layer. The
    size "specification" has the same stages. The published code has one stage more (512, 256, 128, 64), because it
    counts its stages after the first (row 5 of :doc:`/published_code`). In both, the first stage has no dropout.

    Examples
    --------
    >>> import hrca
    >>> import torch
    >>> classifier = hrca.compat.SEClassifier(
    ...     n_latent=16,
    ...     n_labels=2,
    ...     widths=(8, 8),
    ...     dropout_rate=0.5,
    ... )
    >>> classifier.eval()(torch.zeros(3, 16)).shape
    torch.Size([3, 2])
    """

    def __init__(self, *, n_latent: int, n_labels: int, widths: tuple[int, ...], dropout_rate: float):
        super().__init__()
        self.n_labels = n_labels
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
        """Return logits.

        Parameters
        ----------
        z
            Latent features, shape (n_obs, n_latent).

        Returns
        -------
        Logits, shape (n_obs, n_labels).
        """
        return self.output(self.stages(self.excitation(z)))
