"""Groups of cells that are of none of the labels, with their genes, and the expression of the sampled cells."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca.pl._expression import log_normalised

from ._cells import AnnotatedCells


def normalised_sample(cells: AnnotatedCells) -> AnnData:
    """Return the sampled cells with log1p of counts per 10,000 in X, without genes that have no count in them.

    Parameters
    ----------
    cells
        The cells.
    """
    sample = log_normalised(cells.sample_counts, pd.DataFrame(index=cells.sample_rows.astype(str)), cells.gene_names)
    return sample[:, np.asarray(sample.X.sum(axis=0)).ravel() > 0].copy()


def novel_groups(cells: AnnotatedCells) -> list[dict[str, Any]] | None:
    """Return the groups of novel cells that the prediction found, the largest first: those that its warning names.

    Parameters
    ----------
    cells
        The cells.

    Returns
    -------
    For each group, its number of cells in ``n_cells``, the most common label of its cells in ``label``, and the genes
    that distinguish them in ``genes``. None if the prediction has no record of groups.
    """
    if "novel_groups" not in cells.record:
        return None
    return pd.DataFrame(dict(cells.record["novel_groups"])).to_dict("records")
