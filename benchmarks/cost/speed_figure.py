"""Figure of the speed benchmark: how time and memory grow with genes, labels, depth and cells."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks.accuracy.figures import HRCA, STYLES

from .speed_cells import QUERY_DEPTHS
from .speed_plan import BASE

DPI = 110
# the methods that the accuracy benchmark has too keep its colors
SPEED_STYLES = STYLES | {
    "HRCA, without novelty": STYLES[HRCA] | {"linestyle": "--"},
    "count likelihood": STYLES["Neg. binomial, platform"],
}
Names = Mapping[tuple[str, str], str]


def one_factor(rows: pd.DataFrame, factor: str, fixed: Mapping[str, object] = BASE) -> pd.DataFrame:
    """Return the rows that differ from `fixed` in one factor at most, in its order."""
    others = [name for name in BASE if name != factor]
    of_series = rows[(rows[others].astype(str) == [str(fixed[name]) for name in others]).all(axis=1)]
    return of_series.sort_values(factor)


def draw(grid: pd.DataFrame, names: Names, path: Path) -> None:
    """Draw five panels of prediction, and one of training if it was measured.

    Parameters
    ----------
    grid
        The rows of the grid, without errors.
    names
        Name of each pair of method and operation.
    path
        The file.
    """
    figure, panels = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    styles = {name: SPEED_STYLES[name] | {"label": name} for name in names.values()}
    for axes, factor, label in [
        (panels[0, 0], "n_genes", "genes"),
        (panels[0, 1], "n_labels", "labels"),
        (panels[0, 2], "depth", "depth of the query"),
    ]:
        _lines(axes, one_factor(grid, factor), factor, "cells_per_s", names, styles)
        axes.set(xlabel=label, ylabel="cells per second", yscale="log")
        axes.set_title(f"Prediction by {label}", fontsize=10)
    for axes, column, label in [(panels[1, 0], "seconds", "seconds"), (panels[1, 1], "peak_gb", "GB above the start")]:
        _lines(axes, one_factor(grid, "n_obs"), "n_obs", column, names, styles)
        axes.set(xlabel="query cells", ylabel=label)
        axes.set_title(f"Prediction: {label}", fontsize=10)
        _from_zero(axes)
    training = one_factor(grid[grid["operation"] == "train"], "n_reference", {**BASE, "n_genes": 300})
    if training["n_reference"].nunique() > 1:
        _lines(panels[1, 2], training, "n_reference", "seconds", {("hrca", "train"): "HRCA"}, styles)
        panels[1, 2].set(xlabel="reference cells, of 300 genes", ylabel="seconds")
        panels[1, 2].set_title("Training", fontsize=10)
        _from_zero(panels[1, 2])
    else:
        # the benchmark measures it last
        panels[1, 2].remove()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _from_zero(axes: Axes) -> None:
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)


def _lines(axes: Axes, rows: pd.DataFrame, factor: str, column: str, names: Names, styles: dict) -> None:
    depths = list(QUERY_DEPTHS)
    values = sorted(rows[factor].unique(), key=depths.index) if factor == "depth" else sorted(rows[factor].unique())
    # equal steps: the numbers of genes and of labels span powers of ten, and depths have no numbers
    is_linear = factor in ("n_obs", "n_reference")
    for (method, operation), name in names.items():
        line = rows[rows["method"].eq(method) & rows["operation"].eq(operation)].set_index(factor)[column]
        line = line.reindex([value for value in values if value in line.index])
        positions = line.index if is_linear else [values.index(value) for value in line.index]
        # other methods were measured at one number of cells
        if len(line) > (1 if is_linear else 0):
            axes.plot(positions, line, **styles[name])
    if is_linear:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    else:
        shown = [value if isinstance(value, str) else f"{value:,}" for value in values]
        axes.set_xticks(np.arange(len(values)), shown)
    axes.grid(alpha=0.3)
