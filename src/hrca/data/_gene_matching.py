"""Find the model's genes in a query: in which column of names, with which share of what tells its labels apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._alignment import GeneAlignment, align, make_selector
from ._count_slots import CountSlot
from ._gene_ids import (
    GeneLookup,
    Ids,
    describe_ids,
    detect_mixed_species,
    is_gene_feature,
    lookup_genes,
    same_case_convention,
)
from ._gene_matching_errors import (
    CASE_MISMATCH_FACTOR,
    MIN_DISTINCT_FRACTION,
    _explain_repeated,
    _in_any_case,
    explain_few,
)
from ._target_genes import VAR_NAMES, TargetGenes, name_of

# Where names find this share of the model's information, no other column is looked at.
MIN_COVERAGE = 0.9

# A column is taken in place of the names only if it finds this many times as much.
INDEX_PREFERENCE = 1.05

# Below both, labels are no better than guesses: nine shared genes made one type of all cells (celltypist#55), while a
# panel of some hundred genes is a few per cent of a model of all genes, and its labels can be right.
MIN_WEIGHT_FRACTION, MIN_SHARED_GENES = 0.05, 50

# Genes that a reference lets expect this many counts of have some in a query, of any platform, if they were measured:
# the share that may have none (at most 0.06 on eleven pairs of real data, at a tenth of their depth, too), and the
# fewest such genes, and cells, from which that is told.
MIN_EXPECTED_COUNTS, MAX_UNEXPRESSED_FRACTION, MIN_EXPECTED_GENES, MIN_SAMPLED_CELLS = 10, 0.25, 20, 50


@dataclass(frozen=True)
class GeneMatchResult:
    """Where a query's genes are named, and which of the model's they are.

    Attributes
    ----------
    column
        "var_names", or the name of a column of var.
    ids
        What kind of ids it has.
    match
        The model's genes among them.
    share
        The share of what tells the model's labels apart that they have.
    notes
        What was done to find them, in sentences.
    """

    column: str
    ids: Ids
    alignment: GeneAlignment
    gene_weight_fraction: float
    notes: tuple[str, ...]


def gene_columns(var: pd.DataFrame) -> dict[str, pd.Index]:
    """List what may name the genes: the index, and columns of text that is different for most."""
    columns = {VAR_NAMES: var.index.astype(str)}
    for name in var.columns:
        values = var[name]
        if isinstance(values, pd.Series) and not pd.api.types.is_numeric_dtype(values.dtype):
            text = pd.Index(values.astype(object).where(values.notna(), "").astype(str))
            if text.nunique() > MIN_DISTINCT_FRACTION * len(text):
                columns[str(name)] = text
    return columns


def match_genes(adata: AnnData, slot: CountSlot, model: TargetGenes) -> GeneMatchResult:
    """Find the model's genes in a query.

    Parameters
    ----------
    adata
        The query.
    slot
        Its matrix of counts.
    model
        The genes to find.

    Raises
    ------
    ValueError
        If genes of two species are there, too few of the model's genes are, or one of them is there more than once.
    """
    var = slot.var(adata)
    is_gene = is_gene_feature(var)
    index = var.index.astype(str)
    check_single_species(index[is_gene], name_of(VAR_NAMES, slot))
    columns = {VAR_NAMES: index}
    found = _locate(columns, model, is_gene)
    if found[VAR_NAMES][1] < MIN_COVERAGE:
        columns = gene_columns(var)
        found = _locate(columns, model, is_gene)
    column = max(found, key=lambda name: found[name][1] * (INDEX_PREFERENCE if name == VAR_NAMES else 1))
    located, gene_weight_fraction = found[column]
    present = located.source >= 0
    where = name_of(column, slot)
    n_shared = int(present.sum())
    in_any_case = _in_any_case(columns[column], model.names) if gene_weight_fraction < MIN_COVERAGE else 0
    if (
        not n_shared
        or (gene_weight_fraction < MIN_WEIGHT_FRACTION and n_shared < MIN_SHARED_GENES)
        or in_any_case > max(CASE_MISMATCH_FACTOR * n_shared, MIN_DISTINCT_FRACTION * min(len(index), len(model.names)))
    ):
        raise ValueError(explain_few(adata, columns[column], where, model, present))
    if located.repeated and column == VAR_NAMES:
        raise ValueError(_explain_repeated(located.repeated, var, where))
    alignment = GeneAlignment(make_selector(located.source, len(index)), present)
    return GeneMatchResult(
        column, describe_ids(columns[column]), alignment, gene_weight_fraction, tuple(_notes(located, where, column))
    )


def check_zero_filled(sample: sparse.csr_array, alignment: GeneAlignment, model: TargetGenes) -> None:
    """Refuse a query whose absent genes have been filled in by zeros: zeros would count as measured.

    Parameters
    ----------
    sample
        Counts of some of its cells, shape (n_obs, n_vars).
    match
        Where the model's genes are.
    model
        The model's genes.

    Raises
    ------
    ValueError
        If many genes have no count at all that the reference lets expect ten or more of.
    """
    if model.profile is None:
        return
    totals = np.asarray(align(sample, alignment).sum(axis=0)).ravel()
    profile = model.profile * alignment.present
    expected = profile / max(profile.sum(), 1e-30) * totals.sum()
    expected_expressed = expected >= MIN_EXPECTED_COUNTS
    unexpressed = expected_expressed & (totals == 0)
    if (
        sample.shape[0] >= MIN_SAMPLED_CELLS
        and expected_expressed.sum() >= MIN_EXPECTED_GENES
        and unexpressed.sum() > MAX_UNEXPRESSED_FRACTION * expected_expressed.sum()
    ):
        raise ValueError(
            f"Genes that were not measured must be absent, but {unexpressed.sum():,} of {expected_expressed.sum():,} genes that are "
            f"common in the reference have no count in {sample.shape[0]:,} cells, such as "
            f"{list(model.names[unexpressed][:3])}: were zeros filled in? Leave them out: "
            "`adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()`."
        )


def check_single_species(names: pd.Index, where: str) -> None:
    """Refuse genes of two species.

    Raises
    ------
    ValueError
        If the names are of two.
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
    raise ValueError(f"The genes must be of one species, but {where} has those of two: {first} and {second}. {remedy}")


def _locate(
    columns: dict[str, pd.Index], model: TargetGenes, is_gene: np.ndarray
) -> dict[str, tuple[GeneLookup, float]]:
    model_ids, ids = describe_ids(model.names), {name: describe_ids(names) for name, names in columns.items()}
    species = next((kind.species for kind in ids.values() if kind.kind == "Ensembl"), "")
    found = {}
    for name, names in columns.items():
        located = lookup_genes(names, model.names, is_gene, fold=same_case_convention(ids[name], model_ids, species))
        found[name] = located, model.gene_weight_fraction(located.source >= 0)
    return found


def _notes(located: GeneLookup, where: str, column: str) -> Iterator[str]:
    if column != VAR_NAMES:
        yield f"Genes were found by {where}, not by the index."
        if located.repeated:
            yield f"{where} names {len(located.repeated)} genes twice, e.g. {located.repeated[0]}: the first was taken."
    if located.n_tidied:
        yield f"{located.n_tidied:,} names were matched without their version, genome or blanks."
    if located.n_folded:
        yield f"{located.n_folded:,} names were matched in another case."
