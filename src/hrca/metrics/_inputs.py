"""Per-cell inputs of the scores, and their checks."""

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from hrca._messages import counted

# A label, a number or a group for each cell, shape (n_obs,).
CellLabels: TypeAlias = Sequence[str] | np.ndarray | pd.Series | pd.Categorical
CellScores: TypeAlias = Sequence[float] | np.ndarray | pd.Series
CellGroups: TypeAlias = Sequence[Hashable] | np.ndarray | pd.Series | pd.Categorical

# A softmax in single precision exceeds 1 by rounding errors of this order.
PROBABILITY_ATOL = 1e-6


def label_arrays(labels: CellLabels, predicted: CellLabels) -> tuple[np.ndarray, np.ndarray]:
    """Return known and predicted labels as arrays of objects, both of shape (n_obs,).

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.
    """
    labels, predicted = np.asarray(labels, dtype=object), np.asarray(predicted, dtype=object)
    if len(labels) != len(predicted) or len(labels) == 0:
        raise ValueError(
            "`labels` and `predicted` must have one entry for each of the same cells, at least one, got "
            f"{len(labels)} and {len(predicted)}."
        )
    return labels, predicted


def number_array(confidence: CellScores, n_obs: int) -> np.ndarray:
    """Return the confidence of each cell as an array, shape (n_obs,).

    Raises
    ------
    ValueError
        If the shape differs or a confidence is NaN.
    """
    numbers = np.asarray(confidence, dtype=float)
    if numbers.shape != (n_obs,) or np.isnan(numbers).any():
        raise ValueError(
            f"`confidence` must have one number for each of the {n_obs} cells, none of them NaN, got the shape "
            f"{numbers.shape} and {counted(np.isnan(numbers).sum(), 'NaN')}."
        )
    return numbers


def probability_array(confidence: CellScores, n_obs: int) -> np.ndarray:
    """Return the confidence of each cell as an array, shape (n_obs,).

    Raises
    ------
    ValueError
        If the shape differs, or a confidence is NaN or outside [0, 1].
    """
    numbers = number_array(confidence, n_obs)
    if numbers.min() < 0 or numbers.max() > 1 + PROBABILITY_ATOL:
        raise ValueError(
            f"`confidence` must be in [0, 1], got {numbers.min():.3g} to {numbers.max():.3g}. If these are logits, "
            "pass their softmax."
        )
    return numbers
