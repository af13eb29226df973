"""Sizes of prediction sets."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca.metrics._inputs import CellGroups

from ._axes import LEGEND_FONT_SIZE, WIDTH, add_legend, group_values, legend_height, new_axes, shades

INCHES_PER_BAR = 0.28


def set_sizes(sets: pd.DataFrame, *, by: CellGroups | None = None, ax: Axes | None = None) -> Axes:
    """Plot the number of labels in prediction sets: a bar for each group of cells, divided by set size.

    Parameters
    ----------
    sets
        For each cell and label, True if the label is in the cell's set, shape (n_obs, n_labels), as in
        ``obsm["hrca_set"]``.
    by
        Group of each cell, for example its :func:`hrca.metrics.depth_bins`, shape (n_obs,). If None, all cells form
        one group.
    ax
        Axes to draw on. If None, axes of a new pyplot figure. The legend is beside the axes; a figure with
        ``layout="constrained"`` has room for it.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = set_sizes(pd.DataFrame({"B": [True, False], "T": [True, True]}))
    >>> ax.get_xlabel()
    'fraction of cells'
    """
    cells = pd.DataFrame({"by": group_values(by), "size": sets.to_numpy(dtype=bool).sum(axis=1)})
    by_group = cells.groupby("by", observed=True)["size"]
    fractions = by_group.value_counts(normalize=True).unstack(fill_value=0).sort_index(axis=1)
    names = [f"{group}: {sizes.mean():.1f} ({len(sizes)} cells)" for group, sizes in by_group]
    if ax is None:
        ax = new_axes(WIDTH, max(1 + INCHES_PER_BAR * len(names), legend_height(len(fractions.columns))))
    left = np.zeros(len(names))
    for size, color in zip(fractions.columns, shades(len(fractions.columns)), strict=True):
        ax.barh(names, fractions[size], left=left, color=color, label=str(size))
        left += fractions[size].to_numpy()
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=LEGEND_FONT_SIZE)
    ax.set(xlabel="fraction of cells", ylabel="group: mean size (number of cells)", xlim=(0, 1))
    add_legend(ax, "labels in the set")
    return ax
