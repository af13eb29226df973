"""Contributions of genes to a label."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca._docs import docs

from ._axes import MIN_HEIGHT, WIDTH, add_legend, finish, new_axes, short_name

# Inches for the bar of a gene.
HEIGHT_PER_GENE = 0.24

# Inches of title and axis.
HEIGHT_AROUND = 1.5

# Color and name of each branch. The colors are told apart by readers with any color vision (Okabe and Ito).
BRANCHES = {
    "counts": ("#0072B2", "Count likelihood"),
    "network": ("#E69F00", "Networks"),
    "calibration": ("#999999", "Calibration"),
}


@docs.dedent
def explain(
    table: pd.DataFrame,
    cells: str | None = None,
    *,
    n_genes: int = 15,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot what each gene contributes to the label of a cell or group, against another label.

    Bars to the right speak for the label, bars to the left against it. The parts of a bar are the branches of the
    model. Stars mark the fewest of the genes with the largest contributions without whose counts, all deleted together,
    the other label would have the higher score.

    Parameters
    ----------
    table
        The result of :meth:`hrca.HRCA.explain`, one row for each gene of a cell or group.
    cells
        Name of the cell or group in the table. None: its only one.
    n_genes
        Maximum number of genes, those with the largest absolute contributions. Genes with a star are always shown.
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If `table` is not a result of :meth:`hrca.HRCA.explain`; `cells` is not in it, or is None and the table has
        several cells or groups; or `n_genes` is below 1.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {
    ...         "cells": "cell1",
    ...         "n_cells": 1,
    ...         "label": "B",
    ...         "against": "T",
    ...         "gene": ["MS4A1", "CD3E"],
    ...         "branch": "counts",
    ...         "count": 3,
    ...         "contribution": [2.0, -0.5],
    ...         "flips": [True, False],
    ...     }
    ... )
    >>> ax = hrca.pl.explain(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['MS4A1 * (3)', 'CD3E (3)']
    """
    unit = _one_unit(table, cells)
    if n_genes < 1:
        raise ValueError(f"`n_genes` must be at least 1, got {n_genes}.")
    bars = _bars(unit, n_genes)
    if ax is None:
        ax = new_axes(WIDTH, max(MIN_HEIGHT, HEIGHT_AROUND + HEIGHT_PER_GENE * len(bars)))
    for sign in (-1, 1):
        start = np.zeros(len(bars))
        for branch in (name for name in BRANCHES if name in bars):
            color, name = BRANCHES[branch]
            width = sign * np.maximum(sign * bars[branch].to_numpy(), 0)
            ax.barh(np.arange(len(bars)), width, left=start, color=color, label=name if sign > 0 else None)
            start = start + width
    first = unit.iloc[0]
    label, against = short_name(first["label"]), short_name(first["against"])
    total = unit["contribution"].sum()
    size = "" if first["n_cells"] == 1 else f", mean of {first['n_cells']} cells"
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(np.arange(len(bars)), [short_name(row) for row in bars.index])
    ax.invert_yaxis()
    ax.set(
        xlabel=f"Contribution in nats  (\N{LEFTWARDS ARROW} {against}   |   {label} "
        f"\N{RIGHTWARDS ARROW})\nsum of all rows: {total:+.1f}",
        ylabel="Gene (its counts)",
        title=f"{short_name(first['cells'])}{size}: {label}, against {against}",
    )
    add_legend(ax, "* Deleting these\nchanges the label" if unit["flips"].any() else None)
    finish(ax, show=show, save=save)
    return ax


def _one_unit(table: pd.DataFrame, cells: str | None) -> pd.DataFrame:
    missing = {"cells", "n_cells", "label", "against", "gene", "branch", "contribution", "flips"} - set(table.columns)
    if missing:
        raise ValueError(f"`table` must be the result of `model.explain`, but it lacks the columns {sorted(missing)}.")
    names = list(table["cells"].unique())
    if cells is None and len(names) != 1:
        raise ValueError(
            f"`table` must have one cell or group, got {len(names)}. `cells=` names the one to draw, such as "
            f"{names[:3]}."
        )
    chosen = names[0] if cells is None else cells
    if chosen not in names:
        raise ValueError(f"`cells` must be in the table, got {chosen!r}. It has {names[:5]}.")
    return table[table["cells"] == chosen]


def _bars(unit: pd.DataFrame, n_genes: int) -> pd.DataFrame:
    """Return a row for each bar and a column for each branch; the genes that are not shown are in one bar."""
    is_gene = ~unit["gene"].str.startswith("(") & unit["count"].notna()
    genes = unit[is_gene]
    totals = genes.groupby("gene", sort=False)["contribution"].sum()
    flips = genes.loc[genes["flips"], "gene"].unique()
    shown = [
        gene for i, gene in enumerate(totals.abs().sort_values(ascending=False).index) if i < n_genes or gene in flips
    ]
    rows = {}
    for gene in sorted(shown, key=lambda name: -totals[name]):
        part = genes[genes["gene"] == gene]
        star = " *" if gene in flips else ""
        rows[f"{gene}{star} ({part['count'].iloc[0]:.3g})"] = part.set_index("branch")["contribution"]
    rest = unit[~is_gene | ~unit["gene"].isin(shown)]
    rest = rest.assign(gene=rest["gene"].where(~rest.index.isin(genes.index), "(other genes)"))
    for name, part in rest.groupby("gene", sort=False):
        rows[str(name)] = part.groupby("branch")["contribution"].sum()
    return pd.DataFrame(rows).T.fillna(0.0)
