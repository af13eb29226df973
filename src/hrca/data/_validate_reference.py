"""Validate a reference before any training: its genes, counts and labels."""

import logging

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca._hierarchy import is_word_for_no_label
from hrca._warnings import warn_user
from hrca.typing import StoredMatrix

from ._alignment import check_unique
from ._count_slots import check_column_name, check_single_column, layer_names
from ._gene_map import GeneMap
from ._label_arguments import check_label_arguments
from ._label_names import WARNED_CELLS_PER_LABEL, is_quality_class, similar_spellings
from ._row_reader import in_memory, is_dask, is_dense
from ._validate import validate

logger = logging.getLogger(__name__)

# The HRCA Training Document, the specification of the algorithm, first paragraph: "it is recommended to have more than
# 300 cells for each cell type".
RECOMMENDED_CELLS_PER_LABEL = 300

# Labels in a message.
MAX_LABELS_SHOWN = 10

# A column with more labels of one cell each, more than half of its labels, has names of cells. Fewer can be mean
# profiles of types, one row each. Not tuned.
MAX_SINGLE_CELL_LABELS = 100


def check_reference(
    adata: AnnData,
    layer: str | None,
    labels_key: str | None,
    obs: pd.DataFrame,
    unlabeled_category: str,
    gene_map: GeneMap | None = None,
) -> str | None:
    """Check that a reference has genes, counts and labels that can be learned.

    Parameters
    ----------
    adata
        The reference, or its RNA modality.
    layer
        Layer with the raw counts, or "X"; None: search all matrices.
    labels_key
        Column of `obs` with the labels; None: no labels.
    obs
        Table of the cells that has this column.
    unlabeled_category
        Label of cells without a label.
    gene_map
        Table of other names of the genes; None: none.

    Returns
    -------
    `layer`; if that is None, the layer that was selected, or None for X.

    Raises
    ------
    ValueError
        If there are no cells or no genes; gene names are not unique; the counts are of a type that cannot be learned;
        `unlabeled_category` is empty, or given without `labels_key`; or as for :func:`check_labels` and
        :func:`hrca.data._validate.validate`.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(
            f"A reference must have cells and genes, got {adata.n_obs:,} cells x {adata.n_vars:,} genes. "
            "Did a filter leave nothing, or are genes named in two ways: of two species, or symbols and Ensembl ids?"
        )
    check_label_arguments(labels_key, unlabeled_category, has_model=False)
    if labels_key is not None:
        check_labels(obs, labels_key, unlabeled_category)
    check_unique(adata.var_names, "`adata.var_names`")
    slot = validate(adata, None, layer, with_raw=False, gene_map=gene_map).slot
    _check_container(slot.matrix(adata), str(slot))
    return slot.name if layer is None and slot.place == "layers" else layer


def check_reference_type(adata: object) -> None:
    """Check that a reference is an AnnData with tables in memory.

    Parameters
    ----------
    adata
        The reference, as the user passed it.

    Raises
    ------
    TypeError
        If it has another type.
    ValueError
        If it is a view, or its tables are read lazily.
    """
    if not isinstance(adata, AnnData):
        remedy = (
            "`setup_mudata` takes a MuData."
            if type(adata).__name__ == "MuData"
            else "`anndata.read_h5ad(path, backed='r')` opens a file."
        )
        raise TypeError(f"`adata` must be an AnnData, got {type(adata).__name__}. {remedy}")
    if adata.is_view:
        raise ValueError(
            "A reference must not be a view of another AnnData, such as `cells[rows]` or `cells[:, genes]`, since the "
            "setup is written into it. `adata = adata.copy()` makes an AnnData of its own."
        )
    if not isinstance(adata.obs, pd.DataFrame) or not isinstance(adata.var, pd.DataFrame):
        raise ValueError(
            "`adata.obs` and `adata.var` of a reference must be in memory, but they are read lazily. "
            "`adata = adata.to_memory()` reads all; `anndata.read_h5ad(path, backed='r')` leaves the counts there."
        )


def _check_container(x: StoredMatrix, source: str) -> None:
    """Check that training can read a matrix of counts: its numbers, their byte order, and where they are stored."""
    dtype = getattr(x, "dtype", None)
    if is_dask(x) and not is_dense(x):
        raise ValueError(
            f"{source} of a reference must be in memory or in a file, but it is a sparse dask array. "
            "`adata = adata.to_memory()` computes it; `anndata.read_h5ad(path, backed='r')` leaves it in the file."
        )
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(
            f"{source} of a reference must be an array of all values, but some may be masked. "
            f"`{source[1:-1]} = np.ma.filled({source[1:-1]}, 0)` makes zeros of these."
        )
    if dtype is not None and (dtype.kind == "O" or dtype == np.float16 or not dtype.isnative):
        before = "" if in_memory(x) else "`adata = adata.to_memory()`, then "
        raise ValueError(
            f"{source} of a reference must hold numbers that scipy and torch read, but it holds {dtype}. "
            f"{before}`{source[1:-1]} = {source[1:-1]}.astype(np.float32)` converts them."
        )


def layer_to_register(adata: AnnData, layer: str | None) -> str | None:
    """Return the layer to register with scvi-tools, which expects None for X.

    Parameters
    ----------
    adata
        The reference, or its RNA modality.
    layer
        A layer, "X" or None.
    """
    return layer if layer in layer_names(adata) else None


def check_labels(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> None:
    """Check that a column of labels can be learned, warn of doubtful labels, and name labels with few cells.

    Parameters
    ----------
    obs, labels_key, unlabeled_category
        See :func:`label_notes`, which also lists the errors.

    Warns
    -----
    UserWarning
        With each sentence of :func:`label_notes`.
    """
    for sentence in label_notes(obs, labels_key, unlabeled_category):
        warn_user(sentence)
    few = rare_labels(obs, labels_key, unlabeled_category)
    if few is not None:
        logger.info("%s", few)


def rare_labels(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> str | None:
    """Return a sentence if there are labels with fewer than 300 cells.

    Parameters
    ----------
    obs
        Table of the reference's cells.
    labels_key
        Its column with the labels, from :func:`label_notes`.
    unlabeled_category
        Label of cells without a label.
    """
    n_cells = obs[labels_key].value_counts().drop(unlabeled_category, errors="ignore")
    few = n_cells[n_cells < RECOMMENDED_CELLS_PER_LABEL].sort_values(kind="stable")
    if not len(few):
        return None
    shown = ", ".join(f"{label}: {count}" for label, count in few[:MAX_LABELS_SHOWN].items())
    more = f" and {len(few) - MAX_LABELS_SHOWN} more" if len(few) > MAX_LABELS_SHOWN else ""
    return f"Labels with fewer than {RECOMMENDED_CELLS_PER_LABEL} cells ({shown}{more}) are learned less well."


def label_notes(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> list[str]:
    """Check that a column of labels can be learned, and return a note for each doubt.

    Parameters
    ----------
    obs
        Table of the reference's cells.
    labels_key
        Its column with the labels.
    unlabeled_category
        Label of cells without a label.

    Returns
    -------
    A sentence each if labels have fewer than three cells, differ only by case or blanks, or are classes of quality
    control.

    Raises
    ------
    ValueError
        If there is no such column, or more than one, or it holds missing values, values that are not strings, unused
        categories, words that mean that a cell has no label, names of cells, or fewer than two labels beside
        `unlabeled_category`.
    TypeError
        If `labels_key` is no string.
    """
    check_column_name(labels_key, "labels_key")
    if labels_key not in obs:
        own_columns = [name for name in obs.columns if not name.startswith("_scvi")]
        raise ValueError(
            f"`labels_key` must name a column of `adata.obs`, got {labels_key!r}; it has {own_columns}. "
            "Name one of these, or None to pre-train without labels."
        )
    column = f"`adata.obs[{labels_key!r}]`"
    check_single_column(obs, labels_key, "adata.obs")
    n_cells = obs[labels_key].value_counts()
    _check_label_values(obs[labels_key], n_cells, column, unlabeled_category)
    _check_words(n_cells.index, column, unlabeled_category)
    n_cells = n_cells.drop(unlabeled_category, errors="ignore")
    if len(n_cells) < 2:
        raise ValueError(
            f"There must be at least two labels to tell apart, but {column} has {list(n_cells.index)} beside "
            f"{unlabeled_category!r}. Name another column, or None to pre-train without labels."
        )
    _check_numbers(n_cells, column)
    notes = [
        _few_cells(n_cells, column),
        _similar_spellings(n_cells.index, column),
        _quality_classes(n_cells.index, column, labels_key),
    ]
    return [note for note in notes if note is not None]


def _quality_classes(names: pd.Index, column: str, labels_key: str) -> str | None:
    """Return a sentence if there are labels that name the quality of cells, or a rest, and not a type.

    Parameters
    ----------
    names
        The labels.
    column
        Expression of their column in the sentence.
    labels_key
        Name of this column.
    """
    classes = [name for name in names if is_quality_class(name)]
    if not classes:
        return None
    return (
        f"Labels should be cell types, but {column} has {classes}, which look like classes of quality control or a "
        "rest. Cells of the query can get these labels. To leave them out: "
        f"`adata = adata[~adata.obs[{labels_key!r}].isin({classes})].copy()`. To use the cells of one in "
        f"pre-training alone: `unlabeled_category={classes[0]!r}`."
    )


def _check_numbers(n_cells: pd.Series, column: str) -> None:
    """Check that labels are not names of cells.

    Parameters
    ----------
    n_cells
        Number of cells of each label.
    column
        Expression of their column in an error.
    """
    n_single = int((n_cells == 1).sum())
    if n_single > max(MAX_SINGLE_CELL_LABELS, len(n_cells) / 2):
        raise ValueError(
            f"Labels must be cell types, but {n_single:,} of the {len(n_cells):,} labels of {column} have one cell "
            f"each, such as {n_cells.index[0]!r}: they look like names of cells. Name another column as `labels_key`."
        )


def _few_cells(n_cells: pd.Series, column: str) -> str | None:
    """Return a sentence if there are labels with too few cells to learn.

    Parameters
    ----------
    n_cells
        Number of cells of each label.
    column
        Expression of their column in the sentence.
    """
    few = n_cells[n_cells < WARNED_CELLS_PER_LABEL]
    if not len(few):
        return None
    shown = ", ".join(f"{label!r} ({count})" for label, count in few[:3].items())
    more = f" and {len(few) - 3} more" if len(few) > 3 else ""
    return (
        f"A label needs at least {WARNED_CELLS_PER_LABEL} cells to be learned, but {column} has fewer of "
        f"{shown}{more}. Give more cells, merge these labels with others, or leave them out."
    )


def _similar_spellings(names: pd.Index, column: str) -> str | None:
    """Return a sentence if there are labels that differ only by case or blanks.

    Parameters
    ----------
    names
        The labels, the most common one first.
    column
        Expression of their column in the sentence.
    """
    groups = similar_spellings(names)
    if not groups:
        return None
    spellings = groups[0]
    name, changes = column.strip("`"), dict.fromkeys(spellings[1:], spellings[0])
    return (
        f"{sum(map(len, groups))} labels of {column} differ from another only by case or blanks, such as {spellings}, "
        "and are learned as types of their own. If they are the same type, give them one name: "
        f"`{name} = {name}.astype(object).replace({changes})`."
    )


def _check_words(names: pd.Index, column: str, unlabeled_category: str) -> None:
    """Check that no name means that a cell has no label.

    Parameters
    ----------
    names
        The labels, with the unlabelled category if a cell has it.
    column
        Expression of their column in an error.
    unlabeled_category
        Label of cells without a label, which is allowed.
    """
    words = [name for name in names if name != unlabeled_category and is_word_for_no_label(name)]
    if words:
        name = column.strip("`")
        remedy = f"`{name} = {name}.astype(object).replace({words}, {unlabeled_category!r})`"
        if len(words) == 1 and unlabeled_category not in names:
            remedy = f"`unlabeled_category={words[0]!r}`"
        raise ValueError(
            f"Labels must be cell types, but {column} holds {words}, which means that a cell has none. To use these "
            f"cells in pre-training alone: {remedy}."
        )


def _check_label_values(labels: pd.Series, n_cells: pd.Series, column: str, unlabeled_category: str) -> None:
    """Check that labels are strings, that every cell has one, and that every category has cells.

    Parameters
    ----------
    labels
        Label of each cell, shape (n_obs,).
    n_cells
        Number of cells of each label.
    column
        Expression of the column in an error.
    unlabeled_category
        Label of cells without a label.
    """
    name = column.strip("`")
    is_missing = labels.isna() | (labels.astype(str).str.strip() == "")
    if is_missing.any():
        raise ValueError(
            f"Every cell must have a label or {unlabeled_category!r}, but {column} is missing or empty for "
            f"{is_missing.sum():,} of {len(labels):,} cells. To use them in pre-training: `{name} = "
            f"{name}.astype(object).where({name}.astype(str).str.strip() != '').fillna({unlabeled_category!r})`."
        )
    wrong = next((label for label in n_cells.index if not isinstance(label, str)), None)
    if wrong is not None:
        raise ValueError(
            f"Labels must be strings, but {column} holds {labels.dtype} values such as {wrong!r}. "
            f"`{name} = {name}.astype(str)` makes strings of them."
        )
    if (n_cells == 0).any():
        raise ValueError(
            f"Every category must have cells, but {column} has none of {list(n_cells.index[n_cells == 0][:3])}. "
            f"`{name} = {name}.cat.remove_unused_categories()` drops them."
        )
