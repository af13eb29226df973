"""The cells of a plot: their table, columns of obs, and coordinates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca._records import prediction_record, shown_labels

from ._axes import short_name
from ._palette import NO_LABEL_COLOR

# Titles of the panels that show what `predict` writes, by the ending of the column's name.
TITLES = {
    "": "Predicted label",
    "_confidence": "Confidence",
    "_novelty": "Novelty",
    "_novel_probability": "Probability of none of the labels",
    "_set_size": "Labels in the prediction set",
    "_majority": "Label after majority vote",
    "_smooth": "Label after smoothing",
    "_smooth_confidence": "Confidence after smoothing",
}

# Endings of columns whose numbers are from 0 to 1.
UNIT_INTERVAL = ("_confidence", "_novelty", "_novel_probability")


def table_of(adata: Any, key: str) -> AnnData:
    """Return the annotated table of a SpatialData; an AnnData as it is.

    Parameters
    ----------
    adata
        An AnnData, or a SpatialData with one table that has the key in obs.
    key
        The `key_added` of the prediction.

    Raises
    ------
    ValueError
        If no table, or more than one, has the key; or the AnnData lacks it.
    """
    tables = getattr(adata, "tables", None)
    if tables is not None:
        annotated = [name for name in tables if key in tables[name].obs]
        if len(annotated) != 1:
            raise ValueError(
                f"One table of the SpatialData must have obs[{key!r}], but {len(annotated)} of {list(tables)} have. "
                "Pass the table: `sdata.tables[name]`."
            )
        return tables[annotated[0]]
    if key not in adata.obs:
        raise ValueError(
            f"obs must have the labels {key!r}, but has {list(adata.obs)[:20]}. `model.predict(adata)` writes them; "
            "`key=` names others."
        )
    return adata


def column_names(adata: AnnData, key: str, color: str | Sequence[str] | None) -> list[str]:
    """Return the columns of obs that are meant.

    Parameters
    ----------
    adata
        Cells.
    key
        The `key_added` of the prediction.
    color
        Columns of obs, or endings of the columns of the prediction, such as "confidence"; None: the labels.

    Raises
    ------
    ValueError
        If there is no such column, or none was given.
    """
    names = [key] if color is None else [color] if isinstance(color, str) else list(color)
    if not names:
        raise ValueError("`color` must name a column of obs, got an empty list. None: the predicted labels.")
    found = []
    for name in names:
        candidates = [candidate for candidate in (name, f"{key}_{name}") if candidate in adata.obs]
        if not candidates:
            raise ValueError(
                f"`color` must name a column of obs, or what `predict` wrote there, such as 'confidence', got "
                f"{name!r}; obs has {list(adata.obs)[:20]}."
            )
        found.append(candidates[0])
    return found


def column_title(key: str, column: str) -> str:
    """Return the title of a panel."""
    title = TITLES.get(column.removeprefix(key)) if column.startswith(key) else None
    return title or short_name(column)


def with_categories(adata: AnnData, key: str, columns: Sequence[str] = ()) -> AnnData:
    """Return the cells with obs alone, in which text and booleans are categorical; `uns` has the stored colors.

    Parameters
    ----------
    adata
        Cells.
    key
        The `key_added` of the prediction: cells that are probably of none of the labels have no known type.
    columns
        Further columns of obs to keep.
    """
    obs = adata.obs[list(dict.fromkeys([key, *columns]))].copy()
    uns = {name: adata.uns[name] for name in (f"{column}_colors" for column in obs) if name in adata.uns}
    names = [str(name) for name in obs[key].astype("category").cat.categories]
    obs[key] = shown_labels(adata.obs, adata.uns, key)
    if f"{key}_colors" in uns and len(names) == len(uns[f"{key}_colors"]):
        colors = dict(zip(names, uns[f"{key}_colors"], strict=True))
        # further categories are "Unknown", or have no cells
        uns[f"{key}_colors"] = [colors.get(name, NO_LABEL_COLOR) for name in obs[key].cat.categories]
    for column in obs:
        if not pd.api.types.is_numeric_dtype(obs[column]) or pd.api.types.is_bool_dtype(obs[column]):
            values = obs[column].astype("category")
            # names of other types would not compare with strings
            obs[column] = values.cat.rename_categories([str(name) for name in values.cat.categories])
    return AnnData(obs=obs, uns=uns)


def is_categorical(values: pd.Series) -> bool:
    """Return True for a column of labels, False for one of numbers."""
    return isinstance(values.dtype, pd.CategoricalDtype)


def has_coordinates(adata: AnnData) -> bool:
    """Return whether obsm has places of the cells in a section, under a name that :func:`coordinates` takes."""
    return bool({"spatial", "X_spatial"} & set(adata.obsm))


def coordinates(adata: AnnData, basis: str) -> np.ndarray:
    """Return the first two coordinates of each cell, shape (n_obs, 2).

    Parameters
    ----------
    adata
        Cells.
    basis
        Name in obsm, with or without "X_".

    Raises
    ------
    ValueError
        If obsm has no such entry, it has fewer than two columns, or no cell has a finite place.
    """
    names = [name for name in (basis, f"X_{basis}") if name in adata.obsm]
    if not names:
        raise ValueError(
            f"obsm must have {basis!r} or {f'X_{basis}'!r}, but has {list(adata.obsm)}. Put the coordinates there, in "
            "two columns."
        )
    values = np.asarray(adata.obsm[names[0]], dtype=float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"obsm[{names[0]!r}] must have two columns, x and y, but is of shape {values.shape}.")
    if not np.isfinite(values[:, :2]).all(axis=1).any():
        raise ValueError(f"obsm[{names[0]!r}] must have the place of at least one cell, but has no finite number.")
    return values[:, :2]


def counts_of(adata: AnnData, key: str) -> tuple[Any, pd.Index]:
    """Return the matrix that the prediction read, shape (n_obs, n_vars), and the names of its genes.

    Parameters
    ----------
    adata
        Cells. Without a record of the prediction, X is taken.
    key
        The `key_added` of the prediction.

    Raises
    ------
    ValueError
        If the matrix is not there.
    """
    record = prediction_record(adata.uns, key)
    layer, column = str(record.get("layer", "X")), str(record.get("gene_column", "var_names"))
    if layer == "raw" and adata.raw is not None:
        counts, var = adata.raw.X, adata.raw.var
    elif layer == "X" and adata.X is not None:
        counts, var = adata.X, adata.var
    elif layer in adata.layers:
        counts, var = adata.layers[layer], adata.var
    else:
        raise ValueError(
            f"`predict` read the counts from {layer!r}, which the object does not have; its layers are "
            f"{list(adata.layers)}. Pass the object that was annotated, or a copy with this matrix."
        )
    return counts, pd.Index(var[column].astype(str) if column in var else var.index)
