"""Scores of prediction sets."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ._labels import same_cells


def set_scores(labels: Sequence[str], sets: pd.DataFrame, *, by: Sequence | None = None) -> pd.DataFrame:
    """Score sets of labels: how often they hold the known one, and how large they are.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    sets
        Whether a label is in the cell's set, n_obs x n_labels, as in ``obsm["hrca_set"]``. A label without a column is
        in no set; "/" and "|" in names are the same.
    by
        As in :func:`reliability_table`; the labels themselves give the coverage of each.

    Returns
    -------
    A row for each group: ``n_obs``; ``coverage``, the share of cells whose set holds the label; ``size``, the mean
    number of labels in a set; ``empty``, the share of sets that are empty.

    Raises
    ------
    ValueError
        If the lengths differ, or there is no cell.

    Examples
    --------
    >>> sets = pd.DataFrame({"B": [True, False], "T": [True, True]})
    >>> set_scores(["B", "B"], sets).to_dict("index")
    {'all': {'n_obs': 2, 'coverage': 0.5, 'size': 1.5, 'empty': 0.0}}
    """
    labels, _ = same_cells(labels, np.arange(len(sets)))
    inside = sets.to_numpy(dtype=bool)
    column = sets.columns.str.replace("/", "|").get_indexer(pd.Index(labels).astype(str).str.replace("/", "|"))
    size = inside.sum(axis=1)
    cells = pd.DataFrame(
        {
            "by": "all" if by is None else by,
            "covered": inside[np.arange(len(labels)), column] & (column >= 0),
            "size": size,
            "empty": size == 0,
        }
    )
    groups = cells.groupby("by", observed=True)
    table = groups.agg(
        n_obs=("size", "size"), coverage=("covered", "mean"), size=("size", "mean"), empty=("empty", "mean")
    )
    return table.rename_axis(index=None)
