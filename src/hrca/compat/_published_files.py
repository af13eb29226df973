"""Files of the published code: gene names, labels and state dicts.

No file is executed. State dicts, and the dictionary of labels in its .npy file, are pickles. Their instructions are
interpreted, and only those for names, integers and tensors are accepted.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrca._paths import user_path

from ._plain_arrays import read_npy, read_state_dict
from ._state_keys import expand_key_table, rename_keys

# The id of a Hugging Face repository: owner/name.
REPOSITORY_ID = re.compile(r"[\w.-]+/[\w.-]+")


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
    path = user_path(folder)
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
    content = _read_npy(path)
    names = content if isinstance(content, list) else [content]
    _check_names(names, path)
    return np.array([str(name) for name in names])


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
    labels = dict(enumerate(content)) if isinstance(content, list) else content
    if not isinstance(labels, dict):
        raise ValueError(f"{path.name} must hold labels and their codes, but holds a {type(labels).__name__}.")
    is_by_code = all(isinstance(key, int) for key in labels)
    by_code = labels if is_by_code else {code: label for label, code in labels.items() if isinstance(code, int)}
    if len(by_code) != len(labels) or set(by_code) != set(range(len(by_code))):
        raise ValueError(f"{path.name} must number its labels 0, 1, 2, ..., got {str(list(by_code)[:5])[:80]}.")
    _check_names(list(by_code.values()), path)
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
        state = read_state_dict(path)
    except ValueError as error:
        raise ValueError(f"{path} must be a state dict and nothing else, but cannot be read as one: {error}") from error
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"The weights of {path} must be numbers, but are NaN or infinite: {broken[:3]}.")
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


def _read_npy(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} must exist: a published model has features.npy, dictionary.npy, AE_*.pth and predictor_*.pth."
        )
    try:
        return read_npy(path)
    except ValueError as error:
        raise ValueError(f"{path} must be a numpy array of names or labels, but is not: {error}") from error


def _check_names(names: list[Any], path: Path) -> None:
    if not all(isinstance(name, str | int) for name in names):
        raise ValueError(f"{path.name} must hold names, but holds other values.")
    try:
        "".join(str(name) for name in names).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path.name} must hold names, but holds characters that no text has: {error}") from error
