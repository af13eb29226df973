"""Errors of gene matching: why too few genes matched, and the remedy."""

import numpy as np
import pandas as pd
from anndata import AnnData

from ._gene_ids import describe_ids, flag_non_gene_features
from ._target_genes import TargetGenes

# As many times the genes would be shared if case were ignored, for the case, or the species, to be the wrong one.
CASE_MISMATCH_FACTOR = 2

# Columns with other text, such as chromosomes, are not ids.
MIN_DISTINCT_FRACTION = 0.5


def _explain_repeated(repeated: list[str], var: pd.DataFrame, where: str) -> str:
    kinds = [column for column in ("feature_types", "feature_type") if column in var]
    remedy = (
        "If they are different genes, `adata.var_names_make_unique()` keeps the name for the first; if one was "
        "measured twice, sum or drop its columns."
    )
    hint = f" {remedy}" if not kinds else f" {remedy} `adata.var[{kinds[0]!r}]` may tell them apart."
    return (
        f"Gene names must be unique, but {where} has {len(repeated)} of the model's genes duplicated: "
        f"{repeated[:3]}.{hint}"
    )


def explain_few(adata: AnnData, names: pd.Index, where: str, model: TargetGenes, present: np.ndarray) -> str:
    """Say that a query has too few of a model's genes, why that may be, and the way out."""
    n_shared, is_informative = int(present.sum()), model.weights > 0
    has = f"{n_shared:,} of its {len(model.names):,} genes"
    if model.what != "genes":
        has += (
            f", and {(present & is_informative).sum():,} ({model.gene_weight_fraction(present):.1%}) of the {is_informative.sum():,} "
            "informative ones, which tell its labels apart"
        )
    shown = where.strip("`") + "[:3]"
    return (
        f"The query must have enough of the model's genes, but it has {has}. "
        f"{shown} = {list(names[:3])}, the model's genes[:3] = {list(model.names[:3])}. "
        + _reason(adata, names, where, model, n_shared)
    )


def _in_any_case(names: pd.Index, model_genes: pd.Index) -> int:
    return int(model_genes.str.upper().isin(names.str.upper()).sum())


def _reason(adata: AnnData, names: pd.Index, where: str, model: TargetGenes, n_shared: int) -> str:
    ours, theirs = describe_ids(model.names), describe_ids(names)
    rows = adata.obs_names.astype(str)
    if rows.isin(model.names).sum() > max(n_shared, MIN_DISTINCT_FRACTION * min(len(rows), len(model.names))):
        return "The model's genes are the rows: the matrix is transposed. `adata = adata.T` turns it."
    folded = _in_any_case(names, model.names)
    many = MIN_DISTINCT_FRACTION * min(len(names), len(model.names))
    if folded > max(CASE_MISMATCH_FACTOR * n_shared, many) and ours.kind == theirs.kind == "symbols":
        change = {"upper": "str.upper()", "title": "str.capitalize()", "lower": "str.lower()"}.get(ours.style)
        remedy = f": `adata.var_names = {where.strip('`')}.{change}`" if change else ""
        return (
            f"{folded:,} would match if case were ignored. If both are of one species, write the names as the model "
            f"does{remedy}; if not, map them to the model's species by a table of orthologs."
        )
    if theirs.kind == "numbers":
        return "These are numbers: where are the names? `adata.var_names = adata.var['...']` sets them."
    n_other = {what: len(listed) for what, listed in flag_non_gene_features(names).items()}
    what = max(n_other, key=lambda name: n_other[name])
    if n_other[what] > MIN_DISTINCT_FRACTION * len(names):
        return f"Most of these are {what}: give the modality that has the genes."
    if theirs.kind == "barcodes":
        return "These look like cells' barcodes: is the matrix transposed? `adata = adata.T` turns it."
    if theirs.kind in ("transcripts", "proteins"):
        return f"These are {theirs}: sum them by gene, and name the sums by the genes."
    if theirs.kind != ours.kind:
        what = "symbols" if ours.kind == "symbols" else str(ours)
        return (
            f"These are {theirs}, the model's are {ours}. Put {what} into a column of var, where they are "
            "found: `adata.var['gene'] = ...`, from the file that the counts came in, or from "
            "`scanpy.queries.biomart_annotations`."
        )
    if theirs.style != ours.style and theirs.style and ours.style:
        return (
            f"These are {theirs}, the model's are {ours}: are the cells of the model's species? If not, map the names "
            "to it by a table of orthologs."
        )
    if theirs.species != ours.species:
        return f"These are {theirs}, the model's {ours}: map them to the model's species by a table of orthologs."
    return (
        "Are both of one species and tissue? A model trained on the genes of this panel would know them: "
        "`reference[:, reference.var_names.isin(query.var_names)].copy()`, then `HRCA.setup_anndata` on that."
    )
