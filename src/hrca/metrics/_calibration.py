"""Agreement of confidence and accuracy."""

import numpy as np
import pandas as pd

from ._inputs import CellGroups, CellLabels, CellScores, label_arrays, probability_array

# Guo et al. (2017), Table 1.
N_BINS = 15


def reliability_table(
    labels: CellLabels,
    predicted: CellLabels,
    confidence: CellScores,
    *,
    by: CellGroups | None = None,
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """Compare confidence and accuracy in bins of confidence of equal width.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, in [0, 1], shape (n_obs,).
    by
        Group of each cell, for example its :func:`depth_bins`, shape (n_obs,). If None, all cells form the group "all".
    n_bins
        Number of bins of equal width in [0, 1].

    Returns
    -------
    One row for each group and bin that has cells, in order, with these columns:

    - ``by``, the group;
    - ``bin``, the index of the bin, from 0;
    - ``n_obs``, the number of cells;
    - ``confidence`` and ``accuracy``, the means of these cells.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN or outside [0, 1].

    Notes
    -----
    The numbers of a reliability diagram :cite:p:`guo2017calibration`. A bin contains its lower edge. The last bin
    contains both edges.

    Examples
    --------
    >>> import hrca
    >>> labels, predicted = ["B", "B", "T"], ["B", "T", "T"]
    >>> table = hrca.metrics.reliability_table(labels, predicted, [0.9, 0.92, 0.1])
    >>> table.round(2)
        by  bin  n_obs  confidence  accuracy
    0  all    1      1        0.10       1.0
    1  all   13      2        0.91       0.5
    """
    labels, predicted = label_arrays(labels, predicted)
    confidence = probability_array(confidence, len(labels))
    cells = pd.DataFrame(
        {
            "by": "all" if by is None else by,
            "bin": np.minimum((confidence * n_bins).astype(int), n_bins - 1),
            "confidence": confidence,
            "correct": labels == predicted,
        }
    )
    groups = cells.groupby(["by", "bin"], observed=True)
    table = groups.agg(n_obs=("bin", "size"), confidence=("confidence", "mean"), accuracy=("correct", "mean"))
    return table.reset_index()


def calibration_error(
    labels: CellLabels, predicted: CellLabels, confidence: CellScores, *, n_bins: int = N_BINS
) -> float:
    r"""Return the expected calibration error: the mean difference of confidence and accuracy.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, in [0, 1], shape (n_obs,).
    n_bins
        Number of bins of equal width in [0, 1].

    Returns
    -------
    Error in [0, 1]. It is above 0 by chance alone: 0.03 to 0.04 for 1,000 cells of perfectly calibrated confidence
    in 15 bins.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN or outside [0, 1].

    Notes
    -----
    With :math:`n_b` of :math:`n` cells in bin :math:`b`, their mean confidence :math:`\mathrm{conf}_b` and their
    accuracy :math:`\mathrm{acc}_b` :cite:p:`guo2017calibration{eq. 3}`,

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right| .

    Examples
    --------
    >>> import hrca
    >>> labels, predicted = ["B", "B", "T"], ["B", "T", "T"]
    >>> round(hrca.metrics.calibration_error(labels, predicted, [0.9, 0.92, 0.1]), 3)
    0.573
    """
    return _error(reliability_table(labels, predicted, confidence, n_bins=n_bins))


def calibration_table(
    labels: CellLabels,
    predicted: CellLabels,
    confidence: CellScores,
    *,
    by: CellGroups | None = None,
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """Score the confidence of each group of cells.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, in [0, 1], shape (n_obs,).
    by
        Group of each cell, for example its :func:`depth_bins`, shape (n_obs,). If None, all cells form the group "all".
    n_bins
        Number of bins of equal width in [0, 1].

    Returns
    -------
    One row for each group, with these columns:

    - ``n_obs``, the number of cells;
    - ``confidence`` and ``accuracy``, the means of these cells;
    - ``calibration_error``, as :func:`calibration_error` defines it.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN or outside [0, 1].

    Examples
    --------
    >>> import hrca
    >>> bins = hrca.metrics.depth_bins([500, 5])
    >>> hrca.metrics.calibration_table(["B", "T"], ["B", "B"], [0.9, 0.6], by=bins)
              n_obs  confidence  accuracy  calibration_error
    <10           1         0.6       0.0                0.6
    300-1000      1         0.9       1.0                0.1
    """
    table = reliability_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    rows = {}
    for group, bins in table.groupby("by", observed=True):
        means = np.average(bins[["confidence", "accuracy"]], axis=0, weights=bins["n_obs"])
        rows[group] = [bins["n_obs"].sum(), *means, _error(bins)]
    columns = ["n_obs", "confidence", "accuracy", "calibration_error"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"n_obs": int})


def _error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of the bins of one group."""
    return float(np.average((bins["confidence"] - bins["accuracy"]).abs(), weights=bins["n_obs"]))
