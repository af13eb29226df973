"""Confidence against accuracy."""

from matplotlib.axes import Axes

from hrca import metrics
from hrca.metrics import N_BINS
from hrca.metrics._inputs import CellGroups, CellLabels, CellScores

from ._axes import LEGEND_FONT_SIZE, add_legend, axes_with_legend, group_colors

# Area, in points^2, of the point for the bin with the most cells.
MAX_POINT_AREA = 150


def reliability(
    labels: CellLabels,
    predicted: CellLabels,
    confidence: CellScores,
    *,
    by: CellGroups | None = None,
    n_bins: int = N_BINS,
    ax: Axes | None = None,
) -> Axes:
    """Plot the accuracy of predictions against their confidence, with one line for each group of cells.

    A line below the diagonal shows overconfidence, a line above it underconfidence. The area of a point is
    proportional to its number of cells :cite:p:`guo2017calibration`.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        Probability of the predicted label, in [0, 1], shape (n_obs,).
    by
        Group of each cell, for example its :func:`hrca.metrics.depth_bins`, shape (n_obs,). If None, all cells form
        one group. The groups of an ordered categorical are drawn in shades, others in distinct colors.
    n_bins
        Number of bins of equal width in [0, 1].
    ax
        Axes to draw on. If None, axes of a new pyplot figure. The legend is beside the axes; a figure with
        ``layout="constrained"`` has room for it.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN or outside [0, 1].

    Examples
    --------
    >>> ax = reliability(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_xlabel()
    'confidence'
    """
    table = metrics.reliability_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    scores = metrics.calibration_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    ax = axes_with_legend(len(scores)) if ax is None else ax
    ax.axline((0, 0), slope=1, color="gray", linewidth=0.8)
    groups = list(table.groupby("by", observed=True))
    for color, (group, bins) in zip(group_colors(by, len(groups)), groups, strict=True):
        label = f"{group}: {scores.loc[group, 'calibration_error']:.3f} ({scores.loc[group, 'n_obs']} cells)"
        # thin, because bins of few cells vary widely; the points show the number of cells
        ax.plot(bins["confidence"], bins["accuracy"], color=color, label=label, linewidth=0.8, alpha=0.6)
        areas = MAX_POINT_AREA * bins["n_obs"] / table["n_obs"].max()
        ax.scatter(bins["confidence"], bins["accuracy"], s=areas, color=color, clip_on=False)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    add_legend(ax, "calibration error")
    return ax


def risk_coverage(labels: CellLabels, predicted: CellLabels, confidence: CellScores, *, ax: Axes | None = None) -> Axes:
    """Plot the error rate among the most confident cells against the fraction of cells that they are.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        A number that is higher for a more confident prediction, shape (n_obs,).
    ax
        Axes to draw on. If None, axes of a new pyplot figure. Each further curve on the same axes has a new color.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN.

    See Also
    --------
    hrca.metrics.risk_coverage : The points of the curve.

    Examples
    --------
    >>> ax = risk_coverage(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_ylabel()
    'risk: fraction of these cells with a wrong label'
    """
    curve = metrics.risk_coverage(labels, predicted, confidence)
    area = metrics.risk_coverage_area(labels, predicted, confidence)
    ax = axes_with_legend(1) if ax is None else ax
    ax.step(curve["coverage"], curve["risk"], where="post", label=f"area {area:.3f}")
    ax.set(
        xlabel="coverage: fraction of cells, the most confident first",
        ylabel="risk: fraction of these cells with a wrong label",
        xlim=(0, 1),
    )
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=LEGEND_FONT_SIZE)
    return ax
