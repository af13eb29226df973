"""Files of the published code: gene names, labels and state dicts.

No file is executed: state dicts are read with ``weights_only=True``. The dictionary of labels is a pickle inside a .npy
file, and its unpickler accepts only arrays, strings and numbers.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from ._state_keys import expand_key_table, rename_keys

# The classes and functions that a pickled dictionary of labels refers to; numpy 2 renamed numpy.core to numpy._core.
ALLOWED_GLOBALS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}

# The id of a Hugging Face repository: owner/name.
REPOSITORY_ID = re.compile(r"[\w.-]+/[\w.-]+")


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that rejects every class and function outside of `ALLOWED_GLOBALS`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which a list of labels does not need")
        return super().find_class(module, name)


def find_folder(folder: str | Path) -> Path:
    """Return a folder on this machine; the files of a Hugging Face repository are downloaded.

    Parameters
    ----------
    folder
        A folder, or the id of a Hugging Face repository, "owner/name".

    Returns
    -------
    The folder with the files.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, and the name is not an id of a repository.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    if not REPOSITORY_ID.fullmatch(str(folder)):
        raise FileNotFoundError(f"{folder} must be a folder, or the id of a Hugging Face repository (owner/name).")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(folder), allow_patterns=["*.npy", "*.pth"]))


def newest_epoch(folder: Path) -> int:
    """Return the highest epoch with the weights of both networks.

    The folder may also have a Gene-AE of a higher epoch, from pre-training, without a classifier.

    Parameters
    ----------
    folder
        The folder with ``AE_<epoch>.pth`` and ``predictor_<epoch>.pth``.

    Returns
    -------
    The epoch.

    Raises
    ------
    FileNotFoundError
        If no epoch has both.
    """
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


def read_gene_names(path: Path) -> np.ndarray:
    """Read the gene names of ``features.npy``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Names, shape (n_genes,).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an array of names.
    """
    return _read_npy(path).astype(str).ravel()


def read_labels(path: Path) -> list[str]:
    """Read the labels of ``dictionary.npy``: {label: code}, {code: label}, or a list of labels.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Labels in the order of their codes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a dictionary or list of labels, or the codes are not 0, 1, 2, ...
    """
    content = _read_npy(path)
    labels = content.item() if content.ndim == 0 else dict(enumerate(content.ravel()))
    if not isinstance(labels, dict):
        raise ValueError(f"{path.name} must hold labels and their codes, but holds a {type(labels).__name__}.")
    is_by_code = all(isinstance(key, int | np.integer) for key in labels)
    by_code = labels if is_by_code else {code: label for label, code in labels.items()}
    if sorted(by_code) != list(range(len(by_code))):
        raise ValueError(f"{path.name} must number its labels 0, 1, 2, ..., got {sorted(by_code)[:5]}.")
    return [str(by_code[code]) for code in range(len(by_code))]


def read_state(path: Path, table: dict[str, str]) -> dict[str, torch.Tensor]:
    """Read the parameters of a published network.

    Parameters
    ----------
    path
        File with the state dict.
    table
        `GENE_AE_KEYS` or `SE_CLASSIFIER_KEYS`.

    Returns
    -------
    Parameters by HRCA's keys.

    Raises
    ------
    ValueError
        If the file is not a state dict, or its keys are not those of the network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} must be a state dict and nothing else, but cannot be read as one: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} must be a state dict, tensors by name, but holds a {type(state).__name__}.")
    return rename_keys(state, expand_key_table(table, state), path.name)


def write_state(network: torch.nn.Module, table: dict[str, str], path: Path) -> None:
    """Write the parameters of a network under the keys of the published code.

    Parameters
    ----------
    network
        A Gene-AE or SE-Classifier.
    table
        `GENE_AE_KEYS` or `SE_CLASSIFIER_KEYS`.
    path
        The file.
    """
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    published = {ours: theirs for theirs, ours in expand_key_table(table, state).items()}
    torch.save(rename_keys(state, published, path.name), path)


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
