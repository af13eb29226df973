"""Sections of tissue."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from hrca._docs import docs

from ._axes import LEGEND_FONT_SIZE, finish
from ._cells import column_names, coordinates, table_of
from ._scatter import draw_panels, make_panels

# A scale bar is the longest of these, times a power of ten, that takes at most this fraction of the section's width.
ROUND_LENGTHS, MAX_BAR_FRACTION = (1, 2, 5), 0.3

# Thickness of the bar, as a fraction of the section's height.
BAR_THICKNESS = 0.006

MICRONS_PER_MILLIMETER = 1000


@docs.dedent
def spatial(
    adata: Any,
    color: str | Sequence[str] | None = None,
    *,
    key: str = "hrca",
    sample_key: str | None = None,
    microns_per_unit: float | None = None,
    size: float | None = None,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes | list[Axes]:
    """Plot the cells of sections at their places, colored by label, confidence or novelty.

    Cells of rare labels are drawn above the others. The y axis points down, as in squidpy and in images.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`, with coordinates in ``obsm["spatial"]``: an AnnData, or a SpatialData
        with one annotated table.
    %(plot_color)s
    %(plot_key)s
    sample_key
        Column of obs with the sample of each cell: a panel for each of them. None: the regions of a SpatialData's
        table, else one panel.
    microns_per_unit
        Length of one unit of the coordinates in micrometers: 1 for Xenium and MERSCOPE, 0.12 for CosMx in pixels. It
        gives the scale bar. None: ``microns_per_pixel`` in the scale factors that squidpy and spatialdata-io keep for
        Visium HD; without it there is no scale bar.
    %(plot_size)s
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes; a list of them for several samples or columns.

    Raises
    ------
    ValueError
        If there is no prediction, no such column, or no coordinates; `microns_per_unit` is not positive; or `ax` is
        given for several panels.

    Examples
    --------
    >>> import hrca
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"hrca": ["B", "T"]}, index=["a", "b"])
    >>> cells = AnnData(obs=obs, obsm={"spatial": np.array([[0.0, 0.0], [10.0, 5.0]])})
    >>> ax = hrca.pl.spatial(cells, microns_per_unit=1)
    >>> ax.get_title(), ax.get_xlabel()
    ('Predicted label (2 cells)', 'x (µm)')
    """
    table = table_of(adata, key)
    columns = column_names(table, key, color)
    xy = coordinates(table, "spatial")
    check_microns_per_unit(microns_per_unit)
    microns_per_unit = _stored_scale(table) if microns_per_unit is None else microns_per_unit
    panels = make_panels(table, columns, key=key, sample_key=sample_key or _region_key(table))
    axes = draw_panels(table, xy, panels, key=key, ax=ax, size=size)
    for one in axes:
        unit = "unit not given" if microns_per_unit is None else "µm"
        one.set(aspect="equal", xticks=[], yticks=[], ylabel=f"y ({unit})")
        # a scale bar is below the other end of the axes
        one.set_xlabel(f"x ({unit})", loc="center" if microns_per_unit is None else "right")
        one.xaxis.label.set_fontsize(LEGEND_FONT_SIZE)
        one.yaxis.label.set_fontsize(LEGEND_FONT_SIZE)
        if not one.yaxis_inverted():
            one.invert_yaxis()
        if microns_per_unit is not None:
            _add_scale_bar(one, microns_per_unit)
    finish(axes, show=show, save=save)
    return axes[0] if len(axes) == 1 else axes


def _stored_scale(adata: AnnData) -> float | None:
    """Return the micrometers of a unit, if all sections of ``uns["spatial"]`` have the same."""
    sections = adata.uns.get("spatial")
    if not isinstance(sections, dict):
        return None
    factors = [section.get("scalefactors", {}) for section in sections.values() if isinstance(section, dict)]
    scales = {float(factor["microns_per_pixel"]) for factor in factors if "microns_per_pixel" in factor}
    return scales.pop() if len(scales) == 1 else None


def _region_key(adata: AnnData) -> str | None:
    """Return the column with the regions of a SpatialData's table, if it has more than one."""
    region_key = adata.uns.get("spatialdata_attrs", {}).get("region_key")
    return region_key if region_key in adata.obs and adata.obs[region_key].nunique() > 1 else None


def check_microns_per_unit(microns_per_unit: float | None) -> None:
    """Raise an error if a unit of the coordinates cannot have this length.

    Raises
    ------
    ValueError
        If the number is not positive, or not finite.
    """
    if microns_per_unit is not None and not 0 < microns_per_unit < math.inf:
        raise ValueError(f"`microns_per_unit` must be positive, got {microns_per_unit}.")


def _add_scale_bar(ax: Axes, microns_per_unit: float) -> None:
    """Add a bar of a round length below the axes, where it hides no cell."""
    width = float(np.ptp(ax.get_xlim()))
    longest = MAX_BAR_FRACTION * width * microns_per_unit
    power = 10 ** np.floor(np.log10(longest))
    microns = max(length * power for length in ROUND_LENGTHS if length * power <= longest)
    is_long = microns >= MICRONS_PER_MILLIMETER
    text = f"{microns / MICRONS_PER_MILLIMETER:g} mm" if is_long else f"{microns:g} µm"
    bar = AnchoredSizeBar(
        ax.transData,
        microns / microns_per_unit,
        text,
        "upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes,
        frameon=False,
        pad=0,
        borderpad=0.5,
        sep=3,
        size_vertical=BAR_THICKNESS * float(np.ptp(ax.get_ylim())),
        fontproperties={"size": LEGEND_FONT_SIZE},
    )
    ax.add_artist(bar)
