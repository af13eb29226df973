"""Panels in which each cell is a point: sections and UMAPs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from hrca._messages import counted

from ._axes import (
    LEGEND_FONT_SIZE,
    TITLE_FONT_SIZE,
    add_label_legend,
    legend_width,
    new_panels,
    root_figure,
    short_name,
)
from ._cells import UNIT_INTERVAL, column_title, is_categorical, with_categories
from ._palette import NO_LABEL_COLOR, Color, is_no_label, label_colors, numeric_colormap

POINTS_PER_INCH = 72

# Points of all cells together would fill this fraction of the axes, if none hid another. One point has an area of at
# least the second number of points^2, a pixel at 150 per inch, and at most of the third.
FILLED_FRACTION, MIN_POINT_AREA, MAX_POINT_AREA = 0.5, 0.2, 40

# Inches: the longer side of the cells' area in a panel, the shorter side at least, and what title and axes need.
PANEL_SIDE, MIN_PANEL_SIDE, AROUND_PANEL = 4.6, 1.2, 0.8

# The longer side grows with the number of cells in a panel, from this number on, up to this length in inches, or to
# this length for all panels of a row.
N_CELLS_OF_SIDE, GROWTH, MAX_PANEL_SIDE, MAX_ROW_WIDTH = 20_000, 0.2, 9.0, 16.0

# Panels in a row, where their number leaves the choice.
N_PANELS_PER_ROW = 3


@dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Attributes
    ----------
    column
        Column of obs that gives the colors.
    rows
        Positions of its cells, shape (n_cells,).
    title
        Title.
    """

    column: str
    rows: np.ndarray
    title: str


def make_panels(adata: AnnData, columns: Sequence[str], *, key: str, sample_key: str | None) -> list[Panel]:
    """Return a panel for each sample and column, sample by sample.

    Parameters
    ----------
    adata
        Cells.
    columns
        Columns of obs.
    key
        The `key_added` of the prediction.
    sample_key
        Column of obs with the sample of each cell; None: one sample.

    Raises
    ------
    ValueError
        If `sample_key` is no column of obs.
    """
    if sample_key is None:
        samples = {"": np.arange(adata.n_obs)}
    elif sample_key not in adata.obs:
        raise ValueError(f"`sample_key` must name a column of obs, got {sample_key!r}; it has {list(adata.obs)[:20]}.")
    else:
        samples = adata.obs.groupby(sample_key, observed=True).indices
    return [
        Panel(column, rows, ": ".join(filter(None, (short_name(name), column_title(key, column)))))
        for name, rows in samples.items()
        for column in columns
    ]


def draw_panels(
    adata: AnnData, xy: np.ndarray, panels: Sequence[Panel], *, key: str, ax: Axes | None, size: float | None
) -> list[Axes]:
    """Draw the panels, with one legend for all columns of labels, beside panels of labels.

    Parameters
    ----------
    adata
        Cells.
    xy
        Coordinates, shape (n_obs, 2).
    panels
        The panels.
    key
        Column of the predicted labels, whose colors other columns share.
    ax
        Axes for a single panel; None: a new pyplot figure.
    size
        Area of a point in square points; None: by the number of cells.

    Returns
    -------
    The axes of the panels.

    Raises
    ------
    ValueError
        If `ax` is given for several panels.
    """
    if ax is not None and len(panels) > 1:
        raise ValueError(
            f"`ax` can hold one panel, but {len(panels)} were asked for. Draw them one by one, or leave `ax` out."
        )
    columns = list(dict.fromkeys(panel.column for panel in panels))
    cells = with_categories(adata, key, columns)
    labelled = [column for column in columns if is_categorical(cells.obs[column])]
    colors = label_colors(cells, [key, *labelled])
    axes = [ax] if ax is not None else _new_axes(xy, panels, colors)
    for one, panel in zip(axes, panels, strict=True):
        values, points = cells.obs[panel.column].iloc[panel.rows], xy[panel.rows]
        area = _point_area(len(points), one) if size is None else size
        if is_categorical(values):
            _draw_labels(one, points, values, colors, area)
        else:
            _draw_numbers(one, points, values, panel.column, area)
        n_cells = counted(len(points), "cell")
        one.set_title(f"{panel.title} ({n_cells})", fontsize=TITLE_FONT_SIZE)
    if labelled:
        # of several columns, the numbers of cells differ
        counts = cells.obs[labelled[0]].value_counts() if len(labelled) == 1 else None
        used = {name for column in labelled for name in cells.obs[column].unique()}
        number, is_last = _panel_of_legend([panel.column in labelled for panel in panels], len(columns))
        add_label_legend(
            axes[number],
            {name: colors[name] for name in colors if name in used},
            counts,
            inside=ax is not None or not is_last,
        )
    return axes


def _panel_of_legend(has_labels: Sequence[bool], n_columns: int) -> tuple[int, bool]:
    """Return the panel that the legend is to the right of, and whether it is the last one of the first row.

    Parameters
    ----------
    has_labels
        Whether a panel shows labels, shape (n_panels,), at least one of them.
    n_columns
        Number of columns of obs that are shown.

    Examples
    --------
    >>> _panel_of_legend([True, False, False], 3), _panel_of_legend([False, True], 2)
    ((0, False), (1, True))
    """
    per_row = min(_n_per_row(len(has_labels), n_columns), len(has_labels))
    start = has_labels.index(True) // per_row * per_row
    number = max(i for i in range(start, min(start + per_row, len(has_labels))) if has_labels[i])
    return number, number == per_row - 1


def _new_axes(xy: np.ndarray, panels: Sequence[Panel], colors: dict[str, Color]) -> list[Axes]:
    """Return axes on a new pyplot figure, with a legend's room."""
    per_row = _n_per_row(len(panels), len(dict.fromkeys(panel.column for panel in panels)))
    # of each panel, since samples may lie side by side
    is_finite = np.isfinite(xy).all(axis=1)
    extents = [np.ptp(xy[panel.rows][is_finite[panel.rows]], axis=0) for panel in panels if is_finite[panel.rows].any()]
    width, height = np.max([(0, 0), *extents], axis=0)
    n_cells = max(len(panel.rows) for panel in panels)
    longest = max(PANEL_SIDE, min(MAX_PANEL_SIDE, MAX_ROW_WIDTH / min(per_row, len(panels))))
    panel_side = np.clip(PANEL_SIDE * (n_cells / N_CELLS_OF_SIDE) ** GROWTH, PANEL_SIDE, longest)
    scale = panel_side / (max(width, height) or 1)
    sides = [max(scale * side, MIN_PANEL_SIDE) for side in (width, height)]
    return new_panels(
        len(panels),
        sides[0] + AROUND_PANEL,
        sides[1] + AROUND_PANEL,
        n_columns=per_row,
        room_right=legend_width(list(colors)),
        layout="compressed",
    )


def _n_per_row(n_panels: int, n_columns: int) -> int:
    """Return the number of panels in a row. The panels of a sample are in one row if they are few."""
    if n_panels == 2 * (N_PANELS_PER_ROW - 1):
        return N_PANELS_PER_ROW - 1  # two rows of two
    if n_columns == 2:
        return 2 * n_columns  # two samples
    return N_PANELS_PER_ROW


def _point_area(n_cells: int, ax: Axes) -> float:
    """Return the area of a point in points^2, for axes with this number of cells."""
    box = ax.get_window_extent().transformed(root_figure(ax).dpi_scale_trans.inverted())
    area = FILLED_FRACTION * box.width * box.height * POINTS_PER_INCH**2 / max(n_cells, 1)
    return float(np.clip(area, MIN_POINT_AREA, MAX_POINT_AREA))


def _draw_labels(ax: Axes, xy: np.ndarray, labels: pd.Series, colors: dict[str, Color], area: float) -> None:
    """Draw the cells label by label, the rarest last, so that none is hidden; cells without a label first."""
    is_missing = labels.isna().to_numpy()
    _draw_points(ax, xy[is_missing], NO_LABEL_COLOR, area)
    n_cells = labels.value_counts()
    order = sorted(n_cells.index[n_cells > 0], key=lambda name: (not is_no_label(name), -n_cells[name]))
    rows = labels.reset_index(drop=True).groupby(labels.to_numpy(), observed=True).indices
    for name in order:
        _draw_points(ax, xy[rows[name]], colors[name], area, label=short_name(name))


def _draw_numbers(ax: Axes, xy: np.ndarray, values: pd.Series, column: str, area: float) -> None:
    """Draw the cells in a random order, so that neither high nor low numbers hide the others; then a colorbar."""
    numbers = values.to_numpy(dtype=float)
    is_missing = np.isnan(numbers)
    _draw_points(ax, xy[is_missing], NO_LABEL_COLOR, area)
    order = np.random.default_rng(0).permutation(np.flatnonzero(~is_missing))
    limits = (0, 1) if column.endswith(UNIT_INTERVAL) else (None, None)
    points = _draw_points(
        ax, xy[order], numbers[order], area, cmap=numeric_colormap(column), vmin=limits[0], vmax=limits[1]
    )
    if len(order):
        bar = ax.figure.colorbar(points, ax=ax, shrink=0.6, aspect=18, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=LEGEND_FONT_SIZE)


def _draw_points(ax: Axes, xy: np.ndarray, color: Color | np.ndarray, area: float, **options: Any) -> PathCollection:
    # rasterised, so that a PDF of a million cells can be opened; left out of the layout, which would measure each point
    points = ax.scatter(xy[:, 0], xy[:, 1], c=color, s=area, linewidths=0, rasterized=True, **options)
    points.set_in_layout(False)
    return points
