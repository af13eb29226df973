"""Colors of labels and groups."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colors as mcolors

from hrca._hierarchy import is_word_for_no_label
from hrca._records import MIN_NOVEL_PROBABILITY
from hrca.metrics._inputs import CellGroups

# A name that matplotlib knows, or a hexadecimal string.
Color = str

# Colors of matplotlib's lists and scanpy's `palettes.default_102`: first those of "tab10" without gray, then always the
# one whose smallest distance in CIELAB from those before is largest. Only colors with a lightness of 25 to 82 and a
# chroma above 12 were taken, so that none looks white, gray or black. The smallest distance between two of the first 40
# is 21, and between two of all it is 17; a distance of 2 can just be seen.
LABEL_COLORS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#bc23ff"),
    *("#004d43", "#3b5dff", "#ffbb78", "#ff2f80", "#a1c299", "#c5b0d5", "#b903aa", "#ff9896", "#4a3b53", "#a77500"),
    *("#ffb500", "#6b7900", "#279e68", "#772600", "#a30059", "#575329", "#8fb0ff", "#00489c", "#c49c94", "#4fc601"),
    *("#b5cf6b", "#0086ed", "#8cd0ff", "#ff34ff", "#7b4173", "#b79762", "#d790ff", "#cb7e98", "#7a87a1", "#cc0744"),
    *("#1e6e00", "#0089a3", "#00846f", "#7a4900", "#637939", "#ad494a", "#6367a9", "#0cbd66", "#456d75", "#e7ba52"),
    *("#00c2a0", "#de9ed6", "#7900d7", "#456648", "#a65628", "#0aa6d8", "#8c6d31", "#f7b6d2", "#8ca252", "#324e72"),
)

# Of cells without a label or a value.
NO_LABEL_COLOR = "lightgray"

# Novelty up to which a cell is drawn in gray. Not tuned.
MAX_GRAY_NOVELTY = 0.85

# Fraction of the viridis color map in use: its lightest end is invisible on white.
MAX_SHADE = 0.9


def is_no_label(label: object) -> bool:
    """Return True for a word such as "Unknown", which stands for a cell without a label."""
    return is_word_for_no_label(str(label))


def label_colors(adata: AnnData, columns: Sequence[str]) -> dict[str, Color]:
    """Return one color for each label of some columns; a label has the same color in all of them.

    Parameters
    ----------
    adata
        Cells. The colors are those of ``uns["<column>_colors"]``, where scanpy keeps them, if there are as many as
        categories. An earlier column decides.
    columns
        Columns of obs, each categorical.

    Returns
    -------
    The color of each category. Without stored colors, words such as "Unknown" are gray.
    """
    colors: dict[str, Color] = {}
    for column in columns:
        names = [str(name) for name in adata.obs[column].cat.categories]
        stored = adata.uns.get(f"{column}_colors", ())
        if len(stored) == len(names) and all(map(mcolors.is_color_like, stored)):
            colors = dict(zip(names, map(str, stored), strict=True)) | colors
    names = [str(name) for column in columns for name in adata.obs[column].cat.categories]
    used = {mcolors.to_hex(color) for color in colors.values()}
    free = [color for color in LABEL_COLORS if color not in used] or list(LABEL_COLORS)
    n_assigned = 0
    for name in dict.fromkeys(names):
        if name not in colors:
            colors[name] = NO_LABEL_COLOR if is_no_label(name) else free[n_assigned % len(free)]
            n_assigned += not is_no_label(name)
    # in the order of the categories, which the legend keeps
    return {name: colors[name] for name in dict.fromkeys(names)}


def shades(n: int) -> list[Color]:
    """Return `n` colors from dark to light."""
    return [mcolors.to_hex(color) for color in matplotlib.colormaps["viridis"](np.linspace(0, MAX_SHADE, n))]


def has_order(by: CellGroups | None) -> bool:
    """Return True for an ordered categorical, such as depth bins."""
    dtype = getattr(by, "dtype", None)
    return isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)


def group_colors(by: CellGroups | None, n_groups: int) -> list[Color]:
    """Return shades for groups with an order, and distinct colors for others."""
    if has_order(by) or n_groups == 1:
        return shades(n_groups)
    return [LABEL_COLORS[i % len(LABEL_COLORS)] for i in range(n_groups)]


def numeric_colormap(name: str) -> mcolors.Colormap:
    """Return the color map of a number: from gray to dark red for novelty, else viridis.

    Parameters
    ----------
    name
        Name of the number. Novelty is a rank: of known types, too, half of the cells have more than 0.5, and 5 % more
        than 0.95. Only these are conspicuous.
    """
    middle = {"_novelty": 0.95, "_novel_probability": MIN_NOVEL_PROBABILITY}
    places = [place for ending, place in middle.items() if name.endswith(ending)]
    if not places:
        return matplotlib.colormaps["viridis"]
    steps = [(0, NO_LABEL_COLOR), (places[0], "orangered"), (1, "#67000d")]
    if places[0] > MAX_GRAY_NOVELTY:
        steps.insert(1, (MAX_GRAY_NOVELTY, "#cdb9ae"))
    return mcolors.LinearSegmentedColormap.from_list("novelty", steps)
