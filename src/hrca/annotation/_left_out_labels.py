"""Labels whose absence from the reference would not be noticed in a query."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrca._messages import counted
from hrca._records import MIN_NOVEL_PROBABILITY

# Number of labels that the sentence names.
N_NAMED = 3

# Labels with fewer cells have no cluster to themselves. Not tuned.
MIN_CELLS = 10


def left_out_table(novel_probability: np.ndarray, n_known: np.ndarray, labels: list[str]) -> dict[str, np.ndarray]:
    """Return the labels that were left out, with the novel probability that their cells would have without the label.

    Parameters
    ----------
    novel_probability
        This probability for each label, shape (n_labels,), from
        :func:`hrca.prediction._cluster_novelty.left_out_novel_probability`; NaN for labels without a cluster.
    n_known
        Number of cells by most probable label, without novel cells, shape (n_labels,).
    labels
        The labels of the model.

    Returns
    -------
    In the form that uns and files hold, the commonest label first: ``label``, the number of its cells in ``n_cells``,
    and ``novel_probability``. Labels without a cluster, or with fewer than 10 such cells, are not in it.
    """
    rows = np.flatnonzero(~np.isnan(novel_probability) & (n_known >= MIN_CELLS))
    rows = rows[np.argsort(-n_known[rows], kind="stable")]
    return {
        "label": np.array([labels[row] for row in rows], dtype=str),
        "n_cells": n_known[rows].astype(int),
        "novel_probability": novel_probability[rows].astype(float),
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
    labels = np.asarray(table["label"], dtype=str)
    unnoticed = labels[np.asarray(table["novel_probability"], dtype=float) < MIN_NOVEL_PROBABILITY]
    if not len(unnoticed):
        return None
    named = ", ".join(repr(str(label)) for label in unnoticed[:N_NAMED])
    named += f" and {len(unnoticed) - N_NAMED} more" if len(unnoticed) > N_NAMED else ""
    n_noticed = len(labels) - len(unnoticed)
    noticed = f" It would for {counted(n_noticed, 'other label')}." if n_noticed else ""
    return (
        f"A type that the reference lacks can stay unnoticed. For {counted(len(labels), 'label')} of this query, HRCA "
        "estimated, without training again, if it would notice a reference without the label. It would not for "
        f"{named}: the cells would get other labels, with a low novel probability.{noticed} `left_out_labels` in the "
        "entry of uns has the result for each label."
    )
