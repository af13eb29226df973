"""Scores of prediction sets."""

import numpy as np
import pandas as pd

from ._inputs import CellGroups, CellLabels, label_arrays


def set_scores(labels: CellLabels, sets: pd.DataFrame, *, by: CellGroups | None = None) -> pd.DataFrame:
    """Score prediction sets: how often they contain the known label, and how large they are.

    Parameters
    ----------
    labels
        Known label of each cell, shape (n_obs,).
    sets
        For each cell and label, True if the label is in the cell's set, shape (n_obs, n_labels), as in
        ``obsm["hrca_set"]``. A label without a column is in no set. "/" and "|" in names of labels are taken for the
        same character.
    by
        Group of each cell, shape (n_obs,). If None, all cells form the group "all". With the known labels as groups,
        each row has the coverage of one label (class-conditional coverage).

    Returns
    -------
    One row for each group, with these columns:

    - ``n_obs``, the number of cells;
    - ``coverage``, the fraction of cells whose set contains the known label;
    - ``size``, the mean number of labels in a set;
    - ``empty``, the fraction of sets that are empty.

    Raises
    ------
    ValueError
        If the lengths differ or there is no cell.

    Notes
    -----
    Coverage and size are the usual criteria for conformal prediction sets :cite:p:`romano2020classification`.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> sets = pd.DataFrame({"B": [True, False], "T": [True, True]})
    >>> hrca.metrics.set_scores(["B", "B"], sets)
         n_obs  coverage  size  empty
    all      2       0.5   1.5    0.0
    """
    labels, _ = label_arrays(labels, np.arange(len(sets)))
    in_set = sets.to_numpy(dtype=bool)
    # AnnData cannot write columns with "/" to a file: `predict` replaces it
    column = sets.columns.str.replace("/", "|").get_indexer(pd.Index(labels).astype(str).str.replace("/", "|"))
    size = in_set.sum(axis=1)
    cells = pd.DataFrame(
        {
            "by": "all" if by is None else by,
            "covered": in_set[np.arange(len(labels)), column] & (column >= 0),
            "size": size,
            "empty": size == 0,
        }
    )
    groups = cells.groupby("by", observed=True)
    table = groups.agg(
        n_obs=("size", "size"), coverage=("covered", "mean"), size=("size", "mean"), empty=("empty", "mean")
    )
    return table.rename_axis(index=None)
