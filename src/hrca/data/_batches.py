"""Aligned dense batches of a matrix."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from ._alignment import GeneAlignment, align
from ._row_reader import row_batches
from ._value_scale import check_values

# Seconds after which a bar is shown: what ends sooner needs none.
BAR_AFTER_S = 3


def aligned_batches(x, alignment: GeneAlignment, *, batch_size: int, source: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Go through a matrix in order, aligned to the model's genes.

    Parameters
    ----------
    x
        Raw counts, shape (n_obs, n_vars), sparse or dense, in memory or not.
    match
        What :func:`hrca.data._gene_matching.match_genes` found for its genes.
    batch_size
        Rows in a batch.
    source
        What to call the matrix in an error.

    Yields
    ------
    Which rows they are, and their raw counts, shape (at most `batch_size`, n_genes), dense float32.

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
        check_values(counts.data if sparse.issparse(counts) else counts, source)
        counts = align(counts, alignment)
        # one memory layout, so that the same counts give the same sums whatever they came in
        yield rows, counts.toarray() if sparse.issparse(counts) else np.ascontiguousarray(counts)
        start = rows.stop


def with_progress(
    batches: Iterator[tuple[slice, np.ndarray]], n_obs: int, what: str
) -> Iterator[tuple[slice, np.ndarray]]:
    """Pass batches of :func:`aligned_batches` on, and show a progress bar of their cells, if that takes long.

    Parameters
    ----------
    batches
        From :func:`aligned_batches`.
    n_obs
        Number of all cells.
    what
        What is done with them, in a word before the bar.
    """
    with tqdm(total=n_obs, desc=what, unit=" cells", unit_scale=True, delay=BAR_AFTER_S) as bar:
        for rows, counts in batches:
            yield rows, counts
            bar.update(rows.stop - rows.start)
