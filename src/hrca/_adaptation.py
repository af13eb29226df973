"""Going on with a trained model on an unlabelled query: batches that are half reference, half query."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch.utils.data import DataLoader, IterableDataset

from ._counts import dense
from ._module import TARGETS_KEY


@dataclass(frozen=True)
class Cells:
    """Cells, and what the classifier is to say of them.

    Attributes
    ----------
    counts
        Raw counts in the model's gene order, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    targets
        Shape (n_obs, n_labels): a cell's probabilities times its weight.
    """

    counts: sparse.csr_array | np.ndarray
    targets: np.ndarray

    def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Return some of the cells, dense."""
        counts = dense(self.counts[rows]).astype(np.float32, copy=False)
        return {
            REGISTRY_KEYS.X_KEY: torch.from_numpy(counts),
            TARGETS_KEY: torch.from_numpy(self.targets[rows]),
        }


class _Mixed(IterableDataset):
    def __init__(self, reference: Cells, query: Cells, *, batch_size: int, n_steps: int, seed: int):
        self.parts = (reference, query)
        self.batch_size, self.n_steps = batch_size, n_steps
        # goes on from epoch to epoch
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.n_steps):
            halves = [part.take(self.rng.integers(len(part.targets), size=self.batch_size // 2)) for part in self.parts]
            yield {name: torch.cat([half[name] for half in halves]) for name in halves[0]}


class MixedCells(LightningDataModule):
    """A given number of batches an epoch, each half reference and half query, drawn with replacement.

    Parameters
    ----------
    reference
        Labelled cells.
    query
        Cells with what the model says of them.
    batch_size
        Cells in a batch; even.
    n_steps
        Number of batches an epoch.
    seed
        Seed of the draws.
    """

    def __init__(self, reference: Cells, query: Cells, *, batch_size: int, n_steps: int, seed: int):
        super().__init__()
        self.batches = _Mixed(reference, query, batch_size=batch_size, n_steps=n_steps, seed=seed)

    def train_dataloader(self) -> DataLoader:
        """Return the batches, which the dataset makes whole."""
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> list:
        """Return no batches: Lightning warns of a plan that could validate where nothing says so."""
        return []


def reference_targets(codes: np.ndarray, n_labels: int, smoothing: float) -> np.ndarray:
    """Return labels as probabilities, `smoothing` of each shared by the others; shape (n_obs, n_labels)."""
    targets = np.full((len(codes), n_labels), smoothing / (n_labels - 1), dtype=np.float32)
    targets[np.arange(len(codes)), codes] = 1 - smoothing
    return targets


def query_targets(probabilities: np.ndarray) -> np.ndarray:
    """Return what the model says of each cell, weighed by how sure it is; shape (n_obs, n_labels)."""
    return probabilities * probabilities.max(axis=1, keepdims=True)


def collect(batches: Iterator[tuple[slice, np.ndarray]], chosen: np.ndarray) -> sparse.csr_array:
    """Keep some cells of a query, sparse.

    Parameters
    ----------
    batches
        From :func:`hrca._inference.aligned_batches`.
    chosen
        Which cells, shape (n_obs,).

    Returns
    -------
    Their counts, shape (number of chosen cells, n_genes).
    """
    return sparse.vstack([sparse.csr_array(counts[chosen[rows]]) for rows, counts in batches], format="csr")
