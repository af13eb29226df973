"""Detect genes of two species in one matrix."""

import re

import numpy as np
import pandas as pd

from ._gene_ids import GENOME, SPECIES, count_cases, sample_names

# Beginning of an Ensembl gene id.
ENSEMBL_GENE = re.compile(r"ENS[A-Z]{0,4}G(?=\d{11})")

# A second species has at least this fraction of the names; fewer are transgenes or viruses.
MIN_SECOND_SPECIES_FRACTION = 0.05

# Two species have at least this fraction of their names in two cases ("ACTB", "Actb"); one species has almost none.
MIN_CASE_TWIN_FRACTION = 0.2


def check_single_species(names: pd.Index, owner: str) -> None:
    """Check that genes are of one species.

    Parameters
    ----------
    names
        Shape (n_vars,).
    owner
        Expression of the names in an error, e.g. "`adata.var_names`".

    Raises
    ------
    ValueError
        If the names are of two species.
    """
    species = detect_mixed_species(names)
    if not species:
        return
    first, second = species
    prefix = species[first]
    remedy = (
        f"Keep one, genes and cells: `adata = adata[:, adata.var_names.str.startswith({prefix!r})].copy()`."
        if prefix
        else "Keep the genes, and the cells, of one."
    )
    raise ValueError(f"The genes must be of one species, but {owner} has those of two: {first} and {second}. {remedy}")


def detect_mixed_species(names: pd.Index) -> dict[str, str]:
    """Detect the names of two species.

    Parameters
    ----------
    names
        Shape (n_vars,).

    Returns
    -------
    Two species and the prefix of their genes; two example names, each with "", if the names have no prefix; empty for
    a single species.
    """
    sample = sample_names(names)
    return _by_prefix(sample, GENOME) or _by_prefix(sample, ENSEMBL_GENE) or _by_case(names, sample)


def _by_prefix(sample: list[str], pattern: re.Pattern) -> dict[str, str]:
    """Return the prefixes of two species, by their names."""
    prefixes = pd.Series([match[0] for name in sample if (match := pattern.match(name))], dtype=object)
    n_names = prefixes.value_counts()
    if (n_names > MIN_SECOND_SPECIES_FRACTION * len(sample)).sum() < 2:
        return {}
    return {_species_of(prefix): prefix for prefix in n_names.index[:2]}


def _species_of(prefix: str) -> str:
    """Return the species of an Ensembl prefix, or the genome of a Cell Ranger prefix."""
    if prefix.startswith("ENS"):
        return SPECIES.get(prefix.removeprefix("ENS")[:-1], prefix)
    return prefix.strip("_-.")


def _by_case(names: pd.Index, sample: list[str]) -> dict[str, str]:
    """Return an example of a gene whose name occurs in two cases."""
    n_names = count_cases(sample)
    if min(n_names["upper"], n_names["title"]) <= MIN_SECOND_SPECIES_FRACTION * len(sample):
        return {}
    folded = names.str.upper()
    is_twin = folded.duplicated() & ~names.duplicated()
    if is_twin.sum() <= MIN_CASE_TWIN_FRACTION * len(names) / 2:
        return {}
    second = names[np.flatnonzero(is_twin)[0]]
    return {names[folded == second.upper()][0]: "", second: ""}
