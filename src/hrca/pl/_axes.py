"""Axes, legends and colors that the plots share."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca.metrics._inputs import CellGroups

# An RGBA color, shape (4,).
Color = np.ndarray

# Inches. A plot with its legend beside it has the first two; an entry of the legend has a height of the third.
WIDTH, MIN_HEIGHT, HEIGHT_PER_ENTRY = 6.5, 4.2, 0.16

# Points.
LEGEND_FONT_SIZE = 7

# Number of colors in matplotlib's list "tab10". More groups take those of "tab20", repeated if necessary.
N_TAB10 = 10

# Fraction of the viridis color map in use: its lightest end is invisible on white.
MAX_SHADE = 0.9


def new_axes(width: float, height: float, layout: str = "constrained") -> Axes:
    """Return axes on a new pyplot figure of this size in inches."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), layout=layout).subplots()


def axes_with_legend(n_groups: int) -> Axes:
    """Return axes on a new pyplot figure with room for a legend of `n_groups` entries."""
    return new_axes(WIDTH, max(MIN_HEIGHT, legend_height(n_groups)))


def legend_height(n_entries: int) -> float:
    """Return the height in inches of a legend and its title."""
    return 1 + HEIGHT_PER_ENTRY * n_entries


def add_legend(ax: Axes, title: str | None = None) -> None:
    """Add a legend to the right of the axes, where it hides no line."""
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1, 1),
        title=title,
        fontsize=LEGEND_FONT_SIZE,
        title_fontsize=LEGEND_FONT_SIZE,
    )


def group_values(by: CellGroups | None) -> CellGroups | str:
    """Return the group of each cell without an index; "all" without groups. A categorical keeps its order."""
    return "all" if by is None else pd.Series(by).array


def shades(n: int) -> list[Color]:
    """Return `n` colors from dark to light."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, MAX_SHADE, n)))


def group_colors(by: CellGroups | None, n_groups: int) -> list[Color]:
    """Return shades for groups with an order, and distinct colors for others."""
    dtype = getattr(by, "dtype", None)
    has_order = isinstance(dtype, pd.CategoricalDtype) and dtype.ordered
    if has_order or n_groups == 1:
        return shades(n_groups)
    # adjacent shades of many groups look the same
    colors = matplotlib.colormaps["tab10" if n_groups <= N_TAB10 else "tab20"]
    return [np.asarray(colors(i % colors.N)) for i in range(n_groups)]
