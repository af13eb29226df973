"""Errors of gene matching: why too few genes matched, and the remedy."""

import pandas as pd

from ._features import TYPE_COLUMNS, flag_non_gene_features, is_gene_feature
from ._gene_ids import IdFormat, describe_ids
from ._gene_matching import (
    VAR_NAMES,
    GeneMatchResult,
    count_any_case,
    has_enough_genes,
    is_case_mismatch,
    name_columns,
    name_of,
)
from ._name_keys import are_positions
from ._species import check_single_species
from ._target_genes import TargetGenes

# Kinds of ids of which a gene has several.
NOT_GENES = ("transcripts", "proteins")

# More names than this fraction are the majority.
MAJORITY = 0.5


def check_gene_match(
    result: GeneMatchResult,
    target_genes: TargetGenes | None,
    var: pd.DataFrame,
    cell_names: pd.Index,
    owner: str,
) -> None:
    """Check that genes are of one species and, for a query, that enough of the model's genes were found once each.

    Parameters
    ----------
    result
        The match.
    target_genes
        Genes that were searched for; None: no gene was searched for.
    var
        Table of the genes.
    cell_names
        Names of the cells, shape (n_obs,).
    owner
        Object that holds the gene table, as an expression: "adata" or "adata.raw".

    Raises
    ------
    ValueError
        If genes have no names; are of two species; too few of the model's genes are there; or one of them is there more
        than once.
    """
    if target_genes is None and are_positions(result.names):
        raise ValueError(explain_positions(result, var, owner))
    if target_genes is None and result.id_format.kind in NOT_GENES:
        raise ValueError(
            f"The names of genes must be of genes, but {name_of(result.column, owner)} has {result.id_format}: "
            f"{list(result.names[:3])}. Sum them by gene, and name the sums by the genes."
        )
    index = var.index.astype(str)
    genes = index if target_genes is None else index[is_gene_feature(var)]
    check_single_species(genes, name_of(VAR_NAMES, owner))
    if target_genes is None:
        return
    if not has_enough_genes(result, target_genes):
        raise ValueError(explain_few_genes(result, target_genes, var, cell_names, owner))
    if result.lookup.duplicated and result.column == VAR_NAMES:
        raise ValueError(explain_duplicated(result, var, owner))


def explain_positions(result: GeneMatchResult, var: pd.DataFrame, owner: str) -> str:
    """Say that genes have positions in place of names, and name the column that has names.

    Parameters
    ----------
    result
        The match.
    var
        Table of the genes.
    owner
        Object that holds the gene table, as an expression: "adata" or "adata.raw".
    """
    columns = {name: names for name, names in name_columns(var).items() if name != VAR_NAMES}
    with_names = [name for name, names in columns.items() if not are_positions(names)]
    with_names.sort(key=lambda name: not columns[name].is_unique)
    before = "`adata = adata.raw.to_adata()`, then " if owner != "adata" else ""
    remedy = (
        f"{name_of(with_names[0], owner)} has names: {before}`adata.var_names = adata.var[{with_names[0]!r}]`."
        if with_names
        else f"Set names, from the file that the counts came in: {before}`adata.var_names = ...`."
    )
    return (
        f"Genes must have names, but {name_of(result.column, owner)} has positions: {list(result.names[:3])}. {remedy}"
    )


def explain_few_genes(
    result: GeneMatchResult, target_genes: TargetGenes, var: pd.DataFrame, cell_names: pd.Index, owner: str
) -> str:
    """Describe the genes that a query shares with the model, the likely reason, and the remedy.

    Parameters
    ----------
    result
        The match.
    target_genes
        The model's genes.
    var
        Table of the query's genes.
    cell_names
        Names of the cells, shape (n_obs,).
    owner
        Object that holds the gene table, as an expression: "adata" or "adata.raw".
    """
    content = f"{result.n_shared:,} of its {len(target_genes.names):,} genes"
    if target_genes.weighted_genes != "genes":
        is_informative = target_genes.weights > 0
        n_informative = (result.lookup.present & is_informative).sum()
        content += (
            f", and {n_informative:,} ({result.gene_weight_fraction:.1%}) of the {is_informative.sum():,} informative "
            "ones, which tell its labels apart"
        )
    column = name_of(result.column, owner).strip("`")
    reasons = (
        _explain_transposed(result, target_genes, cell_names),
        explain_positions(result, var, owner) if are_positions(result.names) else "",
        _explain_case(result, target_genes, column),
        _explain_features(result),
        _explain_gene_map(result, target_genes),
        _explain_format(result.id_format, describe_ids(target_genes.names)),
        "Are both of one species and tissue? A model trained on the genes of this panel would know them: "
        "`reference[:, reference.var_names.isin(query.var_names)].copy()`, then `HRCA.setup_anndata` on that.",
    )
    return (
        f"The query must have enough of the model's genes, but it has {content}. "
        f"{column}[:3] = {list(result.names[:3])}, the model's genes[:3] = {list(target_genes.names[:3])}. "
        + next(reason for reason in reasons if reason)
    )


def explain_duplicated(result: GeneMatchResult, var: pd.DataFrame, owner: str) -> str:
    """List the model's genes that a query has more than once, and the remedy.

    Parameters
    ----------
    result
        The match.
    var
        Table of the genes.
    owner
        Object that holds the gene table, as an expression: "adata" or "adata.raw".
    """
    duplicated = result.lookup.duplicated
    type_columns = [column for column in TYPE_COLUMNS if column in var]
    hint = f" `adata.var[{type_columns[0]!r}]` may tell them apart." if type_columns else ""
    return (
        f"Gene names must be unique, but {name_of(result.column, owner)} has {len(duplicated)} of the model's genes "
        f"duplicated: {duplicated[:3]}. If they are different genes, `adata.var_names_make_unique()` keeps the name "
        f"for the first; if one was measured twice, sum or drop its columns.{hint}"
    )


def _explain_transposed(result: GeneMatchResult, target_genes: TargetGenes, cell_names: pd.Index) -> str:
    """Return the reason if the names of the cells are the model's genes, else ""."""
    rows = cell_names.astype(str)
    n_genes = rows.isin(target_genes.names).sum()
    if n_genes > max(result.n_shared, MAJORITY * min(len(rows), len(target_genes.names))):
        return "The model's genes are the rows: the matrix is transposed. `adata = adata.T` turns it."
    return ""


def _explain_case(result: GeneMatchResult, target_genes: TargetGenes, column: str) -> str:
    """Return the reason if most symbols would match in another case, else ""."""
    model_format = describe_ids(target_genes.names)
    is_symbols = result.id_format.kind == model_format.kind == "symbols"
    if not is_symbols or not is_case_mismatch(result, target_genes):
        return ""
    method = {"upper": "str.upper()", "title": "str.capitalize()", "lower": "str.lower()"}.get(model_format.case)
    remedy = f": `adata.var_names = {column}.{method}`" if method else ""
    return (
        f"{count_any_case(result.names, target_genes.names):,} would match if case were ignored. If both are of one "
        f"species, write the names as the model does{remedy}; if not, map them to the model's species by a table of "
        "orthologs."
    )


def _explain_features(result: GeneMatchResult) -> str:
    """Return the reason if the names are not of genes, else ""."""
    if result.id_format.kind == "numbers" and result.gene_map is None:
        return (
            "These are numbers, such as NCBI's: give a table of them and the model's names as `gene_map` "
            "(see `hrca.pp.map_genes`)."
        )
    flagged = flag_non_gene_features(result.names)
    kind = max(flagged, key=lambda name: len(flagged[name]))
    if len(flagged[kind]) > MAJORITY * len(result.names):
        return f"Most of these are {kind}: pass the modality that has the genes."
    if result.id_format.kind == "barcodes":
        return "These look like cells' barcodes: is the matrix transposed? `adata = adata.T` turns it."
    if result.id_format.kind in ("transcripts", "proteins"):
        return f"These are {result.id_format}: sum them by gene, and name the sums by the genes."
    return ""


def _explain_gene_map(result: GeneMatchResult, target_genes: TargetGenes) -> str:
    """Return the reason if a table of names was given, and does not map these names to the model's of another kind."""
    if result.gene_map is None or result.id_format.kind == describe_ids(target_genes.names).kind:
        return ""
    n_names, n_genes = (int(result.gene_map.contains(names).sum()) for names in (result.names, target_genes.names))
    first, second = (list(column[:3]) for _, column in result.gene_map.pairs.items())
    return (
        f"`gene_map` must map these names to the model's, but it has {n_names:,} of them and {n_genes:,} of the "
        f"model's: its columns begin with {first} and {second}. Give a table of the query's species, with one "
        "column of the query's names and one of the model's."
    )


def _explain_format(query: IdFormat, model: IdFormat) -> str:
    """Return the reason if the ids have another format than the model's, else ""."""
    if query.kind != model.kind:
        ids = "symbols" if model.kind == "symbols" else str(model)
        return (
            f"These are {query}, the model's are {model}. Give a table of both as `gene_map`, from "
            "`scanpy.queries.biomart_annotations` or a GTF file (see `hrca.pp.map_genes`). Or put "
            f"{ids} into a column of var, where they are found: `adata.var['gene'] = ...`."
        )
    if query.case != model.case and query.case and model.case:
        return (
            f"These are {query}, the model's are {model}: are the cells of the model's species? If not, map the names "
            "to it by a table of orthologs."
        )
    if query.species != model.species:
        return f"These are {query}, the model's {model}: map them to the model's species by a table of orthologs."
    return ""
