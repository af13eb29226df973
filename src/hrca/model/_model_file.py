"""The files of a saved model: ``model.safetensors`` with the weights, ``model.json`` with all other values.

Reading them executes nothing. ``model.pt``, the pickle of scvi-tools, is written and read only on request.
"""

import hashlib
import json
import pickle
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from anndata import AnnData
from anndata.io import read_h5ad, write_h5ad
from mudata import MuData, read_h5mu
from torch import Tensor, nn

from hrca._warnings import warn_user
from hrca.module._stored_state import (
    DamagedFileError,
    canonical_json,
    content_digest,
    decode_state,
    encode_state,
    read_tensors,
    unfinished,
    write_tensors,
)

# Number of the file format. It rises when an earlier version cannot read what this version writes, or the reverse.
MODEL_FORMAT = 1
# Start of the names of all tensors that are no weights. Names of weights have no slash.
STATE_PREFIX = "state/"
# Names of scvi-tools for the files beside `model.pt`, by the method that set up the reference.
ADATA_FILES = {"setup_anndata": "adata.h5ad", "setup_mudata": "mdata.h5mu"}
PICKLE_FILE = "model.pt"


@dataclass(frozen=True)
class SavedModel:
    """The content of a saved model.

    Attributes
    ----------
    weights
        State dict of the module.
    attributes
        The model's attributes by name, as scvi-tools saves them, of plain values.
    var_names
        Names of the reference's genes, shape (n_genes,); for a MuData by modality.
    saved_by
        Name and version of the package that wrote the files.
    adata_digest
        SHA-256 of the file with the reference; "": not known; None: the reference was not saved.
    """

    weights: dict[str, Tensor]
    attributes: dict[str, Any]
    var_names: Any
    saved_by: str = f"HRCA {version('hrca')}"
    adata_digest: str | None = None


def write_model(saved: SavedModel, folder: Path, name_prefix: str) -> None:
    """Write both files; earlier ones stay until both are complete.

    Parameters
    ----------
    saved
        The model.
    folder
        An existing folder.
    name_prefix
        Text at the start of both file names; may be "".

    Raises
    ------
    OSError
        If a file cannot be written.
    TypeError
        If an attribute has another type than a saved model can hold.
    """
    tensors = dict(saved.weights)
    fields = {"attributes": saved.attributes, "var_names": saved.var_names, "adata_digest": saved.adata_digest}
    state = encode_state(fields, STATE_PREFIX.removesuffix("/"), tensors)
    document = {"format": MODEL_FORMAT, "saved_by": saved.saved_by, "state": state}
    document["digest"] = content_digest(canonical_json(document), tensors)
    with unfinished(folder / f"{name_prefix}model.safetensors") as weights_path:
        write_tensors(tensors, weights_path)
        with unfinished(folder / f"{name_prefix}model.json") as state_path:
            state_path.write_text(canonical_json(document), encoding="utf-8")


def read_model(folder: Path, name_prefix: str) -> SavedModel:
    """Read both files and verify their digest.

    Parameters
    ----------
    folder
        The folder.
    name_prefix
        Text at the start of both file names; may be "".

    Raises
    ------
    ValueError
        If a file is missing, damaged, or of another format.
    """
    state_path, weights_path = folder / f"{name_prefix}model.json", folder / f"{name_prefix}model.safetensors"
    for path in (state_path, weights_path):
        if not path.is_file():
            raise ValueError(_missing_file(folder, path.name, name_prefix))
    document = _read_document(state_path)
    try:
        tensors, _ = read_tensors(weights_path)
        digest = document.pop("digest", None)
        if content_digest(canonical_json(document), tensors) != digest:
            raise DamagedFileError("their digest is not the one that was saved")
        state = decode_state(document["state"], tensors)
        weights = {name: value for name, value in tensors.items() if not name.startswith(STATE_PREFIX)}
        return SavedModel(weights, **state, saved_by=document["saved_by"])
    except (DamagedFileError, KeyError, TypeError) as error:
        raise ValueError(
            f"{state_path} and {weights_path.name} must be as `model.save` wrote them, but are damaged, changed or of "
            f"two models: {error}. Copy both from the original folder, or save the model again."
        ) from error


def _missing_file(folder: Path, name: str, name_prefix: str) -> str:
    message = f"There must be a saved model in {str(folder)!r}, but {name} is not there."
    if (folder / f"{name_prefix}{PICKLE_FILE}").is_file():
        return (
            f"{message} {name_prefix}{PICKLE_FILE} is a pickle, of scvi-tools or of an earlier version of HRCA. A "
            "pickle can run any program. If you trust its origin, `HRCA.load(folder, pickle=True)` reads it."
        )
    return f"{message} Name the folder that `model.save` wrote, and its `prefix` if it had one."


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be as `model.save` wrote it, but is damaged: {error}. Copy the folder from its origin again."
        ) from error
    number = document.get("format") if isinstance(document, dict) else None
    if not isinstance(number, int):
        raise ValueError(f"{path} must be as `model.save` wrote it, but has no format number: is it another program's?")
    if number != MODEL_FORMAT:
        age, remedy = ("a newer", "Update HRCA") if number > MODEL_FORMAT else ("an older", "Train the model again")
        raise ValueError(
            f"A saved model must have format {MODEL_FORMAT}, but {path} has format {number}, of {age} version "
            f"({str(document.get('saved_by'))[:40]}). {remedy}, or load it with the version that saved it."
        )
    return document


def write_pickle(saved: SavedModel, path: Path) -> None:
    """Write a model as scvi-tools does, for its hub.

    Parameters
    ----------
    saved
        The model.
    path
        The file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = {"model_state_dict": saved.weights, "var_names": saved.var_names, "attr_dict": saved.attributes}
    try:
        with unfinished(path) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:
        # torch reports a full disk as a RuntimeError of its zip writer
        raise OSError(f"{path} must be written, but could not: {error}") from error


def read_pickle(path: Path) -> SavedModel:
    """Read a model that scvi-tools or :func:`write_pickle` wrote. A pickle can run any program.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError
        If there is no such file, or it is not such a model.
    """
    if not path.is_file():
        raise ValueError(f"There must be a saved model in {str(path.parent)!r}, but {path.name} is not there.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
        weights = {name: value for name, value in content["model_state_dict"].items() if isinstance(value, Tensor)}
        return SavedModel(weights, content["attr_dict"], content["var_names"], path.name, adata_digest="")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} must be a model of HRCA as scvi-tools saves it, but is not: {error}") from error


def write_adata(adata: AnnData | MuData, folder: Path, name_prefix: str, **kwargs: Any) -> str:
    """Write the reference beside a model, under the name of scvi-tools.

    Parameters
    ----------
    adata
        The reference.
    folder
        The folder of the model.
    name_prefix
        Text at the start of the file name; may be "".
    **kwargs
        Arguments of :meth:`anndata.AnnData.write_h5ad`.

    Returns
    -------
    The SHA-256 of the file.
    """
    is_mudata = isinstance(adata, MuData)
    path = folder / f"{name_prefix}{ADATA_FILES['setup_mudata' if is_mudata else 'setup_anndata']}"
    with unfinished(path) as temporary:
        if is_mudata:
            adata.write_h5mu(temporary, **kwargs)
        else:
            write_h5ad(temporary, adata, **kwargs)  # AnnData's method would tie a backed AnnData to this file
    return _file_digest(path)


def read_adata(saved: SavedModel, method: str, folder: Path, name_prefix: str) -> AnnData | MuData | Literal[False]:
    """Read the reference that was saved with a model.

    Parameters
    ----------
    saved
        The model.
    method
        The method that set up the reference.
    folder
        The folder of the model.
    name_prefix
        Text at the start of the file name; may be "".

    Returns
    -------
    The reference; False if none was saved, or its file was removed.

    Raises
    ------
    ValueError
        If the file is not the one that was saved.
    """
    path = folder / f"{name_prefix}{ADATA_FILES[method]}"
    if saved.adata_digest is None or not path.is_file():
        if saved.adata_digest:
            warn_user(
                f"The reference was saved with the model, but {path} is not there: the model is loaded without it, and "
                "can predict, but not train. `HRCA.load(path, adata=reference)` loads it with a reference of yours."
            )
        return False
    if saved.adata_digest not in ("", _file_digest(path)):
        raise ValueError(
            f"{path} must be the reference that was saved with the model, but is damaged or another. "
            "`HRCA.load(folder, adata=False)` loads the model alone, `adata=reference` with a reference of yours."
        )
    return read_h5mu(path) if method == "setup_mudata" else read_h5ad(path)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(saved: SavedModel, module: nn.Module, folder: Path) -> None:
    """Check that a module can load the weights of a saved model, and that they are numbers.

    Parameters
    ----------
    saved
        The model that was read.
    module
        The module that the weights are for.
    folder
        The folder of the model, for the error.

    Raises
    ------
    ValueError
        If a weight is missing, unknown, of another shape, NaN or infinite.
    """
    expected, weights = module.state_dict(), saved.weights
    differing = sorted(set(expected) ^ set(weights))
    differing += [name for name, value in expected.items() if name in weights and weights[name].shape != value.shape]
    if differing:
        raise ValueError(
            f"The weights of a saved model must fit the networks of HRCA {version('hrca')}, but those in "
            f"{str(folder)!r} are of another version ({saved.saved_by}): {differing[:3]} are missing, unknown or of "
            "another shape. Load the model with that version, or train it again."
        )
    buffers = {name for name, _ in module.named_buffers()}
    broken = [
        name
        for name, value in weights.items()
        if value.isnan().any() or (name not in buffers and not value.isfinite().all())
    ]
    if broken:
        raise ValueError(
            f"The weights of a saved model must be numbers, but some in {str(folder)!r} are NaN or infinite: "
            f"{broken[:3]}. The training of the model diverged: train it again with a lower `lr`."
        )
