"""Train a model and save it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._model import check_model_folder, make_model, read_reference, train_model
from ._summary import summarize_model


def train_and_save(reference: Path, out: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Train a model and save it.

    Parameters
    ----------
    reference
        File of the reference.
    out
        Folder for the model.
    flags
        Values of the flags of the command.

    Returns
    -------
    A summary of the model, and where it is.
    """
    check_model_folder(out, overwrite=flags["overwrite"])
    cells = read_reference(reference, flags["table"])
    genes_of = flags["genes_of"]
    model = make_model(cells, flags, [] if genes_of is None else [genes_of], genes_of_queries=genes_of is not None)
    train_model(model, flags, flags["query"])
    model.save(out, overwrite=True, save_anndata=flags["save_reference"])
    return {"written": [out], **summarize_model(model)}
