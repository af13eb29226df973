"""Scores of the confidence of predictions, and of sets of labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ._labels import same_cells

# Bins of confidence, as most papers have them since Guo et al. (ICML 2017).
N_BINS = 15

# Counts of a cell between two depth bins: half a decade each, over what sparse platforms and scRNA-seq have.
DEPTH_EDGES = (10, 30, 100, 300, 1000, 3000)


def depth_bins(depth: Sequence[float], edges: Sequence[float] = DEPTH_EDGES) -> pd.Categorical:
    """Name the depth bin of each cell.

    Parameters
    ----------
    depth
        Counts of each cell, shape (n_obs,).
    edges
        Counts at which a bin ends and the next begins, rising.

    Returns
    -------
    The bins, in order: "<10", "10-30", ..., ">=3000".

    Examples
    --------
    >>> list(depth_bins([5, 10, 4000]))
    ['<10', '10-30', '>=3000']
    """
    names = [f"<{edges[0]:g}", *(f"{low:g}-{high:g}" for low, high in zip(edges, edges[1:], strict=False))]
    return pd.cut(np.asarray(depth), [-np.inf, *edges, np.inf], right=False, labels=[*names, f">={edges[-1]:g}"])


def reliability_table(
    labels: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    by: Sequence | None = None,
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """Hold the confidence of predictions against how often they are right, over bins of confidence of equal width.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, in [0, 1], shape (n_obs,).
    by
        A group of each cell, for instance its :func:`depth_bins`, shape (n_obs,); None: all are one, "all".
    n_bins
        Number of bins.

    Returns
    -------
    A row for each group and bin that has cells, in order: ``by``; ``bin``, from 0; ``n_obs``; ``confidence`` and
    ``accuracy``, the means over its cells.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is not in [0, 1].

    Examples
    --------
    >>> reliability_table(["B", "B", "T"], ["B", "T", "T"], [0.9, 0.92, 0.1]).round(2).to_dict("list")
    {'by': ['all', 'all'], 'bin': [1, 13], 'n_obs': [1, 2], 'confidence': [0.1, 0.91], 'accuracy': [1.0, 0.5]}
    """
    labels, predicted = same_cells(labels, predicted)
    confidence = _confidence(confidence, len(labels))
    cells = pd.DataFrame(
        {
            "by": "all" if by is None else by,
            # a confidence of 1 belongs to the last bin
            "bin": np.minimum((confidence * n_bins).astype(int), n_bins - 1),
            "confidence": confidence,
            "correct": labels == predicted,
        }
    )
    groups = cells.groupby(["by", "bin"], observed=True)
    table = groups.agg(n_obs=("bin", "size"), confidence=("confidence", "mean"), accuracy=("correct", "mean"))
    return table.reset_index()


def calibration_error(
    labels: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], *, n_bins: int = N_BINS
) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, over bins of confidence.

    Parameters
    ----------
    labels
        As in :func:`reliability_table`.
    predicted
        As in :func:`reliability_table`.
    confidence
        As in :func:`reliability_table`.
    n_bins
        As in :func:`reliability_table`.

    Returns
    -------
    Mean over the cells of how far confidence and accuracy of their bin are apart, in [0, 1]. Few cells have some by
    chance alone: 1,000 that are right as often as they say, about .03.

    Raises
    ------
    ValueError
        As :func:`reliability_table`.

    Examples
    --------
    >>> round(calibration_error(["B", "B", "T"], ["B", "T", "T"], [0.9, 0.92, 0.1]), 3)
    0.573
    """
    return _error(reliability_table(labels, predicted, confidence, n_bins=n_bins))


def calibration_table(
    labels: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    by: Sequence | None = None,
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """Score the confidence in each group of cells, for instance in each depth bin.

    Parameters
    ----------
    labels
        As in :func:`reliability_table`.
    predicted
        As in :func:`reliability_table`.
    confidence
        As in :func:`reliability_table`.
    by
        As in :func:`reliability_table`.
    n_bins
        As in :func:`reliability_table`.

    Returns
    -------
    A row for each group: ``n_obs``, mean ``confidence``, ``accuracy`` and ``calibration_error``.

    Raises
    ------
    ValueError
        As :func:`reliability_table`.

    Examples
    --------
    >>> table = calibration_table(["B", "T"], ["B", "B"], [0.9, 0.6], by=depth_bins([500, 5]))
    >>> table["calibration_error"].round(2).to_dict()
    {'<10': 0.6, '300-1000': 0.1}
    """
    bins = reliability_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    rows = {}
    for group, own in bins.groupby("by", observed=True):
        means = np.average(own[["confidence", "accuracy"]], axis=0, weights=own["n_obs"])
        rows[group] = [own["n_obs"].sum(), *means, _error(own)]
    columns = ["n_obs", "confidence", "accuracy", "calibration_error"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"n_obs": int})


def risk_coverage(labels: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]) -> pd.DataFrame:
    """Return which share of the labels is wrong when only the most confident cells are answered.

    Parameters
    ----------
    labels
        As in :func:`reliability_table`.
    predicted
        As in :func:`reliability_table`.
    confidence
        As in :func:`reliability_table`; any number that is higher for a surer cell will do.

    Returns
    -------
    A row for each confidence that occurs, from the highest: ``confidence``; ``coverage``, the share of cells with at
    least that; ``risk``, the share of these that are wrong.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN.

    Examples
    --------
    >>> risk_coverage(["B", "T"], ["B", "B"], [0.9, 0.6]).to_dict("list")
    {'confidence': [0.9, 0.6], 'coverage': [0.5, 1.0], 'risk': [0.0, 0.5]}
    """
    labels, predicted = same_cells(labels, predicted)
    confidence = _numbers(confidence, len(labels))
    cells = pd.DataFrame({"confidence": confidence, "wrong": labels != predicted})
    steps = cells.groupby("confidence")["wrong"].agg(["size", "sum"]).sort_index(ascending=False).cumsum()
    return pd.DataFrame(
        {
            "confidence": steps.index,
            "coverage": (steps["size"] / len(cells)).to_numpy(),
            "risk": (steps["sum"] / steps["size"]).to_numpy(),
        }
    )


def risk_coverage_area(labels: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]) -> float:
    """Return the area under :func:`risk_coverage`: the risk, averaged over the share of cells that are answered.

    Parameters
    ----------
    labels
        As in :func:`risk_coverage`.
    predicted
        As in :func:`risk_coverage`.
    confidence
        As in :func:`risk_coverage`.

    Returns
    -------
    In [0, 1], lower is better; it depends on the accuracy, too.

    Raises
    ------
    ValueError
        As :func:`risk_coverage`.

    Notes
    -----
    The sum of Geifman and El-Yaniv (NeurIPS 2017), not a trapezoid; equally confident cells are answered together.

    Examples
    --------
    >>> risk_coverage_area(["B", "T"], ["B", "B"], [0.9, 0.6])
    0.25
    """
    curve = risk_coverage(labels, predicted, confidence)
    return float(curve["risk"] @ np.diff(curve["coverage"], prepend=0))


def _error(bins: pd.DataFrame) -> float:
    return float(np.average((bins["confidence"] - bins["accuracy"]).abs(), weights=bins["n_obs"]))


def _numbers(confidence: Sequence[float], n_obs: int) -> np.ndarray:
    confidence = np.asarray(confidence, dtype=float)
    if confidence.shape != (n_obs,) or np.isnan(confidence).any():
        raise ValueError(
            f"`confidence` must have one number for each of the {n_obs} cells, none of them NaN, got the shape "
            f"{confidence.shape} and {np.isnan(confidence).sum()} that are NaN."
        )
    return confidence


def _confidence(confidence: Sequence[float], n_obs: int) -> np.ndarray:
    confidence = _numbers(confidence, n_obs)
    # a softmax in single precision can exceed 1 by rounding
    if confidence.min() < 0 or confidence.max() > 1 + 1e-6:
        raise ValueError(
            f"`confidence` must be in [0, 1], got {confidence.min():.3g} to {confidence.max():.3g}. Are these logits? "
            "Their softmax is meant."
        )
    return confidence
