"""Figures, axes and legends that the plots share."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hrca._messages import counted
from hrca._paths import user_path
from hrca.metrics._inputs import CellGroups

from ._palette import Color

Layout = Literal["constrained", "compressed"]

# Inches. A plot with its legend beside it has the first two; an entry of the legend has a height of the third.
WIDTH, MIN_HEIGHT, HEIGHT_PER_ENTRY = 6.5, 4.2, 0.16

# Points.
LEGEND_FONT_SIZE = 7
LEGEND_MARKER_SIZE = 6
TITLE_FONT_SIZE = 10

# Inches: a marker of a legend with its gaps, and a character. The characters of a number of cells.
MARKER_WIDTH, CHARACTER_WIDTH, N_CELLS_LENGTH = 0.35, 0.055, 8

# A legend beside axes of the user takes at most this part of their width and the free width; then its text is smaller,
# of these factors, and at last its names are shortened to so many characters, without numbers of cells.
MAX_LEGEND_FRACTION, SMALLER_TEXT, SHORT_NAME_LENGTH = 0.6, (1, 0.85, 0.7), 12

# Inches that the label of the next axes needs, and the margins of a legend.
WIDTH_OF_LABEL, LEGEND_MARGIN = 0.3, 0.1

# A legend has columns of at most this many entries, and this many entries at most: more cannot be told apart.
ENTRIES_PER_COLUMN, MAX_ENTRIES = 25, 100

# A longer name is shortened in legends and at axes: the plot would have no room.
MAX_NAME_LENGTH = 36

# Pixels per inch of saved figures, at which text of 6 points can be read.
SAVE_DPI = 150


def new_axes(width: float, height: float, layout: Layout = "constrained") -> Axes:
    """Return axes on a new pyplot figure of this size in inches."""
    return new_panels(1, width, height, layout=layout)[0]


def new_panels(
    n: int,
    width: float,
    height: float,
    *,
    n_columns: int = 4,
    room_right: float = 0,
    layout: Layout = "constrained",
    share_axes: bool = False,
) -> list[Axes]:
    """Return axes in a grid on a new pyplot figure.

    Parameters
    ----------
    n
        Number of axes.
    width, height
        Size of one of them, in inches, with its labels.
    n_columns
        Number of columns of the grid, if there are as many axes.
    room_right
        Width in inches of what is to the right of all axes.
    layout
        Layout engine of matplotlib.
    share_axes
        If True, all axes have the same limits, and only those at the edge have tick labels.
    """
    import matplotlib.pyplot as plt

    n_columns = min(n, n_columns)
    n_rows = ceil(n / n_columns)
    figure = plt.figure(figsize=(width * n_columns + room_right, height * n_rows), layout=layout)
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False, sharex=share_axes, sharey=share_axes).flat)
    for unused in axes[n:]:
        unused.remove()
    return axes[:n]


def root_figure(ax: Axes) -> Figure:
    """Return the figure of some axes; of those in a subfigure, the whole figure."""
    return cast(Figure, ax.get_figure(root=True))


def axes_with_legend(n_groups: int) -> Axes:
    """Return axes on a new pyplot figure with room for a legend of `n_groups` entries."""
    return new_axes(WIDTH, max(MIN_HEIGHT, legend_height(n_groups)))


def legend_height(n_entries: int) -> float:
    """Return the height in inches of a legend and its title."""
    return 1 + HEIGHT_PER_ENTRY * min(n_entries, ENTRIES_PER_COLUMN)


def add_legend(ax: Axes, title: str | None = None) -> None:
    """Add a legend to the right of the axes, where it hides nothing."""
    n_entries = len(ax.get_legend_handles_labels()[1])
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1, 1),
        title=title,
        ncols=max(1, ceil(n_entries / ENTRIES_PER_COLUMN)),
        fontsize=LEGEND_FONT_SIZE,
        title_fontsize=LEGEND_FONT_SIZE,
    )


def legend_width(names: Sequence[str]) -> float:
    """Return the width in inches of a legend of labels."""
    n_columns = ceil(min(len(names), MAX_ENTRIES) / ENTRIES_PER_COLUMN)
    longest = max((len(short_name(name)) for name in names), default=0)
    return n_columns * (MARKER_WIDTH + CHARACTER_WIDTH * (longest + N_CELLS_LENGTH))


def add_label_legend(
    ax: Axes, colors: Mapping[str, Color], n_cells: pd.Series | None = None, *, inside: bool = False
) -> None:
    """Add a legend of labels, in columns.

    Parameters
    ----------
    ax
        The axes, or one of the axes of the figure.
    colors
        Color of each label, in the order of the legend.
    n_cells
        Number of cells of each label, by which the most frequent are chosen if there are too many; None: not known.
    inside
        If True, the legend belongs to the axes and is to their right; they become narrower where the figure has no
        room. If False, it is to the right of the whole figure, whose layout is "constrained" or "compressed".
    """
    names = list(colors)
    if len(names) > MAX_ENTRIES:
        frequent = names if n_cells is None else list(n_cells.index)
        kept = set(frequent[: MAX_ENTRIES - 1])
        names = [name for name in names if name in kept]
    scale, n_rows, length = _room_for_legend(ax, names) if inside else (1, ENTRIES_PER_COLUMN, MAX_NAME_LENGTH)
    numbers = n_cells if length == MAX_NAME_LENGTH else None
    texts = [short_name(name, length) + ("" if numbers is None else f" ({numbers[name]:,})") for name in names]
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": LEGEND_MARKER_SIZE, "markeredgewidth": 0}
    handles = [Line2D([], [], color=colors[name], **style) for name in names]
    if len(names) < len(colors):
        handles.append(Line2D([], [], color="none", **style))
        texts.append(counted(len(colors) - len(names), "more label"))
    place = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if inside else {"loc": "outside right upper"}
    (ax if inside else root_figure(ax)).legend(
        handles,
        texts,
        ncols=ceil(len(texts) / n_rows),
        fontsize=scale * LEGEND_FONT_SIZE,
        frameon=False,
        handletextpad=0.2,
        columnspacing=0.8,
        **place,
    )


def _room_for_legend(ax: Axes, names: Sequence[str]) -> tuple[float, int, int]:
    """Make axes of the user narrower, so that a legend to their right is in the figure and hides no other axes.

    Parameters
    ----------
    ax
        The axes.
    names
        The labels.

    Returns
    -------
    Factor of the font size, entries in a column, and length of the names.
    """
    figure = root_figure(ax)
    if figure.get_layout_engine() is not None:  # which makes room itself
        return 1, ENTRIES_PER_COLUMN, MAX_NAME_LENGTH
    inches, box = figure.get_size_inches(), ax.get_position()
    beside = [other.get_position() for other in figure.axes if other is not ax]
    ends = [other.x0 for other in beside if other.x0 >= box.x1 and other.y0 < box.y1 and other.y1 > box.y0]
    end = min([inches[0], *(inches[0] * end - WIDTH_OF_LABEL for end in ends)])
    room, height = end - box.x0 * inches[0], box.y1 * inches[1]
    max_width = MAX_LEGEND_FRACTION * room
    # smaller text first; names are shortened if that does not suffice
    trials = [(scale, length) for length in (MAX_NAME_LENGTH, SHORT_NAME_LENGTH) for scale in SMALLER_TEXT]
    sizes = [_legend_size(names, scale, length, height) for scale, length in trials]
    best = next((i for i, (width, _) in enumerate(sizes) if width <= max_width), len(trials) - 1)
    (scale, length), (width, n_rows) = trials[best], sizes[best]
    width = min(width, max_width)
    if room - width < box.width * inches[0]:
        ax.set_position((box.x0, box.y0, (room - width) / inches[0], box.height))
    return scale, n_rows, length


def _legend_size(names: Sequence[str], scale: float, length: int, height: float) -> tuple[float, int]:
    """Return the width in inches of a legend, and the entries in a column, for a size of the text and of the names."""
    n_characters = max((len(short_name(name, length)) for name in names), default=0)
    n_characters += N_CELLS_LENGTH if length == MAX_NAME_LENGTH else 0
    n_rows = min(ENTRIES_PER_COLUMN, max(1, int(height / (scale * HEIGHT_PER_ENTRY))))
    n_columns = ceil(min(len(names) + 1, MAX_ENTRIES) / n_rows)
    return scale * n_columns * (MARKER_WIDTH + CHARACTER_WIDTH * n_characters) + LEGEND_MARGIN, n_rows


def short_name(name: object, length: int = MAX_NAME_LENGTH) -> str:
    """Return a name of at most `length` characters, with an ellipsis in its middle.

    Examples
    --------
    >>> short_name("a rather long name", 11)
    'a rat…name'
    """
    # matplotlib would read text between two dollars as mathematics, and a leading underscore as "not in the legend"
    text = str(name)
    if len(text) > length:
        half = (length - 1) // 2
        text = f"{text[:half].rstrip()}…{text[-half:].lstrip()}"
    return text.replace("$", r"\$")


def group_values(by: CellGroups | None) -> CellGroups | str:
    """Return the group of each cell without an index; "all" without groups. A categorical keeps its order."""
    return "all" if by is None else pd.Series(by).array


def finish(axes: Axes | Sequence[Axes], *, show: bool, save: str | Path | None) -> None:
    """Save the figure of some axes, and show it.

    Parameters
    ----------
    axes
        Axes of one figure.
    show
        Whether to call ``plt.show()``.
    save
        Path of the picture; None: no file is written.
    """
    if save is not None:
        figure = root_figure(axes if isinstance(axes, Axes) else axes[0])
        figure.savefig(user_path(save), dpi=SAVE_DPI, bbox_inches="tight")
    if show:
        import matplotlib.pyplot as plt

        plt.show()
