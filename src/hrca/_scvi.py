"""Where scvi-tools needs a careful hand: its splits, its history, its files, and what differs between 1.4 and 1.5."""

import hashlib

import numpy as np
import pandas as pd
from anndata import AnnData
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import (
    BaseAnnDataField,
    LabelsWithUnlabeledObsField,
    LayerField,
    MuDataLabelsWithUnlabeledObsField,
    MuDataLayerField,
)
from scvi.dataloaders import DataSplitter
from scvi.model._utils import get_max_epochs_heuristic, parse_device_args, use_distributed_sampler
from scvi.model.base import BaseModelClass
from scvi.train import TrainRunner
from scvi.train._progress import ProgressBar
from torch import nn

from ._callbacks import EpochHistory
from ._genes import check_unique


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


class PhaseProgress(ProgressBar):
    """scvi's progress bar, with the phase in front, loss and learning rate behind; time left is tqdm's.

    Parameters
    ----------
    phase
        "pretrain", "finetune" or "adapt", after the fold that it is of.
    """

    def __init__(self, phase: str):
        super().__init__()
        self.phase = phase

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the epoch that a resumed training starts with."""
        super().on_train_start(trainer, pl_module)
        self.main_progress_bar.update(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which epoch of which phase this is."""
        super().on_train_epoch_start(trainer, pl_module)
        self.main_progress_bar.set_description(f"{self.phase} {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        """Return loss and learning rate."""
        loss, rate = trainer.callback_metrics["train_loss"], trainer.optimizers[0].param_groups[-1]["lr"]
        return {"loss": f"{float(loss):.4g}", "lr": f"{rate:.1g}"}


def run_phase(
    model: BaseModelClass,
    phase: str,
    plan: LightningModule,
    splitter: FixedSplitter,
    *,
    history: EpochHistory,
    callbacks: list[Callback],
    **runner_kwargs,
) -> None:
    """Run one phase through scvi's TrainRunner, and add its history to the model's under the phase's name.

    scvi keeps, of a second run, only what a first run had logged too, and replaces the rest; of another logger than
    its own, nothing (scvi-tools 1.4.2, ``TrainRunner._update_history``): so the history is HRCA's own. The list of
    callbacks is scvi's to change.

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
    history
        Notes the epochs of this run.
    callbacks
        The other Lightning callbacks of this run, called after it.
    runner_kwargs
        For :class:`scvi.train.TrainRunner`: `max_epochs`, `accelerator`, `devices`, and what goes to the Trainer.
    """
    earlier, was_trained = plain_history(model.history_) or {}, model.is_trained_
    model.history_, model.is_trained_ = None, False
    # whatever becomes of the run, the weights are no longer those that were fine-tuned
    model.is_finetuned_, model.model_id_ = False, ""
    try:
        runner = TrainRunner(model, plan, splitter, callbacks=[history, *callbacks], **runner_kwargs)
        runner()
        was_trained = True
    finally:
        now = {f"{phase}_{name}": values for name, values in history.epochs.items()}
        model.history_ = framed_history({**earlier, **{name: earlier.get(name, []) + now[name] for name in now}})
        model.is_trained_ = was_trained


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
    Indices of the training cells and of the validation cells, both sorted. Every class has a cell in training.
    """
    classes = pd.Series(codes).groupby(codes)
    drawn = classes.sample(frac=1 - train_size, random_state=seed)
    # a class that was drawn whole gives its first cell back
    n_cells, n_drawn = classes.transform("size")[drawn.index], drawn.groupby(drawn).transform("size")
    kept = (n_drawn < n_cells) | drawn.duplicated()
    validation = np.sort(drawn.index[kept].to_numpy())
    return np.setdiff1d(np.arange(len(codes)), validation), validation


def scaled_epochs(document_epochs: int, n_obs: int) -> int:
    """Return the Document's number of epochs, or fewer for many cells, by scvi's rule: 20,000 cells see all of them."""
    return get_max_epochs_heuristic(n_obs, epochs_cap=document_epochs)


def anndata_fields(layer: str | None, labels_key: str | None, unlabeled_category: str) -> list[BaseAnnDataField]:
    """Return what is registered of an AnnData: its counts, and its labels if it has any.

    Parameters
    ----------
    layer
        Layer with the counts; None: X.
    labels_key
        Column of obs with the labels; None: there are none.
    unlabeled_category
        The label of cells without one.
    """
    fields = [LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False, correct_data_format=False)]
    if labels_key is not None:
        fields.append(LabelsWithUnlabeledObsField(REGISTRY_KEYS.LABELS_KEY, labels_key, unlabeled_category))
    return fields


def mudata_fields(
    layer: str | None, labels_key: str | None, unlabeled_category: str, *, rna: str, labels: str | None
) -> list[BaseAnnDataField]:
    """Return what is registered of a MuData, as :func:`anndata_fields`.

    Parameters
    ----------
    layer
        Layer with the counts; None: X.
    labels_key
        Column with the labels; None: there are none.
    unlabeled_category
        The label of cells without one.
    rna
        Modality with the counts.
    labels
        Modality whose obs has the labels; None: obs of the whole.
    """
    counts = {"is_count_data": False, "correct_data_format": False, "mod_required": True}
    fields = [MuDataLayerField(REGISTRY_KEYS.X_KEY, layer, mod_key=rna, **counts)]
    if labels_key is not None:
        key = REGISTRY_KEYS.LABELS_KEY
        fields.append(MuDataLabelsWithUnlabeledObsField(key, labels_key, unlabeled_category, mod_key=labels))
    return fields


def registry_of(model_cls: type[BaseModelClass], gene_names: pd.Index, labels: list[str]) -> dict:
    """Return what scvi would have registered of a reference with these genes and labels, in this order.

    Parameters
    ----------
    model_cls
        The model's class.
    gene_names
        Its genes.
    labels
        Its labels.

    Raises
    ------
    ValueError
        If a gene stands more than once.
    """
    check_unique(gene_names, "the model")
    n_cells = 3  # of each label: of fewer, scvi warns
    stub = AnnData(
        sparse.csr_matrix((n_cells * len(labels), len(gene_names)), dtype=np.float32),
        obs={"cell_type": pd.Categorical(np.repeat(labels, n_cells), categories=labels)},
        var=pd.DataFrame(index=gene_names),
    )
    setup = {"labels_key": "cell_type", "unlabeled_category": "Unknown", "layer": None, "labels_hierarchy": None}
    # not by `setup_anndata`, which would refuse cells without counts
    manager = AnnDataManager(
        fields=anndata_fields(setup["layer"], setup["labels_key"], setup["unlabeled_category"]),
        setup_method_args=model_cls._get_setup_method_args(cls=model_cls, adata=stub, **setup),
    )
    manager.register_fields(stub)
    return manager.registry


def mark_trained(model: BaseModelClass) -> None:
    """Say of a model whose weights came from elsewhere that it is ready to predict."""
    model.module.eval()
    model.is_trained_ = model.is_finetuned_ = True
    model.model_id_ = digest(model.module)


def digest(module: nn.Module) -> str:
    """Return twelve hexadecimal digits that identify the weights."""
    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        sha.update(name.encode())
        sha.update(value.cpu().numpy().tobytes())
    return sha.hexdigest()[:12]
