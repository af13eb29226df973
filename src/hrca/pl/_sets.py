"""Sizes of prediction sets."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca._docs import docs
from hrca.metrics._inputs import CellGroups

from ._axes import (
    LEGEND_FONT_SIZE,
    TITLE_FONT_SIZE,
    WIDTH,
    add_legend,
    finish,
    group_values,
    legend_height,
    new_axes,
    short_name,
)
from ._palette import Color, has_order, shades

# Inches of a bar with its gap, and what title and axis need.
INCHES_PER_BAR, HEIGHT_AROUND = 0.24, 1.2

# Sets of this size and larger ones have one color: shades of more sizes cannot be told apart.
MAX_SHOWN_SIZE = 5

# A set without a label is none of the sizes from small to large.
EMPTY_COLOR = "#d62728"


@docs.dedent
def set_sizes(
    sets: pd.DataFrame,
    *,
    by: CellGroups | None = None,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the number of labels in prediction sets: a bar for each group of cells, with a part for each set size.

    Parameters
    ----------
    sets
        For each cell and label, True if the label is in the cell's set, shape (n_obs, n_labels), as in
        ``obsm["hrca_set"]``.
    by
        Group of each cell, for example its :func:`hrca.metrics.depth_bins`, shape (n_obs,). If None, all cells form
        one group. The groups of an ordered categorical keep their order. Others are sorted by their mean size.
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there is no cell.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> sets = pd.DataFrame({"B": [True, False], "T": [True, True]})
    >>> ax = hrca.pl.set_sizes(sets)
    >>> ax.get_xlabel()
    'Fraction of the cells'
    """
    if not len(sets):
        raise ValueError("`sets` must have at least one cell, got none.")
    sizes = np.asarray(sets, dtype=bool).sum(axis=1)
    cells = pd.DataFrame({"by": group_values(by), "size": sizes, "shown": np.minimum(sizes, MAX_SHOWN_SIZE)})
    groups = cells.groupby("by", observed=True)
    means = groups["size"].mean()
    order = means.index if has_order(by) else means.sort_values(kind="stable").index
    fractions = groups["shown"].value_counts(normalize=True).unstack(fill_value=0).sort_index(axis=1).loc[order]
    n_cells = groups.size()
    names = [f"{short_name(group)}: {means[group]:.1f} ({n_cells[group]:,})" for group in order]
    if ax is None:
        ax = new_axes(WIDTH, max(HEIGHT_AROUND + INCHES_PER_BAR * len(names), legend_height(len(fractions.columns))))
    left = np.zeros(len(names))
    for size, color in _size_colors().items():
        if size in fractions:
            name = f"{size} or more" if size == MAX_SHOWN_SIZE else str(size)
            ax.barh(range(len(names)), fractions[size], left=left, color=color, label=name)
            left += fractions[size].to_numpy()
    ax.set_yticks(range(len(names)), names, fontsize=LEGEND_FONT_SIZE)
    ax.set(xlabel="Fraction of the cells", ylabel="Group: mean size (number of cells)", xlim=(0, 1))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_title(f"Labels in the prediction sets: {sizes.mean():.1f} on average", fontsize=TITLE_FONT_SIZE)
    ax.spines[["top", "right"]].set_visible(False)
    add_legend(ax, "Labels in the set")
    finish(ax, show=show, save=save)
    return ax


def _size_colors() -> dict[int, Color]:
    return {0: EMPTY_COLOR} | dict(enumerate(reversed(shades(MAX_SHOWN_SIZE)), start=1))
