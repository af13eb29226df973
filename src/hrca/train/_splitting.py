"""Training and validation cells."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scvi.data import AnnDataManager
from scvi.dataloaders import DataSplitter
from scvi.model._utils import use_distributed_sampler
from torch.utils.data import DataLoader

from hrca._warnings import warn_user


@dataclass(frozen=True)
class Split:
    """The split of a reference, which all phases share.

    Attributes
    ----------
    train_size
        Fraction of the cells of each label that train, in (0, 1].
    train
        Indices of the training cells, sorted, shape (n_train,).
    validation
        Indices of the validation cells, sorted, shape (n_validation,).
    reference_digest
        Digest of the reference that the indices belong to.
    """

    train_size: float
    train: np.ndarray
    validation: np.ndarray
    reference_digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, which every version of HRCA can read."""
        return vars(self).copy()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Split":
        """Return the split that :meth:`to_dict` wrote."""
        train, validation = (np.asarray(fields[name], dtype=int) for name in ("train", "validation"))
        return cls(fields["train_size"], train, validation, fields["reference_digest"])

    def drop_cells(self, cells: np.ndarray, *, keep_validation: bool) -> "Split":
        """Return the split without some of its cells.

        Parameters
        ----------
        cells
            Indices of the cells to drop.
        keep_validation
            If False, the remaining validation cells also train.
        """
        train, validation = (np.setdiff1d(part, cells) for part in (self.train, self.validation))
        if not keep_validation:
            train, validation = np.sort(np.concatenate([train, validation])), np.zeros(0, dtype=int)
        return replace(self, train=train, validation=validation)


def split_cells(
    split: Split | None, codes: np.ndarray, reference_digest: str, *, train_size: float, seed: int | None
) -> Split:
    """Return the split of the reference: an earlier one, or a new draw.

    Parameters
    ----------
    split
        The split of an earlier phase; None before the first phase. That of another reference is replaced, with a
        warning.
    codes
        Label code of each cell, shape (n_obs,).
    reference_digest
        Digest of the reference.
    train_size
        Fraction of the training cells of each label, in (0, 1].
    seed
        Seed of the draw; None: a random one.

    Raises
    ------
    ValueError
        If `train_size` is not in (0, 1], or differs from the `train_size` of the earlier split.
    """
    if not 0 < train_size <= 1:
        raise ValueError(f"`train_size` must be above 0 and at most 1, got {train_size}.")
    is_same_reference = split is not None and split.reference_digest == reference_digest
    if split is not None and not is_same_reference:
        warn_user(
            "The reference is not the one that the model was trained on: training and validation cells are drawn anew. "
            "Validation cells may have been training cells before."
        )
    if split is None or not is_same_reference:
        return Split(train_size, *stratified_split(codes, train_size, seed), reference_digest)
    if split.train_size != train_size:
        raise ValueError(
            "Both phases must train on the same cells, but the first was split with "
            f"`train_size={split.train_size}` and this one has `train_size={train_size}`. "
            "Give the same, or make a new model."
        )
    return split


def stratified_split(codes: np.ndarray, train_size: float, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Split cells into training and validation, with the same fraction of each label.

    Parameters
    ----------
    codes
        Label code of each cell, shape (n_obs,).
    train_size
        Fraction of the training cells, in (0, 1].
    seed
        Seed of the draw; None: a random one.

    Returns
    -------
    train
        Indices of the training cells, sorted. Every label has at least one.
    validation
        Indices of the validation cells, sorted.
    """
    labels = pd.Series(codes).groupby(codes)
    drawn = labels.sample(frac=1 - train_size, random_state=seed)
    # if all cells of a label were drawn, the first one trains
    n_cells, n_drawn = labels.transform("size")[drawn.index], drawn.groupby(drawn).transform("size")
    is_validation = (n_drawn < n_cells) | drawn.duplicated()
    validation = np.sort(drawn.index[is_validation].to_numpy())
    return np.setdiff1d(np.arange(len(codes)), validation), validation


class FixedIndexSplitter(DataSplitter):
    """scvi-tools' data splitter for given cells.

    An empty set is an empty list of batches. scvi-tools returns None, on which Lightning fails (scvi-tools#3223).

    Parameters
    ----------
    adata_manager
        scvi-tools' manager of the reference.
    train_indices
        Indices of the training cells.
    validation_indices
        Indices of the validation cells; may be empty.
    batch_size
        Number of cells in a batch. A last batch of one or two cells is dropped: BatchNorm cannot train on one cell, and
        scvi-tools warns of two. The cells are shuffled, so each epoch drops other cells.
    strategy
        Lightning's strategy. With a "ddp" strategy, each process gets a part of the cells.
    num_workers
        Number of processes that prepare batches.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *,
        train_indices: np.ndarray,
        validation_indices: np.ndarray,
        batch_size: int,
        strategy: str = "auto",
        num_workers: int = 0,
    ):
        n_obs = adata_manager.adata.n_obs
        unused = np.setdiff1d(np.arange(n_obs), np.concatenate([train_indices, validation_indices]))
        super().__init__(
            adata_manager,
            external_indexing=[train_indices, validation_indices, unused],
            batch_size=batch_size,
            drop_last=len(train_indices) > batch_size and len(train_indices) % batch_size in (1, 2),
            distributed_sampler=use_distributed_sampler(strategy),
            num_workers=num_workers,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Return the validation batches; an empty list without validation cells."""
        return super().val_dataloader() if len(self.val_idx) else []

    def test_dataloader(self) -> list:
        """Return no batches: the other cells take no part in the phase."""
        return []
