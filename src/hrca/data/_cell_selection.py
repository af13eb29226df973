"""Some cells of a query, by their positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca._messages import counted
from hrca.typing import CountMatrix, StoredMatrix

from ._row_reader import SlicedMatrix, in_memory, read_rows
from ._sources import LazyAnnData, LazyRaw, QueryCells, entry_keys

# Positions or a boolean mask, as numpy indexes by them.
CellIndices: TypeAlias = Sequence[int] | Sequence[bool] | np.ndarray | slice


@dataclass(frozen=True)
class CellSelection:
    """The chosen cells of a query.

    Attributes
    ----------
    rows
        Their positions in the order of the prediction, shape (n_chosen,).
    obs_names
        Names of all cells, shape (n_obs,).
    """

    rows: np.ndarray
    obs_names: pd.Index


def select_cells(adata: QueryCells, indices: CellIndices) -> tuple[QueryCells, CellSelection]:
    """Select cells of a query; matrices that are not in memory are still read row by row.

    Parameters
    ----------
    adata
        All cells.
    indices
        Positions, or a boolean mask of all cells.

    Returns
    -------
    The chosen cells in the order of the indices, and the selection.

    Raises
    ------
    ValueError
        If the indices are none, are no whole numbers, name a cell that is not there, or name one twice.
    """
    n_obs = adata.n_obs
    given = np.zeros(0) if isinstance(indices, slice) else np.asarray(indices)
    if given.dtype.kind == "i" and (given < 0).any():
        raise ValueError(
            f"`indices` must be 0 or more, got {given.min()}. `adata.obs_names.get_indexer(names)` returns -1 for a "
            "name that is not there: check the names."
        )
    try:
        rows = np.arange(n_obs)[indices if isinstance(indices, slice) else np.asarray(indices)]
    except IndexError as error:
        raise ValueError(
            f"`indices` must be positions of the query's {n_obs:,} cells or a mask of them, but: {error}. "
            "`adata.obs_names.get_indexer(names)` returns the positions of named cells."
        ) from error
    if rows.ndim != 1 or len(rows) == 0 or len(np.unique(rows)) < len(rows):
        raise ValueError(
            f"`indices` must name at least one cell, and each once, got {counted(rows.size, 'position')} of "
            f"{counted(len(np.unique(rows)), 'cell')}."
        )
    return _take_cells(adata, rows), CellSelection(rows, adata.obs_names)


def _take_cells(adata: QueryCells, rows: np.ndarray) -> QueryCells:
    if isinstance(adata, AnnData) and not adata.isbacked:
        return adata[rows]
    x, raw = adata.X, adata.raw
    obsm_keys, uns_keys = entry_keys(adata)
    return LazyAnnData(
        X=None if x is None else _take_rows(x, rows),
        # anndata 0.13 has X among the layers, under the name None
        layers={name: _take_rows(layer, rows) for name, layer in adata.layers.items() if name is not None},
        raw=None if raw is None else LazyRaw(_take_rows(raw.X, rows), raw.var),
        obs=adata.obs.iloc[rows],
        var=adata.var,
        obsm_keys=obsm_keys,
        uns_keys=uns_keys,
        file=adata.file if isinstance(adata, LazyAnnData) else None,
    )


def _take_rows(x: Any, rows: np.ndarray) -> StoredMatrix:
    return x[rows] if in_memory(x) else SlicedMatrix((len(rows), x.shape[1]), lambda part: _read_any(x, rows[part]))


def _read_any(x: StoredMatrix, rows: np.ndarray) -> CountMatrix:
    """Read rows in any order: files are read in theirs."""
    ascending, positions = np.unique(rows, return_inverse=True)
    return read_rows(x, ascending)[positions]
