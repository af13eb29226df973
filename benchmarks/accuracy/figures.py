"""Figures of the accuracy benchmark."""

from pathlib import Path

import grid
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 100
OURS = "HRCA"
# HRCA is black; variants of a method (what follows a comma in its name) have its color and are not solid.
COLORS = ("black", *plt.get_cmap("tab10").colors, "navy", "gold", "darkgreen")
MARKERS = "osD^vP*Xhp<>d8"
LINES = ("-", "--", ":", "-.", (0, (1, 4)))


def looks(methods: list[str]) -> dict[str, dict]:
    """Line style of each method."""
    families = {}
    for method in methods:
        families.setdefault(method.split(",")[0], []).append(method)
    families = {OURS: families.pop(OURS, []), **families}
    made = {}
    for color, marker, variants in zip(COLORS, MARKERS, families.values(), strict=False):
        for line, method in zip(LINES, variants, strict=False):
            made[method] = {"color": color, "marker": marker, "linestyle": line, "markersize": 4.5, "linewidth": 1.3}
    if OURS in made:
        made[OURS] |= {"linewidth": 2.6, "zorder": 5}
    return {method: made[method] for method in methods}


def draw_lines(axes: Axes, table: pd.DataFrame, positions: pd.Series, styles: dict[str, dict]) -> None:
    """Draw mean macro-F1 of each method at each position, and its range over the seeds."""
    for method, style in styles.items():
        own = table[table["method"] == method]
        if own.empty:
            continue
        spread = own.groupby(positions[own.index])["macro_f1"].agg(["mean", "min", "max"])
        axes.plot(spread.index, spread["mean"], label=method, **style)
        axes.fill_between(spread.index, spread["min"], spread["max"], color=style["color"], alpha=0.1, linewidth=0)
    axes.grid(alpha=0.3)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("macro-F1")


def depths(table: pd.DataFrame, methods: list[str], path: Path) -> None:
    """Macro-F1 against the share of the counts, a panel for each scRNA-seq query."""
    shares = pd.to_numeric(table["depth"], errors="coerce")
    rows = table[shares.notna() & (table["genes"] == grid.ALL_GENES)]
    pairs = [pair for pair in rows["pair"].unique() if rows.loc[rows["pair"] == pair, "depth"].nunique() > 1]
    n_columns = 4
    # one place more, for the legend
    n_rows = len(pairs) // n_columns + 1
    figure, all_axes = plt.subplots(
        n_rows, n_columns, figsize=(4 * n_columns, 4 * n_rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, pair in zip(all_axes.flat, pairs, strict=False):
        draw_lines(axes, rows[rows["pair"] == pair], shares, looks(methods))
        axes.set_xscale("log")
        ticks = sorted(shares[rows.index].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_title(pair.replace(" -> ", "\n→ "), fontsize=9)
        axes.set_xlabel("share of the counts")
    for axes in all_axes.flat[len(pairs) :]:
        axes.axis("off")
    all_axes.flat[len(pairs)].legend(*_legend(figure), loc="center left", frameon=False, fontsize=10)
    _save(figure, path)


def panels(table: pd.DataFrame, methods: list[str], path: Path) -> None:
    """Macro-F1 against the size of the gene panel: a row for each pair, a column for each choice and depth."""
    rows = table[table["depth"].str.endswith("counts")]
    pairs = list(rows.loc[rows["genes"] != grid.ALL_GENES, "pair"].unique())
    if not pairs:
        path.unlink(missing_ok=True)
        return
    columns = [(choice, f"{counts} counts") for choice in grid.PANEL_CHOICES for counts in grid.PANEL_COUNTS]
    sizes = sorted(grid.PANEL_SIZES)
    places = {f"{size} {choice}": i for i, size in enumerate(sizes) for choice in grid.PANEL_CHOICES}
    places[grid.ALL_GENES] = len(sizes)
    shape = (len(pairs), len(columns))
    figure, all_axes = plt.subplots(
        *shape, figsize=(16, 3.6 * len(pairs) + 1), sharey=True, squeeze=False, layout="constrained"
    )
    for line, pair in zip(all_axes, pairs, strict=False):
        for axes, (choice, depth) in zip(line, columns, strict=True):
            shown = rows[(rows["pair"] == pair) & (rows["depth"] == depth)]
            shown = shown[shown["genes"].isin([f"{size} {choice}" for size in sizes] + [grid.ALL_GENES])]
            draw_lines(axes, shown, shown["genes"].map(places), looks(methods))
            axes.set_xticks(range(len(sizes) + 1), [*map(str, sizes), "all"])
            axes.set_xlim(-0.15, len(sizes) + 0.15)
            axes.set_xlabel(f"{choice} genes")
            axes.set_title(f"{pair.replace(' -> ', ' → ')}\nmedian cell: at most {depth}", fontsize=9)
    figure.legend(*_legend(figure), loc="outside lower center", ncols=5, frameon=False, fontsize=11)
    _save(figure, path)


def summary(means: pd.DataFrame, path: Path) -> None:
    """Bars of mean macro-F1 on sparse and on whole queries, best on sparse at the top."""
    means = means[::-1]
    places = np.arange(len(means))
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(means) + 1.2))
    for offset, (name, color) in zip((0.2, -0.2), {"sparse": "#c44e52", "full": "#b0b7c3"}.items(), strict=True):
        text = {"sparse": "sparse: depth ≤ 0.1 or ≤ 300 genes", "full": "whole scRNA-seq queries"}[name]
        bars = axes.barh(places + offset, means[f"macro-F1, {name}"].fillna(0), height=0.38, color=color, label=text)
        axes.bar_label(bars, fmt=lambda value: f"{value:.3f}" if value else "none", fontsize=8, padding=2)
    n_rows = means["rows"]
    most = n_rows.max()
    labels = [f"{name} ({n} of {most} rows)" if n < most else name for name, n in n_rows.items()]
    axes.set_yticks(places, labels)
    for label, method in zip(axes.get_yticklabels(), means.index, strict=True):
        label.set_fontweight("bold" if method == OURS else "normal")
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean macro-F1 over queries and seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.5 / len(means) - 0.06), ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _legend(figure: Figure) -> tuple[list, list[str]]:
    # of every line that is in any panel
    found = {}
    for axes in figure.axes:
        found |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    return list(found.values()), list(found)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
