"""Check cells before training or prediction, map gene names, and recover raw counts from normalised values."""

from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hrca._docs import docs
from hrca.data._alignment import check_unique
from hrca.data._count_slots import find_slot
from hrca.data._gene_map import GeneMapInput, read_gene_map
from hrca.data._inverses import invert_to_counts
from hrca.data._label_arguments import check_label_arguments
from hrca.data._report import ValidationReport
from hrca.data._row_reader import in_memory, read_rows, sample_cells
from hrca.data._sources import QueryInput, open_query_input
from hrca.data._validate import validate
from hrca.data._validate_reference import label_notes, rare_labels
from hrca.data._value_scale import classify_values
from hrca.model._model import HRCA
from hrca.typing import StoredMatrix

__all__ = ["ValidationReport", "check", "map_genes", "recover_counts"]


@docs.dedent
def check(
    adata: QueryInput,
    model: HRCA | None = None,
    *,
    layer: str | None = None,
    gene_map: GeneMapInput | None = None,
    labels_key: str | None = None,
    unlabeled_category: str = "Unknown",
) -> ValidationReport:
    """Find the raw counts and the genes of cells, and report everything that may give wrong labels.

    :meth:`hrca.HRCA.setup_anndata` and :meth:`hrca.HRCA.predict` run the same checks. X, each layer and raw are
    classified from a sample of at most 1,000 cells. The matrix that is selected is then checked completely if it is in
    memory, or if there is no model. Nothing is changed.

    Parameters
    ----------
    adata
        The cells: an AnnData, MuData, SpatialData or AnnCollection, or the path of an h5ad file or zarr folder. The
        list of types lacks SpatialData, whose package is optional. Without a model, the modality "rna" of a MuData is
        checked.
    model
        The model that is to label the cells. None: the cells are checked as a reference, and genes are not matched.
    layer
        Place of the raw counts: a layer, "X" or "raw". It is selected if it holds integers, 0 or more. None: X or the
        layer of the model's reference, if it holds raw counts; otherwise the only other place that does.
    %(gene_map)s
    labels_key
        Column of the reference's obs with the labels, which are checked as before a training: whether they can be
        learned, and whether some have few cells, differ only by case, or are classes of quality control such as
        "Doublet". None: labels are not checked.
    %(unlabeled_category)s

    Returns
    -------
    The report, with a readable repr and ``to_dict()``.

    Raises
    ------
    TypeError
        If `model` is not an :class:`hrca.HRCA`, or `adata` is of another type.
    ValueError
        If no place or more than one place holds raw counts; values are NaN, infinite, negative, not integers or larger
        than any count; or rows and columns are exchanged.
    ValueError
        If the gene names of a reference are not unique, or those of any cells are only numbers (0, 1, 2, ...); the
        genes are of two species, or of another case than the model's; a gene of the model is found twice; zeros were
        filled in for absent genes; `gene_map` has none of the genes; or the cells have fewer than 50 of the model's
        genes, and less than 5 %% of its informative genes by weight.
    ValueError
        If the labels cannot be learned; `labels_key` is given with a model, which needs no labels; or
        `unlabeled_category` is empty, or given without `labels_key`.
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is damaged.

    Examples
    --------
    >>> import hrca
    >>> adata = hrca.datasets.pbmc68k()
    >>> hrca.pp.check(adata).layer
    'X'
    """
    if model is not None and not isinstance(model, HRCA):
        raise TypeError(
            f"`model` must be an HRCA, got {type(model).__name__}. The cells are the first argument: "
            "`check(query, model)`."
        )
    check_label_arguments(labels_key, unlabeled_category, has_model=model is not None)
    if model is None:
        table = None if gene_map is None else read_gene_map(gene_map)
        cells, _ = open_query_input(adata, "rna")
        check_unique(cells.var_names, "`adata.var_names`")
        notes = [] if labels_key is None else label_notes(cells.obs, labels_key, unlabeled_category)
        rare = None if labels_key is None else rare_labels(cells.obs, labels_key, unlabeled_category)
        notes += [] if rare is None else [rare]
        report = validate(cells, None, layer, gene_map=table).report
        return replace(report, notes=(*notes, *report.notes))
    return model._open_query(adata, layer, gene_map=gene_map).report


def map_genes(adata: AnnData, gene_map: GeneMapInput) -> pd.Series:
    """Map the names of genes by a table, such as Ensembl ids to symbols.

    :meth:`hrca.HRCA.setup_anndata`, :meth:`hrca.HRCA.predict` and :func:`check` do the same with ``gene_map=``. The
    names can also be written into a column of var, where :meth:`hrca.HRCA.predict` finds them:
    ``adata.var["gene"] = hrca.pp.map_genes(...)``.

    Parameters
    ----------
    adata
        The cells. They are not changed.
    gene_map
        Table of two names of each gene. Versions of Ensembl ids (".12") are ignored. A dict or Series from one name to
        the other; a DataFrame of two columns, or of one column and its index; a DataFrame with the columns ``gene_id``
        and ``gene_name`` of a GTF file; or the path of a csv, tsv or GTF file, also compressed, such as 10x's
        ``features.tsv.gz``. Names of the first column become those of the second; the reverse if the columns hold ids
        of two kinds and the genes have those of the second.

    Returns
    -------
    The new name of each gene, index ``adata.var_names``. A gene keeps its own name if the table has none or more than
    one for it, or if another gene has the new name.

    Raises
    ------
    ValueError
        If ``adata.var_names`` are not unique, the table has none of them, or it does not have two columns of names.
    FileNotFoundError
        If there is no such file.
    TypeError
        If `adata` is no AnnData, or `gene_map` has another type.

    Examples
    --------
    >>> import hrca
    >>> adata = hrca.datasets.pbmc68k()[:, ["CD8A", "MS4A1"]]
    >>> hrca.pp.map_genes(adata, {"CD8A": "ENSG00000153563"}).to_list()
    ['ENSG00000153563', 'MS4A1']
    """
    _check_adata(adata)
    check_unique(adata.var_names, "`adata.var_names`")
    names = adata.var_names.astype(str)
    return pd.Series(read_gene_map(gene_map).rename(names), index=adata.var_names, name="gene")


def recover_counts(adata: AnnData, *, layer: str | None = None) -> sparse.csr_array | np.ndarray:
    """Recover raw counts from values that were normalised in each cell, and possibly log-transformed.

    The counts of a cell are the smallest integers that have the ratios of its values. They are the original counts,
    unless all counts of the cell have a common divisor, as is possible in a cell of few counts.

    Parameters
    ----------
    adata
        The cells. They are not changed.
    layer
        Place of the values: a layer, "X" or "raw"; None: X.

    Returns
    -------
    Counts, shape (n_obs, n_vars), float32; dense if the values are dense, otherwise sparse.

    Raises
    ------
    ValueError
        If there is no such layer; the values are raw counts already; or the values of a cell do not have the ratios of
        integers, because they were scaled, corrected, imputed, or rounded after normalisation.
    TypeError
        If `adata` is no AnnData.

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
    _check_adata(adata)
    slot = find_slot(adata, layer)
    x = slot.matrix(adata)
    scale = classify_values(sample_cells(x))
    if scale.is_counts:
        raise ValueError(f"{slot} must hold transformed counts, but it holds {scale.text}: nothing is to be recovered.")
    counts = None if scale.inverse is None else invert_to_counts(_without_stored_zeros(x), scale.inverse)
    if counts is None:
        raise ValueError(
            "Each cell's values must have the ratios of integers, as normalised and log-transformed counts have, but "
            f"{slot} holds {scale.text}. The counts cannot be recovered: read them from the original file."
        )
    return counts.toarray() if isinstance(x, np.ndarray) else counts


def _check_adata(adata: object) -> None:
    if not isinstance(adata, AnnData):
        raise TypeError(
            f"`adata` must be an AnnData, got {type(adata).__name__}. `anndata.read_h5ad(path)` reads a file; "
            "a modality of a MuData is one, `mdata['rna']`."
        )


def _without_stored_zeros(x: StoredMatrix) -> sparse.csr_array:
    """Return a copy of a matrix in memory, sparse by row, with one type for both arrays of indices."""
    values = sparse.csr_array(x if in_memory(x) else read_rows(x, slice(0, x.shape[0])))
    # a file can hold the two arrays of indices in different types, which the constructor unifies
    values = sparse.csr_array((values.data, values.indices, values.indptr), shape=values.shape, copy=True)
    values.sum_duplicates()
    values.eliminate_zeros()
    return values
