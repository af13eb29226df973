"""Scores of predicted labels."""

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from ._inputs import CellLabels, label_arrays


def annotation_scores(labels: CellLabels, predicted: CellLabels) -> pd.Series:
    """Score predicted labels against known labels.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).

    Returns
    -------
    One entry for each of five numbers, the first four in [0, 1]:

    - ``accuracy``;
    - ``macro_f1``, the mean F1 of the known labels;
    - ``weighted_f1``, the same mean weighted by the number of cells;
    - ``balanced_accuracy``, the mean recall of the known labels;
    - ``n_obs``, the number of cells.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Notes
    -----
    scikit-learn computes the scores :cite:p:`pedregosa2011scikit`. Labels that are only predicted do not enter the
    means. The F1 of a known label that is never predicted is 0.

    Examples
    --------
    >>> import hrca
    >>> labels, predicted = ["B", "B", "T", "T"], ["B", "T", "T", "T"]
    >>> scores = hrca.metrics.annotation_scores(labels, predicted)
    >>> print(scores.round(2).to_string())
    accuracy             0.75
    macro_f1             0.73
    weighted_f1          0.73
    balanced_accuracy    0.75
    n_obs                4.00
    """
    labels, predicted = label_arrays(labels, predicted)
    known_labels = np.unique(labels)
    return pd.Series(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "macro_f1": sk.f1_score(labels, predicted, labels=known_labels, average="macro", zero_division=0),
            "weighted_f1": sk.f1_score(labels, predicted, labels=known_labels, average="weighted", zero_division=0),
            "balanced_accuracy": sk.recall_score(
                labels, predicted, labels=known_labels, average="macro", zero_division=0
            ),
            "n_obs": len(labels),
        }
    )


def confusion_table(labels: CellLabels, predicted: CellLabels) -> pd.DataFrame:
    """Count cells by known and predicted label.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).

    Returns
    -------
    Number of cells, with one row for each known label. The columns are the known labels in the same order, and then
    the labels that are only predicted.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Examples
    --------
    >>> import hrca
    >>> table = hrca.metrics.confusion_table(["B", "B", "T"], ["B", "T", "T"])
    >>> table.to_dict("index")
    {'B': {'B': 1, 'T': 1}, 'T': {'B': 0, 'T': 1}}
    """
    labels, predicted = label_arrays(labels, predicted)
    table = pd.crosstab(pd.Series(labels, name="label"), pd.Series(predicted, name="predicted"))
    columns = table.index.append(table.columns.difference(table.index))
    return table.reindex(columns=columns, fill_value=0).rename_axis(columns="predicted")
