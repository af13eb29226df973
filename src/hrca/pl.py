"""Pictures of predictions; what scanpy draws (embeddings, sections) is left to scanpy."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from .metrics import confusion_table

# Inches for one label's row or column, and for the axes' names around them.
INCHES_PER_LABEL = 0.42
INCHES_AROUND = 3.2
# A cell of the matrix below this share is left without a number: it would only be clutter.
SMALLEST_SHARE_PRINTED = 0.005


def confusion(labels: Sequence[str], predicted: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw, for each known label, the share of its cells that got each predicted label.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    predicted
        Predicted label of each cell, shape (n_obs,).
    ax
        Axes to draw on; those of a new pyplot figure if None, for ``plt.show()`` or ``plt.savefig()``.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the lengths differ, or there is no cell.

    Examples
    --------
    >>> ax = confusion(["B", "B", "T"], ["B", "T", "T"])
    >>> ax.get_xlabel()
    'predicted'
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    table = confusion_table(labels, predicted)
    shares = table.div(table.sum(axis=1), axis=0)
    if ax is None:
        n_rows, n_columns = shares.shape
        size = (INCHES_AROUND + INCHES_PER_LABEL * n_columns, INCHES_AROUND + INCHES_PER_LABEL * n_rows)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    printed = shares.map(lambda share: f"{share:.2f}" if share >= SMALLEST_SHARE_PRINTED else "")
    n_cells = [f"{label} ({n})" for label, n in table.sum(axis=1).items()]
    sns.heatmap(
        shares,
        ax=ax,
        annot=printed,
        fmt="",
        annot_kws={"fontsize": 7},
        vmin=0,
        vmax=1,
        cmap="Blues",
        linewidths=0.5,
        square=True,
        yticklabels=n_cells,
        cbar_kws={"label": "share of the label's cells", "shrink": 0.6},
    )
    ax.set(xlabel="predicted", ylabel="label (cells)")
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
    return ax
