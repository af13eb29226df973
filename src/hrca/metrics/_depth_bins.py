"""Groups of cells by depth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ._inputs import CellScores

# Counts per cell between two bins: steps of half a decade, from the sparsest spatial cells to scRNA-seq.
DEPTH_EDGES = (10, 30, 100, 300, 1000, 3000)


def depth_bins(depth: CellScores, edges: Sequence[float] = DEPTH_EDGES) -> pd.Categorical:
    """Return the depth bin of each cell.

    Parameters
    ----------
    depth
        Total counts of each cell, shape (n_obs,).
    edges
        Increasing counts at which a bin ends (exclusive) and the next begins (inclusive).

    Returns
    -------
    Bin of each cell, shape (n_obs,), as an ordered categorical: "<10", "10-30", ..., ">=3000".

    Examples
    --------
    >>> import hrca
    >>> list(hrca.metrics.depth_bins([5, 10, 4000]))
    ['<10', '10-30', '>=3000']
    """
    names = [f"<{edges[0]:g}", *(f"{low:g}-{high:g}" for low, high in zip(edges, edges[1:], strict=False))]
    return pd.cut(np.asarray(depth), [-np.inf, *edges, np.inf], right=False, labels=[*names, f">={edges[-1]:g}"])
