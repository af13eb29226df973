"""Scores of predicted labels of any level of a tree."""

from collections.abc import Mapping

import pandas as pd
from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

from hrca._hierarchy import lineage

from ._inputs import CellLabels, label_arrays


def hierarchical_scores(
    labels: CellLabels,
    predicted: CellLabels,
    parents: Mapping[str, str],
    *,
    unlabeled_category: str = "Unknown",
) -> pd.Series:
    r"""Score predicted labels of a tree, where a label counts as the set of itself and its ancestors.

    A prediction that shares ancestors with the known label is partly right.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, of any level of the tree, shape (n_obs,).
    parents
        Parent of each label that has one.
    unlabeled_category
        Label of cells without a prediction. It counts as the empty set, so that it reduces the recall only.

    Returns
    -------
    One entry for each of ``hierarchical_precision``, ``hierarchical_recall`` and ``hierarchical_f1``, in [0, 1].

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a label is its own ancestor.

    Notes
    -----
    The micro-averaged scores of :cite:t:`kiritchenko2006learning`. With :math:`Y_i` the known label of cell :math:`i`
    and its ancestors, and :math:`\hat Y_i` the predicted label and its ancestors,

    .. math::

        \mathrm{precision} &= \frac{\sum_i |Y_i \cap \hat Y_i|}{\sum_i |\hat Y_i|}, \\
        \mathrm{recall} &= \frac{\sum_i |Y_i \cap \hat Y_i|}{\sum_i |Y_i|} .

    The root, which all labels share, is not counted.

    Examples
    --------
    >>> import hrca
    >>> parents = {"CD4 T": "T", "CD8 T": "T"}
    >>> labels, predicted = ["CD4 T", "B"], ["CD8 T", "B"]
    >>> scores = hrca.metrics.hierarchical_scores(labels, predicted, parents)
    >>> print(scores.round(2).to_string())
    hierarchical_precision    0.67
    hierarchical_recall       0.67
    hierarchical_f1           0.67
    """
    labels, predicted = label_arrays(labels, predicted)
    lineages = {label: lineage(label, parents) for label in {*labels, *predicted} - {unlabeled_category}}
    nodes = MultiLabelBinarizer(classes=sorted(set().union(*lineages.values())), sparse_output=True)
    known_sets, predicted_sets = (
        nodes.fit_transform([lineages.get(label, ()) for label in column]) for column in (labels, predicted)
    )
    scores = sk.precision_recall_fscore_support(known_sets, predicted_sets, average="micro", zero_division=0)[:3]
    return pd.Series(scores, index=["hierarchical_precision", "hierarchical_recall", "hierarchical_f1"])
