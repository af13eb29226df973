"""The functions of the HRCA Training Document, the specification of the algorithm.

They take the arguments that the specification's code has, and run :class:`hrca.HRCA`.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from anndata import AnnData

from hrca._paths import user_path
from hrca.model._model import HRCA
from hrca.module._networks import GeneAE, SEClassifier
from hrca.train._callbacks import EveryEpochs

from ._published_weights import assemble_model, classifier_of, write_classifier, write_gene_ae

logger = logging.getLogger(__name__)


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
    """Pre-train a Gene-AE of the specification's size.

    Parameters
    ----------
    train
        The reference, with raw counts in X, shape (n_obs, n_genes). It is not changed.
    save_path
        Folder for ``features.npy`` (the genes), ``AE_<epoch>.pth`` (at each interval and at the end), ``tensorboard``,
        and checkpoints. ``hrca.HRCA.pretrain(checkpoint_dir=..., resume=True)`` resumes a killed training from these.
        The folder must not hold checkpoints of an earlier training.
    n_epochs
        Number of epochs.
    batch_size
        Number of cells in a batch.
    n_cpu
        Number of processes that load batches.
    head_num
        Number of attention heads in each encoder layer; a divisor of 1,024.
    n_layers
        Number of encoder layers.
    lr
        Learning rate of Adam.
    decay_epoch
        Number of epochs at the start in which the learning rate is constant.
    lr_decrease_factor
        Factor by which the learning rate is multiplied when the loss no longer decreases.
    lr_decrease_patience
        Number of epochs without a lower loss after which the learning rate is decreased.
    checkpoint_interval
        Number of epochs between two checkpoints, and between two ``AE_<epoch>.pth``.
    tb_writer
        Whether the losses are written for TensorBoard (needs the extra ``tensorboard``).
    use_device
        Index of the GPU; "cpu" or None for the CPU, which is also used without a GPU.

    Returns
    -------
    The trained Gene-AE, with its ``gene_names``.

    Raises
    ------
    ValueError
        If X does not hold raw counts; a gene name is duplicated; `head_num` is not a divisor of 1,024; `batch_size` is
        below 2; `n_epochs`, `n_layers` or `checkpoint_interval` is below 1; `save_path` holds checkpoints; the loss is
        NaN in every epoch; or `use_device` is not the index of a GPU, "cpu" or None.
    ImportError
        If `tb_writer` is True and TensorBoard is not installed.
    OSError
        If a file cannot be written.

    Notes
    -----
    Section "Pre-training" of the specification. As there, all cells train, and the training loss selects the epoch.
    Training cells are thinned, the default of HRCA (:doc:`decision 1 </decisions/0001-thinning-is-the-default>`); the
    published code masks them.

    Examples
    --------
    One epoch and one layer, on a few cells and genes; the progress bar is hidden.

    >>> import contextlib, io, tempfile
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()[:100, :100].copy()
    >>> options = {"n_epochs": 1, "decay_epoch": 1, "n_layers": 1}
    >>> options |= {"n_cpu": 0, "tb_writer": False, "use_device": "cpu"}
    >>> hidden = contextlib.redirect_stdout(io.StringIO())
    >>> with tempfile.TemporaryDirectory() as folder, hidden:
    ...     gene_ae = hrca.compat.pretrain(reference, folder, **options)
    >>> len(gene_ae.gene_names)
    100
    """
    reference = _shallow_copy(train)
    HRCA.setup_anndata(reference)
    # the specification has no count likelihood
    model = HRCA(reference, size="specification", n_heads=head_num, n_layers=n_layers, count_likelihood=False)
    folder = user_path(save_path)
    model.pretrain(
        n_epochs,
        batch_size=batch_size,
        lr=lr,
        lr_factor=lr_decrease_factor,
        lr_patience=lr_decrease_patience,
        lr_hold_epochs=decay_epoch,
        callbacks=[EveryEpochs(checkpoint_interval, partial(_write_networks, model, folder))],
        **_training_options(folder, checkpoint_interval, n_cpu, tb_writer, use_device),
    )
    _write_networks(model, folder, n_epochs)
    _attach_names(model)
    return model.module.gene_ae


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
    """Fine-tune a Gene-AE together with a new SE-Classifier.

    Parameters
    ----------
    train
        The reference, with raw counts in X, shape (n_obs, n_genes). It is not changed.
    test
        Labelled cells that are annotated at each interval; they do not train.
    Gene_AE
        The Gene-AE that :func:`hrca.compat.pretrain` returned. Its genes are matched to those of `train` by name.
    save_path
        Folder for ``features.npy``, ``dictionary.npy`` (the labels), ``AE_<epoch>.pth`` and ``predictor_<epoch>.pth``
        (at each interval and at the end), ``confusion_<epoch>.csv`` and ``.png`` and ``test_scores.csv`` of the test
        cells, ``tensorboard``, and checkpoints.
    obs_name
        Column of obs with the labels, in `train` and `test`.
    n_epochs
        Number of epochs.
    batch_size
        Number of cells in a batch.
    n_cpu
        Number of processes that load batches.
    n_layers
        Number of the classifier's stages. Each is half as wide as the one before.
    lr
        Learning rate of Adam.
    decay_epoch
        Number of epochs at the start in which the learning rate is constant.
    lr_decrease_patience
        Number of epochs without a lower loss after which the learning rate is decreased.
    checkpoint_interval
        Number of epochs between two checkpoints, two pairs of weight files, and two annotations of the test cells.
    tb_writer
        Whether losses and test scores are written for TensorBoard (needs the extra ``tensorboard``).
    use_device
        Index of the GPU; "cpu" or None for the CPU, which is also used without a GPU.

    Returns
    -------
    The Gene-AE, with its ``gene_names``, and the SE-Classifier, with its ``labels``.

    Raises
    ------
    ValueError
        If X of `train` or `test` does not hold raw counts; a gene name is duplicated; no gene is shared; the labels of
        `train` cannot be learned; `test` has no column `obs_name`; `batch_size` is below 2; `n_epochs`, `n_layers` or
        `checkpoint_interval` is below 1; `save_path` holds checkpoints of fine-tuning; the loss is NaN in every epoch;
        or `use_device` is not the index of a GPU, "cpu" or None.
    ImportError
        If `tb_writer` is True and TensorBoard is not installed.
    OSError
        If a file cannot be written.

    Notes
    -----
    Section "Fine-tuning" of the specification. Three stages have the widths 512, 256 and 128, as there; the published
    code makes four stages of ``n_layers=3``.

    Examples
    --------
    One epoch of small networks, on a few genes; the progress bar is hidden.

    >>> import contextlib, io, tempfile
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()[:, :100].copy()
    >>> gene_ae = hrca.compat.GeneAE(
    ...     n_genes=100,
    ...     n_hidden=32,
    ...     n_latent=16,
    ...     n_heads=4,
    ...     n_layers=1,
    ...     n_feedforward=32,
    ...     dropout_rate=0.1,
    ... )
    >>> gene_ae.gene_names = reference.var_names
    >>> test = reference[:50]
    >>> options = {"obs_name": "bulk_labels", "n_epochs": 1, "decay_epoch": 1}
    >>> options |= {"n_cpu": 0, "tb_writer": False, "use_device": "cpu"}
    >>> hidden = contextlib.redirect_stdout(io.StringIO())
    >>> with tempfile.TemporaryDirectory() as folder, hidden:
    ...     networks = hrca.compat.fine_tune(reference, test, gene_ae, folder, **options)
    >>> len(networks[1].labels)
    10
    """
    reference = _shallow_copy(train)
    widths = tuple(Gene_AE.sizes["n_latent"] // 2 ** (stage + 1) for stage in range(n_layers))
    model = HRCA.from_pretrained(Gene_AE, reference, labels_key=obs_name, classifier_widths=widths)
    folder = user_path(save_path)
    model.finetune(
        n_epochs,
        batch_size=batch_size,
        lr=lr,
        lr_patience=lr_decrease_patience,
        lr_hold_epochs=decay_epoch,
        test_adata=test,
        test_labels_key=obs_name,
        callbacks=[EveryEpochs(checkpoint_interval, partial(_write_networks, model, folder))],
        **_training_options(folder, checkpoint_interval, n_cpu, tb_writer, use_device),
    )
    _write_networks(model, folder, n_epochs)
    _attach_names(model)
    return model.module.gene_ae, classifier_of(model)


def annotate(adata: AnnData, Gene_AE: GeneAE, SE_Classifier: SEClassifier) -> pd.DataFrame:
    """Label each cell of a query with the networks that :func:`~hrca.compat.fine_tune` returned.

    Parameters
    ----------
    adata
        The query, with raw counts in X, shape (n_obs, any genes in any order). It is not changed.
    Gene_AE
        The fine-tuned Gene-AE.
    SE_Classifier
        The SE-Classifier that was trained with it.

    Returns
    -------
    Table of shape (n_obs, 2), index ``adata.obs_names``: the label, ``cell_type``, and its probability, ``confidence``
    (0 to 1).

    Raises
    ------
    ValueError
        If a network has no names, X does not hold raw counts, or too few of the model's genes are found.

    Notes
    -----
    The published code omits cells with fewer than 80 detected genes from its result; here each cell has a row.

    Examples
    --------
    Two networks without training, with names for genes and labels:

    >>> import hrca
    >>> query = hrca.datasets.pbmc68k()[:50, :100].copy()
    >>> gene_ae = hrca.compat.GeneAE(
    ...     n_genes=100,
    ...     n_hidden=32,
    ...     n_latent=16,
    ...     n_heads=4,
    ...     n_layers=1,
    ...     n_feedforward=32,
    ...     dropout_rate=0.1,
    ... )
    >>> classifier = hrca.compat.SEClassifier(
    ...     n_latent=16,
    ...     n_labels=2,
    ...     widths=(8, 8),
    ...     dropout_rate=0.5,
    ... )
    >>> gene_ae.gene_names, classifier.labels = query.var_names, ["B", "T"]
    >>> hrca.compat.annotate(query, gene_ae, classifier).shape
    (50, 2)
    """
    model = assemble_model(Gene_AE, SE_Classifier)
    query = _shallow_copy(adata)
    query.obs = query.obs[[]]  # results replace no column of the user
    model.predict(query)
    columns = {"hrca": "cell_type", "hrca_confidence": "confidence"}
    return query.obs[list(columns)].rename(columns=columns)


def _write_networks(model: HRCA, folder: Path, epoch: int) -> None:
    write_gene_ae(model, folder, epoch=epoch)
    if model.labels:
        write_classifier(model, folder, epoch=epoch)


def _shallow_copy(adata: AnnData) -> AnnData:
    """Return a new AnnData with the same matrix: scvi writes into the obs and uns of a reference."""
    return AnnData(adata.X, obs=adata.obs.copy(), var=adata.var[[]].copy())


def _training_options(
    folder: Path, checkpoint_interval: int, n_cpu: int, tb_writer: bool, use_device: int | str | None
) -> dict[str, Any]:
    """Return the arguments that both phases of :class:`hrca.HRCA` share."""
    return {
        "train_size": 1.0,
        "checkpoint_dir": folder,
        "checkpoint_interval": checkpoint_interval,
        "num_workers": n_cpu,
        "tensorboard": tb_writer,
        **_device_options(use_device),
    }


def _device_options(use_device: int | str | None) -> dict[str, Any]:
    if use_device in (None, "cpu"):
        return {"accelerator": "cpu"}
    if not isinstance(use_device, int):
        raise ValueError(f"`use_device` must be the index of a GPU, 'cpu' or None, got {use_device!r}.")
    if not torch.cuda.is_available():
        logger.warning("use_device=%s: there is no GPU, the CPU is used.", use_device)
        return {"accelerator": "cpu"}
    return {"accelerator": "gpu", "devices": [use_device]}


def _attach_names(model: HRCA) -> None:
    """Give the networks the names of genes and labels, which they need without their model."""
    names = (
        (model.module.gene_ae, "gene_names", model.gene_names),
        (model.module.se_classifier, "labels", model.labels),
    )
    for network, attribute, value in names:
        if network is not None:
            setattr(network, attribute, value)
