"""Training and validation cells."""

import numpy as np
import pandas as pd
from scvi import settings
from scvi.dataloaders import DataSplitter
from scvi.model._utils import use_distributed_sampler
from scvi.model.base import BaseModelClass


def split_cells(model: BaseModelClass, codes: np.ndarray | None, train_size: float) -> dict:
    """Return the split of the reference that both phases share; drawn at the first call.

    Parameters
    ----------
    model
        The model; ``split_`` is its split, or None.
    codes
        Class of each cell, shape (n_obs,); None without labels.
    train_size
        Share of the training cells of each class, in (0, 1].

    Returns
    -------
    ``train_size``, and the indices of the ``train`` and ``validation`` cells.

    Raises
    ------
    ValueError
        If `train_size` is not in (0, 1], or not the one of the split that there is.
    """
    if not 0 < train_size <= 1:
        raise ValueError(f"`train_size` must be above 0 and at most 1, got {train_size}.")
    if model.split_ is None:
        codes = np.zeros(model.summary_stats.n_cells, dtype=int) if codes is None else codes
        train, validation = stratified_split(codes, train_size, settings.seed)
        return {"train_size": train_size, "train": train, "validation": validation}
    if model.split_["train_size"] != train_size:
        raise ValueError(
            "Both phases must train on the same cells, but the first was split with "
            f"`train_size={model.split_['train_size']}` and this one asks for {train_size}. "
            "Give the same, or make a new model."
        )
    return model.split_


class FixedIndexSplitter(DataSplitter):
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
    strategy
        Lightning's; with one of its "ddp" kind, each process gets its own share of the cells.
    num_workers
        Processes that prepare batches.
    """

    def __init__(
        self,
        adata_manager,
        *,
        train_indices: np.ndarray,
        validation_indices: np.ndarray,
        batch_size: int,
        strategy: str = "auto",
        num_workers: int = 0,
    ):
        rest = np.setdiff1d(np.arange(adata_manager.adata.n_obs), np.concatenate([train_indices, validation_indices]))
        super().__init__(
            adata_manager,
            external_indexing=[train_indices, validation_indices, rest],
            batch_size=batch_size,
            drop_last=len(train_indices) > batch_size and len(train_indices) % batch_size in (1, 2),
            distributed_sampler=use_distributed_sampler(strategy),
            num_workers=num_workers,
        )

    def val_dataloader(self):
        """Return the validation batches, an empty list without validation cells."""
        return super().val_dataloader() if len(self.val_idx) else []

    def test_dataloader(self):
        """Return no batches: the cells outside both sets take no part in the phase."""
        return []


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
    Indices of the training cells and of the validation cells, both sorted. Every class has a cell in training.
    """
    classes = pd.Series(codes).groupby(codes)
    drawn = classes.sample(frac=1 - train_size, random_state=seed)
    # a class that was drawn whole gives its first cell back
    n_cells, n_drawn = classes.transform("size")[drawn.index], drawn.groupby(drawn).transform("size")
    kept = (n_drawn < n_cells) | drawn.duplicated()
    validation = np.sort(drawn.index[kept].to_numpy())
    return np.setdiff1d(np.arange(len(codes)), validation), validation
