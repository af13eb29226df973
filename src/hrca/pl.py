"""Pictures of predictions; what scanpy draws (embeddings, sections) is left to scanpy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hrca import metrics
from hrca.metrics import N_BINS, confusion_table, reliability_table

# Inches for one label's row or column, and for the axes' names around them.
INCHES_PER_LABEL = 0.42

INCHES_AROUND = 3.2

# Size of a picture with its legend beside it; heights of a group's bar and of an entry of the legend.
INCHES_WIDE, INCHES_HIGH = 6.5, 4.2

INCHES_PER_BAR = 0.28

INCHES_PER_ENTRY = 0.16

# Colors of matplotlib's list of that name; further ones come from its list of twenty, and begin anew after them.
N_TAB10 = 10

# A cell of the matrix below this share is left without a number: it would only be clutter.
MIN_PRINTED_FRACTION = 0.005

# Area, in points^2, of the point that stands for the most cells.
LARGEST_POINT = 150


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
    printed = shares.map(lambda share: f"{share:.2f}" if share >= MIN_PRINTED_FRACTION else "")
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


def reliability(
    labels: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    by: Sequence | None = None,
    n_bins: int = N_BINS,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often predictions are right against how sure they are, a line for each group of cells.

    A line below the diagonal claims too much, one above it too little. A point's area grows with its cells.

    Parameters
    ----------
    labels
        As in :func:`hrca.metrics.reliability_table`.
    predicted
        As in :func:`hrca.metrics.reliability_table`.
    confidence
        As in :func:`hrca.metrics.reliability_table`.
    by
        As there; groups of an ordered categorical, such as :func:`hrca.metrics.depth_bins`, have shades in that order,
        others colors.
    n_bins
        As in :func:`hrca.metrics.reliability_table`.
    ax
        As in :func:`confusion`; the legend stands beside them, for which ``layout="constrained"`` makes room.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        As :func:`hrca.metrics.reliability_table`.

    Examples
    --------
    >>> ax = reliability(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_xlabel()
    'confidence'
    """
    table = reliability_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    scores = metrics.calibration_table(labels, predicted, confidence, by=by, n_bins=n_bins)
    ax = _axes(len(scores)) if ax is None else ax
    ax.axline((0, 0), slope=1, color="gray", linewidth=0.8)
    groups = list(table.groupby("by", observed=True))
    for color, (group, bins) in zip(_colors(by, len(groups)), groups, strict=True):
        label = f"{group}: {scores.loc[group, 'calibration_error']:.3f} ({scores.loc[group, 'n_obs']} cells)"
        # thin: bins of few cells jump about, and the points say how many they have
        ax.plot(bins["confidence"], bins["accuracy"], color=color, label=label, linewidth=0.8, alpha=0.6)
        sizes = LARGEST_POINT * bins["n_obs"] / table["n_obs"].max()
        ax.scatter(bins["confidence"], bins["accuracy"], s=sizes, color=color, clip_on=False)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _legend_beside(ax, "calibration error")
    return ax


def risk_coverage(
    labels: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], *, ax: Axes | None = None
) -> Axes:
    """Draw which share of the labels is wrong when only the most confident cells are answered.

    Parameters
    ----------
    labels
        As in :func:`hrca.metrics.risk_coverage`.
    predicted
        As in :func:`hrca.metrics.risk_coverage`.
    confidence
        As in :func:`hrca.metrics.risk_coverage`.
    ax
        As in :func:`confusion`; a second curve on the same axes has the next color.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        As :func:`hrca.metrics.risk_coverage`.

    Examples
    --------
    >>> ax = risk_coverage(["B", "T"], ["B", "B"], [0.9, 0.6])
    >>> ax.get_ylabel()
    'share of them that is wrong'
    """
    curve = metrics.risk_coverage(labels, predicted, confidence)
    area = metrics.risk_coverage_area(labels, predicted, confidence)
    ax = _axes(1) if ax is None else ax
    ax.step(curve["coverage"], curve["risk"], where="post", label=f"area {area:.3f}")
    ax.set(xlabel="share of cells answered", ylabel="share of them that is wrong", xlim=(0, 1))
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=7)
    return ax


def set_sizes(sets: pd.DataFrame, *, by: Sequence | None = None, ax: Axes | None = None) -> Axes:
    """Draw how many labels the sets hold: a bar for each group of cells, in parts that are the shares of each size.

    Parameters
    ----------
    sets
        As in :func:`hrca.metrics.set_scores`.
    by
        As in :func:`hrca.metrics.set_scores`.
    ax
        As in :func:`reliability`.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = set_sizes(pd.DataFrame({"B": [True, False], "T": [True, True]}))
    >>> ax.get_xlabel()
    'share of cells'
    """
    import matplotlib.pyplot as plt

    cells = pd.DataFrame({"by": _groups(by), "size": sets.to_numpy(dtype=bool).sum(axis=1)})
    by_group = cells.groupby("by", observed=True)["size"]
    shares = by_group.value_counts(normalize=True).unstack(fill_value=0).sort_index(axis=1)
    names = [f"{group}: {sizes.mean():.1f} ({len(sizes)} cells)" for group, sizes in by_group]
    if ax is None:
        height = max(1 + INCHES_PER_BAR * len(names), _inches_of_legend(len(shares.columns)))
        _, ax = plt.subplots(figsize=(INCHES_WIDE, height), layout="constrained")
    left = np.zeros(len(names))
    for size, color in zip(shares.columns, _shades(len(shares.columns)), strict=True):
        ax.barh(names, shares[size], left=left, color=color, label=str(size))
        left += shares[size].to_numpy()
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=7)
    ax.set(xlabel="share of cells", ylabel="group: mean (cells)", xlim=(0, 1))
    _legend_beside(ax, "labels in the set")
    return ax


def novelty(scores: Sequence[float], *, by: Sequence | None = None, ax: Axes | None = None) -> Axes:
    """Draw which share of the cells is stranger than each novelty, a line for each group of cells.

    Cells of the reference's kind lie on the diagonal: a tenth of them is above .9. A line above it has strange cells.

    Parameters
    ----------
    scores
        Novelty of each cell, as in ``obs["hrca_novelty"]``, shape (n_obs,); cells without are left out.
    by
        As in :func:`reliability`; known or predicted labels, for instance.
    ax
        As in :func:`reliability`.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = novelty([0.1, 0.5, 0.99])
    >>> ax.get_xlabel()
    'novelty'
    """
    cells = pd.DataFrame({"by": _groups(by), "novelty": np.asarray(scores, dtype=float)})
    groups = list(cells.dropna().groupby("by", observed=True)["novelty"])
    ax = _axes(len(groups)) if ax is None else ax
    ax.plot([0, 1], [1, 0], color="gray", linewidth=0.8)
    for color, (group, values) in zip(_colors(by, len(groups)), groups, strict=True):
        steps = np.sort(values)
        above = 1 - np.arange(len(steps)) / len(steps)
        ax.step(steps, above, where="pre", color=color, label=f"{group} ({len(steps)} cells)")
    ax.set(xlabel="novelty", ylabel="share of cells that are at least as novel", xlim=(0, 1), ylim=(0, 1))
    _legend_beside(ax)
    return ax


def _axes(n_groups: int) -> Axes:
    import matplotlib.pyplot as plt

    size = (INCHES_WIDE, max(INCHES_HIGH, _inches_of_legend(n_groups)))
    return plt.subplots(figsize=size, layout="constrained")[1]


def _legend_beside(ax: Axes, title: str | None = None) -> None:
    # lines of many groups leave no room among them
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), title=title, fontsize=7, title_fontsize=7)


def _inches_of_legend(n_entries: int) -> float:
    return 1 + INCHES_PER_ENTRY * n_entries


def _groups(by: Sequence | None) -> Sequence | str:
    # without the index, with the order of categories
    return "all" if by is None else pd.Series(by).array


def _shades(n: int) -> list:
    import matplotlib.pyplot as plt

    # the lightest end is not seen on white
    return list(plt.get_cmap("viridis")(np.linspace(0, 0.9, n)))


def _colors(by: Sequence | None, n: int) -> list:
    import seaborn as sns

    has_order = isinstance(getattr(by, "dtype", None), pd.CategoricalDtype) and by.dtype.ordered
    if has_order or n == 1:
        return _shades(n)
    # of two neighbours among many labels, shades cannot be told apart
    return list(sns.color_palette("tab10" if n <= N_TAB10 else "tab20", n))
