"""Where scvi-tools needs a careful hand: its splits, its history, its files, and what differs between 1.4 and 1.5."""

import numpy as np
import pandas as pd
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from scvi.dataloaders import DataSplitter
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.train import TrainRunner


class FixedSplitter(DataSplitter):
    """scvi's splitter on given cells.

    An empty set is an empty list of batches: scvi returns None, on which Lightning fails (scvi-tools#3223).

    Parameters
    ----------
    adata_manager
        scvi's manager of the reference.
    train_indices
        Cells to train on.
    validation_indices
        Cells to validate on; may be empty.
    batch_size
        Cells in a batch. A last batch of one or two cells is left out: BatchNorm cannot train on one, and scvi warns
        of two. The cells are shuffled, so they are others in each epoch.
    """

    def __init__(self, adata_manager, *, train_indices: np.ndarray, validation_indices: np.ndarray, batch_size: int):
        rest = np.setdiff1d(np.arange(adata_manager.adata.n_obs), np.concatenate([train_indices, validation_indices]))
        super().__init__(
            adata_manager,
            external_indexing=[train_indices, validation_indices, rest],
            batch_size=batch_size,
            drop_last=len(train_indices) > batch_size and len(train_indices) % batch_size in (1, 2),
        )

    def val_dataloader(self):
        """Return the validation batches, an empty list without validation cells."""
        return super().val_dataloader() if len(self.val_idx) else []

    def test_dataloader(self):
        """Return no batches: the cells outside both sets take no part in the phase."""
        return []


def run_phase(
    model: BaseModelClass,
    phase: str,
    plan: LightningModule,
    splitter: FixedSplitter,
    *,
    callbacks: list[Callback],
    **runner_kwargs,
) -> None:
    """Run one phase through scvi's TrainRunner, and add its history to the model's under the phase's name.

    scvi keeps, of a second run, only what a first run had logged too, and replaces the rest (scvi_integration.md,
    trap 4): so each phase starts from an empty history. The list of callbacks is scvi's to change.

    Parameters
    ----------
    model
        The model that is trained.
    phase
        "pretrain" or "finetune".
    plan
        The phase's training plan.
    splitter
        The phase's cells.
    callbacks
        Lightning callbacks of this run.
    runner_kwargs
        For :class:`scvi.train.TrainRunner`: `max_epochs`, `accelerator`, `devices`, and what goes to the Trainer.
    """
    earlier, was_trained = model.history_ or {}, model.is_trained_
    model.history_, model.is_trained_ = None, False
    try:
        runner = TrainRunner(model, plan, splitter, callbacks=list(callbacks), **runner_kwargs)
        runner()
        was_trained = True
    finally:
        now = {f"{phase}_{name}": frame for name, frame in (model.history_ or {}).items()}
        model.history_ = {**earlier, **{name: _append(earlier.get(name), name, now[name]) for name in now}}
        model.is_trained_ = was_trained


def _append(earlier: pd.DataFrame | None, name: str, frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.set_axis([name], axis=1)
    joined = frame if earlier is None else pd.concat([earlier, frame])
    return joined.reset_index(drop=True).rename_axis(index="epoch").astype(float)


def uses_accelerator(accelerator: str) -> bool:
    """Whether training would run on something faster than the CPU."""
    return parse_device_args(accelerator=accelerator, devices="auto", return_device="torch")[0] != "cpu"


def plain_history(history: dict[str, pd.DataFrame] | None) -> dict[str, list[float]] | None:
    """Turn frames into lists: a frame that pandas 3 has pickled cannot be read by pandas 2."""
    return None if history is None else {name: frame.iloc[:, 0].tolist() for name, frame in history.items()}


def framed_history(history: dict[str, list[float]] | None) -> dict[str, pd.DataFrame] | None:
    """Turn what :func:`plain_history` made into frames again."""
    if history is None:
        return None
    return {
        name: pd.DataFrame({name: values}, index=pd.RangeIndex(len(values), name="epoch"))
        for name, values in history.items()
    }


def stratified_split(codes: np.ndarray, train_size: float, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Split cells into training and validation, the same share of each class.

    Parameters
    ----------
    codes
        Class of each cell, shape (n_obs,).
    train_size
        Share of the training cells, in (0, 1].
    seed
        Seed of the draw; a random one if None.

    Returns
    -------
    Indices of the training cells and of the validation cells, both sorted. A class with one cell stays in training.
    """
    classes = pd.Series(codes).groupby(codes)
    drawn = classes.sample(frac=1 - train_size, random_state=seed).index
    n_cells = classes.transform("size").to_numpy()
    validation = np.sort(drawn[n_cells[drawn] > 1])
    return np.setdiff1d(np.arange(len(codes)), validation), validation
