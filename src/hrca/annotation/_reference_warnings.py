"""Sentences on what makes predicted labels doubtful in the reference: its labels, and the number of its genes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hrca._messages import counted
from hrca.data._label_names import WARNED_CELLS_PER_LABEL, is_quality_class, similar_spellings

from ._prediction_warnings import N_NAMED

# A model with fewer genes is warned of. The smallest panel of a platform that we know, osmFISH, has 33 chosen markers.
MIN_GENES_WITHOUT_WARNING = 30


def label_warnings(n_cells: np.ndarray, labels: Sequence[str], label_counts: Sequence[int] | None) -> list[str]:
    """Return a sentence for each doubt about the labels that the cells get.

    The setup of the reference warns of such labels, but whoever predicts with a saved model has not seen that.

    Parameters
    ----------
    n_cells
        Number of the query's cells by most probable label, shape (n_labels,).
    labels
        The labels of the model, shape (n_labels,).
    label_counts
        Number of the reference's cells of each label, shape (n_labels,); None: not known.

    Returns
    -------
    The sentences; empty if nothing was found.
    """
    given = pd.Series(n_cells, index=pd.Index(labels)).astype(int)
    given = given[given > 0].sort_values(ascending=False, kind="stable")
    learned_from = None if label_counts is None else pd.Series(label_counts, index=pd.Index(labels))[given.index]
    found = [_quality_classes(given), _few_cells(given, learned_from), _same_types(given, labels)]
    return [sentence for sentence in found if sentence is not None]


def few_genes_warning(n_genes: int) -> str | None:
    """Return a sentence if the model has few genes.

    A reference that was restricted to the genes of another panel may have few left, and all of them are then found.

    Parameters
    ----------
    n_genes
        Number of the model's genes.
    """
    if n_genes >= MIN_GENES_WITHOUT_WARNING:
        return None
    return (
        f"The model has {counted(n_genes, 'gene')}. With fewer than {MIN_GENES_WITHOUT_WARNING}, "
        "cells of a type without a marker among them get another label, also with a high confidence. Believe only "
        "labels whose markers are among the genes."
    )


def _quality_classes(given: pd.Series) -> str | None:
    classes = given[[is_quality_class(name) for name in given.index]]
    if classes.empty:
        return None
    return (
        f"{_of_cells(classes)} that names a quality class or a rest, not a cell type: {_listed(classes)}. Treat these "
        "cells as cells without a label, or train without such classes."
    )


def _few_cells(given: pd.Series, learned_from: pd.Series | None) -> str | None:
    if learned_from is None or not (is_rare := learned_from < WARNED_CELLS_PER_LABEL).any():
        return None
    return (
        f"{_of_cells(given[is_rare])} with fewer than {WARNED_CELLS_PER_LABEL} reference cells: "
        f"{_listed(given[is_rare])}. These labels are unreliable. Add reference cells, or leave these labels out."
    )


def _same_types(given: pd.Series, labels: Sequence[str]) -> str | None:
    groups = [group for group in similar_spellings(pd.Index(labels)) if given.index.isin(group).any()]
    if not groups:
        return None
    cells = given[given.index.isin(sum(groups, []))]
    return (
        f"{_of_cells(cells)} that differs from another one only by case or blanks, such as {groups[0]}: "
        f"{_listed(cells)}. If they are one type, its cells and its probability are divided between them: give them "
        "one name in the reference, and train again."
    )


def _of_cells(given: pd.Series) -> str:
    return f"{counted(int(given.sum()), 'cell', ('most probably has', 'most probably have'))} a label"


def _listed(given: pd.Series) -> str:
    """Return labels and their numbers of cells in words."""
    shown = ", ".join(f"{label!r} ({n:,})" for label, n in given[:N_NAMED].items())
    n_more = len(given) - N_NAMED
    return shown + (f" and {n_more} more" if n_more > 0 else "")
