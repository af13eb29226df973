"""Validate a reference before any training: its genes, counts and labels."""

import logging

import pandas as pd
from anndata import AnnData

from hrca._hierarchy import is_word_for_no_label

from ._alignment import check_unique
from ._count_slots import layer_names
from ._validate import validate

logger = logging.getLogger(__name__)

# The HRCA Training Document, the specification of the algorithm, first paragraph: "it is recommended to have more than
# 300 cells for each cell type".
RECOMMENDED_CELLS_PER_LABEL = 300


def check_reference(
    adata: AnnData, layer: str | None, labels_key: str | None, obs: pd.DataFrame, unlabeled_category: str
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

    Returns
    -------
    `layer`; if that is None, the layer that was selected, or None for X.

    Raises
    ------
    ValueError
        If there are no cells or no genes; gene names are not unique; or as for :func:`check_labels` and
        :func:`hrca.data._validate.validate`.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(
            f"A reference must have cells and genes, got {adata.n_obs} cells x {adata.n_vars} genes. "
            "Did a filter leave nothing, or have reference and query different gene ids?"
        )
    if labels_key is not None:
        check_labels(obs, labels_key, unlabeled_category)
    check_unique(adata.var_names, "`adata.var_names`")
    slot = validate(adata, None, layer, with_raw=False).slot
    return slot.name if layer is None and slot.place == "layers" else layer


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
    """Check that a column of labels can be learned.

    Parameters
    ----------
    obs
        Table of the reference's cells.
    labels_key
        Its column with the labels.
    unlabeled_category
        Label of cells without a label.

    Raises
    ------
    ValueError
        If there is no such column, or it holds missing values, values that are not strings, unused categories, words
        that mean that a cell has no label, or fewer than two labels beside `unlabeled_category`.
    """
    if labels_key not in obs:
        own_columns = [name for name in obs.columns if not name.startswith("_scvi")]
        raise ValueError(
            f"`labels_key` must name a column of `adata.obs`, got {labels_key!r}; it has {own_columns}. "
            "Name one of these, or None to pre-train without labels."
        )
    column = f"`adata.obs[{labels_key!r}]`"
    n_cells = obs[labels_key].value_counts()
    _check_label_values(obs[labels_key], n_cells, column, unlabeled_category)
    _check_words(n_cells.index, column, unlabeled_category)
    n_cells = n_cells.drop(unlabeled_category, errors="ignore")
    if len(n_cells) < 2:
        raise ValueError(
            f"There must be at least two labels to tell apart, but {column} has {list(n_cells.index)} beside "
            f"{unlabeled_category!r}. Name another column, or None to pre-train without labels."
        )
    few = n_cells[n_cells < RECOMMENDED_CELLS_PER_LABEL]
    if len(few):
        logger.info("Fewer than the recommended %d cells: %s.", RECOMMENDED_CELLS_PER_LABEL, few.to_dict())


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
            f"{is_missing.sum()} of {len(labels)} cells. To use them in pre-training: `{name} = "
            f"{name}.astype(object).replace('', None).fillna({unlabeled_category!r})`."
        )
    if not all(isinstance(label, str) for label in n_cells.index):
        raise ValueError(
            f"Labels must be strings, but {column} holds {labels.dtype} values such as {n_cells.index[0]!r}. "
            f"`{name} = {name}.astype(str)` makes strings of them."
        )
    if (n_cells == 0).any():
        raise ValueError(
            f"Every category must have cells, but {column} has none of {list(n_cells.index[n_cells == 0][:3])}. "
            f"`{name} = {name}.cat.remove_unused_categories()` drops them."
        )
