"""Batches of a matrix, dense and in the model's gene order."""

import numpy as np
from tqdm.auto import tqdm

from hrca.typing import Batches, StoredMatrix

from ._alignment import GeneAlignment, align
from ._count_checks import check_values
from ._row_reader import row_batches

# Seconds before a progress bar appears: shorter work needs none.
PROGRESS_DELAY_S = 3


def aligned_batches(x: StoredMatrix, alignment: GeneAlignment, *, batch_size: int, source: str) -> Batches:
    """Iterate over the cells of a matrix in order, with the model's genes.

    Parameters
    ----------
    x
        Raw counts, shape (n_obs, n_vars), sparse or dense, in memory or not.
    alignment
        Alignment of its genes.
    batch_size
        Number of cells in a batch.
    source
        Expression of the matrix in an error, e.g. "`adata.X`".

    Yields
    ------
    The rows as a slice, and their raw counts, shape (`batch_size`, n_genes), dense float32; the last batch may be
    smaller.

    Raises
    ------
    ValueError
        If `batch_size` is below 1, or a batch holds values that are not raw counts.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    start = 0
    for counts in row_batches(x, batch_size):
        rows = slice(start, start + counts.shape[0])
        check_values(counts if isinstance(counts, np.ndarray) else counts.data, source)
        aligned = align(counts, alignment)
        # one memory layout, so that equal counts give bit-identical sums from every container
        yield rows, np.ascontiguousarray(aligned) if isinstance(aligned, np.ndarray) else aligned.toarray()
        start = rows.stop


def with_progress(batches: Batches, n_obs: int, description: str) -> Batches:
    """Show a progress bar of the cells while batches are used, if that takes long.

    Parameters
    ----------
    batches
        Batches from :func:`aligned_batches`.
    n_obs
        Total number of cells.
    description
        Text before the bar.
    """
    with tqdm(total=n_obs, desc=description, unit=" cells", unit_scale=True, delay=PROGRESS_DELAY_S) as bar:
        for rows, counts in batches:
            yield rows, counts
            bar.update(rows.stop - rows.start)
