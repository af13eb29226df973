"""Labels whose absence from the reference would not be noticed in a query."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrca._records import MIN_NOVEL_PROBABILITY

# Number of labels that the sentence names.
N_NAMED = 3


def left_out_table(novelty: np.ndarray, n_known: np.ndarray, labels: list[str]) -> dict[str, np.ndarray]:
    """Return the labels of a query with the novel probability that their cells would have without the label.

    Parameters
    ----------
    novelty
        This probability for each label, shape (n_labels,), from
        :func:`hrca.prediction._cluster_novelty.left_out_novelty`; NaN for labels that are not in the table.
    n_known
        Number of cells by most probable label, without novel cells, shape (n_labels,).
    labels
        The labels of the model.

    Returns
    -------
    In the form that uns and files hold, the commonest label first: ``label``, the number of its cells in ``n_cells``,
    and ``novel_probability``.
    """
    rows = np.flatnonzero(~np.isnan(novelty))
    rows = rows[np.argsort(-n_known[rows], kind="stable")]
    return {
        "label": np.array([labels[row] for row in rows], dtype=str),
        "n_cells": n_known[rows].astype(int),
        "novel_probability": novelty[rows].astype(float),
    }


def left_out_sentence(table: Mapping[str, Any]) -> str | None:
    """Return a sentence on the labels that could be missing from the reference without being noticed.

    Parameters
    ----------
    table
        From :func:`left_out_table`, or as a file holds it.

    Returns
    -------
    The sentence; None if there are no such labels.
    """
    labels, novelty = np.asarray(table["label"], dtype=str), np.asarray(table["novel_probability"], dtype=float)
    unnoticed = labels[novelty < MIN_NOVEL_PROBABILITY]
    if not len(unnoticed):
        return None
    names, n_more = [repr(str(label)) for label in unnoticed[:N_NAMED]], len(unnoticed) - N_NAMED
    last = f"{n_more} more" if n_more > 0 else names.pop()
    named = f"{', '.join(names)} or {last}" if names else last
    return (
        "Types that the reference lacks are found only if they differ enough from its labels. Had it lacked "
        f"{named} of the {len(labels)} labels in this query, HRCA would not have noticed: the cells would have other "
        "labels."
    )
