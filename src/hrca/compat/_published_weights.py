"""Weights of the published code: read into an HRCA, written back, by one visible table of names.

The published code keeps a model as loose files: ``features.npy`` (gene names), ``dictionary.npy`` (labels),
``AE_<epoch>.pth`` and ``predictor_<epoch>.pth`` (state dicts). Nothing here executes what a file says: state dicts are
read with ``weights_only=True``, and the dictionary, a pickle inside a .npy, with an unpickler that knows arrays,
strings and numbers only.
"""

import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib import format as npy

from hrca.model._model import HRCA
from hrca.module._networks import GeneAE, SEClassifier

# Published layer -> ours. {i} is the index of an encoder layer or of a classifier stage.
GENE_AE_KEYS = {
    "input_layer.0.layer": "encoder_input.0",
    "input_layer.0.norm_layer": "encoder_input.1",
    "input_layer.1.layer": "encoder_input.4",
    "enc.{i}.connect.0.norm": "encoder_layers.{i}.attention_norm",
    "enc.{i}.attn.wq": "encoder_layers.{i}.attention.query",
    "enc.{i}.attn.wk": "encoder_layers.{i}.attention.key",
    "enc.{i}.attn.wv": "encoder_layers.{i}.attention.value",
    "enc.{i}.attn.concat_layer": "encoder_layers.{i}.attention.output",
    "enc.{i}.connect.1.norm": "encoder_layers.{i}.feedforward_norm",
    "enc.{i}.ffLayer.0.layer": "encoder_layers.{i}.feedforward.0",
    "enc.{i}.ffLayer.1.layer": "encoder_layers.{i}.feedforward.2",
    "enc.{i}.norm": "encoder_layers.{i}.closing_norm",
    "output_layer.0.layer": "decoder.0",
    "output_layer.0.norm_layer": "decoder.1",
    "output_layer.1.layer": "decoder.4",
}

# The last Linear is SEres.<number of stages> there; see _published_names.
SE_CLASSIFIER_KEYS = {
    "attn.fc.0": "excitation.gate.0",
    "attn.fc.2": "excitation.gate.2",
    "SEres.{i}.layer.0.1": "stages.{i}.plain.1",
    "SEres.{i}.layer.0.2": "stages.{i}.plain.2",
    "SEres.{i}.layer.1.1": "stages.{i}.gated.1",
    "SEres.{i}.layer.1.2": "stages.{i}.gated.2",
    "SEres.{i}.atten.fc.0": "stages.{i}.excitation.gate.0",
    "SEres.{i}.atten.fc.2": "stages.{i}.excitation.gate.2",
}

BLOCK_INDEX = re.compile(r"^(enc|SEres|encoder_layers|stages)\.(\d+)\.")

# What a pickled dictionary of labels needs to name; anything else is refused before it could run.
ALLOWED_GLOBALS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a list of labels does not need")
        return super().find_class(module, name)


def load_published(folder: str | Path, *, n_heads: int = 8) -> HRCA:
    """Read the published code's files into a model that is ready to predict.

    Parameters
    ----------
    folder
        Has ``features.npy``, ``dictionary.npy``, ``AE_<epoch>.pth`` and ``predictor_<epoch>.pth``, of which the highest
        epoch that has both is read: a Gene-AE of pre-training may stand beside them with a higher one. Or the id of a
        Hugging Face repository with these files, such as "owner/name" (needs the extra ``hub``).
    n_heads
        Heads of the attention: the files do not say, and any divisor of the latent width would load without a word
        (docs/published_code.md, row 16). 8 is what the published weights have.

    Returns
    -------
    The model; its sizes are those of the weights.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not what it should be, a key is missing or unknown, or a shape does not fit the others.

    Notes
    -----
    With a single head the published code leaves its output layer out; here that layer becomes the identity.

    Examples
    --------
    >>> model = load_published("folder_with_weights")  # doctest: +SKIP
    >>> model.predict(query)  # doctest: +SKIP
    """
    folder = _folder(folder)
    gene_names = pd.Index(_read_npy(folder / "features.npy").astype(str).ravel())
    labels = _labels(_read_npy(folder / "dictionary.npy"))
    epoch = _newest_epoch(folder)
    autoencoder = _read_state(folder / f"AE_{epoch}.pth", GENE_AE_KEYS)
    classifier = _read_state(folder / f"predictor_{epoch}.pth", SE_CLASSIFIER_KEYS)
    sizes = _sizes(autoencoder, classifier)
    for name, given, here in (
        ("features.npy", len(gene_names), autoencoder["encoder_input.0.weight"].shape[1]),
        ("dictionary.npy", len(labels), classifier["output.weight"].shape[0]),
    ):
        if given != here:
            raise ValueError(f"{name} must have an entry for each of the weights' {here}, but it has {given}.")
    if n_heads == 1:
        for name, value in autoencoder.items():
            if ".attention.output." in name:
                value.copy_(torch.eye(*value.shape) if value.ndim == 2 else torch.zeros_like(value))

    def load_weights(module: HRCAModule) -> None:
        _load(module.gene_ae, autoencoder, "AE")
        _load(module.se_classifier, classifier, "predictor")

    return HRCA._from_networks(gene_names, labels, load_weights, n_heads=n_heads, **sizes)


def save_published(model: HRCA, folder: str | Path, *, epoch: int = 0) -> None:
    """Write a model as the files that the published code reads; :func:`load_published` reads them back.

    What the files have no place for is lost: the count branch, the calibration, the cells that sets and novelty need,
    the labels' hierarchy, the number of heads, the dropout rates, the name of the unlabelled category, the history.

    Parameters
    ----------
    model
        A fine-tuned model.
    folder
        Is made if it is not there.
    epoch
        The number in the names of the weight files.

    Raises
    ------
    ValueError
        If the model is not fine-tuned, or has a single head, whose output layer the published code leaves out.
    """
    if not model.is_finetuned_:
        raise ValueError("The model must be fine-tuned before it is written: `model.train()`.")
    if model.module.gene_ae.sizes["n_heads"] == 1:
        raise ValueError(
            "The published code has no output layer for a single head, so it cannot run this model. "
            "`model.save` keeps it whole; or train with `n_heads` above 1."
        )
    write_gene_ae(model, folder, epoch=epoch)
    write_classifier(model, folder, epoch=epoch)


def write_gene_ae(model: HRCA, folder: str | Path, *, epoch: int) -> None:
    """Write the genes and the Gene-AE alone, trained or not; see :func:`save_published`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", model.gene_names.to_numpy(dtype=str))
    _save_state(model.module.gene_ae, GENE_AE_KEYS, folder / f"AE_{epoch}.pth")


def write_classifier(model: HRCA, folder: str | Path, *, epoch: int) -> None:
    """Write the labels and the SE-Classifier alone, trained or not; see :func:`save_published`."""
    np.save(Path(folder) / "dictionary.npy", {label: code for code, label in enumerate(model.labels)})
    _save_state(model.module.se_classifier, SE_CLASSIFIER_KEYS, Path(folder) / f"predictor_{epoch}.pth")


def assemble_model(gene_ae: GeneAE, se_classifier: SEClassifier) -> HRCA:
    """Join two trained networks to a model that is ready to predict.

    Parameters
    ----------
    gene_ae
        With its ``gene_names``, as :func:`hrca.compat.fine_tune` returns it.
    se_classifier
        With its ``labels``, likewise.

    Returns
    -------
    The model.

    Raises
    ------
    ValueError
        If a network has no names.
    """
    if not (hasattr(gene_ae, "gene_names") and hasattr(se_classifier, "labels")):
        raise ValueError(
            "The networks must bring the names of their genes and labels, `gene_ae.gene_names` and "
            "`se_classifier.labels`, but do not. `hrca.compat.fine_tune` returns them with these."
        )

    def load_weights(module: HRCAModule) -> None:
        module.gene_ae.load_state_dict(gene_ae.state_dict())
        module.se_classifier.load_state_dict(se_classifier.state_dict())

    gene_names, labels = pd.Index(gene_ae.gene_names), list(se_classifier.labels)
    return HRCA._from_networks(gene_names, labels, load_weights, **gene_ae.sizes, **se_classifier.sizes)


def _save_state(network: torch.nn.Module, table: dict[str, str], path: Path) -> None:
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    published = {ours: theirs for theirs, ours in _expand_key_table(table, state).items()}
    torch.save(_rename(state, published, path.name), path)


def _expand_key_table(table: dict[str, str], state: dict[str, torch.Tensor]) -> dict[str, str]:
    """The table with a row for each layer or stage; as many as a state dict has, whichever side's names it holds."""
    indices = [int(match[2]) for match in map(BLOCK_INDEX.match, state) if match]
    n_blocks = max(indices, default=-1) + 1
    is_classifier = table is SE_CLASSIFIER_KEYS
    if is_classifier and any(key.startswith("SEres.") for key in state):
        n_blocks -= 1  # there, the last Linear counts as one more stage
    rows = {theirs.format(i=i): ours.format(i=i) for theirs, ours in table.items() for i in range(n_blocks)}
    rows |= {theirs: ours for theirs, ours in table.items() if "{i}" not in theirs}
    return rows | ({f"SEres.{n_blocks}": "output"} if is_classifier else {})


def _rename(state: dict[str, torch.Tensor], rows: dict[str, str], file: str) -> dict[str, torch.Tensor]:
    renamed, unknown = {}, []
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in rows:
            renamed[f"{rows[layer]}.{kind}"] = value
        else:
            unknown.append(key)
    absent = sorted(set(rows) - {key.rpartition(".")[0] for key in state})
    if unknown or absent:
        raise ValueError(
            f"{file} must have the published networks' keys, but {unknown[:3]} are unknown, "
            f"{absent[:3]} are missing; "
            f"{len(unknown)} and {len(absent)} in all. Is it a state dict of this network?"
        )
    return renamed


def _read_state(path: Path, table: dict[str, str]) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} must be a state dict and nothing else, but cannot be read as one: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} must be a state dict, tensors by name, but holds a {type(state).__name__}.")
    return _rename(state, _expand_key_table(table, state), path.name)


def _sizes(autoencoder: dict[str, torch.Tensor], classifier: dict[str, torch.Tensor]) -> dict:
    n_stages = sum(key.endswith("plain.1.weight") for key in classifier)
    return {
        "n_hidden": autoencoder["encoder_input.0.weight"].shape[0],
        "n_latent": autoencoder["encoder_input.4.weight"].shape[0],
        "n_layers": sum(key.endswith("attention.query.weight") for key in autoencoder),
        "n_feedforward": autoencoder["encoder_layers.0.feedforward.0.weight"].shape[0],
        "classifier_widths": tuple(classifier[f"stages.{i}.plain.1.weight"].shape[0] for i in range(n_stages)),
    }


def _load(network: torch.nn.Module, state: dict[str, torch.Tensor], file: str) -> None:
    expected = network.state_dict()
    differing = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    lacking = sorted(set(expected) ^ set(state))
    if differing or lacking:
        shapes = [f"{key}: {tuple(state[key].shape)}, not {tuple(expected[key].shape)}" for key in differing[:3]]
        raise ValueError(
            f"The weights of {file} must fit one another, but these do not (by our names): {shapes}; only on one side: "
            f"{lacking[:3]}. Are AE and predictor of the same run?"
        )
    network.load_state_dict(state)


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} must exist: a published model has features.npy, dictionary.npy, AE_*.pth and predictor_*.pth."
        )
    try:
        with path.open("rb") as file:
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            shape, _, dtype = read_header[npy.read_magic(file)](file)
            if not dtype.hasobject:
                file.seek(0)
                return np.load(file, allow_pickle=False)
            return np.asarray(_RestrictedUnpickler(file).load(), dtype=object).reshape(shape)
    except (pickle.UnpicklingError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{path} must be a numpy array of names or labels, but is not: {error}") from error


def _labels(dictionary: np.ndarray) -> list[str]:
    """Labels in the order of their codes, from {label: code} or {code: label}."""
    content = dictionary.item() if dictionary.ndim == 0 else dict(enumerate(dictionary.ravel()))
    if not isinstance(content, dict):
        raise ValueError(f"dictionary.npy must hold labels and their codes, but holds a {type(content).__name__}.")
    is_by_code = all(isinstance(key, int | np.integer) for key in content)
    by_code = content if is_by_code else {code: label for label, code in content.items()}
    if sorted(by_code) != list(range(len(by_code))):
        raise ValueError(f"dictionary.npy must number its labels 0, 1, 2, ..., got {sorted(by_code)[:5]}.")
    return [str(by_code[code]) for code in range(len(by_code))]


def _newest_epoch(folder: Path) -> int:
    """The highest epoch of which there are both networks; pre-training leaves an AE alone, often of a higher one."""
    epochs = {}
    for prefix in ("AE", "predictor"):
        matches = [re.fullmatch(rf"{prefix}_(\d+)", path.stem) for path in folder.glob(f"{prefix}_*.pth")]
        epochs[prefix] = {int(match[1]) for match in matches if match}
    both = epochs["AE"] & epochs["predictor"]
    if not both:
        raise FileNotFoundError(
            f"{folder} must have AE_<epoch>.pth and predictor_<epoch>.pth of one epoch, but has AE of "
            f"{sorted(epochs['AE'])} and predictor of {sorted(epochs['predictor'])}."
        )
    return max(both)


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(folder)):
        raise FileNotFoundError(f"{folder} must be a folder, or the id of a Hugging Face repository (owner/name).")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(folder), allow_patterns=["*.npy", "*.pth"]))
