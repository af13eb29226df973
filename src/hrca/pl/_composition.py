"""Composition of samples."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from hrca._docs import docs

from ._axes import add_label_legend, finish, legend_height, legend_width, new_axes, short_name
from ._cells import table_of, with_categories
from ._palette import label_colors

# Inches: a bar with its gap, the bars' length, and what title and axis need.
INCHES_PER_BAR, BAR_LENGTH, HEIGHT_AROUND, WIDTH_AROUND = 0.28, 5.5, 1.2, 2.0


@docs.dedent
def composition(
    adata: Any,
    by: str,
    *,
    key: str = "hrca",
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the fraction of each predicted label in each sample or region, as stacked bars.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`: an AnnData, or a SpatialData with one annotated table. Cells whose
        probability to be of none of the labels is at least 0.5 count as "Unknown".
    by
        Column of obs with the sample or region of each cell. Cells with a missing value are left out.
    %(plot_key)s
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there is no prediction or no such column, or no cell has a label and a sample.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> columns = {"hrca": ["B", "T", "T"], "sample": ["one", "one", "two"]}
    >>> cells = AnnData(obs=pd.DataFrame(columns, index=["a", "b", "c"]))
    >>> ax = hrca.pl.composition(cells, "sample")
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['one (2)', 'two (1)']
    """
    table = table_of(adata, key)
    if by not in table.obs:
        raise ValueError(f"`by` must name a column of obs, got {by!r}; it has {list(table.obs)[:20]}.")
    cells = with_categories(table, key)
    # numbers may name samples, too
    samples = table.obs[by].to_numpy() if not isinstance(table.obs[by].dtype, pd.CategoricalDtype) else table.obs[by]
    counts = pd.crosstab(pd.Series(samples, index=cells.obs_names, name=by), cells.obs[key])
    counts = counts.loc[counts.sum(axis=1) > 0, counts.sum() > 0]
    if counts.empty:
        raise ValueError(f"No cell has both a label in obs[{key!r}] and a value in obs[{by!r}].")
    all_colors = label_colors(cells, [key])
    colors = {name: all_colors[name] for name in all_colors if name in counts}
    if ax is None:
        height = max(HEIGHT_AROUND + INCHES_PER_BAR * len(counts), legend_height(len(colors)))
        ax, inside = new_axes(BAR_LENGTH + WIDTH_AROUND + legend_width(list(colors)), height), False
    else:
        inside = True
    fractions = counts.div(counts.sum(axis=1), axis=0)[list(colors)]
    fractions.index = [f"{short_name(name)} ({n:,})" for name, n in counts.sum(axis=1).items()]
    fractions.plot.barh(stacked=True, ax=ax, color=colors, width=0.85, legend=False, edgecolor="white", linewidth=0.3)
    ax.invert_yaxis()
    ax.set(xlabel="Fraction of the cells", ylabel=f"obs[{short_name(by)!r}] (number of cells)", xlim=(0, 1))
    ax.set_title("Composition: fraction of each predicted label", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    add_label_legend(ax, colors, counts.sum(), inside=inside)
    finish(ax, show=show, save=save)
    return ax
