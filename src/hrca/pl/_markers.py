"""Genes that confirm the labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from hrca._docs import docs

from ._axes import LEGEND_FONT_SIZE, finish, short_name
from ._cells import counts_of, table_of
from ._expression import log_normalised, top_genes
from ._palette import is_no_label

# A dot is a mean over at most this many cells of a label, drawn at random: its error is then below 2 %.
MAX_CELLS_PER_LABEL = 1000

# A label with fewer cells has no genes of its own: their order would be chance. Not tuned.
MIN_CELLS_PER_LABEL = 10

# Genes of a label, for at most this many labels: the plot then has about 45 columns at most, which can be read.
GENES_BY_LABELS = ((15, 3), (22, 2))

# Inches of a row and of a column of dots, and what labels, title and legend need.
INCHES_PER_ROW, INCHES_PER_COLUMN, HEIGHT_AROUND, WIDTH_AROUND = 0.27, 0.27, 1.6, 3.6


@docs.dedent
def markers(
    adata: Any,
    genes: Mapping[str, Sequence[str]] | pd.DataFrame | None = None,
    *,
    key: str = "hrca",
    n_genes: int | None = None,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Plot the genes that confirm the labels, by scanpy's dot plot: each label's genes are high in its own row.

    The counts that `predict` read are divided by the cell's total, multiplied by 10,000, and log1p is taken. At most
    1,000 cells of each label are drawn at random.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`.
    genes
        The genes of each label: a mapping, or the table of :meth:`hrca.HRCA.label_markers`, the genes of the
        reference. Genes that the cells lack are left out. None: the genes that distinguish the label in these cells,
        by Welch's t test in ``scanpy.tl.rank_genes_groups``. They describe the labels, but do not confirm them
        independently.
    %(plot_key)s
    n_genes
        Number of genes of each label. None: 3 for at most 15 labels, 2 for at most 22, else 1.
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes with the dots.

    Raises
    ------
    ValueError
        If there is no prediction, the cells have none of the genes, no label has ten cells, or the matrix that
        `predict` read is not there.

    Examples
    --------
    >>> obs = pd.DataFrame({"hrca": ["B"] * 10 + ["T"] * 10}, index=[f"cell{i}" for i in range(20)])
    >>> counts = np.repeat([[5.0, 0.0], [0.0, 5.0]], 10, axis=0)
    >>> cells = AnnData(counts, obs=obs, var=pd.DataFrame(index=["MS4A1", "CD3E"]))
    >>> ax = markers(cells, {"B": ["MS4A1"], "T": ["CD3E"]})
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['MS4A1', 'CD3E']
    """
    import scanpy as sc

    if isinstance(genes, pd.DataFrame):
        genes = {str(label): list(rows["gene"]) for label, rows in genes.groupby("label", observed=True)}
    cells = _normalised_sample(table_of(adata, key), key)
    labels = list(cells.obs[key].cat.categories)
    n_genes = n_genes or next((n for limit, n in GENES_BY_LABELS if len(labels) <= limit), 1)
    if genes is None:
        by_label = {label: list(scores.index) for label, scores in top_genes(cells, key, labels, n_genes).items()}
    else:
        by_label = _present_genes(cells, genes, labels, n_genes)
    names = list(dict.fromkeys(gene for label in labels for gene in by_label.get(label, ())))
    size = (WIDTH_AROUND + INCHES_PER_COLUMN * len(names), HEIGHT_AROUND + INCHES_PER_ROW * len(labels))
    cells.obs[key] = cells.obs[key].cat.rename_categories([short_name(label) for label in labels])
    plot = sc.pl.dotplot(
        cells,
        names,
        groupby=key,
        figsize=size,
        ax=ax,
        show=False,
        return_fig=True,
        standard_scale="var",
        colorbar_title="Mean log expression\n(0 to 1 for each gene)",
        size_title="Cells of the label with\na count of the gene (%)",
        cmap="Reds",
    )
    drawn = plot.style(dot_edge_color="gray", dot_edge_lw=0.3).get_axes()
    main = drawn["mainplot_ax"]
    main.set(xlabel="Gene, in the order of the labels", ylabel="Predicted label")
    main.xaxis.label.set_size(LEGEND_FONT_SIZE)
    title = "Genes that are highest in each label" if genes is None else "Marker genes of each label"
    main.set_title(title, fontsize="medium")
    finish(main, show=show, save=save)
    return main


def _normalised_sample(adata: AnnData, key: str) -> AnnData:
    """Return log-normalised cells of the labels with enough cells, at most some of each label.

    Raises
    ------
    ValueError
        If no label has enough cells.
    """
    counts, names = counts_of(adata, key)
    rng = np.random.default_rng(0)
    labels = adata.obs[key].astype("category")
    rows = []
    for label, members in labels.reset_index(drop=True).groupby(labels.to_numpy(), observed=True).indices.items():
        if len(members) >= MIN_CELLS_PER_LABEL and not is_no_label(label):
            rows.append(rng.permutation(members)[:MAX_CELLS_PER_LABEL])
    if not rows:
        raise ValueError(
            f"A label must have {MIN_CELLS_PER_LABEL} cells to have genes of its own, but obs[{key!r}] has "
            f"{labels.value_counts().head().to_dict()}."
        )
    chosen = np.sort(np.concatenate(rows))
    values = labels.iloc[chosen].cat.remove_unused_categories().array
    return log_normalised(counts[chosen], pd.DataFrame({key: values}, index=chosen.astype(str)), names)


def _present_genes(
    cells: AnnData, genes: Mapping[str, Sequence[str]], labels: Sequence[str], n_genes: int
) -> dict[str, list[str]]:
    """Return the first genes of each label that the cells have.

    Raises
    ------
    ValueError
        If there is none.
    """
    present = {label: [gene for gene in genes.get(label, ()) if gene in cells.var_names][:n_genes] for label in labels}
    if not any(present.values()):
        raise ValueError(
            f"`genes` must name genes of the cells for their labels, such as {labels[:3]}, but none of those of "
            f"{list(genes)[:3]} is there; the cells have {list(cells.var_names[:5])}."
        )
    return present
