"""Error rate of the most confident predictions."""

import numpy as np
import pandas as pd

from ._inputs import CellLabels, CellScores, label_arrays, number_array


def risk_coverage(labels: CellLabels, predicted: CellLabels, confidence: CellScores) -> pd.DataFrame:
    r"""Return the error rate among the most confident cells, for each threshold of the confidence.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        A number of any unit that is higher for a more confident prediction, shape (n_obs,).

    Returns
    -------
    One row for each value of the confidence, in decreasing order, with these columns:

    - ``confidence``, the threshold;
    - ``coverage``, the fraction of cells at or above the threshold;
    - ``risk``, the fraction of these cells whose predicted label is wrong.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN.

    Notes
    -----
    Coverage and selective risk of :cite:t:`geifman2017selective`. With confidence :math:`\kappa_i`, known label
    :math:`y_i` and predicted label :math:`\hat y_i` of cell :math:`i`, and threshold :math:`t`,

    .. math::

        \mathrm{coverage}(t) &= \frac{1}{n} \sum_i [\kappa_i \ge t], \\
        \mathrm{risk}(t) &= \frac{\sum_i [\kappa_i \ge t]\,[\hat y_i \ne y_i]}{\sum_i [\kappa_i \ge t]} .

    Examples
    --------
    >>> import hrca
    >>> hrca.metrics.risk_coverage(["B", "T"], ["B", "B"], [0.9, 0.6])
       confidence  coverage  risk
    0         0.9       0.5   0.0
    1         0.6       1.0   0.5
    """
    labels, predicted = label_arrays(labels, predicted)
    cells = pd.DataFrame({"confidence": number_array(confidence, len(labels)), "wrong": labels != predicted})
    steps = cells.groupby("confidence")["wrong"].agg(["size", "sum"]).sort_index(ascending=False).cumsum()
    return pd.DataFrame(
        {
            "confidence": steps.index,
            "coverage": (steps["size"] / len(cells)).to_numpy(),
            "risk": (steps["sum"] / steps["size"]).to_numpy(),
        }
    )


def risk_coverage_area(labels: CellLabels, predicted: CellLabels, confidence: CellScores) -> float:
    r"""Return the area under the risk-coverage curve: the risk averaged over coverage.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        A number of any unit that is higher for a more confident prediction, shape (n_obs,).

    Returns
    -------
    Area in [0, 1]. A lower area is better. It depends on the accuracy as well as on the order of the cells.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN.

    Notes
    -----
    The sum of :cite:t:`geifman2019bias`, not the trapezoidal rule: the mean, over the cells, of the risk at the
    threshold :math:`\kappa_i` of cell :math:`i`,

    .. math:: \mathrm{AURC} = \frac{1}{n} \sum_i \mathrm{risk}(\kappa_i) .

    Cells of equal confidence share one threshold.

    Examples
    --------
    >>> import hrca
    >>> hrca.metrics.risk_coverage_area(["B", "T"], ["B", "B"], [0.9, 0.6])
    0.25
    """
    curve = risk_coverage(labels, predicted, confidence)
    return float(curve["risk"] @ np.diff(curve["coverage"], prepend=0))
