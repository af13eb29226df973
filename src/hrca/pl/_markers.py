"""Genes that confirm the labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from scipy import sparse

from hrca._docs import docs
from hrca._records import prediction_record

from ._axes import LEGEND_FONT_SIZE, TITLE_FONT_SIZE, finish, short_name
from ._cells import counts_of, table_of
from ._expression import log_normalised, top_genes
from ._palette import is_no_label

# A dot is a mean over at most this many cells of a label, drawn at random: its error is then below 2 %.
MAX_CELLS_PER_LABEL = 1000

# A label with fewer cells has no genes of its own: their order would be chance. Not tuned.
MIN_CELLS_PER_LABEL = 10

# Genes of the reference are those that at most one other label has more of: those of several labels confirm none. Two
# kinds of one type share their genes. Not tuned.
MAX_LABEL_RANK = 2

# Labels without cells have a row if there are at most this many labels: with more, rows without dots are most of the
# plot. Not tuned.
MAX_LABELS_WITH_EMPTY_ROWS = 60

# Genes of a label, for at most this many labels: the plot then has about 45 columns at most, which can be read.
GENES_BY_LABELS = ((15, 3), (22, 2))

# Inches: a row and a column of dots, a character of a name, scanpy's legends, and what is around names and dots.
INCHES_PER_ROW, INCHES_PER_COLUMN, INCHES_PER_CHARACTER, WIDTH_OF_LEGENDS, MARGIN = 0.27, 0.27, 0.08, 2.2, 0.45

# Inches: the dots at least, so that the legends beside them have room.
MIN_WIDTH, MIN_HEIGHT = 2.0, 2.2

# Points: names of labels at the brackets, and from there to the title.
BRACKET_FONT_SIZE, TITLE_GAP = 9, 10
POINTS_PER_INCH = 72


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
    """Plot the genes of each label as scanpy's dot plot: each label's genes should be high in its own row.

    A bracket above the genes names the label that they are the genes of. A gene of several labels has a column under
    each of them. Each label has a row with its number of cells, also if it has none.

    The counts that `predict` read are divided by the cell's total, multiplied by 10,000, and log1p is taken. At most
    1,000 cells of each label, chosen at random, are used.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`: an AnnData, or a SpatialData with one annotated table.
    genes
        The genes of each label: a mapping, or the table of :meth:`hrca.HRCA.label_markers`, the genes of the
        reference. Of these, the genes are drawn that no other label has more of, then those that one has more of. If
        some label has such genes, all others are left out. Genes that the cells lack are left out. None: the genes that
        distinguish the label from all other cells of `adata`, by Welch's t test in ``scanpy.tl.rank_genes_groups``;
        labels with fewer than ten cells have none. These genes describe the labels, but do not confirm them
        independently.
    %(plot_key)s
    n_genes
        Number of genes of each label. None: 3 for at most 15 labels, 2 for at most 22, else 1.
    ax
        Axes to draw on. If None, axes of a new pyplot figure. The dots and their legends share the place of the given
        axes; brackets and title are above it.
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes with the dots.

    Raises
    ------
    ValueError
        If there is no prediction, the cells have none of the genes, no cell has a label, or the matrix that `predict`
        read is not there; or without `genes`, if no label has ten cells.

    Examples
    --------
    >>> import hrca
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> names = [f"cell{i}" for i in range(20)]
    >>> obs = pd.DataFrame({"hrca": ["B"] * 10 + ["T"] * 10}, index=names)
    >>> counts = np.repeat([[5.0, 0.0], [0.0, 5.0]], 10, axis=0)
    >>> cells = AnnData(counts, obs=obs, var=pd.DataFrame(index=["MS4A1", "CD3E"]))
    >>> ax = hrca.pl.markers(cells, {"B": ["MS4A1"], "T": ["CD3E"]})
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['MS4A1', 'CD3E']
    """
    from_model = isinstance(genes, pd.DataFrame)
    if isinstance(genes, pd.DataFrame):
        by_rank = genes.sort_values("rank", kind="stable")
        specific = by_rank[by_rank["rank"] <= MAX_LABEL_RANK]
        specific = by_rank if specific.empty else specific
        genes = {str(label): list(rows["gene"]) for label, rows in specific.groupby("label", observed=True)}
    table = table_of(adata, key)
    n_cells = _label_counts(table, key)
    cells = _normalised_sample(table, key, n_cells)
    if genes is None:
        title = "Genes of each label: highest against all other cells"
        by_label = _own_genes(cells, key, n_cells, n_genes)
    else:
        title = "Genes of each label in the reference" if from_model else "Genes of each label"
        by_label = _present_genes(cells, genes, list(n_cells.index), n_genes)
    main = _draw(cells, key, by_label, n_cells, title, ax)
    finish(main, show=show, save=save)
    return main


def _label_counts(adata: AnnData, key: str) -> pd.Series:
    """Return the number of cells of each label, in the order of the categories; words such as "Unknown" are left out.

    The labels are also those that the prediction could have given. An AnnData forgets categories without cells when it
    is subset.

    Raises
    ------
    ValueError
        If no cell has a label.
    """
    values = adata.obs[key].astype("category")
    n_cells = values.value_counts(sort=False)
    stored = prediction_record(adata.uns, key).get("labels", ())
    trained = [str(label) for label in stored if not is_no_label(str(label))]
    labels = [label for label in n_cells.index if not is_no_label(label)]
    # at another level of the hierarchy, the labels are others
    if set(map(str, labels)) <= set(trained):
        labels = trained
    n_cells = n_cells.reindex(labels, fill_value=0)
    if not n_cells.any():
        raise ValueError(f"A cell must have a label, but obs[{key!r}] has {values.value_counts().head().to_dict()}.")
    return n_cells if len(n_cells) <= MAX_LABELS_WITH_EMPTY_ROWS else n_cells[n_cells > 0]


def _normalised_sample(adata: AnnData, key: str, n_cells: pd.Series) -> AnnData:
    """Return log-normalised cells, at most some of each label; the categories of the labels are those of `n_cells`."""
    counts, names = counts_of(adata, key)
    rng = np.random.default_rng(0)
    codes = pd.Index(n_cells.index).get_indexer(adata.obs[key].astype(object))
    rows = [rng.permutation(np.flatnonzero(codes == code))[:MAX_CELLS_PER_LABEL] for code in range(len(n_cells))]
    chosen = np.sort(np.concatenate(rows))
    labels = pd.Categorical.from_codes(codes[chosen], categories=n_cells.index)
    return log_normalised(counts[chosen], pd.DataFrame({key: labels}, index=chosen.astype(str)), names)


def _own_genes(cells: AnnData, key: str, n_cells: pd.Series, n_genes: int | None) -> dict[str, list[str]]:
    """Return the genes that are highest in each label with enough cells.

    Raises
    ------
    ValueError
        If there is no such label.
    """
    labels = list(n_cells.index[n_cells >= MIN_CELLS_PER_LABEL])
    if not labels:
        raise ValueError(
            f"A label must have {MIN_CELLS_PER_LABEL} cells to have genes of its own, but obs[{key!r}] has "
            f"{n_cells.nlargest(5).to_dict()}."
        )
    scores = top_genes(cells, key, labels, n_genes or _usual_number(len(labels)))
    return {label: list(scores[label].index) for label in labels}


def _usual_number(n_labels: int) -> int:
    """Return the number of genes of a label at which the plot can be read."""
    return next((n for limit, n in GENES_BY_LABELS if n_labels <= limit), 1)


def _present_genes(
    cells: AnnData, genes: Mapping[str, Sequence[str]], labels: Sequence[str], n_genes: int | None
) -> dict[str, list[str]]:
    """Return the first genes of each label that the cells have.

    Raises
    ------
    ValueError
        If there is none.
    """
    present = {label: [gene for gene in genes.get(label, ()) if gene in cells.var_names] for label in labels}
    n_genes = n_genes or _usual_number(sum(map(bool, present.values())))
    if not any(present.values()):
        raise ValueError(
            f"`genes` must name genes of the cells for their labels, such as {labels[:3]}, but none of those of "
            f"{list(genes)[:3]} is there; the cells have {list(cells.var_names[:5])}."
        )
    return {label: names[:n_genes] for label, names in present.items() if names}


def _draw(
    cells: AnnData, key: str, by_label: dict[str, list[str]], n_cells: pd.Series, title: str, ax: Axes | None
) -> Axes:
    """Draw the dots, the names of rows with their numbers of cells, and the labels above their genes."""
    import scanpy as sc

    names = [gene for genes in by_label.values() for gene in genes]
    rows = [f"{short_name(label)} ({n:,})" for label, n in n_cells.items()]
    groups = [short_name(label) for label in by_label]
    above = INCHES_PER_CHARACTER * max(map(len, groups))
    size = (
        max(MIN_WIDTH, INCHES_PER_COLUMN * len(names)) + WIDTH_OF_LEGENDS,
        max(MIN_HEIGHT, INCHES_PER_ROW * len(rows)),
    )
    if ax is None:
        left, below = (INCHES_PER_CHARACTER * max(map(len, texts)) for texts in (rows, names))
        ax = _axes_with_margins(size, left + MARGIN, below + MARGIN, above + MARGIN)
    means, fractions = _means(cells, key, list(dict.fromkeys(names)))
    # scanpy would leave out the rows without cells
    obs = pd.DataFrame({key: means.index.array}, index=[str(row) for row in range(len(means))])
    plot = sc.pl.dotplot(
        AnnData(means.to_numpy(), obs=obs, var=pd.DataFrame(index=means.columns)),
        by_label,
        groupby=key,
        dot_color_df=means[names],
        dot_size_df=fractions[names],
        figsize=size,
        ax=ax,
        show=False,
        return_fig=True,
        var_group_rotation=90,
        colorbar_title="Mean log expression\n(0 to 1 for each gene)",
        size_title="Cells of the label with\na count of the gene (%)",
        cmap="Reds",
    )
    drawn = plot.style(dot_edge_color="gray", dot_edge_lw=0.3).get_axes()
    main, brackets = drawn["mainplot_ax"], drawn["gene_group_ax"]
    for text, group in zip(brackets.texts, groups, strict=True):
        text.set(text=group, fontsize=BRACKET_FONT_SIZE)
    brackets.set_title(title, fontsize=TITLE_FONT_SIZE, pad=POINTS_PER_INCH * above + TITLE_GAP)
    main.set_yticklabels(rows)
    main.set(xlabel="Gene", ylabel="Predicted label (number of cells)")
    main.xaxis.label.set_size(LEGEND_FONT_SIZE)
    return main


def _axes_with_margins(size: tuple[float, float], left: float, below: float, above: float) -> Axes:
    """Return axes of a size in inches on a new pyplot figure that has margins around them."""
    import matplotlib.pyplot as plt

    width, height = left + size[0] + MARGIN, below + size[1] + above
    figure, ax = plt.subplots(figsize=(width, height))
    figure.subplots_adjust(left / width, below / height, 1 - MARGIN / width, 1 - above / height)
    return ax


def _means(cells: AnnData, key: str, genes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean of each gene by label, from 0 to 1, and the fraction of cells with a count; 0 without cells."""
    labels = cells.obs[key].cat
    shape = (len(labels.categories), cells.n_obs)
    members = sparse.csr_array((np.ones(cells.n_obs), (labels.codes, np.arange(cells.n_obs))), shape)
    x = sparse.csr_array(cells[:, genes].X)
    n_cells = members.sum(axis=1)
    tables = [(members @ values).toarray() / np.maximum(n_cells, 1)[:, None] for values in (x, (x > 0).astype(float))]
    index = pd.CategoricalIndex(labels.categories, labels.categories)
    means, fractions = (pd.DataFrame(table, index, list(genes)) for table in tables)
    present = means[n_cells > 0]
    span = (present.max() - present.min()).replace(0, 1)
    return ((means - present.min()) / span).clip(lower=0), fractions
