"""Distribution of novelty."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from hrca._docs import docs
from hrca._messages import counted
from hrca.metrics._inputs import CellGroups, CellScores

from ._axes import LEGEND_FONT_SIZE, TITLE_FONT_SIZE, finish, group_values, new_axes, short_name
from ._palette import has_order

# Bins of novelty: the last holds the cells that `predict(novelty_fpr=0.05)` rejects by novelty. It also rejects cells
# with a novel probability of at least .5.
N_BINS = 20

# Ratio to the expected number of cells at which the color is the darkest.
MAX_RATIO = 5

# A color bar is as high as this many rows at most.
MAX_BAR_ROWS = 12

# Inches: a row, the plot without rows, and without the names of the groups; a character of these.
INCHES_PER_ROW, HEIGHT_AROUND, WIDTH_AROUND, INCHES_PER_CHARACTER = 0.24, 1.3, 6.0, 0.07
HISTOGRAM_SIZE = (6.5, 3.4)


@docs.dedent
def novelty(
    scores: CellScores,
    *,
    by: CellGroups | None = None,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the distribution of novelty: a histogram, or a row of a heat map for each group of cells.

    If all cells are like the reference, each of the 20 bins has a twentieth of them. More cells than that in the last
    bins, and fewer in the others, indicate novel cells. Groups that the model describes worst have more cells in the
    last bins even if the reference has their type, because novelty is a rank.

    Parameters
    ----------
    scores
        Novelty of each cell, in [0, 1], shape (n_obs,), as in ``obs["hrca_novelty"]``. Cells with NaN are left out.
    by
        Group of each cell, for example its known or predicted label, shape (n_obs,). If None, all cells form one group.
        The groups of an ordered categorical keep their order. Others are sorted by their fraction in the last bin.
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
        If no cell has a novelty.

    Examples
    --------
    >>> import hrca
    >>> ax = hrca.pl.novelty([0.1, 0.5, 0.99])
    >>> ax.get_xlabel()
    'Novelty (0: most like the reference, 1: least like it)'
    """
    cells = pd.DataFrame({"by": group_values(by), "novelty": np.asarray(scores, dtype=float)}).dropna()
    if cells.empty:
        raise ValueError("`scores` must have a number for at least one cell, but all are missing.")
    bins = np.minimum((cells["novelty"].to_numpy() * N_BINS).astype(int), N_BINS - 1)
    counts = pd.crosstab(cells["by"].array, bins).reindex(columns=range(N_BINS), fill_value=0)
    ax = _draw_histogram(counts, ax) if by is None else _draw_rows(counts, ax, is_sorted=has_order(by))
    n_cells = counted(len(cells), "cell")
    explanation = (
        "Above the line: more cells than expected if the reference has all types"
        if by is None
        else "Red: more cells than if the reference explained all groups equally well"
    )
    ax.set_title(f"Novelty of {n_cells}\n{explanation}", fontsize=TITLE_FONT_SIZE)
    ax.set(xlabel="Novelty (0: most like the reference, 1: least like it)", xlim=(0, 1))
    finish(ax, show=show, save=save)
    return ax


def _draw_histogram(counts: pd.DataFrame, ax: Axes | None) -> Axes:
    ax = new_axes(*HISTOGRAM_SIZE) if ax is None else ax
    fractions = counts.sum() / counts.to_numpy().sum()
    ax.bar(np.arange(N_BINS) / N_BINS, fractions, width=1 / N_BINS, align="edge", color="C0", edgecolor="white")
    ax.axhline(
        1 / N_BINS, color="black", linewidth=0.8, linestyle="--", label="expected if the reference has all types"
    )
    ax.set_ylabel(f"Fraction of the cells, in {N_BINS} bins")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_ylim(top=1.2 * max(fractions.max(), 1 / N_BINS))
    ax.legend(fontsize=LEGEND_FONT_SIZE, frameon=False, loc="upper left")
    return ax


def _draw_rows(counts: pd.DataFrame, ax: Axes | None, *, is_sorted: bool) -> Axes:
    """Draw the numbers of cells by group and bin as ratios to the expected ones."""
    fractions = counts.div(counts.sum(axis=1), axis=0)
    if not is_sorted:
        fractions = fractions.sort_values(N_BINS - 1, ascending=False, kind="stable")
    names = [
        f"{short_name(group)}: {row.iloc[-1]:.0%} of {counts.loc[group].sum():,}" for group, row in fractions.iterrows()
    ]
    if ax is None:
        width = WIDTH_AROUND + INCHES_PER_CHARACTER * max(map(len, names))
        ax = new_axes(width, HEIGHT_AROUND + INCHES_PER_ROW * max(len(names), 4))
    norm = TwoSlopeNorm(vmin=0, vcenter=1, vmax=MAX_RATIO)
    edges = np.arange(N_BINS + 1) / N_BINS
    mesh = ax.pcolormesh(edges, np.arange(len(names) + 1), fractions * N_BINS, cmap="RdBu_r", norm=norm)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=LEGEND_FONT_SIZE)
    ax.set_ylabel("Group: fraction of its cells in the last bin")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(
        mesh,
        ax=ax,
        extend="max",
        ticks=[0, 1, MAX_RATIO],
        aspect=12,
        pad=0.02,
        shrink=min(1, MAX_BAR_ROWS / len(names)),
    )
    bar.ax.set_yticklabels(["none", "as\nexpected", f"{MAX_RATIO} times\nas many"])
    bar.ax.tick_params(labelsize=LEGEND_FONT_SIZE)
    bar.set_label("Cells of the group\nin a column", fontsize=LEGEND_FONT_SIZE)
    bar.outline.set_visible(False)
    return ax
