"""Scores of one method on one query."""

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from hrca import metrics


def score(known: np.ndarray, seen: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    """Score the cells whose type the reference has; count the others and say how sure the method was of them.

    Parameters
    ----------
    known
        Label of each cell, shape (n_obs,).
    seen
        Whether the reference has it, shape (n_obs,).
    predicted
        Shape (n_obs,).
    confidence
        Probability of the predicted label, shape (n_obs,), NaN where the method gives none.
    """
    common = metrics.annotation_scores(known[seen], predicted[seen])
    by_class = f1_score(known[seen], predicted[seen], labels=np.unique(known[seen]), average=None, zero_division=0)
    return {
        **common.drop("n_obs"),
        "median_f1": float(np.median(by_class)),
        "ece": calibration_error(known[seen], predicted[seen], confidence[seen]),
        "n_cells": int(seen.sum()),
        "n_unseen": int((~seen).sum()),
        "seen_confidence": _mean(confidence[seen]),
        "unseen_confidence": _mean(confidence[~seen]),
    }


def calibration_error(known: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> float:
    """As :func:`hrca.metrics.calibration_error`; NaN for a method that gives no probabilities."""
    if np.isnan(confidence).any():
        return float("nan")
    # a softmax can exceed 1 by rounding
    return metrics.calibration_error(known, predicted, np.clip(confidence, 0, 1))


def _mean(confidence: np.ndarray) -> float:
    return float(pd.Series(confidence).mean())
