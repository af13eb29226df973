"""Confusion of known and predicted labels."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hrca.metrics import confusion_table
from hrca.metrics._inputs import CellLabels

from ._axes import new_axes

# Inches: one row or column, one character of a tick label, and the axis names, ticks and color bar around the matrix.
INCHES_PER_LABEL = 0.42
INCHES_PER_CHARACTER = 0.08
WIDTH_AROUND, HEIGHT_AROUND = 2.0, 0.9

# Inches that the color bar and its label need.
MIN_MATRIX_HEIGHT = 2.2

# Points.
NUMBER_FONT_SIZE = 7

# A smaller fraction is not printed: two decimals would show 0.00.
MIN_PRINTED_FRACTION = 0.005

# Black on "Blues" has the higher contrast below this fraction, white above (relative luminance 0.179, WCAG 2.2).
MIN_WHITE_TEXT_FRACTION = 0.715


def confusion(labels: CellLabels, predicted: CellLabels, *, ax: Axes | None = None) -> Axes:
    """Plot the fraction of each known label's cells that received each predicted label.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    ax
        Axes to draw on. If None, axes of a new pyplot figure, for ``plt.show()`` or ``plt.savefig()``.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Examples
    --------
    >>> ax = confusion(["B", "B", "T"], ["B", "T", "T"])
    >>> ax.get_xlabel()
    'predicted label'
    """
    table = confusion_table(labels, predicted)
    ax = new_axes(*_size(table), layout="compressed") if ax is None else ax
    _draw(table, ax)
    return ax


def confusion_figure(labels: CellLabels, predicted: CellLabels) -> Figure:
    """Return the plot of :func:`confusion` as a figure that pyplot does not manage, so that nothing must be closed.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).

    Returns
    -------
    The figure.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Examples
    --------
    >>> figure = confusion_figure(["B", "B", "T"], ["B", "T", "T"])
    >>> figure.axes[0].get_ylabel()
    'known label (number of cells)'
    """
    table = confusion_table(labels, predicted)
    figure = Figure(figsize=_size(table), layout="compressed")
    _draw(table, figure.subplots())
    return figure


def _size(table: pd.DataFrame) -> tuple[float, float]:
    """Return width and height of a figure in inches."""
    n_rows, n_columns = table.shape
    left, below = (INCHES_PER_CHARACTER * max(len(str(label)) for label in axis) for axis in table.axes)
    width = WIDTH_AROUND + left + INCHES_PER_LABEL * n_columns
    height = HEIGHT_AROUND + below + max(INCHES_PER_LABEL * n_rows, MIN_MATRIX_HEIGHT)
    return width, height


def _draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw cell counts by known label (rows) and predicted label (columns) as fractions of each row."""
    n_cells = table.sum(axis=1)
    fractions = table.div(n_cells, axis=0).to_numpy()
    mesh = ax.pcolormesh(fractions, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
    for row, column in np.argwhere(fractions >= MIN_PRINTED_FRACTION):
        fraction = fractions[row, column]
        ax.text(
            column + 0.5,
            row + 0.5,
            f"{fraction:.2f}",
            ha="center",
            va="center",
            color="white" if fraction >= MIN_WHITE_TEXT_FRACTION else "black",
            fontsize=NUMBER_FONT_SIZE,
        )
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, table.columns, rotation=90)
    ax.set_yticks(np.arange(len(table)) + 0.5, [f"{label} ({n})" for label, n in n_cells.items()])
    ax.set(xlabel="predicted label", ylabel="known label (number of cells)", aspect="equal")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(mesh, ax=ax, label="fraction of the row's cells")
    bar.outline.set_visible(False)
