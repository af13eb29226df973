"""Before anything else: are these raw counts, of genes that the model knows, and can counts be had back."""

import numpy as np
from anndata import AnnData
from scipy import sparse

from hrca.data._count_slots import find_slot
from hrca.data._inverses import invert_to_counts
from hrca.data._report import ValidationReport
from hrca.data._row_reader import in_memory, read_rows, sample_cells
from hrca.data._sources import QueryInput, open_query_input
from hrca.data._validate import validate
from hrca.data._value_scale import classify_values
from hrca.model._model import HRCA

__all__ = ["ValidationReport", "check", "recover_counts"]


def check(adata: QueryInput, model: HRCA | None = None, *, layer: str | None = None) -> ValidationReport:
    """Look at cells before any work: where their raw counts and their genes are, and what else is odd with them.

    :meth:`hrca.HRCA.setup_anndata` and :meth:`hrca.HRCA.predict` do the same. Up to 1,000 cells of X, of each layer and
    of raw are looked at; the matrix that is taken is then looked at whole, if it is in memory. Nothing is changed.

    Parameters
    ----------
    adata
        The cells, as in :meth:`hrca.HRCA.predict`, but for a list or dict. Without a model, the RNA modality of a
        MuData is "rna".
    model
        The model that is to label them; None: no genes are asked for.
    layer
        Where the raw counts are: a layer, "X" or "raw". What is named is taken if it holds integers, 0 or more, and
        nothing else is looked at. None: X, or the layer that the model's reference had, if it holds raw counts; else
        another place, if one alone does.

    Returns
    -------
    What was found; it has a readable repr, and `to_dict()`.

    Raises
    ------
    TypeError
        If `model` is no HRCA, such as the cells in its place.
    ValueError
        If no place, or more than one, holds raw counts; values are NaN, infinite, negative or not integers; rows and
        columns are swapped; genes are of two species, or of another case than the model's; a gene of the model is there
        twice; zeros were filled in for absent genes; or the cells have fewer than 50 of the model's genes, and less
        than 5 % of its informative ones.

    Examples
    --------
    >>> import hrca
    >>> adata = hrca.datasets.pbmc68k()
    >>> hrca.pp.check(adata).layer
    'X'
    """
    if model is not None and not isinstance(model, HRCA):
        raise TypeError(
            f"`model` must be an HRCA, got {type(model).__name__}. The cells come first: `check(query, model)`."
        )
    if model is None:
        return validate(open_query_input(adata, "rna")[0], None, layer).report
    return model._open_query(adata, layer).report


def recover_counts(adata: AnnData, *, layer: str | None = None) -> sparse.csr_array | np.ndarray:
    """Get raw counts back from values that were normalised in each cell, and perhaps logged, where that is exact.

    Of each cell, the smallest integers in the ratios of its values are taken. They are its counts, unless all of these
    have a common divisor, as happens in a cell of very few counts.

    Parameters
    ----------
    adata
        The cells; they stay as they are.
    layer
        Where the values are: a layer, "X" or "raw"; X if None.

    Returns
    -------
    Counts, shape (n_obs, n_vars), float32; sparse, or dense where the values are.

    Raises
    ------
    ValueError
        If there is no such layer, or the values of some cell are not in the ratio of integers: they were scaled,
        corrected, imputed or rounded after normalising.

    Examples
    --------
    >>> import hrca
    >>> import scanpy as sc
    >>> adata = hrca.datasets.pbmc68k()
    >>> counts = adata.X.copy()
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> (hrca.pp.recover_counts(adata) != counts).nnz
    0
    """
    slot = find_slot(adata, layer)
    x = slot.matrix(adata)
    scale = classify_values(sample_cells(x))
    if scale.is_counts:
        raise ValueError(f"There must be something to undo, but {slot} holds {scale.text}.")
    values = sparse.csr_array(x if in_memory(x) else read_rows(x, slice(0, x.shape[0])))
    # a copy, the zeros of which are taken out; and one type for all indices, where a file has two
    values = sparse.csr_array((values.data, values.indices, values.indptr), shape=values.shape, copy=True)
    values.eliminate_zeros()
    counts = None if scale.inverse is None else invert_to_counts(values, scale.inverse)
    if counts is None:
        raise ValueError(
            f"Each cell's values must be in the ratio of integers, as normalised and logged counts are, but {slot} "
            f"holds {scale.text}. The counts cannot be had back: take them from the file that they came in."
        )
    return counts if sparse.issparse(x) or not isinstance(x, np.ndarray) else counts.toarray()
