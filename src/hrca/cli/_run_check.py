"""Check a file, and score a model on one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hrca import pp
from hrca.data._label_arguments import check_label_arguments
from hrca.model._model import HRCA

from ._checks import check_cell_files, check_evaluation_flags
from ._flags import arguments_of
from ._inputs import open_cells
from ._model import load_model
from ._prediction_flags import CHECK_FLAGS
from ._shell_words import message_text, naming_file


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
    arguments = arguments_of(CHECK_FLAGS, flags)
    check_label_arguments(arguments["labels_key"], arguments["unlabeled_category"], has_model=folder is not None)
    check_cell_files(path)
    model = None if folder is None else HRCA.load(folder, adata=False, accelerator="cpu")
    with naming_file(path):
        report = pp.check(open_cells(path, flags["table"]), model, **arguments)
        return replace(report, notes=tuple(map(message_text, report.notes)))


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
    arguments = check_evaluation_flags(flags)
    check_cell_files(path)
    model = load_model(folder, flags)
    with naming_file(path):
        return model.evaluate(open_cells(path, flags["table"]), labels_key, **arguments)
