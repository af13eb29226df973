"""Look up the model's genes among names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from ._gene_ids import normalize_gene_ids
from ._name_keys import fold_case, respell, update_symbols

# A function that turns names into keys; names with equal keys are the same gene.
NameKey: TypeAlias = Callable[[pd.Index], pd.Index]

# Keys in the order in which they are tried, each of the one before, by the words that complete "names were matched".
NAME_KEYS: dict[str, NameKey] = {
    "without their version, genome or blanks": normalize_gene_ids,
    "by R's or Seurat's spelling": respell,
    "by their current symbol": update_symbols,
}

IN_ANOTHER_CASE: dict[str, NameKey] = {"in another case": fold_case}


@dataclass(frozen=True)
class KeyMatches:
    """Names that were matched by a key.

    Attributes
    ----------
    how
        Words that complete "names were matched".
    n_names
        Number of these names.
    name, gene
        One of them, and the model's gene.
    """

    how: str
    n_names: int
    name: str
    gene: str


@dataclass(frozen=True)
class GeneLookup:
    """The positions of the model's genes among names.

    Attributes
    ----------
    positions
        Position of each of the model's genes, shape (n_genes,); -1 for an absent gene.
    key_matches
        Genes that were not found by their exact name, by the key that found them.
    duplicated
        Names of the model's genes that occur more than once; the first of each is used.
    """

    positions: np.ndarray
    key_matches: tuple[KeyMatches, ...]
    duplicated: list[str]

    @property
    def present(self) -> np.ndarray:
        """True for each of the model's genes that was found, shape (n_genes,)."""
        return self.positions >= 0


def lookup_genes(
    names: pd.Index,
    model_genes: pd.Index,
    is_gene: np.ndarray,
    *,
    ignore_case: bool,
    other_keys: Mapping[str, NameKey] | None = None,
) -> GeneLookup:
    """Look up the model's genes: by their exact names, then by one key after the other.

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
    other_keys
        Keys of the names themselves, to try after all others, by the words that complete "names were matched"; None:
        none.
    """
    genes = np.flatnonzero(is_gene)
    is_repeated = names[genes].duplicated()
    candidates = genes[~is_repeated]
    matches = names[candidates].get_indexer(model_genes)
    positions = np.where(matches >= 0, candidates[matches], -1) if len(candidates) else np.full(len(model_genes), -1)
    key_matches, keys, gene_keys = [], names, model_genes
    for how, key in (NAME_KEYS | (IN_ANOTHER_CASE if ignore_case else {}) | dict(other_keys or {})).items():
        if (positions >= 0).all():
            break
        if other_keys and how in other_keys:
            keys, gene_keys = names, model_genes
        keys, gene_keys = key(keys), key(gene_keys)
        found = _look_up_absent(positions, keys, candidates, gene_keys)
        new = np.flatnonzero(found != positions)
        key_matches += [KeyMatches(how, len(new), names[found[gene]], model_genes[gene]) for gene in new[:1]]
        positions = found
    return GeneLookup(
        positions=positions,
        key_matches=tuple(key_matches),
        duplicated=list(model_genes[model_genes.isin(names[genes[is_repeated]])]) if is_repeated.any() else [],
    )


def _look_up_absent(positions: np.ndarray, keys: pd.Index, candidates: np.ndarray, gene_keys: pd.Index) -> np.ndarray:
    """Look up the genes that are still absent among the names that are still free, by keys.

    Parameters
    ----------
    positions
        Position of each of the model's genes so far, shape (n_genes,); -1 for an absent gene.
    keys
        Keys of the names of features, shape (n_vars,).
    candidates
        Positions of the names that may be a gene.
    gene_keys
        Keys of the model's genes, shape (n_genes,); genes with equal keys are the same gene.

    Returns
    -------
    Position of each of the model's genes, shape (n_genes,); -1 for an absent gene.
    """
    is_taken = np.zeros(len(keys) + 1, dtype=bool)
    is_taken[positions] = True  # -1 is the last entry, which belongs to no name
    absent, free = np.flatnonzero(positions < 0), candidates[~is_taken[candidates]]
    if not len(absent) or not len(free):
        return positions
    absent_keys, free_keys = gene_keys[absent], keys[free]
    # a key that two genes share identifies neither
    absent_keys = absent_keys.where(~absent_keys.duplicated(keep=False), "")
    is_unique = ~free_keys.duplicated(keep=False) & (free_keys != "")
    matches = free_keys[is_unique].get_indexer(absent_keys)
    found = positions.copy()
    found[absent[matches >= 0]] = free[is_unique][matches[matches >= 0]]
    return found
