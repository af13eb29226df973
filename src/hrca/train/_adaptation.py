"""Going on with a trained model on an unlabelled query: batches that are half reference, half query."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from torch.utils.data import DataLoader, IterableDataset

from hrca.data._row_reader import dense
from hrca.module._module import TARGETS_KEY

from ._callbacks import EpochHistory, PhaseProgress
from ._runner import run_phase
from ._trainingplans import AdaptPlan

# Cells of a query that adaptation draws from, at most: 200 steps see each of them less than once.
MAX_ADAPTED_CELLS = 20_000

# Steps between two looks of the progress bar.
EPOCH_STEPS = 10


@dataclass(frozen=True)
class SoftLabelledCells:
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


class _MixedDataset(IterableDataset):
    def __init__(
        self, reference: SoftLabelledCells, query: SoftLabelledCells, *, batch_size: int, n_steps: int, seed: int
    ):
        self.parts = (reference, query)
        self.batch_size, self.n_steps = batch_size, n_steps
        # goes on from epoch to epoch
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.n_steps):
            halves = [part.take(self.rng.integers(len(part.targets), size=self.batch_size // 2)) for part in self.parts]
            yield {name: torch.cat([half[name] for half in halves]) for name in halves[0]}


class MixedBatches(LightningDataModule):
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

    def __init__(
        self, reference: SoftLabelledCells, query: SoftLabelledCells, *, batch_size: int, n_steps: int, seed: int
    ):
        super().__init__()
        self.batches = _MixedDataset(reference, query, batch_size=batch_size, n_steps=n_steps, seed=seed)

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


def sample_query_cells(has_counts: np.ndarray, seed: int) -> np.ndarray:
    """Choose the cells of a query that are learned from: those with counts, or 20,000 of them.

    Parameters
    ----------
    has_counts
        Which cells have counts on the model's genes, shape (n_obs,).
    seed
        Seed of the draw.

    Returns
    -------
    Which cells are chosen, shape (n_obs,).

    Raises
    ------
    ValueError
        If none has counts.
    """
    if not has_counts.any():
        raise ValueError(
            "A query to adapt to must have cells with counts on the model's genes, but none of its "
            f"{len(has_counts)} cells has. Is it the right layer?"
        )
    drawn = np.flatnonzero(has_counts)
    if len(drawn) > MAX_ADAPTED_CELLS:
        drawn = np.random.default_rng(seed).choice(drawn, MAX_ADAPTED_CELLS, replace=False)
    return np.isin(np.arange(len(has_counts)), drawn)


def gather_cells(batches: Iterator[tuple[slice, np.ndarray]], chosen: np.ndarray) -> sparse.csr_array:
    """Keep some cells of a query, sparse.

    Parameters
    ----------
    batches
        From :func:`hrca.data._batches.aligned_batches`.
    chosen
        Which cells, shape (n_obs,).

    Returns
    -------
    Their counts, shape (number of chosen cells, n_genes).
    """
    return sparse.vstack([sparse.csr_array(counts[chosen[rows]]) for rows, counts in batches], format="csr")


def run_adaptation(
    model: BaseModelClass,
    cells: MixedBatches,
    *,
    max_steps: int,
    lr: float,
    callbacks: list[Callback] | None,
    trainer_kwargs: dict,
) -> None:
    """Train the networks of a model on these cells, as :meth:`hrca.HRCA.adapt` says.

    Parameters
    ----------
    model
        The model, whose module changes.
    cells
        Its batches.
    max_steps
        Optimiser steps.
    lr
        Highest learning rate.
    callbacks
        Further Lightning callbacks.
    trainer_kwargs
        For the Trainer.
    """
    trainer = {"simple_progress_bar": False, "log_every_n_steps": 1, "max_steps": max_steps, **trainer_kwargs}
    bar = [PhaseProgress("adapt")] if trainer.get("enable_progress_bar", True) else []
    plan = AdaptPlan(model.module, corruption="thin", lr=lr, lr_schedule="one_cycle", monitor="train_loss")
    run_phase(
        model,
        "adapt",
        plan,
        cells,
        history=EpochHistory(),
        callbacks=[*bar, *(callbacks or [])],
        max_epochs=math.ceil(max_steps / EPOCH_STEPS),
        **trainer,
    )
