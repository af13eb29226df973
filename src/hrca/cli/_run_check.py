"""Check a file, and score a model on one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData

from hrca import pp
from hrca.data._formats import WRITABLE_FORMATS, file_format, table_path
from hrca.io import read_cells
from hrca.model._model import HRCA

from ._flags import arguments_of
from ._model import load_model
from ._prediction_flags import CHECK_FLAGS, EVALUATE_FLAGS


def open_cells(path: Path, table: str | None) -> Path | AnnData:
    """Return what HRCA reads in batches, or cells in memory for other formats.

    Parameters
    ----------
    path
        The file or folder.
    table
        Name of the table in a SpatialData, or of bins of Visium HD; None: the only one.
    """
    kind = file_format(path)
    if kind == "spatialdata":
        return table_path(path, table)
    return path if kind in WRITABLE_FORMATS and table is None else read_cells(path, table=table)


def check_file(path: Path, folder: Path | None, flags: Mapping[str, Any]) -> pp.ValidationReport:
    """Check cells, see :func:`hrca.pp.check`.

    Parameters
    ----------
    path
        The cells.
    folder
        Folder of the model; None: the cells are a reference.
    flags
        Values of the flags of the command.
    """
    model = None if folder is None else HRCA.load(folder, adata=False, accelerator="cpu")
    return pp.check(open_cells(path, flags["table"]), model, **arguments_of(CHECK_FLAGS, flags))


def evaluate_file(path: Path, folder: Path, labels_key: str, flags: Mapping[str, Any]) -> pd.Series:
    """Score a model on labelled cells, see :meth:`hrca.HRCA.evaluate`.

    Parameters
    ----------
    path
        The cells.
    folder
        Folder of the model.
    labels_key
        Column of their obs with the true labels.
    flags
        Values of the flags of the command.
    """
    model = load_model(folder, flags)
    return model.evaluate(open_cells(path, flags["table"]), labels_key, **arguments_of(EVALUATE_FLAGS, flags))
