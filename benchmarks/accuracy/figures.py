"""Figures of the accuracy benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS
from matplotlib.figure import Figure

from benchmarks.common.data import ALL_GENES

from .grid import PANEL_CHOICES, PANEL_COUNTS, PANEL_SIZES

DPI = 100
HRCA = "HRCA"
# HRCA is black. Variants of a method, named after a comma, have its color and other lines.
COLORS = ("black", *TABLEAU_COLORS.values(), "navy", "gold", "darkgreen")
MARKERS = "osD^vP*Xhp<>d8"
LINES = ("-", "--", ":", "-.", (0, (1, 4)))
N_COLUMNS = 4

Style = dict[str, Any]


def line_styles(methods: Sequence[str]) -> dict[str, Style]:
    """Choose the line style of each method."""
    families: dict[str, list[str]] = {HRCA: []}
    for method in methods:
        families.setdefault(method.split(",")[0], []).append(method)
    styles: dict[str, Style] = {}
    for color, marker, variants in zip(COLORS, MARKERS, families.values(), strict=False):
        for line, method in zip(LINES, variants, strict=False):
            styles[method] = {"color": color, "marker": marker, "linestyle": line, "markersize": 4.5, "linewidth": 1.3}
    if HRCA in styles:
        styles[HRCA] |= {"linewidth": 2.6, "zorder": 5}
    return {method: styles[method] for method in methods}


def draw_lines(axes: Axes, table: pd.DataFrame, positions: pd.Series, styles: dict[str, Style]) -> None:
    """Draw the mean macro-F1 of each method at each position, and its range over the seeds."""
    for method, style in styles.items():
        rows = table[table["method"] == method]
        if rows.empty:
            continue
        spread = rows.groupby(positions[rows.index])["macro_f1"].agg(["mean", "min", "max"])
        axes.plot(spread.index, spread["mean"], label=method, **style)
        axes.fill_between(spread.index, spread["min"], spread["max"], color=style["color"], alpha=0.1, linewidth=0)
    axes.grid(alpha=0.3)
    place = axes.get_subplotspec()
    if place is not None and place.is_first_col():
        axes.set_ylabel("macro-F1")


def depths(table: pd.DataFrame, methods: Sequence[str], path: Path) -> None:
    """Draw macro-F1 against the fraction of the counts, an axes for each scRNA-seq query."""
    fractions = pd.to_numeric(table["depth"], errors="coerce")
    rows = table[fractions.notna() & (table["genes"] == ALL_GENES)]
    pairs = [pair for pair in rows["pair"].unique() if rows.loc[rows["pair"] == pair, "depth"].nunique() > 1]
    # one place more, for the legend
    n_rows = len(pairs) // N_COLUMNS + 1
    size = (4 * N_COLUMNS, 4 * n_rows)
    figure, all_axes = plt.subplots(n_rows, N_COLUMNS, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, pair in zip(all_axes.flat, pairs, strict=False):
        draw_lines(axes, rows[rows["pair"] == pair], fractions, line_styles(methods))
        axes.set_xscale("log")
        ticks = sorted(fractions[rows.index].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_title(pair.replace(" -> ", "\n→ "), fontsize=9)
        axes.set_xlabel("fraction of the counts")
    for axes in all_axes.flat[len(pairs) :]:
        axes.axis("off")
    all_axes.flat[len(pairs)].legend(*_legend(figure), loc="center left", frameon=False, fontsize=10)
    _save(figure, path)


def panels(table: pd.DataFrame, methods: Sequence[str], path: Path) -> None:
    """Draw macro-F1 against the size of the gene panel: a row for each pair, a column for each choice and depth.

    Without results on panels, a figure of an earlier run is removed.
    """
    rows = table[table["depth"].str.endswith("counts")]
    pairs = list(rows.loc[rows["genes"] != ALL_GENES, "pair"].unique())
    if not pairs:
        path.unlink(missing_ok=True)
        return
    columns = [(choice, f"{counts} counts") for choice in PANEL_CHOICES for counts in PANEL_COUNTS]
    size = (16, 3.6 * len(pairs) + 1)
    figure, all_axes = plt.subplots(
        len(pairs), len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for line, pair in zip(all_axes, pairs, strict=False):
        for axes, (choice, depth) in zip(line, columns, strict=True):
            chosen = rows[(rows["pair"] == pair) & (rows["depth"] == depth)]
            _draw_panels(axes, chosen, choice, line_styles(methods))
            axes.set_title(f"{pair.replace(' -> ', ' → ')}\nmedian cell: at most {depth}", fontsize=9)
    figure.legend(*_legend(figure), loc="outside lower center", ncols=5, frameon=False, fontsize=11)
    _save(figure, path)


def _draw_panels(axes: Axes, rows: pd.DataFrame, choice: str, styles: dict[str, Style]) -> None:
    sizes = sorted(PANEL_SIZES)
    places = {f"{size} {choice}": i for i, size in enumerate(sizes)} | {ALL_GENES: len(sizes)}
    rows = rows[rows["genes"].isin(places)]
    draw_lines(axes, rows, rows["genes"].map(places), styles)
    axes.set_xticks(range(len(sizes) + 1), [*map(str, sizes), "all"])
    axes.set_xlim(-0.15, len(sizes) + 0.15)
    axes.set_xlabel(f"{choice} genes")


def summary(means: pd.DataFrame, path: Path) -> None:
    """Draw bars of mean macro-F1 on sparse and on whole queries, with the best on sparse queries at the top."""
    means = means[::-1]
    places = np.arange(len(means))
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(means) + 1.2))
    for offset, (name, color) in zip((0.2, -0.2), {"sparse": "#c44e52", "full": "#b0b7c3"}.items(), strict=True):
        text = {"sparse": "sparse: depth ≤ 0.1 or ≤ 300 genes", "full": "whole scRNA-seq queries"}[name]
        bars = axes.barh(places + offset, means[f"macro-F1, {name}"].fillna(0), height=0.38, color=color, label=text)
        axes.bar_label(bars, fmt=lambda value: f"{value:.3f}" if value else "none", fontsize=8, padding=2)
    max_rows = means["rows"].max()
    labels = [f"{name} ({n} of {max_rows} rows)" if n < max_rows else name for name, n in means["rows"].items()]
    axes.set_yticks(places, labels)
    for label, method in zip(axes.get_yticklabels(), means.index, strict=True):
        label.set_fontweight("bold" if method == HRCA else "normal")
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean macro-F1 over queries and seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.5 / len(means) - 0.06), ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _legend(figure: Figure) -> tuple[list, list[str]]:
    # every line of any axes, once
    lines: dict[str, Any] = {}
    for axes in figure.axes:
        lines |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    return list(lines.values()), list(lines)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
