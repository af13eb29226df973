"""Models from the weights of the published code, and back.

The published code keeps a model in four files: ``features.npy`` (gene names), ``dictionary.npy`` (labels),
``AE_<epoch>.pth`` and ``predictor_<epoch>.pth`` (state dicts of the Gene-AE and of the SE-Classifier).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hrca._paths import user_path
from hrca.model._model import HRCA
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._presets import check_sizes

from ._published_files import find_folder, newest_epoch, read_gene_names, read_labels, read_state, write_state
from ._state_keys import GENE_AE_KEYS, SE_CLASSIFIER_KEYS

State = dict[str, torch.Tensor]


def load_published(folder: str | Path, *, n_heads: int = 8) -> HRCA:
    """Load the files of the published code into a model that is ready to predict.

    Parameters
    ----------
    folder
        Folder with ``features.npy``, ``dictionary.npy``, ``AE_<epoch>.pth`` and ``predictor_<epoch>.pth``; the highest
        epoch that has both is loaded. Or the id of a Hugging Face repository with these files, such as "owner/name"
        (needs the extra ``hub``).
    n_heads
        Number of attention heads. The files do not contain it, and the weights fit any divisor of the latent width
        (row 16 of :doc:`/published_code`). The published weights have 8.

    Returns
    -------
    The model; its sizes are those of the weights.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file is missing.
    ValueError
        If a file does not hold what its name says, a gene name is duplicated, a key is missing or unknown, or the
        shapes of two files do not fit.
    ImportError
        If `folder` is the id of a repository and the extra ``hub`` is not installed.

    Notes
    -----
    With a single head the published code skips the output layer of the attention; here that layer becomes the identity.

    Examples
    --------
    A folder that :func:`hrca.compat.save_published` writes, read again; published weights are read in the same way.

    >>> import tempfile
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()
    >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
    >>> model = hrca.HRCA(reference, size="laptop")
    >>> model.train(max_epochs=1, enable_progress_bar=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.compat.save_published(model, folder)
    ...     loaded = hrca.compat.load_published(folder)
    >>> loaded.predict(reference[:50]).shape
    (50,)
    """
    folder = find_folder(folder)
    gene_names = pd.Index(read_gene_names(folder / "features.npy"))
    labels = read_labels(folder / "dictionary.npy")
    epoch = newest_epoch(folder)
    gene_ae = read_state(folder / f"AE_{epoch}.pth", GENE_AE_KEYS)
    classifier = read_state(folder / f"predictor_{epoch}.pth", SE_CLASSIFIER_KEYS)
    try:
        sizes: dict[str, Any] = {"n_heads": n_heads, **_sizes(gene_ae, classifier)}
        n_genes, n_labels = gene_ae["encoder_input.0.weight"].shape[1], classifier["output.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise ValueError(f"The weights in {folder} must have those of all layers, but lack {error}.") from error
    _check_n_entries("features.npy", len(gene_names), n_genes)
    _check_n_entries("dictionary.npy", len(labels), n_labels)
    _check_shapes(gene_ae, classifier, sizes)
    if n_heads == 1:
        _set_output_layers_to_identity(gene_ae)

    def load_weights(module: HRCAModule) -> None:
        module.gene_ae.load_state_dict(gene_ae)
        if module.se_classifier is not None:
            module.se_classifier.load_state_dict(classifier)

    return HRCA._from_networks(gene_names, labels, load_weights, **sizes)


def save_published(model: HRCA, folder: str | Path, *, epoch: int = 0) -> None:
    """Write a model as the files of the published code; :func:`~hrca.compat.load_published` reads them.

    The files hold genes, labels and weights of both networks. They lack the count likelihood, the calibration, and the
    cells that prediction sets and novelty need. They also lack the labels' hierarchy, the number of heads, the dropout
    rates, the name of the unlabelled category, and the history.

    Parameters
    ----------
    model
        A fine-tuned model.
    folder
        Folder for the files; it is created if it does not exist.
    epoch
        Epoch in the names of the weight files.

    Raises
    ------
    ValueError
        If the model is not fine-tuned, or has a single attention head: the published code skips the output layer then.

    Examples
    --------
    >>> import tempfile
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()
    >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
    >>> model = hrca.HRCA(reference, size="laptop")
    >>> model.train(max_epochs=1, enable_progress_bar=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.compat.save_published(model, folder)
    ...     loaded = hrca.compat.load_published(folder)
    >>> loaded.labels == model.labels
    True
    """
    if not model.is_finetuned_:
        raise ValueError("The model must be fine-tuned before it is written: `model.train()`.")
    if model.module.gene_ae.sizes["n_heads"] == 1:
        raise ValueError(
            "The published code has no output layer for a single head, so it cannot run this model. "
            "`model.save` writes it completely; or train with `n_heads` above 1."
        )
    write_gene_ae(model, folder, epoch=epoch)
    write_classifier(model, folder, epoch=epoch)


def write_gene_ae(model: HRCA, folder: str | Path, *, epoch: int) -> None:
    """Write the genes and the Gene-AE, trained or not, as the published code does.

    Parameters
    ----------
    model
        The model.
    folder
        Folder for the files; it is created if it does not exist.
    epoch
        Epoch in the name of the weight file.
    """
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", model.gene_names.to_numpy(dtype=str))
    write_state(model.module.gene_ae, GENE_AE_KEYS, folder / f"AE_{epoch}.pth")


def write_classifier(model: HRCA, folder: str | Path, *, epoch: int) -> None:
    """Write the labels and the SE-Classifier, trained or not, as the published code does.

    Parameters
    ----------
    model
        A model with labels.
    folder
        Folder for the files.
    epoch
        Epoch in the name of the weight file.

    Raises
    ------
    ValueError
        If the reference of the model has no labels.
    """
    folder = user_path(folder)
    codes = np.array({label: code for code, label in enumerate(model.labels)}, dtype=object)
    np.save(folder / "dictionary.npy", codes)
    write_state(classifier_of(model), SE_CLASSIFIER_KEYS, folder / f"predictor_{epoch}.pth")


def assemble_model(gene_ae: GeneAE, se_classifier: SEClassifier) -> HRCA:
    """Assemble a model that is ready to predict from two trained networks.

    Parameters
    ----------
    gene_ae
        Trained Gene-AE with its ``gene_names``, as :func:`hrca.compat.fine_tune` returns it.
    se_classifier
        SE-Classifier that was trained with it, with its ``labels``, as :func:`hrca.compat.fine_tune` returns it.

    Returns
    -------
    The model, without a count likelihood and without calibration.

    Raises
    ------
    ValueError
        If a network has no names, or a gene name is duplicated.

    Examples
    --------
    Two networks without training, with names for genes and labels:

    >>> import hrca
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
    >>> gene_ae.gene_names = [f"gene{i}" for i in range(100)]
    >>> classifier.labels = ["B", "T"]
    >>> hrca.compat.assemble_model(gene_ae, classifier).labels
    ['B', 'T']
    """
    gene_names = getattr(gene_ae, "gene_names", None)
    labels = getattr(se_classifier, "labels", None)
    if gene_names is None or labels is None:
        raise ValueError(
            "The networks must have the names of their genes and labels, `gene_ae.gene_names` and "
            "`se_classifier.labels`, but one of them is missing. `hrca.compat.fine_tune` returns networks with names."
        )

    def load_weights(module: HRCAModule) -> None:
        module.gene_ae.load_state_dict(gene_ae.state_dict())
        if module.se_classifier is not None:
            module.se_classifier.load_state_dict(se_classifier.state_dict())

    sizes: dict[str, Any] = {**gene_ae.sizes, **se_classifier.sizes}
    return HRCA._from_networks(pd.Index(gene_names), list(labels), load_weights, **sizes)


def classifier_of(model: HRCA) -> SEClassifier:
    """Return the classifier of a model.

    Parameters
    ----------
    model
        A model with labels.

    Returns
    -------
    The classifier.

    Raises
    ------
    ValueError
        If the reference of the model has no labels.
    """
    classifier = model.module.se_classifier
    if classifier is None:
        raise ValueError("The model must have labels, but its reference was set up without `labels_key`.")
    return classifier


def _check_n_entries(file: str, n_entries: int, n_expected: int) -> None:
    if n_entries != n_expected:
        raise ValueError(f"{file} must have an entry for each of the weights' {n_expected}, but it has {n_entries}.")


def _sizes(gene_ae: State, classifier: State) -> dict[str, Any]:
    """Return the sizes of both networks from the shapes of their parameters."""
    n_stages = sum(key.endswith("plain.1.weight") for key in classifier)
    return {
        "n_hidden": gene_ae["encoder_input.0.weight"].shape[0],
        "n_latent": gene_ae["encoder_input.4.weight"].shape[0],
        "n_layers": sum(key.endswith("attention.query.weight") for key in gene_ae),
        "n_feedforward": gene_ae["encoder_layers.0.feedforward.0.weight"].shape[0],
        "classifier_widths": tuple(classifier[f"stages.{i}.plain.1.weight"].shape[0] for i in range(n_stages)),
    }


def _set_output_layers_to_identity(gene_ae: State) -> None:
    for name, value in gene_ae.items():
        if ".attention.output." in name:
            value.copy_(torch.eye(*value.shape) if value.ndim == 2 else torch.zeros_like(value))


def _check_shapes(gene_ae: State, classifier: State, sizes: Mapping[str, Any]) -> None:
    """Check both state dicts before memory is taken: shapes that do not fit each other can imply huge networks."""
    gene_ae_sizes = {name: value for name, value in sizes.items() if name != "classifier_widths"}
    check_sizes(classifier_widths=sizes["classifier_widths"], n_latent=sizes["n_latent"], n_heads=sizes["n_heads"])
    n_genes, n_labels = gene_ae["encoder_input.0.weight"].shape[1], classifier["output.weight"].shape[0]
    with torch.device("meta"):
        expected = GeneAE(n_genes=n_genes, dropout_rate=0.0, **gene_ae_sizes)
        widths, n_latent = sizes["classifier_widths"], sizes["n_latent"]
        expected_classifier = SEClassifier(n_latent=n_latent, n_labels=n_labels, widths=widths, dropout_rate=0.0)
    _check_state(expected, gene_ae, "AE")
    _check_state(expected_classifier, classifier, "predictor")


def _check_state(network: torch.nn.Module, state: State, file: str) -> None:
    expected = network.state_dict()
    differing = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    on_one_side = sorted(set(expected) ^ set(state))
    if differing or on_one_side:
        shapes = [f"{key}: {tuple(state[key].shape)}, not {tuple(expected[key].shape)}" for key in differing[:3]]
        raise ValueError(
            f"The weights of {file} must have the shapes that the other files imply, but these differ (by HRCA's "
            f"keys): {shapes}; keys on one side only: {on_one_side[:3]}. Are AE and predictor of the same run?"
        )
