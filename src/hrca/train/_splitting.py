"""Training and validation cells."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.dataloaders import AnnDataLoader, DataSplitter
from scvi.model._utils import use_distributed_sampler
from torch import Tensor
from torch.utils.data import DataLoader

from hrca._warnings import DoubtfulPredictionWarning, warn_user
from hrca.module._sparse_counts import MAX_SPARSE_FRACTION, SparseCounts

from ._sampling import LabelSampler

# Fraction of the cells that train, as in scvi-tools' DataSplitter.
DEFAULT_TRAIN_SIZE = 0.9
# Types of the devices on which batches are sparse. Others, such as MPS, cannot receive CSR tensors.
SPARSE_DEVICES = ("cpu", "cuda")

with warnings.catch_warnings():
    # torch says once in a process that CSR tensors are in beta, and once that their indices are not checked
    # (scvi-tools' loader does not ask for it): here, and not in a user's training
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0], [], [], (0, 1))


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
    validation_size
        Fraction of the validation cells; None: all cells that do not train.
    """

    train_size: float
    train: np.ndarray
    validation: np.ndarray
    reference_digest: str
    validation_size: float | None = None

    @property
    def fractions(self) -> str:
        """The arguments that the split was drawn with, as they are written in a call."""
        validation = "" if self.validation_size is None else f", validation_size={self.validation_size}"
        return f"train_size={self.train_size}{validation}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, which every version of HRCA can read."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Split":
        """Return the split that :meth:`to_dict` wrote."""
        train, validation = (np.asarray(fields[name], dtype=int) for name in ("train", "validation"))
        return cls(fields["train_size"], train, validation, fields["reference_digest"], fields["validation_size"])

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


def resolve_train_size(train_size: float | None, validation_size: float | None) -> float:
    """Return the fraction of training cells: 0.9, or what a larger `validation_size` leaves, unless it is given."""
    if train_size is not None:
        return train_size
    return DEFAULT_TRAIN_SIZE if validation_size is None else min(DEFAULT_TRAIN_SIZE, 1 - validation_size)


def check_fractions(train_size: float, validation_size: float | None) -> None:
    """Raise an error if cells cannot be split by two fractions.

    Parameters
    ----------
    train_size
        Fraction of the training cells.
    validation_size
        Fraction of the validation cells; None: all others.

    Raises
    ------
    ValueError
        If `train_size` is not in (0, 1]; `validation_size` is below 0; or both add up to more than 1.
    """
    is_fraction = 0 < train_size <= 1
    # 1 - 0.9 is a little less than 0.1
    largest = 1 - train_size + 1e-9 if is_fraction else 1
    # `train_size` may derive from `validation_size`: check the latter first
    if validation_size is not None and not 0 <= validation_size <= largest:
        given = f" and a `train_size` of {train_size}" if is_fraction else ""
        raise ValueError(f"`validation_size` must be from 0 to 1 - `train_size`, got {validation_size}{given}.")
    if not is_fraction:
        raise ValueError(f"`train_size` must be above 0 and at most 1, got {train_size}.")


def split_cells(
    split: Split | None,
    codes: np.ndarray,
    reference_digest: str,
    *,
    train_size: float,
    validation_size: float | None = None,
    seed: int | None,
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
    validation_size
        Fraction of the validation cells of each label; None: all others. The rest takes no part in training.

    Raises
    ------
    ValueError
        If `train_size` is not in (0, 1]; `validation_size` is below 0, or both add up to more than 1; or they differ
        from those of the earlier split.
    """
    check_fractions(train_size, validation_size)
    if split is not None and split.reference_digest != reference_digest:
        warn_user(
            "The reference is not the one that the model was trained on: training and validation cells are drawn anew. "
            "Validation cells may have been training cells before.",
            DoubtfulPredictionWarning,
        )
        split = None
    if split is None:
        train, validation = stratified_split(codes, train_size, seed)
        if validation_size is not None:
            fraction = min(validation_size / (1 - train_size), 1.0) if len(validation) else 1.0
            drawn = pd.Series(validation).groupby(codes[validation]).sample(frac=fraction, random_state=seed)
            validation = np.sort(drawn.to_numpy())
        return Split(train_size, train, validation, reference_digest, validation_size)
    wanted = replace(split, train_size=train_size, validation_size=validation_size).fractions
    if split.fractions != wanted:
        raise ValueError(
            f"Both phases must train on the same cells, but the first was split with `{split.fractions}` and this one "
            f"has `{wanted}`. Give the same, or make a new model."
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
    codes
        Label code of each cell of the reference, shape (n_obs,); only for the next two.
    n_samples_per_label
        Number of training cells of each label that an epoch draws, without replacement; all of a label with fewer.
        None: all cells.
    max_cells_per_epoch
        Number of training cells that an epoch draws, of each label its share. None: all cells.
    **loader_kwargs
        Arguments of the data loader of scvi-tools and torch.

    Attributes
    ----------
    n_drawn
        Number of training cells that an epoch draws.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *,
        train_indices: np.ndarray,
        validation_indices: np.ndarray,
        batch_size: int,
        strategy: str = "auto",
        codes: np.ndarray | None = None,
        n_samples_per_label: int | None = None,
        max_cells_per_epoch: int | None = None,
        **loader_kwargs: Any,
    ):
        n_obs = adata_manager.adata.n_obs
        unused = np.setdiff1d(np.arange(n_obs), np.concatenate([train_indices, validation_indices]))
        self.sampler = None
        n_train = len(train_indices)
        self.n_drawn = n_train
        if codes is not None and (n_samples_per_label is not None or n_train > (max_cells_per_epoch or n_train)):
            self.sampler = LabelSampler(codes[train_indices], n_samples_per_label, max_cells_per_epoch)
            self.n_drawn = len(self.sampler)
        has_tail = [n > batch_size and n % batch_size in (1, 2) for n in (self.n_drawn, n_train)]
        # scvi-tools warns of the last batch of all cells, also where an epoch draws a part of them
        options = {"drop_last": any(has_tail), **loader_kwargs}
        super().__init__(
            adata_manager,
            external_indexing=[train_indices, validation_indices, unused],
            batch_size=batch_size,
            distributed_sampler=use_distributed_sampler(strategy),
            load_sparse_tensor=_reads_sparse(adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)),
            **options,
        )
        self.drop_last = loader_kwargs.get("drop_last", has_tail[0])

    def train_dataloader(self) -> DataLoader:
        """Return the training batches."""
        loader = _with_csr_matrix(super().train_dataloader())
        if self.sampler is not None:
            # scvi-tools' loader samples batches of indices, and takes no sampler of cells
            loader.sampler.sampler = self.sampler
        return loader

    def val_dataloader(self) -> DataLoader | list:
        """Return the validation batches; an empty list without validation cells."""
        return _with_csr_matrix(super().val_dataloader()) if len(self.val_idx) else []

    def test_dataloader(self) -> list:
        """Return no batches: the other cells take no part in the phase."""
        return []

    def on_after_batch_transfer(
        self, batch: dict[str, Tensor], dataloader_idx: int
    ) -> dict[str, Tensor | SparseCounts]:
        """Return the batch with sparse counts, or dense ones where a device is faster with them or needs them."""
        # not before the transfer: the device decides, and Lightning's precision converts tensors alone
        return {**batch, REGISTRY_KEYS.X_KEY: _sparse_or_dense(batch[REGISTRY_KEYS.X_KEY])}


def _sparse_or_dense(counts: Tensor) -> Tensor | SparseCounts:
    """Return the counts of a batch, dense or a CSR tensor, as training is fastest."""
    if counts.layout is torch.sparse_csr:
        found = SparseCounts.from_csr_tensor(counts)
    elif counts.device.type in SPARSE_DEVICES:
        found = SparseCounts.from_dense(counts)
    else:
        return counts
    is_dense = counts.device.type == "cpu" and found.fraction_stored > MAX_SPARSE_FRACTION
    return found.to_dense() if is_dense else found


def _reads_sparse(counts: Any) -> bool:
    """Return whether scvi-tools' loader can read batches of a matrix as CSR tensors: in memory, no entry twice."""
    is_csr = isinstance(counts, sparse.csr_matrix | sparse.csr_array)
    return is_csr and counts.has_canonical_format and not torch.backends.mps.is_available()


def _with_csr_matrix(loader: AnnDataLoader) -> AnnDataLoader:
    """Let a loader read sparse arrays as matrices of scipy, which share their memory: scvi-tools takes only these."""
    data = loader.dataset.dataset.data
    if isinstance(data[REGISTRY_KEYS.X_KEY], sparse.csr_array):
        data[REGISTRY_KEYS.X_KEY] = sparse.csr_matrix(data[REGISTRY_KEYS.X_KEY])
    return loader
