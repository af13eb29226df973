"""A query whose matrices are dask arrays: its chunks, and the cells that are read from them before the prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hrca.typing import CountMatrix, StoredMatrix

from ._alignment import GeneAlignment, align_canonical
from ._count_slots import CountSlot, list_slots, table_in_memory
from ._gene_map import GeneMap
from ._gene_matching import match_genes
from ._gene_matching_errors import check_gene_match
from ._row_reader import DaskMatrix, SlicedMatrix, is_dask, sampled_rows
from ._sources import LazyAnnData, LazyRaw
from ._target_genes import TargetGenes
from ._validate import check_orientation


@dataclass(frozen=True)
class DaskSlot:
    """A dask array that may hold the counts.

    Attributes
    ----------
    slot
        Its place in the AnnData.
    matrix
        The array, shape (n_obs, n_vars), in chunks of whole rows.
    alignment
        Alignment of its genes to the model's.
    checked_rows
        Rows that the validation reads, ascending, shape (n_checked,).
    """

    slot: CountSlot
    matrix: DaskMatrix
    alignment: GeneAlignment
    checked_rows: np.ndarray

    @property
    def bounds(self) -> np.ndarray:
        """First row of each chunk and, at the end, the number of rows, shape (n_chunks + 1,)."""
        return np.concatenate([[0], np.cumsum(self.matrix.chunks[0])]).astype(np.int64)


@dataclass(frozen=True)
class ChunkSample:
    """Cells of one chunk.

    Attributes
    ----------
    checked
        Cells for the validation, as they are stored, shape (n_checked, n_vars).
    fitted
        Cells for the fit of the query, with the model's genes, shape (n_fitted, n_genes).
    """

    checked: CountMatrix
    fitted: sparse.csr_array


def open_dask_slots(
    adata: AnnData, layer: str | None, target_genes: TargetGenes, gene_map: GeneMap | None
) -> list[DaskSlot]:
    """List the dask arrays that may hold the counts, and check what can be checked without their values.

    Parameters
    ----------
    adata
        The cells.
    layer
        See :func:`hrca.data._validate.validate`.
    target_genes
        The model's genes.
    gene_map
        Table of other names of the genes; None: none.

    Raises
    ------
    ValueError
        If none of the matrices is a dask array; the chunks of one have unknown sizes, or not all genes; there is no
        such layer; rows and columns are swapped; or too few of the model's genes are there.
    """
    check_orientation(adata.obs_names, adata.var_names)
    slots = list_slots(adata, layer)
    found = []
    for slot in slots:
        matrix = slot.matrix(adata)
        if not is_dask(matrix):
            continue
        _check_chunks(matrix, slot)
        var = slot.var(adata)
        result = match_genes(var, target_genes, gene_map)
        if all(other.place != "raw" for other in slots):
            # raw may have genes that X and the layers lack
            check_gene_match(result, target_genes, var, adata.obs_names, slot.owner)
        found.append(DaskSlot(slot, matrix, result.alignment, sampled_rows(matrix)))
    if not found:
        check_is_dask(slots[0], adata)
    return found


def check_is_dask(slot: CountSlot, adata: AnnData) -> None:
    """Raise an error if the counts are not a dask array.

    Raises
    ------
    ValueError
        If they are in memory, or in a file that dask does not read.
    """
    matrix = slot.matrix(adata)
    if not is_dask(matrix):
        raise ValueError(
            f"The workers read the counts from a dask array, but {slot} is a {type(matrix).__name__}. "
            "`anndata.experimental.read_lazy(path)` opens a file so; or predict in this process: `model.predict(...)`."
        )


def _check_chunks(matrix: DaskMatrix, slot: CountSlot) -> None:
    rows, columns = matrix.chunks
    if np.isnan(np.asarray([*rows, *columns], dtype=float)).any():
        raise ValueError(
            f"The sizes of all chunks must be known, but {slot} has unknown ones (NaN), as after a selection by a "
            "computed mask. `array.compute_chunk_sizes()` computes them."
        )
    if len(columns) > 1:
        raise ValueError(
            f"A chunk must have all genes of its cells, but the columns of {slot} are divided into {len(columns)} "
            "chunks. `array.rechunk({1: -1})` joins them."
        )


def take_rows(chunk: Any, checked: np.ndarray, fitted: np.ndarray, alignment: GeneAlignment) -> ChunkSample:
    """Take some cells of a chunk.

    Parameters
    ----------
    chunk
        Shape (n_rows, n_vars), in memory.
    checked, fitted
        Positions in the chunk of the cells for the validation and for the fit, each shape (n_cells,).
    alignment
        Alignment of the genes.
    """
    chunk = rows_of(chunk)
    return ChunkSample(chunk[checked], align_canonical(chunk[fitted], alignment))


def rows_of(chunk: Any) -> CountMatrix:
    """Return a chunk in the form in which its rows are read: CSR, or dense."""
    return chunk.tocsr() if sparse.issparse(chunk) else np.asarray(chunk)


def checked_cells(adata: AnnData, read: Mapping[CountSlot, tuple[np.ndarray, Sequence[CountMatrix]]]) -> LazyAnnData:
    """Return the cells with matrices that hold only the rows that the validation reads.

    Parameters
    ----------
    adata
        The cells.
    read
        For each slot with a dask array: the rows that were read, ascending, and their values, in parts.
    """

    def stored(slot: CountSlot) -> StoredMatrix:
        matrix = slot.matrix(adata)
        return _only_rows(matrix.shape, *read[slot]) if slot in read else matrix

    names = [name for name in adata.layers if name is not None]
    raw = None if adata.raw is None else LazyRaw(stored(CountSlot("raw", "raw")), table_in_memory(adata.raw.var))
    return LazyAnnData(
        X=None if adata.X is None else stored(CountSlot("X", "X")),
        layers={name: stored(CountSlot("layers", name)) for name in names},
        raw=raw,
        # the columns of obs are not used, and may not be in memory
        obs=pd.DataFrame(index=adata.obs_names),
        var=table_in_memory(adata.var),
    )


def _only_rows(shape: tuple[int, int], rows: np.ndarray, parts: Sequence[CountMatrix]) -> SlicedMatrix:
    """Return a matrix of a shape that reads some ascending rows, given in parts, and no others."""
    values = sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
    return SlicedMatrix(shape, lambda wanted: values[np.searchsorted(rows, np.arange(shape[0])[wanted])])


def chunk_positions(rows: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """Divide ascending rows among chunks.

    Parameters
    ----------
    rows
        Rows of the matrix, ascending, shape (n_rows,).
    bounds
        See :attr:`DaskSlot.bounds`.

    Returns
    -------
    For each chunk, the positions in it of its rows.

    Examples
    --------
    >>> chunk_positions(np.array([0, 2, 5]), np.array([0, 2, 4, 6]))
    [array([0]), array([0]), array([1])]
    """
    parts = np.split(rows, np.searchsorted(rows, bounds[1:-1]))
    return [part - start for part, start in zip(parts, bounds[:-1], strict=True)]
