"""Find the model's genes in a query: in which column of names, with which share of what tells its labels apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._alignment import GeneMatch, align, make_selector
from ._count_slots import Slot
from ._gene_ids import Ids, Located, describe_ids, genes_among, locate, same_letters, two_species
from ._gene_matching_errors import MIN_DISTINCT, MORE_IN_ANY_CASE, _explain_repeated, _in_any_case, explain_few
from ._target_genes import VAR_NAMES, ModelGenes, name_of

# Where names find this share of the model's information, no other column is looked at.
ENOUGH = 0.9

# A column is taken in place of the names only if it finds this many times as much.
CLEARLY_MORE = 1.05

# Below both, labels are no better than guesses: nine shared genes made one type of all cells (celltypist#55), while a
# panel of some hundred genes is a few per cent of a model of all genes, and its labels can be right.
MIN_SHARE, MIN_SHARED = 0.05, 50

# Genes that a reference lets expect this many counts of have some in a query, of any platform, if they were measured:
# the share that may have none (at most 0.06 on eleven pairs of real data, at a tenth of their depth, too), and the
# fewest such genes, and cells, from which that is told.
EXPECTED, FILLED_IN, MIN_SURE, MIN_CELLS = 10, 0.25, 20, 50


@dataclass(frozen=True)
class FoundGenes:
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
    match: GeneMatch
    share: float
    notes: tuple[str, ...]


def gene_columns(var: pd.DataFrame) -> dict[str, pd.Index]:
    """List what may name the genes: the index, and columns of text that is different for most."""
    columns = {VAR_NAMES: var.index.astype(str)}
    for name in var.columns:
        values = var[name]
        if isinstance(values, pd.Series) and not pd.api.types.is_numeric_dtype(values.dtype):
            text = pd.Index(values.astype(object).where(values.notna(), "").astype(str))
            if text.nunique() > MIN_DISTINCT * len(text):
                columns[str(name)] = text
    return columns


def find_genes(adata: AnnData, slot: Slot, model: ModelGenes) -> FoundGenes:
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
    is_gene = genes_among(var)
    index = var.index.astype(str)
    refuse_two_species(index[is_gene], name_of(VAR_NAMES, slot))
    columns = {VAR_NAMES: index}
    found = _locate(columns, model, is_gene)
    if found[VAR_NAMES][1] < ENOUGH:
        columns = gene_columns(var)
        found = _locate(columns, model, is_gene)
    column = max(found, key=lambda name: found[name][1] * (CLEARLY_MORE if name == VAR_NAMES else 1))
    located, share = found[column]
    present = located.source >= 0
    where = name_of(column, slot)
    n_shared = int(present.sum())
    in_any_case = _in_any_case(columns[column], model.names) if share < ENOUGH else 0
    if (
        not n_shared
        or (share < MIN_SHARE and n_shared < MIN_SHARED)
        or in_any_case > max(MORE_IN_ANY_CASE * n_shared, MIN_DISTINCT * min(len(index), len(model.names)))
    ):
        raise ValueError(explain_few(adata, columns[column], where, model, present))
    if located.repeated and column == VAR_NAMES:
        raise ValueError(_explain_repeated(located.repeated, var, where))
    match = GeneMatch(make_selector(located.source, len(index)), present)
    return FoundGenes(column, describe_ids(columns[column]), match, share, tuple(_notes(located, where, column)))


def refuse_filled_in(sample: sparse.csr_array, match: GeneMatch, model: ModelGenes) -> None:
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
    totals = np.asarray(align(sample, match).sum(axis=0)).ravel()
    profile = model.profile * match.present
    expected = profile / max(profile.sum(), 1e-30) * totals.sum()
    sure = expected >= EXPECTED
    lacking = sure & (totals == 0)
    if sample.shape[0] >= MIN_CELLS and sure.sum() >= MIN_SURE and lacking.sum() > FILLED_IN * sure.sum():
        raise ValueError(
            f"Genes that were not measured must be absent, but {lacking.sum():,} of {sure.sum():,} genes that are "
            f"common in the reference have no count in {sample.shape[0]:,} cells, such as "
            f"{list(model.names[lacking][:3])}: were zeros filled in? Leave them out: "
            "`adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()`."
        )


def refuse_two_species(names: pd.Index, where: str) -> None:
    """Refuse genes of two species.

    Raises
    ------
    ValueError
        If the names are of two.
    """
    species = two_species(names)
    if not species:
        return
    first, second = species
    prefix = species[first]
    way_out = (
        f"Keep one, genes and cells: `adata = adata[:, adata.var_names.str.startswith({prefix!r})].copy()`."
        if prefix
        else "Keep the genes, and the cells, of one."
    )
    raise ValueError(f"The genes must be of one species, but {where} has those of two: {first} and {second}. {way_out}")


def _locate(columns: dict[str, pd.Index], model: ModelGenes, is_gene: np.ndarray) -> dict[str, tuple[Located, float]]:
    model_ids, ids = describe_ids(model.names), {name: describe_ids(names) for name, names in columns.items()}
    species = next((kind.species for kind in ids.values() if kind.kind == "Ensembl"), "")
    found = {}
    for name, names in columns.items():
        located = locate(names, model.names, is_gene, fold=same_letters(ids[name], model_ids, species))
        found[name] = located, model.share(located.source >= 0)
    return found


def _notes(located: Located, where: str, column: str) -> Iterator[str]:
    if column != VAR_NAMES:
        yield f"Genes were found by {where}, not by the index."
        if located.repeated:
            yield f"{where} names {len(located.repeated)} genes twice, e.g. {located.repeated[0]}: the first was taken."
    if located.n_tidied:
        yield f"{located.n_tidied:,} names were matched without their version, genome or blanks."
    if located.n_folded:
        yield f"{located.n_folded:,} names were matched in another case."
