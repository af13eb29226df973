"""Pictures of predictions; what scanpy draws (embeddings, sections) is left to scanpy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from . import metrics
from .metrics import N_BINS, confusion_table, reliability_table

# Inches for one label's row or column, and for the axes' names around them.
INCHES_PER_LABEL = 0.42
INCHES_AROUND = 3.2
# A cell of the matrix below this share is left without a number: it would only be clutter.
SMALLEST_SHARE_PRINTED = 0.005
# Area, in points^2, of a point that stands for all cells of a line.
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
        As there, for instance :func:`hrca.metrics.depth_bins`.
    n_bins
        As in :func:`hrca.metrics.reliability_table`.
    ax
        As in :func:`confusion`.

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
    ax = _axes() if ax is None else ax
    ax.axline((0, 0), slope=1, color="gray", linewidth=0.8)
    groups = list(table.groupby("by", observed=True))
    for color, (group, bins) in zip(_colors(len(groups)), groups, strict=True):
        label = f"{group}: {scores.loc[group, 'calibration_error']:.3f} ({scores.loc[group, 'n_obs']} cells)"
        # thin: bins of few cells jump about, and the points say how many they have
        ax.plot(bins["confidence"], bins["accuracy"], color=color, label=label, linewidth=0.8, alpha=0.6)
        sizes = LARGEST_POINT * bins["n_obs"] / bins["n_obs"].sum()
        ax.scatter(bins["confidence"], bins["accuracy"], s=sizes, color=color)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(title="calibration error", fontsize=7, title_fontsize=7)
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
    ax = _axes() if ax is None else ax
    ax.step(curve["coverage"], curve["risk"], where="post", label=f"area {area:.3f}")
    ax.set(xlabel="share of cells answered", ylabel="share of them that is wrong", xlim=(0, 1))
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=7)
    return ax


def set_sizes(sets: pd.DataFrame, *, by: Sequence | None = None, ax: Axes | None = None) -> Axes:
    """Draw how many labels the sets hold: the share of cells with each size, a line for each group of cells.

    Parameters
    ----------
    sets
        As in :func:`hrca.metrics.set_scores`.
    by
        As in :func:`hrca.metrics.set_scores`.
    ax
        As in :func:`confusion`.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = set_sizes(pd.DataFrame({"B": [True, False], "T": [True, True]}))
    >>> ax.get_xlabel()
    'labels in the set'
    """
    cells = pd.DataFrame({"by": "all" if by is None else by, "size": sets.to_numpy(dtype=bool).sum(axis=1)})
    ax = _axes() if ax is None else ax
    groups = list(cells.groupby("by", observed=True)["size"])
    for color, (group, sizes) in zip(_colors(len(groups)), groups, strict=True):
        shares = sizes.value_counts(normalize=True).reindex(range(sets.shape[1] + 1), fill_value=0)
        ax.plot(
            shares.index, shares, marker=".", color=color, label=f"{group}: {sizes.mean():.1f} ({len(sizes)} cells)"
        )
    ax.set(xlabel="labels in the set", ylabel="share of cells")
    ax.set_ylim(bottom=0)
    ax.legend(title="mean size", fontsize=7, title_fontsize=7)
    return ax


def novelty(scores: Sequence[float], *, by: Sequence | None = None, ax: Axes | None = None) -> Axes:
    """Draw which share of the cells is stranger than each novelty, a line for each group of cells.

    Cells of the reference's kind lie on the diagonal: a tenth of them is above .9. A line above it has strange cells.

    Parameters
    ----------
    scores
        Novelty of each cell, as in ``obs["hrca_novelty"]``, shape (n_obs,); cells without are left out.
    by
        As in :func:`hrca.metrics.set_scores`; known or predicted labels, for instance.
    ax
        As in :func:`confusion`.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> ax = novelty([0.1, 0.5, 0.99])
    >>> ax.get_xlabel()
    'novelty'
    """
    cells = pd.DataFrame({"by": "all" if by is None else np.asarray(by), "novelty": np.asarray(scores, dtype=float)})
    groups = list(cells.dropna().groupby("by", observed=True)["novelty"])
    ax = _axes() if ax is None else ax
    ax.plot([0, 1], [1, 0], color="gray", linewidth=0.8)
    for color, (group, values) in zip(_colors(len(groups)), groups, strict=True):
        steps = np.sort(values)
        above = 1 - np.arange(len(steps)) / len(steps)
        ax.step(steps, above, where="pre", color=color, label=f"{group} ({len(steps)} cells)")
    ax.set(xlabel="novelty", ylabel="share of cells that are at least as novel", xlim=(0, 1), ylim=(0, 1))
    ax.legend(fontsize=7)
    return ax


def _axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(4.5, 4.2), layout="constrained")[1]


def _colors(n: int) -> list:
    import matplotlib.pyplot as plt

    # groups have an order, as depths do: so have the colors; the lightest end is not seen on white
    return list(plt.get_cmap("viridis")(np.linspace(0, 0.9, n)))
