"""Bring the genes of any matrix into the model's order: sparse stays sparse, absent genes get empty columns."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from hrca.typing import CountMatrix


@dataclass(frozen=True)
class GeneAlignment:
    """The positions of the model's genes in a matrix.

    Attributes
    ----------
    selector
        Sparse 0/1 matrix, shape (n_vars of the matrix, n_genes of the model). A matrix times the selector has the
        model's genes in the model's order; columns of absent genes are empty. None if the genes are already aligned.
    present
        Boolean, shape (n_genes,): True for each of the model's genes that the matrix has.
    """

    selector: sparse.csr_array | None
    present: np.ndarray

    @property
    def n_shared(self) -> int:
        """Number of the model's genes that the matrix has."""
        return int(self.present.sum())

    @cached_property
    def targets(self) -> np.ndarray | None:
        """Position among the model's genes of each gene of the matrix, shape (n_vars,); -1 for a gene not used.

        None if the genes are already aligned.
        """
        if self.selector is None:
            return None
        targets = np.full(self.selector.shape[0], -1, dtype=np.int32)
        targets[np.diff(self.selector.indptr) > 0] = self.selector.indices
        return targets

    def used(self, n_vars: int) -> np.ndarray:
        """Return True for each gene of the matrix that is a gene of the model, shape (n_vars,)."""
        if self.selector is None:
            return np.ones(n_vars, dtype=bool)
        return np.diff(self.selector.indptr) > 0


def check_unique(gene_names: pd.Index, owner: str) -> None:
    """Check that gene names are unique.

    Parameters
    ----------
    gene_names
        Names, shape (n_vars,).
    owner
        Expression of the names in an error, e.g. "`adata.var_names`".

    Raises
    ------
    ValueError
        If a name occurs more than once.
    """
    if gene_names.is_unique:
        return
    duplicated = list(gene_names[gene_names.duplicated()].unique())
    raise ValueError(
        f"Gene names must be unique, but {owner} has {len(duplicated)} duplicated: {duplicated[:3]}. "
        "Sum or drop the duplicates, or call `adata.var_names_make_unique()` if they are different genes."
    )


def check_shared(n_shared: int, genes: pd.Index, model_genes: pd.Index) -> None:
    """Check that a matrix and a model share genes.

    Parameters
    ----------
    n_shared
        Number of shared genes.
    genes
        Names of the matrix's genes, shape (n_vars,).
    model_genes
        Names of the model's genes, shape (n_genes,).

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


def make_selector(positions: np.ndarray, n_vars: int) -> sparse.csr_array | None:
    """Return the selector of :class:`GeneAlignment`.

    Parameters
    ----------
    positions
        Position of each of the model's genes in the query, shape (n_genes,); -1 for an absent gene.
    n_vars
        Number of the query's genes.
    """
    if np.array_equal(positions, np.arange(n_vars)):
        return None
    present = positions >= 0
    entries = (np.ones(int(present.sum()), dtype=np.float32), (positions[present], np.flatnonzero(present)))
    return sparse.csr_array(entries, shape=(n_vars, len(positions)))


def align(x: CountMatrix, alignment: GeneAlignment) -> CountMatrix:
    """Bring rows of a matrix into the model's gene order.

    Parameters
    ----------
    x
        Counts, shape (n_obs, n_vars of the query), sparse or dense.
    alignment
        Alignment of the same genes.

    Returns
    -------
    Counts, shape (n_obs, n_genes of the model), float32, sparse if `x` is sparse; 0 for an absent gene.
    """
    x = x.astype(np.float32, copy=False)
    return x if alignment.selector is None else x @ alignment.selector


def align_canonical(x: CountMatrix, alignment: GeneAlignment) -> sparse.csr_array:
    """Bring rows of a matrix into the model's gene order, in one form for all containers.

    Equal counts give the same arrays, and so bit-identical sums, whether they were sparse or dense.

    Parameters
    ----------
    x
        Counts, shape (n_obs, n_vars of the query), sparse or dense. They stay unchanged.
    alignment
        Alignment of the same genes.

    Returns
    -------
    Counts, shape (n_obs, n_genes of the model), float32, with sorted indices of 32 bits, one entry for each count and
    no stored zeros.
    """
    # scipy takes neither Python objects nor numbers in the other byte order
    counts = sparse.csr_array(x.astype(np.float32, copy=False))
    values, genes, indptr = counts.data, counts.indices, counts.indptr
    targets = alignment.targets
    if targets is not None:
        genes = targets[genes]
    is_kept = (genes >= 0) & (values != 0)
    if not is_kept.all():
        indptr = np.concatenate([np.zeros(1, dtype=np.int32), is_kept.cumsum(dtype=np.int32)])[indptr]
        values, genes = values[is_kept], genes[is_kept]
    parts = values, genes.astype(np.int32, copy=False), indptr.astype(np.int32, copy=False)
    aligned = sparse.csr_array(parts, shape=(counts.shape[0], len(alignment.present)))
    if not aligned.has_canonical_format:
        # the arrays may be the user's
        aligned = aligned.copy()
        aligned.sum_duplicates()
    return aligned
