"""Look up the model's genes among names."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._gene_ids import normalize_gene_ids


@dataclass(frozen=True)
class GeneLookup:
    """The positions of the model's genes among names.

    Attributes
    ----------
    positions
        Position of each of the model's genes, shape (n_genes,); -1 for an absent gene.
    n_normalized
        Number of genes that were found only without version, genome or surrounding blanks.
    n_case_folded
        Number of genes that were found only in another case.
    duplicated
        Names of the model's genes that occur more than once; the first of each is used.
    """

    positions: np.ndarray
    n_normalized: int
    n_case_folded: int
    duplicated: list[str]

    @property
    def present(self) -> np.ndarray:
        """True for each of the model's genes that was found, shape (n_genes,)."""
        return self.positions >= 0


def lookup_genes(names: pd.Index, model_genes: pd.Index, is_gene: np.ndarray, *, ignore_case: bool) -> GeneLookup:
    """Look up the model's genes: by their exact names, then by normalised names, then in any case.

    Parameters
    ----------
    names
        Names of features, shape (n_vars,).
    model_genes
        Names of the model's genes, shape (n_genes,).
    is_gene
        True for each feature that may be a gene, shape (n_vars,).
    ignore_case
        Whether names that differ in case alone are the same gene.
    """
    genes = np.flatnonzero(is_gene)
    is_repeated = names[genes].duplicated()
    candidates = genes[~is_repeated]
    matches = names[candidates].get_indexer(model_genes)
    exact = np.where(matches >= 0, candidates[matches], -1) if len(candidates) else np.full(len(model_genes), -1)
    normalized = _look_up_absent(exact, names, candidates, model_genes, normalize_gene_ids)
    folded = _look_up_absent(normalized, names, candidates, model_genes, _fold_case) if ignore_case else normalized
    n_exact, n_normalized, n_folded = ((positions >= 0).sum() for positions in (exact, normalized, folded))
    return GeneLookup(
        positions=folded,
        n_normalized=int(n_normalized - n_exact),
        n_case_folded=int(n_folded - n_normalized),
        duplicated=list(model_genes[model_genes.isin(names[genes[is_repeated]])]) if is_repeated.any() else [],
    )


def _look_up_absent(
    positions: np.ndarray,
    names: pd.Index,
    candidates: np.ndarray,
    model_genes: pd.Index,
    key: Callable[[pd.Index], pd.Index],
) -> np.ndarray:
    """Look up the genes that are still absent among the names that are still free, by a key of each name.

    Parameters
    ----------
    positions
        Position of each of the model's genes so far, shape (n_genes,); -1 for an absent gene.
    names
        Names of features, shape (n_vars,).
    candidates
        Positions of the names that may be a gene.
    model_genes
        Names of the model's genes, shape (n_genes,).
    key
        Function that turns names into keys; genes with equal keys are the same gene.

    Returns
    -------
    Position of each of the model's genes, shape (n_genes,); -1 for an absent gene.
    """
    is_taken = np.zeros(len(names) + 1, dtype=bool)
    is_taken[positions] = True  # -1 is the last entry, which belongs to no name
    absent, free = np.flatnonzero(positions < 0), candidates[~is_taken[candidates]]
    if not len(absent) or not len(free):
        return positions
    model_keys, keys = key(model_genes[absent]), key(names[free])
    # a key that two genes share identifies neither
    model_keys = model_keys.where(~model_keys.duplicated(keep=False), "")
    keys = keys.where(~keys.duplicated(keep=False))
    is_unique = keys.notna()
    matches = keys[is_unique].get_indexer(model_keys)
    found = positions.copy()
    found[absent[matches >= 0]] = free[is_unique][matches[matches >= 0]]
    return found


def _fold_case(names: pd.Index) -> pd.Index:
    return normalize_gene_ids(names).str.upper()
