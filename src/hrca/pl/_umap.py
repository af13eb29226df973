"""Embeddings of cells in two dimensions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from hrca._docs import docs

from ._axes import LEGEND_FONT_SIZE, finish
from ._cells import column_names, coordinates, table_of
from ._scatter import draw_panels, make_panels


@docs.dedent
def umap(
    adata: Any,
    color: str | Sequence[str] | None = None,
    *,
    key: str = "hrca",
    size: float | None = None,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes | list[Axes]:
    """Plot the cells of a UMAP, colored by label, confidence or novelty. Rare labels are drawn above the others.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`, with coordinates in ``obsm["X_umap"]``: an AnnData, or a SpatialData with
        one annotated table. To compute the coordinates of an AnnData:
        ``adata.obsm["X_hrca"] = model.get_latent_representation(adata)``,
        ``scanpy.pp.neighbors(adata, use_rep="X_hrca")``, ``scanpy.tl.umap(adata)``.
    %(plot_color)s
    %(plot_key)s
    %(plot_size)s
    %(plot_ax)s
    %(plot_show)s
    %(plot_save)s

    Returns
    -------
    The axes; a list of them for several columns.

    Raises
    ------
    ValueError
        If there is no prediction, no such column, or no UMAP; or `ax` is given for several panels.

    Examples
    --------
    >>> import hrca
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"hrca": ["B", "T"]}, index=["a", "b"])
    >>> cells = AnnData(obs=obs, obsm={"X_umap": np.array([[0.0, 0.0], [1.0, 1.0]])})
    >>> hrca.pl.umap(cells).get_title()
    'Predicted label (2 cells)'
    """
    table = table_of(adata, key)
    columns = column_names(table, key, color)
    xy = coordinates(table, "umap")
    panels = make_panels(table, columns, key=key, sample_key=None)
    axes = draw_panels(table, xy, panels, key=key, ax=ax, size=size)
    for one in axes:
        one.set(xticks=[], yticks=[])
        one.set_xlabel("UMAP 1", fontsize=LEGEND_FONT_SIZE)
        one.set_ylabel("UMAP 2", fontsize=LEGEND_FONT_SIZE)
    finish(axes, show=show, save=save)
    return axes[0] if len(axes) == 1 else axes
