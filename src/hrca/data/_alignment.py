"""Put any matrix into the model's gene order: sparse stays sparse, absent genes are empty."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse


@dataclass(frozen=True)
class GeneAlignment:
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

    def used(self, n_vars: int) -> np.ndarray:
        """Say which genes of the matrix are genes of the model, shape (n_vars,)."""
        if self.selector is None:
            return np.ones(n_vars, dtype=bool)
        return np.diff(self.selector.indptr) > 0


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


def make_selector(source: np.ndarray, n_vars: int) -> sparse.csr_array | None:
    """Return the selector of :class:`GeneAlignment` for where the model's genes are.

    Parameters
    ----------
    source
        Position of each of the model's genes in the query, shape (n_genes,); -1 where absent.
    n_vars
        Number of the query's genes.
    """
    if np.array_equal(source, np.arange(n_vars)):
        return None
    present = source >= 0
    cells = (np.ones(int(present.sum()), dtype=np.float32), (source[present], np.flatnonzero(present)))
    return sparse.csr_array(cells, shape=(n_vars, len(source)))


def align(x, alignment: GeneAlignment):
    """Bring rows of a matrix into the model's gene order.

    Parameters
    ----------
    x
        Counts, shape (n_obs, n_vars of the query), sparse or dense.
    match
        What :func:`hrca.data._gene_matching.match_genes` found for the same genes.

    Returns
    -------
    Counts, shape (n_obs, n_genes of the model), float32, sparse where `x` is sparse; 0 where a gene is absent.
    """
    x = x.astype(np.float32, copy=False)
    return x if alignment.selector is None else x @ alignment.selector
