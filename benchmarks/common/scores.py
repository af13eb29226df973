"""Scores of one method on one query."""

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from hrca import metrics


def score(
    true_labels: np.ndarray, is_known_label: np.ndarray, predicted: np.ndarray, confidence: np.ndarray
) -> dict[str, float]:
    """Score the cells whose label the reference has; count the others, and average the confidence of both.

    Parameters
    ----------
    true_labels
        Label of each cell, shape (n_obs,).
    is_known_label
        True for a cell whose label the reference has, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, shape (n_obs,); NaN for a method without probabilities.
    """
    known = is_known_label
    overall = metrics.annotation_scores(true_labels[known], predicted[known])
    labels = np.unique(true_labels[known])
    by_label = f1_score(true_labels[known], predicted[known], labels=labels, average=None, zero_division=0)
    return {
        **overall.drop("n_obs"),
        "median_f1": float(np.median(by_label)),
        "ece": calibration_error(true_labels[known], predicted[known], confidence[known]),
        "n_cells": int(known.sum()),
        "n_unseen": int((~known).sum()),
        "seen_confidence": _mean(confidence[known]),
        "unseen_confidence": _mean(confidence[~known]),
    }


def calibration_error(true_labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> float:
    """Return :func:`hrca.metrics.calibration_error`; NaN for a method without probabilities."""
    if np.isnan(confidence).any():
        return float("nan")
    # a softmax can exceed 1 by rounding
    return metrics.calibration_error(true_labels, predicted, np.clip(confidence, 0, 1))


def _mean(confidence: np.ndarray) -> float:
    return float(pd.Series(confidence).mean())
