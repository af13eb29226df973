"""Scores of predicted labels against known ones."""

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from sklearn import metrics as sk

# A label, a number or a group for each cell, shape (n_obs,).
CellLabels: TypeAlias = Sequence[str] | np.ndarray | pd.Series | pd.Categorical
CellScores: TypeAlias = Sequence[float] | np.ndarray | pd.Series
CellGroups: TypeAlias = Sequence[Hashable] | np.ndarray | pd.Series | pd.Categorical


def annotation_scores(labels: Sequence[str], predicted: Sequence[str]) -> pd.Series:
    """Score predicted labels against known ones.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).

    Returns
    -------
    ``accuracy``, ``macro_f1`` and ``weighted_f1`` (means over the known labels, equally and by their cells) and
    ``balanced_accuracy`` (mean recall), each in [0, 1]; ``n_obs``, the number of cells scored.

    Raises
    ------
    ValueError
        If the lengths differ, or there is no cell.

    Examples
    --------
    >>> annotation_scores(["B", "B", "T", "T"], ["B", "T", "T", "T"]).round(2).to_dict()
    {'accuracy': 0.75, 'macro_f1': 0.73, 'weighted_f1': 0.73, 'balanced_accuracy': 0.75, 'n_obs': 4.0}
    """
    labels, predicted = same_cells(labels, predicted)
    known = np.unique(labels)
    return pd.Series(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "macro_f1": sk.f1_score(labels, predicted, labels=known, average="macro", zero_division=0),
            "weighted_f1": sk.f1_score(labels, predicted, labels=known, average="weighted", zero_division=0),
            "balanced_accuracy": sk.recall_score(labels, predicted, labels=known, average="macro", zero_division=0),
            "n_obs": len(labels),
        }
    )


def confusion_table(labels: Sequence[str], predicted: Sequence[str]) -> pd.DataFrame:
    """Count the cells of each known label by predicted label.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).

    Returns
    -------
    Cell counts: a row for each known label, a column for each of these in the same order, then one for each label that
    is only predicted.

    Raises
    ------
    ValueError
        If the lengths differ, or there is no cell.

    Examples
    --------
    >>> confusion_table(["B", "B", "T"], ["B", "T", "T"]).to_dict("index")
    {'B': {'B': 1, 'T': 1}, 'T': {'B': 0, 'T': 1}}
    """
    labels, predicted = same_cells(labels, predicted)
    table = pd.crosstab(pd.Series(labels, name="label"), pd.Series(predicted, name="predicted"))
    columns = table.index.append(table.columns.difference(table.index))
    return table.reindex(columns=columns, fill_value=0).rename_axis(columns="predicted")


def same_cells(labels: Sequence[str], predicted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return known and predicted labels as arrays.

    Raises
    ------
    ValueError
        If the lengths differ, or there is no cell.
    """
    labels, predicted = np.asarray(labels, dtype=object), np.asarray(predicted, dtype=object)
    if len(labels) != len(predicted) or len(labels) == 0:
        raise ValueError(
            "`labels` and `predicted` must have one entry for each of the same cells, at least one, got "
            f"{len(labels)} and {len(predicted)}."
        )
    return labels, predicted
