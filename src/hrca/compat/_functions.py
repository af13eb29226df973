"""The Training Document's functions, as its readers paste them: a thin face on :class:`hrca.HRCA`.

``from hrca import hrca`` is this module. What the functions return goes on into :func:`annotate`, into
:func:`assemble_model`, and into :meth:`hrca.HRCA.from_pretrained`.
"""

import logging
from pathlib import Path

import pandas as pd
import torch
from anndata import AnnData
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from hrca.model._model import HRCA
from hrca.module._networks import GeneAE, SEClassifier

from ._published_weights import assemble_model, write_classifier, write_gene_ae

logger = logging.getLogger(__name__)


class _WriteModels(Callback):
    """Write the networks as the published code does, at each interval."""

    def __init__(self, model: HRCA, folder: Path, interval: int):
        self.model, self.folder, self.interval = model, folder, interval

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and epoch % self.interval == 0:
            _write(self.model, self.folder, epoch)


def _write(model: HRCA, folder: Path, epoch: int) -> None:
    write_gene_ae(model, folder, epoch=epoch)
    if model.labels:
        write_classifier(model, folder, epoch=epoch)


def pretrain(
    train: AnnData,
    save_path: str | Path,
    n_epochs: int = 1000,
    batch_size: int = 128,
    n_cpu: int = 1,
    head_num: int = 8,
    n_layers: int = 8,
    lr: float = 0.001,
    decay_epoch: int = 200,
    lr_decrease_factor: float = 0.1,
    lr_decrease_patience: int = 50,
    checkpoint_interval: int = 100,
    tb_writer: bool = True,
    use_device: int | str | None = 0,
) -> GeneAE:
    """Pre-train a Gene-AE of the Document's size, as its snippet calls it.

    Parameters
    ----------
    train
        The reference: raw counts in X. It is left as it is.
    save_path
        Folder for ``features.npy`` (the genes), ``AE_<epoch>.pth`` (at each interval and the end), ``tensorboard``, and
        checkpoints, from which ``hrca.HRCA.pretrain(checkpoint_dir=..., resume=True)`` goes on if it is killed. It must
        not hold the checkpoints of an earlier training.
    n_epochs
        `max_epochs` of :meth:`hrca.HRCA.pretrain`.
    batch_size
        As there.
    n_cpu
        `num_workers` there.
    head_num
        `n_heads` of :class:`hrca.HRCA`.
    n_layers
        As there.
    lr
        As in :meth:`hrca.HRCA.pretrain`.
    decay_epoch
        `lr_hold_epochs` there.
    lr_decrease_factor
        `lr_factor` there.
    lr_decrease_patience
        `lr_patience` there.
    checkpoint_interval
        As there.
    tb_writer
        `tensorboard` there.
    use_device
        Index of a GPU; without a GPU, and for "cpu" or None, the CPU.

    Returns
    -------
    The trained Gene-AE, with its ``gene_names``.

    Raises
    ------
    ValueError
        As :meth:`hrca.HRCA.setup_anndata` and :meth:`hrca.HRCA.pretrain`.

    Notes
    -----
    Training Document, "Pre-training". All cells are trained on and the training loss chooses the epoch, as there.
    Training cells are thinned, as everywhere in HRCA (decision 1), where the published code masks them.
    """
    reference = _shallow_copy(train)
    HRCA.setup_anndata(reference)
    # the Document knows the networks alone
    model = HRCA(reference, n_heads=head_num, n_layers=n_layers, count_likelihood=False)
    folder = Path(save_path)
    model.pretrain(
        n_epochs,
        batch_size=batch_size,
        lr=lr,
        lr_factor=lr_decrease_factor,
        lr_patience=lr_decrease_patience,
        lr_hold_epochs=decay_epoch,
        callbacks=[_WriteModels(model, folder, checkpoint_interval)],
        **_shared(folder, checkpoint_interval, n_cpu, tb_writer, use_device),
    )
    _write(model, folder, n_epochs)
    return _attach_names(model)[0]


def fine_tune(
    train: AnnData,
    test: AnnData,
    Gene_AE: GeneAE,
    save_path: str | Path,
    obs_name: str,
    n_epochs: int = 200,
    batch_size: int = 128,
    n_cpu: int = 1,
    n_layers: int = 3,
    lr: float = 0.001,
    decay_epoch: int = 20,
    lr_decrease_patience: int = 10,
    checkpoint_interval: int = 20,
    tb_writer: bool = True,
    use_device: int | str | None = 0,
) -> tuple[GeneAE, SEClassifier]:
    """Fine-tune a Gene-AE with a new SE-Classifier, as the Document's snippet calls it.

    Parameters
    ----------
    train
        The reference: raw counts in X. It is left as it is.
    test
        Labelled cells that are annotated at each interval; they play no part in training.
    Gene_AE
        What :func:`pretrain` returned. Genes are matched by name.
    save_path
        Folder for ``features.npy``, ``dictionary.npy`` (the labels), ``AE_<epoch>.pth`` and ``predictor_<epoch>.pth``
        (at each interval and the end), ``confusion_<epoch>.csv`` and ``.png`` and ``test_scores.csv`` of the test
        cells, checkpoints, and ``tensorboard``.
    obs_name
        `labels_key` of :class:`hrca.HRCA`, in `train` and `test`.
    n_epochs
        `max_epochs` of :meth:`hrca.HRCA.finetune`.
    batch_size
        As there.
    n_cpu
        `num_workers` there.
    n_layers
        Number of the classifier's stages, each half as wide as the one before.
    lr
        As there.
    decay_epoch
        `lr_hold_epochs` there.
    lr_decrease_patience
        `lr_patience` there.
    checkpoint_interval
        As there.
    tb_writer
        `tensorboard` there.
    use_device
        As in :func:`pretrain`.

    Returns
    -------
    The Gene-AE, with its ``gene_names``, and the SE-Classifier, with its ``labels``.

    Raises
    ------
    ValueError
        As :meth:`hrca.HRCA.setup_anndata` and :meth:`hrca.HRCA.finetune`.

    Notes
    -----
    Training Document, "Fine-tuning". Three stages are 512, 256, 128, as the Document has them; the published code makes
    four of `n_layers` = 3.
    """
    reference = _shallow_copy(train)
    widths = tuple(Gene_AE.sizes["n_latent"] // 2 ** (stage + 1) for stage in range(n_layers))
    model = HRCA.from_pretrained(Gene_AE, reference, labels_key=obs_name, classifier_widths=widths)
    folder = Path(save_path)
    model.finetune(
        n_epochs,
        batch_size=batch_size,
        lr=lr,
        lr_patience=lr_decrease_patience,
        lr_hold_epochs=decay_epoch,
        test_adata=test,
        test_labels_key=obs_name,
        callbacks=[_WriteModels(model, folder, checkpoint_interval)],
        **_shared(folder, checkpoint_interval, n_cpu, tb_writer, use_device),
    )
    _write(model, folder, n_epochs)
    return _attach_names(model)


def annotate(adata: AnnData, Gene_AE: GeneAE, SE_Classifier: SEClassifier) -> pd.DataFrame:
    """Label every cell of a query with what :func:`fine_tune` returned.

    Parameters
    ----------
    adata
        The query: raw counts in X, any genes in any order. It is left as it is.
    Gene_AE
        Trained.
    SE_Classifier
        Trained with it.

    Returns
    -------
    A row for each cell, in order, index ``adata.obs_names``: ``cell_type`` and its ``confidence`` (0 to 1).

    Raises
    ------
    ValueError
        As :meth:`hrca.HRCA.predict`.

    Notes
    -----
    The published code leaves out cells with fewer than 80 detected genes; here every cell comes out.
    """
    model = assemble_model(Gene_AE, SE_Classifier)
    result = _shallow_copy(adata)
    model.predict(result, key_added="cell_type")
    columns = {"cell_type": "cell_type", "cell_type_confidence": "confidence"}
    return result.obs[list(columns)].rename(columns=columns)


def _shallow_copy(adata: AnnData) -> AnnData:
    """The same matrix under a new AnnData: scvi writes into the obs and uns of a reference."""
    return AnnData(adata.X, obs=adata.obs.copy(), var=adata.var[[]].copy())


def _shared(folder: Path, checkpoint_interval: int, n_cpu: int, tb_writer: bool, use_device: int | str | None) -> dict:
    return {
        "train_size": 1.0,
        "checkpoint_dir": folder,
        "checkpoint_interval": checkpoint_interval,
        "num_workers": n_cpu,
        "tensorboard": tb_writer,
        **_device(use_device),
    }


def _device(use_device: int | str | None) -> dict:
    if use_device in (None, "cpu"):
        return {"accelerator": "cpu"}
    if not isinstance(use_device, int):
        raise ValueError(f"`use_device` must be the index of a GPU, 'cpu' or None, got {use_device!r}.")
    if not torch.cuda.is_available():
        logger.warning("use_device=%s: there is no GPU, the CPU is used.", use_device)
        return {"accelerator": "cpu"}
    return {"accelerator": "gpu", "devices": [use_device]}


def _attach_names(model: HRCA) -> tuple[GeneAE, SEClassifier | None]:
    """The networks, with the names that they need outside of their model."""
    gene_ae, se_classifier = model.module.gene_ae, model.module.se_classifier
    gene_ae.gene_names = model.gene_names
    if se_classifier is not None:
        se_classifier.labels = model.labels
    return gene_ae, se_classifier
