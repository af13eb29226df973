"""Adaptation: self-training on batches that are half reference, half query."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch.utils.data import DataLoader, IterableDataset

from hrca._messages import counted
from hrca.data._reference_cells import ReferenceCells
from hrca.data._row_reader import dense
from hrca.module._module import TARGETS_KEY, HRCAModule
from hrca.typing import Batches

from ._callbacks import EpochHistory
from ._phase import PhaseRun, progress_bar
from ._trainingplans import AdaptPlan

# Maximum number of query cells that adaptation draws from: the default 200 steps of 64 query cells use 12,800.
MAX_ADAPTED_CELLS = 20_000
# A query with a larger fraction of cells that are probably of none of the labels is not adapted to: their labels are
# wrong, and training would confirm them. Not tuned.
MAX_ADAPTED_NOVEL_FRACTION = 0.2
# An adapted model is kept if the fraction of cells with one label from both branches rises by at least this: the
# classifier has then learned what the platform factors correct (docs/decisions/0007).
MIN_AGREEMENT_GAIN = 0.05
# Number of steps between two updates of the progress bar.
EPOCH_STEPS = 10


@dataclass(frozen=True)
class SoftLabelledCells:
    """Cells with the probabilities that the classifier learns.

    Attributes
    ----------
    counts
        Raw counts in the order of the model's genes, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    targets
        Probabilities of the labels times the weight of the cell, shape (n_obs, n_labels).
    """

    counts: Any
    targets: np.ndarray

    def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Return a batch of the cells, dense."""
        counts = dense(self.counts[rows]).astype(np.float32, copy=False)
        return {
            REGISTRY_KEYS.X_KEY: torch.from_numpy(counts),
            TARGETS_KEY: torch.from_numpy(self.targets[rows]),
        }


class _MixedDataset(IterableDataset):
    def __init__(
        self, reference: SoftLabelledCells, query: SoftLabelledCells, *, batch_size: int, n_steps: int, seed: int
    ):
        self.sides: tuple[SoftLabelledCells, ...] = (reference, query)
        self.batch_size, self.n_steps = batch_size, n_steps
        # continues from epoch to epoch
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.n_steps):
            halves = [side.take(self.rng.integers(len(side.targets), size=self.batch_size // 2)) for side in self.sides]
            yield {name: torch.cat([half[name] for half in halves]) for name in halves[0]}


class MixedBatches(LightningDataModule):
    """Batches of which one half is reference and one half query, drawn with replacement.

    Parameters
    ----------
    reference
        Labelled cells.
    query
        Cells with the model's probabilities.
    batch_size
        Number of cells in a batch; even.
    n_steps
        Number of batches in an epoch.
    seed
        Seed of the draws.
    """

    def __init__(
        self, reference: SoftLabelledCells, query: SoftLabelledCells, *, batch_size: int, n_steps: int, seed: int
    ):
        super().__init__()
        self.batches = _MixedDataset(reference, query, batch_size=batch_size, n_steps=n_steps, seed=seed)

    def train_dataloader(self) -> DataLoader:
        """Return the batches as the dataset makes them."""
        return DataLoader(self.batches, batch_size=None)

    def teardown(self, stage: str) -> None:
        """Drop the cells."""
        self.batches.sides = ()

    def val_dataloader(self) -> list:
        """Return no batches. Without this method Lightning warns that the plan could validate."""
        return []


def reason_not_to_adapt(novel_fraction: float, agreement: float) -> str | None:
    """Return a sentence if a model should not be adapted to a query.

    Parameters
    ----------
    novel_fraction
        Fraction of the query's cells that are probably of none of the labels.
    agreement
        Fraction of the query's cells to which classifier and count likelihood assign the same label.
    """
    if novel_fraction > MAX_ADAPTED_NOVEL_FRACTION:
        return (
            f"The model was not adapted: {novel_fraction:.0%} of the query's cells are probably of types that the "
            "reference lacks, and training would confirm their labels. `select=False` adapts it."
        )
    if agreement > 1 - MIN_AGREEMENT_GAIN:
        return (
            f"The model was not adapted: classifier and count likelihood already agree on {agreement:.0%} of the "
            f"query's cells, so that adaptation cannot add the {MIN_AGREEMENT_GAIN:.0%} by which a better model is "
            "recognised. `select=False` adapts it."
        )
    return None


def reason_to_discard(agreement: float, adapted_agreement: float) -> str | None:
    """Return a sentence if an adapted model should not replace the model before.

    Parameters
    ----------
    agreement
        Fraction of the query's cells to which classifier and count likelihood assign the same label.
    adapted_agreement
        The same of the adapted model.
    """
    if adapted_agreement - agreement >= MIN_AGREEMENT_GAIN:
        return None
    return (
        "The adaptation was discarded, and the model returned as it was: classifier and count likelihood agree on "
        f"{agreement:.0%} of the query's cells, and on {adapted_agreement:.0%} after adaptation. Where the agreement "
        "hardly rises, adaptation lowered the accuracy of most queries. `select=False` keeps it."
    )


def reference_targets(codes: np.ndarray, n_labels: int, smoothing: float) -> np.ndarray:
    """Return smoothed one-hot labels, shape (n_obs, n_labels): the other labels get equal parts of `smoothing`."""
    targets = np.full((len(codes), n_labels), smoothing / (n_labels - 1), dtype=np.float32)
    targets[np.arange(len(codes)), codes] = 1 - smoothing
    return targets


def query_targets(probabilities: np.ndarray) -> np.ndarray:
    """Return the probabilities of each cell times its highest probability, shape (n_obs, n_labels)."""
    return probabilities * probabilities.max(axis=1, keepdims=True)


def sample_query_cells(has_counts: np.ndarray, seed: int) -> np.ndarray:
    """Choose the query cells of an adaptation: those with counts, or 20,000 of them.

    Parameters
    ----------
    has_counts
        Boolean, which cells have counts on the model's genes, shape (n_obs,).
    seed
        Seed of the draw.

    Returns
    -------
    Boolean, which cells are chosen, shape (n_obs,).

    Raises
    ------
    ValueError
        If no cell has counts.
    """
    if not has_counts.any():
        raise ValueError(
            "A query to adapt to must have cells with counts on the model's genes, but its "
            f"{counted(len(has_counts), 'cell', ('has', 'have'))} none. Check `layer`."
        )
    chosen = np.flatnonzero(has_counts)
    if len(chosen) > MAX_ADAPTED_CELLS:
        chosen = np.random.default_rng(seed).choice(chosen, MAX_ADAPTED_CELLS, replace=False)
    return np.isin(np.arange(len(has_counts)), chosen)


def gather_cells(batches: Batches, cell_mask: np.ndarray) -> sparse.csr_array:
    """Collect the chosen cells of a query, sparse.

    Parameters
    ----------
    batches
        From :func:`hrca.data._batches.aligned_batches`.
    cell_mask
        Boolean, which cells are chosen, shape (n_obs,).

    Returns
    -------
    Their counts, shape (number of chosen cells, n_genes).
    """
    return sparse.vstack([counts[cell_mask[rows]] for rows, counts in batches], format="csr")


def adaptation_batches(
    reference: ReferenceCells, query: SoftLabelledCells, *, max_steps: int, batch_size: int, seed: int
) -> MixedBatches:
    """Make the batches of an adaptation.

    Parameters
    ----------
    reference
        Counts and label codes of the reference; all labelled cells take part.
    query
        Query cells with the model's probabilities.
    max_steps
        Number of optimiser steps.
    batch_size
        Number of cells in a batch; even.
    seed
        Seed of the draws of cells.
    """
    smoothing = AdaptPlan.loss_weights["label_smoothing"]
    targets = reference_targets(reference.codes[reference.labelled], reference.n_labels, smoothing)
    return MixedBatches(
        SoftLabelledCells(reference.counts[reference.labelled], targets),
        query,
        batch_size=batch_size,
        n_steps=min(max_steps, EPOCH_STEPS),
        seed=seed,
    )


def prepare_adaptation(
    module: HRCAModule,
    cells: MixedBatches,
    *,
    max_steps: int,
    lr: float,
    callbacks: Sequence[Callback],
    trainer_kwargs: dict[str, Any],
) -> PhaseRun:
    """Make the plan and the callbacks of an adaptation, see :meth:`hrca.HRCA.adapt`.

    Parameters
    ----------
    module
        The module that trains.
    cells
        The batches, from :func:`adaptation_batches`.
    max_steps
        Number of optimiser steps.
    lr
        Maximum learning rate.
    callbacks
        Further Lightning callbacks.
    trainer_kwargs
        Arguments of scvi-tools' TrainRunner and Trainer.
    """
    trainer = {"log_every_n_steps": 1, "max_steps": max_steps, **trainer_kwargs, "simple_progress_bar": False}
    return PhaseRun(
        name="adapt",
        title="adapt",
        length=f"{max_steps} steps",
        plan=AdaptPlan(module, corruption="thin", lr=lr, lr_schedule="one_cycle", monitor="train_loss"),
        cells=cells,
        history=EpochHistory(),
        callbacks=[*progress_bar("adapt", trainer_kwargs), *callbacks],
        max_epochs=math.ceil(max_steps / EPOCH_STEPS),
        trainer_kwargs=trainer,
    )
