"""Refuse a reference that cannot be learned from, before any work starts."""

import logging

import pandas as pd
from anndata import AnnData

from ._alignment import check_unique
from ._count_slots import layer_names
from ._validate import validate

logger = logging.getLogger(__name__)

# Training Document, first paragraph: "it is recommended to have more than 300 cells for each cell type".
RECOMMENDED_CELLS_PER_LABEL = 300


def check_reference(
    adata: AnnData, layer: str | None, labels_key: str | None, obs: pd.DataFrame, unlabeled_category: str
) -> str | None:
    """Refuse a reference whose genes, counts or labels cannot be learned from.

    Parameters
    ----------
    adata
        The reference, or its RNA modality.
    layer
        Layer with the raw counts, or "X"; None: to be found.
    labels_key
        Column of `obs` with the labels; None: without labels.
    obs
        The table that has them.
    unlabeled_category
        The label of cells without one.

    Returns
    -------
    `layer`; if that is None, the layer that was found, or None for X.

    Raises
    ------
    ValueError
        See :func:`hrca.data._validate.check`, :func:`hrca.data._alignment.check_unique` and :func:`check_labels`; or if there is no cell
        or no gene.
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
    """Return what scvi-tools calls the layer: None for X."""
    return layer if layer in layer_names(adata) else None


def check_labels(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> None:
    """Refuse a label column that cannot be learned.

    Parameters
    ----------
    obs
        The reference's obs.
    labels_key
        Its column with the labels.
    unlabeled_category
        The label of cells without one.

    Raises
    ------
    ValueError
        If there is no such column, or it holds missing values, values that are not strings, unused categories, or
        fewer than two labels beside `unlabeled_category`.
    """
    column = f"`adata.obs[{labels_key!r}]`"
    own = [name for name in obs.columns if not name.startswith("_scvi")]
    if labels_key not in obs:
        raise ValueError(
            f"`labels_key` must name a column of `adata.obs`, got {labels_key!r}; it has {own}. "
            "Name one of these, or None to pre-train without labels."
        )
    labels = obs[labels_key]
    missing = labels.isna() | (labels.astype(str).str.strip() == "")
    if missing.any():
        raise ValueError(
            f"Every cell must have a label or {unlabeled_category!r}, but {column} is missing or empty for "
            f"{missing.sum()} of {len(labels)} cells. To let them serve pre-training: `adata.obs[{labels_key!r}] = "
            f"adata.obs[{labels_key!r}].astype(object).replace('', None).fillna({unlabeled_category!r})`."
        )
    counts = labels.value_counts()
    if not all(isinstance(label, str) for label in counts.index):
        raise ValueError(
            f"Labels must be strings, but {column} holds {labels.dtype} values such as {counts.index[0]!r}. "
            f"`adata.obs[{labels_key!r}] = adata.obs[{labels_key!r}].astype(str)` makes strings of them."
        )
    if (counts == 0).any():
        raise ValueError(
            f"Every category must have cells, but {column} has none of {list(counts.index[counts == 0][:3])}. "
            f"`adata.obs[{labels_key!r}] = adata.obs[{labels_key!r}].cat.remove_unused_categories()` drops them."
        )
    counts = counts.drop(unlabeled_category, errors="ignore")
    if len(counts) < 2:
        raise ValueError(
            f"There must be at least two labels to tell apart, but {column} has {list(counts.index)} beside "
            f"{unlabeled_category!r}. Name another column, or None to pre-train without labels."
        )
    few = counts[counts < RECOMMENDED_CELLS_PER_LABEL]
    if len(few):
        logger.info("Fewer than the recommended %d cells: %s.", RECOMMENDED_CELLS_PER_LABEL, few.to_dict())
