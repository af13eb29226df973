"""Train a model and save it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrca.io import read_cells

from ._checks import check_cell_files, check_training_flags
from ._model import check_model_folder, check_shares_genes, make_model, train_model
from ._shell_words import naming_file
from ._summary import summarize_model
from ._training_flags import SETUP_FLAGS


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
    check_training_flags(flags)
    check_model_folder("out", out, overwrite=flags["overwrite"])
    genes_of = flags["genes_of"]
    check_cell_files(reference, genes_of, flags["query"])
    with naming_file(reference, SETUP_FLAGS):
        cells = read_cells(reference, table=flags["table"])
        if genes_of is not None:
            check_shares_genes(cells, genes_of, flags["gene_map"])
        model = make_model(cells, flags, [] if genes_of is None else [genes_of], genes_of_queries=genes_of is not None)
    train_model(model, flags, flags["query"])
    model.save(out, overwrite=True, save_anndata=flags["save_reference"])
    return {"written": [out], **summarize_model(model)}
