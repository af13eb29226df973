"""Scores of predictions for cells with known labels."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hrca._hierarchy import first_names
from hrca._messages import counted_among
from hrca._warnings import warn_user
from hrca.annotation._options import LabelSpace
from hrca.metrics import annotation_scores, calibration_error, hierarchical_scores, risk_coverage_area

# A larger fraction of labelled cells with labels unknown to the model causes a warning: the scores of the others may
# mislead. Not tuned.
UNSEEN_WARNING_FRACTION = 0.1


def known_cells(true_labels: pd.Series, labels: list[str], labels_key: str) -> np.ndarray:
    """Return True for each cell with a label that the model knows.

    Parameters
    ----------
    true_labels
        True label of each cell, shape (n_obs,); missing where it is unknown.
    labels
        The labels of the model.
    labels_key
        Column of obs with the true labels, for the error.

    Returns
    -------
    Boolean, shape (n_obs,).

    Raises
    ------
    ValueError
        If no cell has such a label.
    """
    is_known = true_labels.isin(labels).to_numpy()
    if not is_known.any():
        raise ValueError(
            f"Some cells must have a label that the model knows, but obs[{labels_key!r}] has "
            f"{first_names(list(true_labels.dropna().unique()))} and the model {first_names(labels)}. "
            "Rename the one kind to the other if they name the same types. Otherwise there is nothing to score."
        )
    return is_known


def evaluation_scores(
    true_labels: pd.Series,
    predicted: np.ndarray,
    confidence: np.ndarray,
    is_known: np.ndarray,
    label_space: LabelSpace,
) -> pd.Series:
    """Score predictions over the cells whose label the model knows, see :meth:`hrca.HRCA.evaluate`.

    Parameters
    ----------
    true_labels
        True label of each cell, shape (n_obs,); missing where it is unknown.
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Its probability, shape (n_obs,).
    is_known
        Boolean, which cells are scored, shape (n_obs,).
    label_space
        The labels of the model and their tree.

    Returns
    -------
    The scores by name.

    Warns
    -----
    UserWarning
        If more than a tenth of the labelled cells are not scored.
    """
    scored = true_labels[is_known], predicted[is_known], confidence[is_known]
    scores = annotation_scores(*scored[:2])
    scores["calibration_error"] = calibration_error(*scored)
    scores["risk_coverage_area"] = risk_coverage_area(*scored)
    parents: Mapping[str, str] = label_space.parents
    if parents:
        along_tree = hierarchical_scores(*scored[:2], parents, unlabeled_category=label_space.unlabeled_category)
        scores["hierarchical_f1"] = along_tree["hierarchical_f1"]
    scores["n_unseen"] = int((true_labels.notna().to_numpy() & ~is_known).sum())
    sentence = unseen_warning(true_labels, is_known, label_space.labels)
    if sentence is not None:
        warn_user(sentence)
    return scores


def unseen_warning(true_labels: pd.Series, is_known: np.ndarray, labels: list[str]) -> str | None:
    """Return a sentence if more than a tenth of the labelled cells are not scored.

    Parameters
    ----------
    true_labels
        True label of each cell, shape (n_obs,); missing where it is unknown.
    is_known
        From :func:`known_cells`.
    labels
        The labels of the model.
    """
    is_labelled = true_labels.notna().to_numpy()
    is_unseen = is_labelled & ~is_known
    if is_unseen.sum() <= UNSEEN_WARNING_FRACTION * is_labelled.sum():
        return None
    return (
        f"{counted_among(is_unseen.sum(), is_labelled.sum(), 'labelled cell', ('is', 'are'))} not scored: the model "
        f"does not know {first_names(list(true_labels[is_unseen].unique()))}; it knows {first_names(labels)}. "
        "Either it was trained without these types, or they are spelt in another way: then rename them."
    )
