"""Distribution of novelty."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca.metrics._inputs import CellGroups, CellScores

from ._axes import add_legend, axes_with_legend, group_colors, group_values


def novelty(scores: CellScores, *, by: CellGroups | None = None, ax: Axes | None = None) -> Axes:
    """Plot the fraction of cells at or above each novelty, with one line for each group of cells.

    The novelty of cells like the reference is uniform in [0, 1], which gives the falling diagonal. A line above it
    indicates novel cells.

    Parameters
    ----------
    scores
        Novelty of each cell, in [0, 1], shape (n_obs,), as in ``obs["hrca_novelty"]``. Cells with NaN are left out.
    by
        Group of each cell, for example its known or predicted label, shape (n_obs,). If None, all cells form one group.
        The groups of an ordered categorical are drawn in shades, others in distinct colors.
    ax
        Axes to draw on. If None, axes of a new pyplot figure. The legend is beside the axes; a figure with
        ``layout="constrained"`` has room for it.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = novelty([0.1, 0.5, 0.99])
    >>> ax.get_xlabel()
    'novelty'
    """
    cells = pd.DataFrame({"by": group_values(by), "novelty": np.asarray(scores, dtype=float)})
    groups = list(cells.dropna().groupby("by", observed=True)["novelty"])
    ax = axes_with_legend(len(groups)) if ax is None else ax
    ax.plot([0, 1], [1, 0], color="gray", linewidth=0.8)
    for color, (group, values) in zip(group_colors(by, len(groups)), groups, strict=True):
        steps = np.sort(values)
        above = 1 - np.arange(len(steps)) / len(steps)
        ax.step(steps, above, where="pre", color=color, label=f"{group} ({len(steps)} cells)")
    ax.set(xlabel="novelty", ylabel="fraction of cells at or above this novelty", xlim=(0, 1), ylim=(0, 1))
    add_legend(ax)
    return ax
