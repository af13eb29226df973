"""Run a network over any number of cells in bounded memory: one aligned, dense batch at a time."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from anndata.abc import CSCDataset
from scipy import sparse

from ._counts import check_values
from ._genes import GeneMatch, align


def aligned_batches(x, match: GeneMatch, *, batch_size: int, source: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Go through a matrix in order, aligned to the model's genes.

    Parameters
    ----------
    x
        Raw counts, shape (n_obs, n_vars), sparse or dense, in memory or on disk.
    match
        What :func:`hrca._genes.match_genes` found for its genes.
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
    if isinstance(x, CSCDataset):
        x = x.to_memory()  # stored by column: a row of it cannot be read without reading all
    if sparse.issparse(x) and x.format != "csr":
        x = x.tocsr()
    for start in range(0, x.shape[0], batch_size):
        rows = slice(start, min(start + batch_size, x.shape[0]))
        counts = x[rows]
        check_values(counts.data if sparse.issparse(counts) else np.asarray(counts), source)
        counts = align(counts, match)
        yield rows, counts.toarray() if sparse.issparse(counts) else np.asarray(counts)


@torch.inference_mode()
def run(
    network: Callable[[torch.Tensor], torch.Tensor], batches: Iterator[tuple[slice, np.ndarray]]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Run a network over batches of counts.

    Parameters
    ----------
    network
        Takes counts, shape (n_obs, n_genes); moves them to its device itself.
    batches
        From :func:`aligned_batches`.

    Yields
    ------
    Which rows a batch is, the network's output for it, and whether each of its cells has counts on the model's genes,
    shape (n_obs,).
    """
    for rows, counts in batches:
        yield rows, network(torch.from_numpy(counts)).float().cpu().numpy(), counts.any(axis=1)
