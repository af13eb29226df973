"""Look up the model's genes among names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from ._gene_ids import normalize_gene_ids
from ._name_keys import fold_case, respell, update_symbols

# A function that returns a key for each name. Names with equal keys are names of the same gene.
NameKey: TypeAlias = Callable[[pd.Index], pd.Index]

# Functions of keys in the order in which they are tried, by the words that complete "names were matched". Each is
# applied to the keys of the one before.
NAME_KEYS: dict[str, NameKey] = {
    "without their version, genome or blanks": normalize_gene_ids,
    "by R's or Seurat's spelling": respell,
    "by their current symbol": update_symbols,
}

IN_ANOTHER_CASE: dict[str, NameKey] = {"in another case": fold_case}


@dataclass(frozen=True)
class KeyMatches:
    """Names that were matched by equal keys of one function.

    Attributes
    ----------
    how
        Words that complete "names were matched".
    n_names
        Number of these names.
    name, gene
        One of these names, and the model's gene that it was matched to.
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
        Matches of genes that were not found by their exact name, for each function of keys that found any.
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
    """Look up the model's genes by their exact names, then the absent ones by one function of keys after another.

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
        Further functions of keys, by the words that complete "names were matched". They are tried after all others, and
        each is applied to the names themselves. None: no others.
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
    """Look up the absent genes among the names that no gene has taken yet: genes and names with equal keys match.

    Parameters
    ----------
    positions
        Position of each of the model's genes so far, shape (n_genes,); -1 for an absent gene.
    keys
        Key of the name of each feature, shape (n_vars,).
    candidates
        Positions of the names that may be a gene.
    gene_keys
        Key of each of the model's genes, shape (n_genes,). A key that two genes share matches neither.

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
