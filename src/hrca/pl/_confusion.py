"""Confusion of known and predicted labels."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hrca._docs import docs
from hrca._messages import counted
from hrca.metrics import confusion_table
from hrca.metrics._inputs import CellLabels

from ._axes import TITLE_FONT_SIZE, finish, new_axes, short_name

# Inches: one row or column, also if there are many; one character of a tick label; and the axis names, ticks and color
# bar around the matrix.
INCHES_PER_LABEL, INCHES_PER_LABEL_OF_MANY, MANY_LABELS = 0.36, 0.24, 20
INCHES_PER_CHARACTER = 0.07
WIDTH_AROUND, HEIGHT_AROUND = 1.8, 1.1

# Inches that the color bar and its label need, and the title.
MIN_MATRIX_HEIGHT, MIN_WIDTH = 2.2, 4.5

# A color bar is as high as this many rows at most.
MAX_BAR_LABELS = 15

# Points.
NUMBER_FONT_SIZE, LABEL_FONT_SIZE = 7, 8

# A smaller percentage is not printed: it would read 0.
MIN_PRINTED = 0.5

# Black on "Blues" has the higher contrast below this percentage, white above (relative luminance 0.179, WCAG 2.2).
MIN_WHITE_TEXT = 71.5


@docs.dedent
def confusion(
    labels: CellLabels,
    predicted: CellLabels,
    *,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the percentage of each known label's cells that received each predicted label.

    The diagonal, framed, has the correct labels. Labels that are only predicted are the last columns. The title has the
    percentage of correct labels, or states that known and predicted labels have no name in common.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    ax
        Axes to draw on. If None, axes of a new pyplot figure.
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Examples
    --------
    >>> import hrca
    >>> ax = hrca.pl.confusion(["B", "B", "T"], ["B", "T", "T"])
    >>> ax.get_xlabel()
    'Predicted label'
    """
    table = confusion_table(labels, predicted)
    ax = new_axes(*_size(table), layout="compressed") if ax is None else ax
    _draw(table, ax)
    finish(ax, show=show, save=save)
    return ax


def confusion_figure(labels: CellLabels, predicted: CellLabels) -> Figure:
    """Return the plot of :func:`hrca.pl.confusion` as a figure that pyplot does not keep; it need not be closed.

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
    >>> import hrca
    >>> figure = hrca.pl.confusion_figure(["B", "B", "T"], ["B", "T", "T"])
    >>> figure.axes[0].get_ylabel()
    'Known label (number of cells)'
    """
    table = confusion_table(labels, predicted)
    figure = Figure(figsize=_size(table), layout="compressed")
    _draw(table, figure.subplots())
    return figure


def _size(table: pd.DataFrame) -> tuple[float, float]:
    """Return width and height of a figure in inches."""
    n_rows, n_columns = table.shape
    left, below = (INCHES_PER_CHARACTER * max(len(short_name(label)) for label in axis) for axis in table.axes)
    per_label = INCHES_PER_LABEL if max(table.shape) <= MANY_LABELS else INCHES_PER_LABEL_OF_MANY
    width = max(WIDTH_AROUND + left + per_label * n_columns, MIN_WIDTH)
    height = HEIGHT_AROUND + below + max(per_label * n_rows, MIN_MATRIX_HEIGHT)
    return width, height


def _title(table: pd.DataFrame) -> str:
    of_known_names = table[table.index].to_numpy()
    if not of_known_names.any():
        return "Known and predicted labels have no name in common"
    n_cells = table.to_numpy().sum()
    return f"{np.trace(of_known_names) / n_cells:.0%} of {counted(n_cells, 'label', ('is', 'are'))} correct"


def _draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw cell counts by known label (rows) and predicted label (columns) as percentages of each row."""
    n_cells = table.sum(axis=1)
    percentages = 100 * table.div(n_cells, axis=0).to_numpy()
    mesh = ax.pcolormesh(percentages, cmap="Blues", vmin=0, vmax=100, edgecolors="whitesmoke", linewidth=0.5)
    for row, column in np.argwhere(percentages >= MIN_PRINTED):
        percentage = percentages[row, column]
        ax.text(
            column + 0.5,
            row + 0.5,
            f"{percentage:.0f}",
            ha="center",
            va="center",
            color="white" if percentage >= MIN_WHITE_TEXT else "black",
            fontsize=NUMBER_FONT_SIZE,
        )
    correct = [column for column, name in enumerate(table.columns) if name in table.index]
    for i in correct:
        ax.add_patch(Rectangle((i, i), 1, 1, fill=False, edgecolor="black", linewidth=0.8))
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [short_name(name) for name in table.columns], rotation=90)
    ax.set_yticks(np.arange(len(table)) + 0.5, [f"{short_name(name)} ({n:,})" for name, n in n_cells.items()])
    ax.tick_params(labelsize=LABEL_FONT_SIZE, length=2)
    ax.set_title(_title(table), fontsize=TITLE_FONT_SIZE)
    ax.set(xlabel="Predicted label", ylabel="Known label (number of cells)", aspect="equal")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(mesh, ax=ax, shrink=min(1, MAX_BAR_LABELS / len(table)))
    bar.set_label("Percentage of the known label's cells", fontsize=LABEL_FONT_SIZE)
    bar.ax.tick_params(labelsize=LABEL_FONT_SIZE)
    bar.outline.set_visible(False)
