"""Confidence against accuracy."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from hrca import metrics
from hrca._docs import docs
from hrca._messages import counted
from hrca.metrics import N_BINS
from hrca.metrics._inputs import CellGroups, CellLabels, CellScores

from ._axes import LEGEND_FONT_SIZE, TITLE_FONT_SIZE, add_legend, axes_with_legend, finish, new_panels, short_name
from ._palette import Color, group_colors

# Area, in points^2, of the point for the bin with the most cells.
MAX_POINT_AREA = 150

# The points of panels are smaller by this factor. Not tuned.
PANEL_POINT_FACTOR = 1 / 4

# Lines of more groups would hide each other.
MAX_LINES = 6

MARKERS = ("o", "s", "^", "D", "v", "P")

# Inches, and the number of panels in a row.
PANEL_SIDE, N_PANELS_PER_ROW = 1.9, 6

# Characters of a name above a panel.
MAX_PANEL_NAME_LENGTH = 26


@docs.dedent
def reliability(
    labels: CellLabels,
    predicted: CellLabels,
    confidence: CellScores,
    *,
    by: CellGroups | None = None,
    n_bins: int = N_BINS,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes | list[Axes]:
    """Plot the accuracy of predictions against their confidence, for each group of cells.

    This is a reliability diagram :cite:p:`guo2017calibration`. A line below the diagonal shows overconfidence, a line
    above it underconfidence. The area of a point is proportional to its number of cells. Up to six groups are lines of
    one plot. More groups have a panel each, unless `ax` is given.

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
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes; a list of them for panels.

    Raises
    ------
    ValueError
        If the lengths differ, there is no cell, or a confidence is NaN or outside [0, 1].

    Examples
    --------
    >>> import hrca
    >>> ax = hrca.pl.reliability(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_xlabel()
    'Confidence'
    """
    table = metrics.reliability_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    scores = metrics.calibration_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    groups = dict(list(table.groupby("by", observed=True)))
    names = {group: _group_name(group, scores.loc[group]) for group in groups}
    title = f"Accuracy by confidence ({counted(table['n_obs'].sum(), 'cell')})"
    if ax is None and len(groups) > MAX_LINES:
        axes = new_panels(len(groups), PANEL_SIDE, PANEL_SIDE, n_columns=N_PANELS_PER_ROW, share_axes=True)
        for one, (group, bins) in zip(axes, groups.items(), strict=True):
            _draw_line(one, bins, "C0", "o", bins["n_obs"].max())
            one.set_title(names[group], fontsize=LEGEND_FONT_SIZE)
            one.tick_params(labelsize=LEGEND_FONT_SIZE)
        figure = axes[0].figure
        figure.suptitle(f"{title}: calibration error of each group", fontsize=TITLE_FONT_SIZE)
        figure.supxlabel("Confidence", fontsize=TITLE_FONT_SIZE)
        figure.supylabel("Accuracy", fontsize=TITLE_FONT_SIZE)
        finish(axes, show=show, save=save)
        return axes
    ax = axes_with_legend(len(groups)) if ax is None else ax
    for i, (color, (group, bins)) in enumerate(zip(group_colors(by, len(groups)), groups.items(), strict=True)):
        _draw_line(ax, bins, color, MARKERS[i % len(MARKERS)], table["n_obs"].max(), names[group].replace("\n", ": "))
    ax.set(xlabel="Confidence", ylabel="Accuracy: fraction of correct labels")
    ax.set_title(title, fontsize=TITLE_FONT_SIZE)
    corners: dict[str, Any] = {"va": "center", "ha": "center", "color": "gray", "fontsize": LEGEND_FONT_SIZE}
    ax.text(0.2, 0.93, "underconfident", **corners)
    ax.text(0.8, 0.07, "overconfident", **corners)
    add_legend(ax, "Calibration error")
    finish(ax, show=show, save=save)
    return ax


def _group_name(group: object, scores: pd.Series) -> str:
    n_cells = counted(int(scores["n_obs"]), "cell")
    return f"{short_name(group, MAX_PANEL_NAME_LENGTH)}\n{scores['calibration_error']:.3f} ({n_cells})"


def _draw_line(ax: Axes, bins: pd.DataFrame, color: Color, marker: str, n_most: int, label: str | None = None) -> None:
    """Draw a line of a group through its bins, and the diagonal."""
    ax.axline((0, 0), slope=1, color="gray", linewidth=0.8, zorder=0)
    # thin, because bins of few cells vary widely; the points show the number of cells
    ax.plot(bins["confidence"], bins["accuracy"], color=color, linewidth=0.8, alpha=0.6)
    areas = MAX_POINT_AREA * bins["n_obs"] / n_most
    if label is None:
        areas = areas * PANEL_POINT_FACTOR
    ax.scatter(
        bins["confidence"], bins["accuracy"], s=areas, color=color, marker=marker, label=label, clip_on=False, zorder=2
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")


@docs.dedent
def risk_coverage(
    labels: CellLabels,
    predicted: CellLabels,
    confidence: CellScores,
    *,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the error rate among the most confident cells, against the fraction of the cells that is kept.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    confidence
        A number of any unit that is higher for a more confident prediction, shape (n_obs,).
    ax
        Axes to draw on. If None, axes of a new pyplot figure. Each further curve on the same axes has a new color.
    %(plot_show)s
    %(plot_save)s

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
    >>> import hrca
    >>> ax = hrca.pl.risk_coverage(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_ylabel()
    'Risk: fraction of these cells with a wrong label'
    """
    curve = metrics.risk_coverage(labels, predicted, confidence)
    area = metrics.risk_coverage_area(labels, predicted, confidence)
    ax = axes_with_legend(1) if ax is None else ax
    ax.step(curve["coverage"], curve["risk"], where="post", label=f"area {area:.3f}")
    ax.set(
        xlabel="Coverage: fraction of the cells, the most confident first",
        ylabel="Risk: fraction of these cells with a wrong label",
        xlim=(0, 1),
    )
    ax.set_title(f"Errors among the most confident cells ({counted(len(labels), 'cell')})", fontsize=TITLE_FONT_SIZE)
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    # matplotlib would search the best place among all points
    ax.legend(fontsize=LEGEND_FONT_SIZE, frameon=False, loc="upper left")
    finish(ax, show=show, save=save)
    return ax
