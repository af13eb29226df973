"""Scores of one method on one query."""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import binary_calibration_error

from hrca import metrics

N_BINS = 15


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
        "ece": calibration_error(confidence[seen], known[seen] == predicted[seen]),
        "n_cells": int(seen.sum()),
        "n_unseen": int((~seen).sum()),
        "seen_confidence": _mean(confidence[seen]),
        "unseen_confidence": _mean(confidence[~seen]),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: how far confidence is from accuracy, over 15 bins of confidence.

    Parameters
    ----------
    confidence
        In [0, 1], shape (n_obs,); the result is NaN if one is.
    correct
        Whether the label was right, shape (n_obs,).
    """
    if np.isnan(confidence).any():
        return float("nan")
    # torchmetrics takes numbers outside [0, 1] for logits, and a softmax can exceed 1 by rounding
    chance = torch.tensor(np.clip(confidence, 0, 1))
    return binary_calibration_error(chance, torch.tensor(correct).int(), n_bins=N_BINS, norm="l1").item()


def _mean(confidence: np.ndarray) -> float:
    return float(pd.Series(confidence).mean())
