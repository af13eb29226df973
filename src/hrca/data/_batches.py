"""Batches of a matrix, sparse and in the model's gene order."""

from collections.abc import Callable

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from hrca.typing import Batches, StoredMatrix

from ._alignment import GeneAlignment, align_canonical
from ._count_checks import check_values
from ._row_reader import row_batches

# Seconds before a progress bar appears: shorter work needs none.
PROGRESS_DELAY_S = 3

# Bytes of a query's counts that are kept between two passes: 250,000 cells of 100 counts. Not tuned.
MAX_KEPT_BYTES = 200_000_000


def check_batch_size(batch_size: int) -> None:
    """Raise an error if a batch would have no cell.

    Raises
    ------
    ValueError
        If the number is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")


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
    The rows as a slice, and their raw counts, shape (`batch_size`, n_genes), from
    :func:`hrca.data._alignment.align_canonical`; the last batch may be smaller.

    Raises
    ------
    ValueError
        If `batch_size` is below 1, or a batch holds values that are not raw counts.
    """
    check_batch_size(batch_size)
    start = 0
    for counts in row_batches(x, batch_size):
        rows = slice(start, start + counts.shape[0])
        check_values(counts if isinstance(counts, np.ndarray) else counts.data, source)
        yield rows, align_canonical(counts, alignment)
        start = rows.stop


class KeptBatches:
    """Batches of a query that is read once, if its counts on the model's genes fit into memory.

    Parameters
    ----------
    read
        Reads the query: returns a pass over its batches, with a progress bar of this name.
    max_bytes
        Bytes of counts that are kept, 200 MB if None. A larger query is read again at each pass.
    """

    def __init__(self, read: Callable[[str], Batches], max_bytes: int | None = None):
        self._read, self._max_bytes = read, MAX_KEPT_BYTES if max_bytes is None else max_bytes
        self._kept: list[tuple[slice, sparse.csr_array]] | None = None

    def __call__(self, bar: str) -> Batches:
        """Iterate over the batches.

        Parameters
        ----------
        bar
            Name of the progress bar of this pass, if it reads.

        Yields
        ------
        The rows as a slice, and their raw counts, shape (n_batch, n_genes).
        """
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[slice, sparse.csr_array]] | None = []
        n_bytes = 0
        for rows, counts in self._read(bar):
            n_bytes += counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
            if kept is not None and n_bytes > self._max_bytes:
                kept = None
            if kept is not None:
                kept.append((rows, counts))
            yield rows, counts
        self._kept = kept


def with_progress(batches: Batches, n_obs: int, description: str) -> Batches:
    """Show a progress bar of the cells that are read, if that takes long.

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
