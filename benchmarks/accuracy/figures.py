"""Figures of the accuracy benchmark."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common.data import ALL_GENES

from .grid import PANEL_CHOICES, PANEL_COUNTS, PANEL_SIZES

# A figure of eight inches is about as wide as the text of the docs at half of its pixels.
DPI = 160
WIDTH = 8
N_COLUMNS = 2
HRCA = "HRCA"
# Methods with a line of their own: more than six cannot be told apart. The others are grey.
STYLES: dict[str, "Style"] = {
    HRCA: {"color": "black", "marker": "o", "linewidth": 2.6, "zorder": 5},
    "Neg. binomial, platform": {"color": "#0072b2", "marker": "s"},
    "scANVI": {"color": "#e69f00", "marker": "D"},
    "RCTD": {"color": "#009e73", "marker": "P"},
    "SingleR": {"color": "#cc79a7", "marker": "^"},
    "CellTypist": {"color": "#d55e00", "marker": "v"},
}
OTHERS = "other methods"

Style = dict[str, Any]


def line_styles(methods: Sequence[str]) -> dict[str, Style]:
    """Choose the line style of each method; the grey ones are drawn first, and share a name in the legend."""
    grey: Style = {"color": "#c4c4c4", "linewidth": 0.9, "zorder": 1, "label": OTHERS}
    own = {name: {"markersize": 4.5, "linewidth": 1.5, "label": name, **style} for name, style in STYLES.items()}
    return {method: own.get(method, grey) for method in sorted(methods, key=own.__contains__)}


def draw_lines(axes: Axes, table: pd.DataFrame, positions: pd.Series, styles: dict[str, Style]) -> None:
    """Draw the mean macro-F1 of each method at each position, and HRCA's range over the seeds."""
    for method, style in styles.items():
        rows = table[table["method"] == method]
        if rows.empty:
            continue
        spread = rows.groupby(positions[rows.index])["macro_f1"].agg(["mean", "min", "max"])
        axes.plot(spread.index, spread["mean"], **style)
        if method == HRCA:
            axes.fill_between(spread.index, spread["min"], spread["max"], color=style["color"], alpha=0.15, linewidth=0)
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
    size = (WIDTH, 2.9 * n_rows)
    figure, all_axes = plt.subplots(n_rows, N_COLUMNS, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, pair in zip(all_axes.flat, pairs, strict=False):
        draw_lines(axes, rows[rows["pair"] == pair], fractions, line_styles(methods))
        axes.set_xscale("log")
        ticks = sorted(fractions[rows.index].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_title(pair.replace(" -> ", " → "), fontsize=10)
        axes.set_xlabel("fraction of the counts")
    for axes in all_axes.flat[len(pairs) :]:
        axes.axis("off")
    all_axes.flat[len(pairs)].legend(*_legend(figure), loc="center left", frameon=False, fontsize=10)
    _save(figure, path)


def panels(table: pd.DataFrame, methods: Sequence[str], path: Path) -> None:
    """Draw macro-F1 against the size of the gene panel: two rows for each pair, a column for each depth.

    Without results on panels, a figure of an earlier run is removed.
    """
    rows = table[table["depth"].str.endswith("counts")]
    pairs = list(rows.loc[rows["genes"] != ALL_GENES, "pair"].unique())
    if not pairs:
        path.unlink(missing_ok=True)
        return
    lines = [(pair, choice) for pair in pairs for choice in PANEL_CHOICES]
    size = (WIDTH, 2.7 * len(lines) + 1)
    figure, all_axes = plt.subplots(
        len(lines), len(PANEL_COUNTS), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for line, (pair, choice) in zip(all_axes, lines, strict=True):
        for axes, counts in zip(line, PANEL_COUNTS, strict=True):
            chosen = rows[(rows["pair"] == pair) & (rows["depth"] == f"{counts} counts")]
            _draw_panels(axes, chosen, choice, line_styles(methods))
            axes.set_title(f"{pair.replace(' -> ', ' → ')}\nat most {counts} counts", fontsize=9)
    figure.legend(*_legend(figure), loc="outside upper center", ncols=4, frameon=False, fontsize=10)
    _save(figure, path)


def _draw_panels(axes: Axes, rows: pd.DataFrame, choice: str, styles: dict[str, Style]) -> None:
    sizes = sorted(PANEL_SIZES)
    places = {f"{size} {choice}": i for i, size in enumerate(sizes)} | {ALL_GENES: len(sizes)}
    rows = rows[rows["genes"].isin(places)]
    draw_lines(axes, rows, rows["genes"].map(places), styles)
    axes.set_xticks(range(len(sizes) + 1), [*map(str, sizes), "all"])
    axes.set_xlim(-0.15, len(sizes) + 0.15)
    axes.set_xlabel(f"{choice} genes")


def spatial(macro_f1: pd.DataFrame, path: Path) -> None:
    """Draw macro-F1 as a table in colors: a row for each method, a column for each spatial query, and their mean."""
    columns = [name.replace(" -> ", "\n→\n") for name in macro_f1]
    shades = macro_f1.to_numpy(dtype=float)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.36 * len(macro_f1) + 1.2), layout="constrained")
    # each column has its own scale: queries differ more than methods do
    lowest, highest = np.nanmin(shades, axis=0), np.nanmax(shades, axis=0)
    scaled = (shades - lowest) / np.where(highest > lowest, highest - lowest, 1)
    axes.imshow(scaled, aspect="auto", cmap="Blues", vmin=0, vmax=1.2)
    for (i, j), value in np.ndenumerate(shades):
        text = "none" if np.isnan(value) else f"{value:.3f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=10, color="white" if scaled[i, j] > 0.75 else "black")
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(macro_f1)), macro_f1.index, fontsize=10)
    for label, method in zip(axes.get_yticklabels(), macro_f1.index, strict=True):
        label.set_fontweight("bold" if method == HRCA else "normal")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _save(figure, path)


def summary(means: pd.DataFrame, path: Path) -> None:
    """Draw bars of mean macro-F1 on sparse and on whole queries, with the best on sparse queries at the top."""
    means = means[::-1]
    places = np.arange(len(means))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.45 * len(means) + 1.2))
    for offset, (name, color) in zip((0.2, -0.2), {"sparse": "#c44e52", "full": "#b0b7c3"}.items(), strict=True):
        text = {"sparse": "sparse: depth ≤ 0.1 or ≤ 300 genes", "full": "full: scRNA-seq, all counts and genes"}[name]
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
    if OTHERS in lines:  # drawn first, named last
        lines[OTHERS] = lines.pop(OTHERS)
    return list(lines.values()), list(lines)


def _save(figure: Figure, path: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
    # 64 colors look the same and take a third of the space
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
