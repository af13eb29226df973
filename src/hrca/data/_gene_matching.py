"""Match the genes of a query to the model's: by the index, or by a column of names that covers more of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hrca._messages import counted

from ._alignment import GeneAlignment, make_selector
from ._features import is_gene_feature
from ._gene_ids import IdFormat, describe_ids, same_case_convention
from ._gene_lookup import GeneLookup, KeyMatches, lookup_genes
from ._gene_map import GeneMap
from ._name_keys import are_positions, find_dates
from ._target_genes import TargetGenes

# Name of the index in a report.
VAR_NAMES = "var_names"

# Words that complete "names were matched".
BY_GENE_MAP = "by `gene_map`"

# If the index covers this fraction of the model's information, no column is read.
MIN_COVERAGE = 0.9

# A column is preferred to the index only if it covers this many times as much.
INDEX_PREFERENCE = 1.05

# Columns with a smaller fraction of different values, such as chromosomes, hold no ids.
MIN_DISTINCT_FRACTION = 0.5

# With less of the model's information and fewer shared genes, labels are no better than guesses: nine shared genes gave
# all cells one type (celltypist issue 55). A panel of some hundred genes is a few per cent of a model of all genes, and
# its labels can be right.
MIN_WEIGHT_FRACTION, MIN_SHARED_GENES = 0.05, 50

# The case or the species is wrong if more genes than both of these match without regard to case: this multiple of the
# shared genes, and this fraction of the names or of the model's genes, whichever are fewer.
CASE_MISMATCH_FACTOR = 2
MIN_CASE_MISMATCH_FRACTION = 0.5


@dataclass(frozen=True)
class GeneMatchResult:
    """The column that names a query's genes, and the model's genes in it.

    Attributes
    ----------
    column
        "var_names", or the name of a column of var.
    names
        The names, shape (n_vars,).
    id_format
        Format of the names.
    lookup
        Positions of the model's genes among the names.
    gene_weight_fraction
        Fraction of the model's information about the labels that the shared genes have.
    gene_map
        Table of other names of the genes; None: none.
    ambiguous
        Genes that have other names in the table, of which none was used: more than one, or one that another gene has.
    """

    column: str
    names: pd.Index
    id_format: IdFormat
    lookup: GeneLookup
    gene_weight_fraction: float
    gene_map: GeneMap | None = None
    ambiguous: tuple[str, ...] = ()

    @property
    def alignment(self) -> GeneAlignment:
        """The alignment of the query's genes to the model's."""
        return GeneAlignment(make_selector(self.lookup.positions, len(self.names)), self.lookup.present)

    @property
    def n_shared(self) -> int:
        """Number of the model's genes that were found."""
        return int(self.lookup.present.sum())


def match_genes(var: pd.DataFrame, target_genes: TargetGenes, gene_map: GeneMap | None = None) -> GeneMatchResult:
    """Find the model's genes in a table of genes.

    Parameters
    ----------
    var
        Table of the query's genes.
    target_genes
        Genes to find.
    gene_map
        Table of other names of the genes; None: none.

    Returns
    -------
    The match by the column that covers most of the model's information, however little that is.
    """
    is_gene = is_gene_feature(var)
    columns = {VAR_NAMES: var.index.astype(str)}
    lookups = _look_up_columns(columns, target_genes, is_gene, gene_map)
    fractions = _covered_fractions(lookups, target_genes)
    if fractions[VAR_NAMES] < MIN_COVERAGE:
        columns = name_columns(var)
        lookups = _look_up_columns(columns, target_genes, is_gene, gene_map)
        fractions = _covered_fractions(lookups, target_genes)
    column = max(fractions, key=lambda name: fractions[name] * (INDEX_PREFERENCE if name == VAR_NAMES else 1))
    names, lookup = columns[column], lookups[column]
    ambiguous: tuple[str, ...] = ()
    if gene_map is not None:
        is_free = is_gene.copy()
        is_free[lookup.positions[lookup.present]] = False
        ambiguous = tuple(gene_map.ambiguous_targets(names[is_free], target_genes.names[~lookup.present]))
    return GeneMatchResult(column, names, describe_ids(names), lookup, fractions[column], gene_map, ambiguous)


def own_genes(var: pd.DataFrame, gene_map: GeneMap | None = None) -> GeneMatchResult:
    """Return the match of a table of genes to itself, for cells that are not searched for a model's genes.

    Parameters
    ----------
    var
        Table of the genes.
    gene_map
        Table of other names of the genes, which replace theirs; None: none.

    Raises
    ------
    ValueError
        If `gene_map` has none of the names.
    """
    old_names = var.index.astype(str)
    names = old_names if gene_map is None else gene_map.rename(old_names)
    renamed = np.flatnonzero(names != old_names)
    matches = [KeyMatches(BY_GENE_MAP, len(renamed), old_names[row], names[row]) for row in renamed[:1]]
    lookup = GeneLookup(np.arange(len(names)), key_matches=tuple(matches), duplicated=[])
    ambiguous = () if gene_map is None else tuple(gene_map.ambiguous_names(old_names))
    return GeneMatchResult(VAR_NAMES, names, describe_ids(names), lookup, 1.0, gene_map, ambiguous)


def has_enough_genes(result: GeneMatchResult, target_genes: TargetGenes) -> bool:
    """Return True if a query has enough of the model's genes, and not most of them in another case.

    Parameters
    ----------
    result
        The match of the query.
    target_genes
        The model's genes.
    """
    if not result.n_shared:
        return False
    if result.gene_weight_fraction < MIN_WEIGHT_FRACTION and result.n_shared < MIN_SHARED_GENES:
        return False
    return result.gene_weight_fraction >= MIN_COVERAGE or not is_case_mismatch(result, target_genes)


def is_case_mismatch(result: GeneMatchResult, target_genes: TargetGenes) -> bool:
    """Return True if most genes would match without regard to case, and few do.

    Parameters
    ----------
    result
        The match of the query.
    target_genes
        The model's genes.
    """
    n_names = min(len(result.names), len(target_genes.names))
    n_any_case = count_any_case(result.names, target_genes.names)
    return n_any_case > max(CASE_MISMATCH_FACTOR * result.n_shared, MIN_CASE_MISMATCH_FRACTION * n_names)


def count_any_case(names: pd.Index, model_genes: pd.Index) -> int:
    """Count the model's genes that match a name without regard to case."""
    return int(model_genes.str.upper().isin(names.str.upper()).sum())


def name_columns(var: pd.DataFrame) -> dict[str, pd.Index]:
    """List the columns that may name the genes.

    Parameters
    ----------
    var
        Table of the query's genes.

    Returns
    -------
    The index, and the columns of text that differs between most genes, by name.
    """
    columns = {VAR_NAMES: var.index.astype(str)}
    for name in var.columns:
        values = var[name]
        if isinstance(values, pd.Series) and not pd.api.types.is_numeric_dtype(values.dtype):
            names = pd.Index(values.astype(object).where(values.notna(), "").astype(str))
            if names.nunique() > MIN_DISTINCT_FRACTION * len(names):
                columns[str(name)] = names
    return columns


def name_of(column: str, owner: str) -> str:
    """Return the expression of a column in a message.

    Examples
    --------
    >>> name_of("var_names", "adata"), name_of("symbol", "adata.raw")
    ('`adata.var_names`', "`adata.raw.var['symbol']`")
    """
    return f"`{owner}.{VAR_NAMES}`" if column == VAR_NAMES else f"`{owner}.var[{column!r}]`"


def note_gene_match(result: GeneMatchResult, owner: str) -> Iterator[str]:
    """Note the column of the genes, and names that matched after a change.

    Parameters
    ----------
    result
        The match.
    owner
        Object that holds the gene table, as an expression: "adata" or "adata.raw".

    Yields
    ------
    Sentences for the user.
    """
    lookup, column = result.lookup, name_of(result.column, owner)
    if result.column != VAR_NAMES:
        yield f"Genes were found by {column}, not by the index."
        if lookup.duplicated:
            example = lookup.duplicated[0]
            n_genes = counted(len(lookup.duplicated), "gene")
            yield f"{column} names {n_genes} twice, e.g. {example}: the first was taken."
    for match in lookup.key_matches:
        names = counted(match.n_names, "name", ("was", "were"))
        yield f"{names} matched {match.how}, such as {match.name!r} as {match.gene!r}."
    if result.ambiguous:
        shown = ", ".join(repr(name) for name in result.ambiguous[:3])
        yield (
            f"{counted(len(result.ambiguous), 'gene', ('was', 'were'))} not matched by `gene_map`, which has several "
            f"names for one gene or one name for several, such as {shown}: keep one row for each gene."
        )
    if dates := find_dates(result.names):
        yield (
            f"{column} has {counted(len(dates), 'date')}, such as {dates[0]!r}, as spreadsheets make of MARCH1 or "
            "SEPT2: take the names from the original file."
        )


def _look_up_columns(
    columns: dict[str, pd.Index], target_genes: TargetGenes, is_gene: np.ndarray, gene_map: GeneMap | None
) -> dict[str, GeneLookup]:
    """Look up the model's genes in each column; shape of `is_gene` (n_vars,)."""
    model_format = describe_ids(target_genes.names)
    formats = {name: describe_ids(names) for name, names in columns.items()}
    species = next((ids.species for ids in formats.values() if ids.kind == "Ensembl"), "")
    return {
        name: lookup_genes(
            names,
            target_genes.names,
            # the same position in two tables is not the same gene
            is_gene & (not are_positions(names)),
            ignore_case=same_case_convention(formats[name], model_format, species),
            other_keys=None if gene_map is None else {BY_GENE_MAP: gene_map.common_names},
        )
        for name, names in columns.items()
    }


def _covered_fractions(lookups: dict[str, GeneLookup], target_genes: TargetGenes) -> dict[str, float]:
    """Return the fraction of the model's information that each column covers."""
    return {name: target_genes.gene_weight_fraction(lookup.present) for name, lookup in lookups.items()}
