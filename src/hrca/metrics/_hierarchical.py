"""Scores along a tree of labels."""

from collections.abc import Mapping, Sequence

import pandas as pd
from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

from hrca._hierarchy import lineage

from ._labels import same_cells


def hierarchical_scores(
    labels: Sequence[str],
    predicted: Sequence[str],
    parents: Mapping[str, str],
    *,
    unlabeled_category: str = "Unknown",
) -> pd.Series:
    """Score labels along a tree: each stands for itself and all its ancestors, so that a near miss is half right.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, of any level, shape (n_obs,).
    parents
        The parent of each label that has one; a label without is a top of the tree.
    unlabeled_category
        What a cell without an answer is called: it stands for no label, and costs recall alone.

    Returns
    -------
    ``hierarchical_precision``, ``hierarchical_recall`` and ``hierarchical_f1``, in [0, 1].

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a label is its own ancestor.

    Notes
    -----
    The micro-averaged scores of Kiritchenko et al. (2006); the root is not counted, all labels have it.

    Examples
    --------
    >>> parents = {"CD4 T": "T", "CD8 T": "T"}
    >>> hierarchical_scores(["CD4 T", "B"], ["CD8 T", "B"], parents).round(2).to_dict()
    {'hierarchical_precision': 0.67, 'hierarchical_recall': 0.67, 'hierarchical_f1': 0.67}
    """
    labels, predicted = same_cells(labels, predicted)
    lineages = {label: lineage(label, parents) for label in {*labels, *predicted} - {unlabeled_category}}
    nodes = MultiLabelBinarizer(classes=sorted(set().union(*lineages.values())), sparse_output=True)
    known, found = (nodes.fit_transform([lineages.get(x, ()) for x in side]) for side in (labels, predicted))
    scores = sk.precision_recall_fscore_support(known, found, average="micro", zero_division=0)[:3]
    return pd.Series(scores, index=["hierarchical_precision", "hierarchical_recall", "hierarchical_f1"])
