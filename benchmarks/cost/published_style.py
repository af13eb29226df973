"""A plain model in the style of the published code, to compare the speed of HRCA with.

It is written from the HRCA Training Document and from the table in docs/published_code.md. All attention scores are
stored, the encoder runs twice in each step of fine-tuning, each cell is a slice of the AnnData, and Adam is torch's
loop over the parameters. Its weights have the names of :class:`hrca.module._module.HRCAModule`, so that
:meth:`PublishedStyle.load` can copy them; losses and probabilities are then the same
(tests/benchmarks/test_cost_published_style.py).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

TARGET_SUM = 1e4
MASK_RATE = 0.7
DROPOUT_RATE, CLASSIFIER_DROPOUT_RATE = 0.1, 0.5
RECONSTRUCTION_WEIGHT, CLASSIFICATION_WEIGHT, LABEL_SMOOTHING = 0.1, 0.9, 0.1
LEARNING_RATE = 1e-3
BATCH_SIZE = 128

# A cell, or a batch of cells: masked and whole expression, shape (..., n_genes), and the label.
Cells = tuple[Tensor, Tensor, Tensor]


class CellDataset(Dataset):
    """Cells of an AnnData, each sliced, masked and normalised by itself.

    Parameters
    ----------
    adata
        Raw counts in X.
    codes
        Index of each cell's label, shape (n_obs,).
    mask_rate
        Fraction of a cell's entries that are set to zero before it is normalised.
    """

    def __init__(self, adata: AnnData, codes: np.ndarray, mask_rate: float = 0.0):
        self.adata, self.codes, self.mask_rate = adata, codes, mask_rate

    def __len__(self) -> int:
        return self.adata.n_obs

    def __getitem__(self, index: int) -> Cells:
        counts = torch.from_numpy(self.adata[index].X.toarray().astype(np.float32))[0]
        masked = counts * (torch.rand(counts.shape) > self.mask_rate) if self.mask_rate else counts
        return _log_normalize(masked), _log_normalize(counts), torch.tensor(int(self.codes[index]))


def _log_normalize(counts: Tensor) -> Tensor:
    # a cell without counts stays a cell of zeros
    return torch.log1p(counts / counts.sum().clamp(min=1) * TARGET_SUM)


class Attention(nn.Module):
    """Self-attention among the features within each head, one scalar per token; all scores are stored."""

    def __init__(self, n_latent: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key = nn.Linear(n_latent, n_latent), nn.Linear(n_latent, n_latent)
        self.value, self.output = nn.Linear(n_latent, n_latent), nn.Linear(n_latent, n_latent)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features, shape (n_obs, n_latent)."""
        query, key, value = (layer(x).view(len(x), self.n_heads, -1, 1) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-2, -1)) / query.shape[2] ** 0.5
        return self.output(torch.matmul(torch.softmax(scores, dim=-1), value).view(len(x), -1))


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, each added to its input."""

    def __init__(self, n_latent: int, n_heads: int, n_feedforward: int):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(n_latent), Attention(n_latent, n_heads)
        self.feedforward_norm = nn.LayerNorm(n_latent)
        self.feedforward = nn.Sequential(
            nn.Linear(n_latent, n_feedforward), nn.ReLU(), nn.Linear(n_feedforward, n_latent)
        )
        self.dropout, self.closing_norm = nn.Dropout(DROPOUT_RATE), nn.LayerNorm(n_latent)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the layer, shape (n_obs, n_latent)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        x = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return self.closing_norm(x)


def _feedforward(n_in: int, n_hidden: int, n_out: int) -> list[nn.Module]:
    middle = [nn.LayerNorm(n_hidden), nn.ReLU(), nn.Dropout(DROPOUT_RATE)]
    return [nn.Linear(n_in, n_hidden), *middle, nn.Linear(n_hidden, n_out)]


class GeneAE(nn.Module):
    """The autoencoder."""

    def __init__(self, n_genes: int, n_hidden: int, n_latent: int, n_heads: int, n_layers: int, n_feedforward: int):
        super().__init__()
        self.encoder_input = nn.Sequential(*_feedforward(n_genes, n_hidden, n_latent))
        self.encoder_layers = nn.Sequential(
            *(TransformerLayer(n_latent, n_heads, n_feedforward) for _ in range(n_layers))
        )
        self.decoder = nn.Sequential(*_feedforward(n_latent, n_hidden, n_genes), nn.Softplus())

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent features, shape (n_obs, n_latent)."""
        return self.encoder_layers(self.encoder_input(x))


class SELayer(nn.Module):
    """Features times a gate of all features."""

    def __init__(self, n_features: int):
        super().__init__()
        n_squeezed = n_features // 2
        linears = nn.Linear(n_features, n_squeezed, bias=False), nn.Linear(n_squeezed, n_features, bias=False)
        self.gate = nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated features."""
        return x * self.gate(x)


class SEres(nn.Module):
    """A linear branch plus a gated linear branch, to fewer features."""

    def __init__(self, n_in: int, n_out: int, dropout_rate: float):
        super().__init__()
        self.plain, self.gated = (
            nn.Sequential(nn.Dropout(dropout_rate), nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())
            for _ in range(2)
        )
        self.excitation = SELayer(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reduced features, shape (n_obs, n_out)."""
        return self.plain(x) + self.excitation(self.gated(x))


class SEClassifier(nn.Module):
    """The classifier."""

    def __init__(self, n_latent: int, n_labels: int, widths: tuple[int, ...]):
        super().__init__()
        self.excitation = SELayer(n_latent)
        rates = (0.0, *[CLASSIFIER_DROPOUT_RATE] * len(widths))
        self.stages = nn.Sequential(*map(SEres, (n_latent, *widths[:-1]), widths, rates))
        self.output = nn.Linear(widths[-1], n_labels)

    def forward(self, z: Tensor) -> Tensor:
        """Return the logits, shape (n_obs, n_labels)."""
        return self.output(self.stages(self.excitation(z)))


class PublishedStyle(nn.Module):
    """Autoencoder and classifier with their losses.

    Parameters
    ----------
    n_genes, n_labels
        Numbers of genes and labels.
    sizes
        The other sizes: an entry of ``hrca.SIZES``.
    """

    def __init__(self, n_genes: int, n_labels: int, sizes: Mapping[str, Any]):
        super().__init__()
        widths = {name: number for name, number in sizes.items() if name != "classifier_widths"}
        self.gene_ae = GeneAE(n_genes, **widths)
        self.se_classifier = SEClassifier(sizes["n_latent"], n_labels, sizes["classifier_widths"])

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of an HRCA module; its state also has the count likelihood and the calibration."""
        self.load_state_dict({name: state[name] for name in self.state_dict()})

    def reconstruction_loss(self, cells: Cells) -> Tensor:
        """Return the mean squared error of the reconstruction, the loss of pre-training."""
        masked, whole, _ = cells
        return ((self.gene_ae.decoder(self.gene_ae.encode(masked)) - whole) ** 2).mean()

    def finetuning_loss(self, cells: Cells) -> Tensor:
        """Return the weighted sum of both losses, with a pass of the encoder for each."""
        masked, _, labels = cells
        log_probabilities = torch.log_softmax(self.se_classifier(self.gene_ae.encode(masked)), dim=1)
        n_labels = log_probabilities.shape[1]
        targets = torch.full_like(log_probabilities, LABEL_SMOOTHING / (n_labels - 1))
        targets[torch.arange(len(labels)), labels] = 1 - LABEL_SMOOTHING
        classification_loss = -(targets * log_probabilities).sum(dim=1).mean()
        return RECONSTRUCTION_WEIGHT * self.reconstruction_loss(cells) + CLASSIFICATION_WEIGHT * classification_loss

    @torch.no_grad()
    def predict(self, adata: AnnData) -> np.ndarray:
        """Return the probabilities of the labels, shape (n_obs, n_labels)."""
        self.eval()
        cells = DataLoader(CellDataset(adata, np.zeros(adata.n_obs, dtype=int)), BATCH_SIZE)
        rows = [torch.softmax(self.se_classifier(self.gene_ae.encode(x)), dim=1) for x, _, _ in cells]
        return torch.cat(rows).numpy()


def training_steps(model: PublishedStyle, phase: str, cells: CellDataset) -> Iterator[tuple[float, float]]:
    """Train for one epoch.

    Parameters
    ----------
    model
        The model.
    phase
        "pretrain" or "finetune".
    cells
        The cells, at least one batch; the last, smaller batch is left out.

    Yields
    ------
    The seconds and the CPU seconds of each step, with its batch.
    """
    model.train()
    trained = model.gene_ae if phase == "pretrain" else model
    optimizer = torch.optim.Adam(trained.parameters(), lr=LEARNING_RATE, foreach=False)
    loss_of: Callable[[Cells], Tensor] = model.reconstruction_loss if phase == "pretrain" else model.finetuning_loss
    batches = iter(DataLoader(cells, BATCH_SIZE, shuffle=True, drop_last=True))
    for _ in range(len(cells) // BATCH_SIZE):
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = loss_of(next(batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield time.perf_counter() - start, time.process_time() - cpu_start
