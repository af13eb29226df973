"""Put any matrix into the model's gene order: sparse stays sparse, absent genes are empty."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

logger = logging.getLogger(__name__)

# Below this share of the model's genes most of what it learned is out of sight, and a model trained on the shared
# genes does better: an atlas model of which a panel had 7 % of the genes left 98 % of the cells below p = 0.5
# (documentation of SpatialCore 2026-01).
MIN_SHARE_WITHOUT_WARNING = 0.5


@dataclass(frozen=True)
class GeneMatch:
    """Which of the model's genes a matrix has, and where.

    Attributes
    ----------
    selector
        Sparse 0/1 matrix, shape (n_vars of the matrix, n_genes of the model): a matrix times the selector is in
        the model's gene order, without extra genes and with empty columns for absent ones. ``None`` where the
        genes are already the model's.
    present
        Boolean, shape (n_genes,): which of the model's genes the matrix has.
    """

    selector: sparse.csr_array | None
    present: np.ndarray

    @property
    def n_shared(self) -> int:
        """Number of the model's genes that the matrix has."""
        return int(self.present.sum())


def check_unique(gene_names: pd.Index, owner: str) -> None:
    """Refuse duplicated gene names.

    Raises
    ------
    ValueError
        If a name stands more than once.
    """
    if gene_names.is_unique:
        return
    duplicated = list(gene_names[gene_names.duplicated()].unique())
    raise ValueError(
        f"Gene names must be unique, but {owner} has {len(duplicated)} duplicated: {duplicated[:3]}. "
        "Sum or drop the duplicates, or call `adata.var_names_make_unique()` if they are different genes."
    )


def check_shared(n_shared: int, genes: pd.Index, model_genes: pd.Index) -> None:
    """Refuse genes of which the model has none.

    Raises
    ------
    ValueError
        If `n_shared` is 0.
    """
    if n_shared == 0:
        raise ValueError(
            "The AnnData and the model must share genes, but they share none. "
            f"adata.var_names[:3] = {list(genes[:3])}, the model's genes[:3] = {list(model_genes[:3])}. "
            "Are these the same kind of gene id (symbols or Ensembl), in the same case and of the same species? "
            "Set `adata.var_names` to the kind that the model has."
        )


def match_genes(query_genes: pd.Index, model_genes: pd.Index) -> GeneMatch:
    """Find the model's genes in a query by name.

    Parameters
    ----------
    query_genes
        Gene names of the query, in its order.
    model_genes
        Gene names of the model, in its order.

    Raises
    ------
    ValueError
        If the query's gene names are not unique, or none of them is a gene of the model.
    """
    check_unique(query_genes, "`adata.var_names`")
    source = query_genes.get_indexer(model_genes)
    present = source >= 0
    n_shared, n_genes = int(present.sum()), len(model_genes)
    check_shared(n_shared, query_genes, model_genes)
    _report(n_shared, query_genes, model_genes)
    if query_genes.equals(model_genes):
        return GeneMatch(None, present)
    ones = np.ones(n_shared, dtype=np.float32)
    cells = (ones, (source[present], np.flatnonzero(present)))
    return GeneMatch(sparse.csr_array(cells, shape=(len(query_genes), n_genes)), present)


def _report(n_shared: int, query_genes: pd.Index, model_genes: pd.Index) -> None:
    n_genes, n_query_genes = len(model_genes), len(query_genes)
    share = n_shared / n_genes
    found = f"{n_shared} of the model's {n_genes} genes ({share:.0%}) are among the query's {n_query_genes}"
    logger.info("%s.", found)
    if share < MIN_SHARE_WITHOUT_WARNING:
        n_folded = int(model_genes.str.upper().isin(query_genes.str.upper()).sum())
        case = f" {n_folded} would if case were ignored: is it one species?" if n_folded > n_shared else ""
        warnings.warn(
            f"Only {found}; the others count as absent.{case} "
            "A model trained on the shared genes is likely to be better: "
            "`reference[:, reference.var_names.isin(query.var_names)].copy()`, then `HRCA.setup_anndata` on that.",
            stacklevel=6,  # the line of the user who called predict or its like
        )


def align(x, match: GeneMatch):
    """Bring rows of a matrix into the model's gene order.

    Parameters
    ----------
    x
        Counts, shape (n_obs, n_vars of the query), sparse or dense.
    match
        What :func:`match_genes` found for the same genes.

    Returns
    -------
    Counts, shape (n_obs, n_genes of the model), float32, sparse where `x` is sparse; 0 where a gene is absent.
    """
    x = x.astype(np.float32, copy=False)
    return x if match.selector is None else x @ match.selector
